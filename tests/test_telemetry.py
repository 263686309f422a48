"""What operators are told: everything they need, and no secret."""

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import prometheus_client
import pytest
import structlog
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from gateway.errors import ConfigurationError
from gateway.ports import free_port
from gateway.telemetry import Seldom, configure_logging, log, log_context, span, tracing
from workers.amqp_exchange import AmqpExchange


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_line_is_json_with_what_is_bound(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", as_json=True)
    with log_context(request_id="req_1", order="ord_1"):
        log.info("settled", attempt="att_1", amount=1200)
    line = json.loads(capsys.readouterr().err)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "settled",
        "level": "info",
        "request_id": "req_1",
        "order": "ord_1",
        "attempt": "att_1",
        "amount": 1200,
    }


def test_a_terminal_gets_text(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", as_json=False)
    log.info("settled", attempt="att_1")
    assert "settled" in capsys.readouterr().err


def test_lines_below_the_level_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("warning", as_json=True)
    log.info("settled")
    assert capsys.readouterr().err == ""


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'loud' is none of debug, info"):
        configure_logging("loud")


def test_an_outage_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", as_json=True)
    for _ in range(1000):
        log.warning("sweep_failed", outage="postgresql", sweep="ask")
        log.warning("sweep_failed", outage="postgresql", sweep="expire")
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_what_was_left_out_is_counted() -> None:
    now = 0.0
    seldom = Seldom(clock=lambda: now)
    said = {"event": "sweep_failed", "outage": "redis"}
    assert seldom(None, "", dict(said)) == said
    for _ in range(3):
        with pytest.raises(structlog.DropEvent):
            seldom(None, "", dict(said))
    now = 60.0
    assert seldom(None, "", dict(said)) == {**said, "left_out": 3}


@pytest.mark.parametrize(
    "fields",
    [
        {"authorization": "SECRET"},
        {"Authorization": "Bearer SECRET"},
        {"api_key": "SECRET"},
        {"openid": "SECRET"},
        {"webhook_secret": "SECRET"},
        {"headers": {"Cookie": "SECRET"}},
        {"buyer": [{"openid": "SECRET"}]},
        {"detail": "sent Bearer SECRET to it"},
        {"detail": "postgresql://payonce:SECRET@127.0.0.1/payonce"},
        {"detail": "redis://:SECRET@127.0.0.1/0"},
        {"url": "https://pay.example/checkout/SECRET?locale=zh"},
        {"detail": "key po_SECRET was revoked"},
        {"detail": "signed with whsec_SECRET"},
    ],
)
def test_no_secret_is_written(
    fields: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("info", as_json=True)
    log.info("something", **fields)
    said = capsys.readouterr().err
    assert "[redacted]" in said
    assert "SECRET" not in said


def test_what_is_no_secret_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", as_json=True)
    fields = {"url": "http://127.0.0.1:8080/v1/orders", "merchant": "shop", "keys": 3}
    log.info("something", **fields)
    line = json.loads(capsys.readouterr().err)
    assert {name: line[name] for name in fields} == fields


def test_no_secret_is_written_by_a_traceback_or_a_library(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging("info", as_json=True)
    try:
        raise ConnectionError("postgresql://payonce:SECRET@127.0.0.1/payonce")
    except ConnectionError:
        log.exception("failed")
        logging.getLogger("some.library").exception("failed for Bearer SECRET")
    lines = capsys.readouterr().err.splitlines()
    assert [json.loads(line)["level"] for line in lines] == ["error", "error"]
    assert all("ConnectionError" in line for line in lines)
    assert "SECRET" not in "".join(lines)


async def test_a_rabbitmq_that_is_away_is_not_told_by_its_client_at_each_try(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging("info", as_json=True)
    queue = AmqpExchange(f"amqp://127.0.0.1:{free_port()}/")
    with pytest.raises(ConnectionError):
        await queue.ends_at(0)
    assert not capsys.readouterr().err


def test_the_numbers_have_their_names() -> None:
    families = {family.name for family in prometheus_client.REGISTRY.collect()}
    assert families >= {
        "payonce_apply_seconds",
        "payonce_asks",
        "payonce_attempts",
        "payonce_callbacks",
        "payonce_channel_call_seconds",
        "payonce_duplicates_prevented",
        "payonce_needs_attention",
        "payonce_outages",
        "payonce_redis_errors",
        "payonce_settle_seconds",
        "payonce_webhooks",
        "payonce_websockets",
    }


@pytest.fixture
def collector() -> Iterator[tuple[str, list[str]]]:
    """The address of an OpenTelemetry collector, and the names of the spans that it got."""
    names: list[str] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                names.extend(one.name for scope in resource.scope_spans for one in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", names
        server.shutdown()
        thread.join()


def test_spans_reach_the_collector(collector: tuple[str, list[str]]) -> None:
    endpoint, names = collector
    with tracing(endpoint), span("apply", order="ord_1"), span("create", channel="wechat"):
        pass
    assert names == ["create", "apply"]


def test_a_span_without_a_collector_is_nothing(collector: tuple[str, list[str]]) -> None:
    with tracing(None), span("apply"):
        pass
    assert collector[1] == []
