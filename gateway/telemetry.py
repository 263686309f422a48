"""What the gateway tells its operators: a log without secrets, numbers, and traces if asked for.

The log is JSON, one object a line, or text for a person at a terminal. Whatever is bound with
`log_context` (request_id, order, attempt) stands in every line that the task writes. Every line,
also those of libraries and of tracebacks, passes `redact` last. What is away is told with `outage`,
and a line with that is not repeated for a while: an hour without Redis is not an hour of lines.
"""

import logging
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Final

import msgspec
import structlog
from prometheus_client import Counter, Gauge, Histogram
from structlog.contextvars import bound_contextvars
from structlog.types import EventDict, Processor, WrappedLogger

from gateway.errors import ConfigurationError

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

__all__ = ["configure_logging", "log", "log_context", "redact", "span", "tracing"]

ATTEMPTS = Counter("payonce_attempts", "Attempts that came into a state", ["channel", "state"])
REFUNDS = Counter("payonce_refunds", "Refunds that came into a state", ["reason", "state"])
REFUNDS_WAITING = Gauge("payonce_refunds_waiting", "Refunds that go no further without a person")
CALLBACKS = Counter("payonce_callbacks", "Callbacks by what became of them", ["account", "result"])
ASKS = Counter("payonce_asks", "Queries made because nobody told us", ["channel", "result"])
WEBHOOKS = Counter("payonce_webhooks", "Calls to the order service", ["result"])
PUSHES = Counter("payonce_pushes", "Notes to the apps of buyers", ["platform", "result"])
EVENTS_PUBLISHED = Counter("payonce_events_published", "Events given to the message queue")
EVENTS_WAITING = Gauge("payonce_events_waiting", "Events that the message queue has not got yet")
DUPLICATES_PREVENTED = Counter(
    "payonce_duplicates_prevented", "Second orders and payments that were not made", ["kind"]
)
REDIS_ERRORS = Counter("payonce_redis_errors", "Calls to Redis that failed; each costs time only")
OUTAGES = Counter("payonce_outages", "Work that failed because something was away", ["missing"])
NEEDS_ATTENTION = Gauge("payonce_needs_attention", "Attempts whose end is unknown for too long")
WEBSOCKETS = Gauge("payonce_websockets", "Open sockets of buyers and order services")

_QUICK: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1, 5)
_SLOW: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10)
SETTLE_SECONDS = Histogram(
    "payonce_settle_seconds", "From a report to the commit of what it means", buckets=_QUICK
)
APPLY_SECONDS = Histogram(
    "payonce_apply_seconds", "From a request to pay to its answer", buckets=_SLOW
)
CHANNEL_CALL_SECONDS = Histogram(
    "payonce_channel_call_seconds",
    "Calls to the channels",
    ["channel", "verb", "result"],
    buckets=_SLOW,
)

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("payonce")
log_context = bound_contextvars

_REDACTED: Final = "[redacted]"
# Names whose values are secrets or personal data, whatever they hold.
_SECRET_NAME: Final = re.compile(
    r"authorization|cookie|secret|password|token|signature|openid|ciphertext|tax_id|(^|_)key$",
    re.IGNORECASE,
)
# Secrets that stand inside a sentence: what follows these words, up to where the word ends.
_SECRET_TEXT: Final = re.compile(
    r"""((?:bearer|basic)\s+ | ://[^/\s:@]*:(?=[^/\s@]*@) | /(?:checkout|q)/
        | \b(?:po|opr|whsec|sk)_)
        [^\s"'@/?,)]+""",
    re.IGNORECASE | re.VERBOSE,
)


_OUTAGE_EVERY_S: Final = 10.0


class Seldom:
    """Lets a line with `outage` through once in ten seconds, with how many were left out."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: dict[tuple[object, ...], tuple[float, int]] = {}  # when again, left out

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        if "outage" not in event:
            return event
        what = tuple(event.get(name) for name in ("event", "outage", "sweep", "work"))
        again_at, left_out = self._told.get(what, (0.0, 0))
        now = self._clock()
        if now < again_at:
            self._told[what] = (again_at, left_out + 1)
            raise structlog.DropEvent
        self._told[what] = (now + _OUTAGE_EVERY_S, 0)
        if left_out:
            event["left_out"] = left_out
        return event


def configure_logging(level: str, *, as_json: bool | None = None) -> None:
    """Write the log to standard error, from `level` up; `as_json` None: unless it is a terminal.

    Also what libraries log through the standard library, from warnings up.
    """
    threshold = logging.getLevelNamesMapping().get(level.upper())
    if threshold is None:
        raise ConfigurationError(
            f"PAYONCE_LOG_LEVEL (log_level): {level!r} is none of debug, info, warning, error"
        )
    if as_json is None:
        as_json = not sys.stderr.isatty()
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]
    renderer: Processor = (
        structlog.processors.JSONRenderer(serializer=_to_json)
        if as_json
        else structlog.dev.ConsoleRenderer()
    )
    structlog.configure(
        processors=[Seldom(), *shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(threshold, logging.WARNING), force=True)
    # They tell an outage by an error or a traceback for each try; we tell it ourselves, in a line.
    logging.getLogger("asyncpg.pool").setLevel(logging.ERROR)
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Hide secrets and personal data, by the name of the field or by their look in a text."""
    return {name: _redacted(name, value) for name, value in event.items()}


def _redacted(name: str, value: object) -> object:
    if _SECRET_NAME.search(name) and value is not None:
        return _REDACTED
    if isinstance(value, str):
        return _SECRET_TEXT.sub(rf"\1{_REDACTED}", value)
    if isinstance(value, Mapping):
        return {str(inner): _redacted(str(inner), held) for inner, held in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(name, held) for held in value]
    return value


def _to_json(event: EventDict, **_options: object) -> str:
    return msgspec.json.encode(event, enc_hook=repr).decode()


_tracer: "Tracer | None" = None


@contextmanager
def tracing(endpoint: str | None) -> Iterator[None]:
    """Send what `span` measures to an OpenTelemetry collector, while the block runs.

    `endpoint` is the collector's OTLP/HTTP address, like http://127.0.0.1:4318; None: no traces.
    """
    global _tracer  # noqa: PLW0603 - a process has one, and every module asks for it by `span`
    if endpoint is None:
        yield
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError(
            "PAYONCE_OTLP_ENDPOINT is set: install PayOnce as payonce[telemetry], or unset it"
        ) from error
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
    provider = TracerProvider(resource=Resource.create({"service.name": "payonce"}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    _tracer = provider.get_tracer("payonce")
    try:
        yield
    finally:
        _tracer = None
        provider.shutdown()


def span(name: str, **attributes: str | int) -> AbstractContextManager[object]:
    """Measure a step as a span of the trace; costs nothing while nobody collects them."""
    if _tracer is None:
        return nullcontext()
    return _tracer.start_as_current_span(name, attributes=attributes)
