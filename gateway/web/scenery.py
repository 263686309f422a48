"""From a scene to HTML: what the templates need beside it, in the reader's language."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import segno
from babel.dates import format_date, format_skeleton, format_timedelta
from markupsafe import Markup
from msgspec import Struct

from gateway.errors import Problem
from gateway.web import boleto
from gateway.web.buyers import STATES
from gateway.web.pages import draw
from gateway.web.scene import Scene

_PROBLEMS: Final = frozenset(
    {
        "apply_in_progress",
        "channel_not_configured",
        "channel_refused",
        "channel_unavailable",
        "internal_error",
        "payer_unknown",
        "rate_limited",
        "service_unavailable",
    }
)


# A clock that counts seconds says nothing to who has days.
_TICKS_WITHIN: Final = timedelta(days=1)


class Flying(Struct, frozen=True):
    """A payment that may still arrive, in words: `left` is how long."""

    channel: str
    left: str
    refundable: bool


def draw_checkout(scene: Scene, base: str, language: str) -> str:
    """Draw the whole page; `base` is its path."""
    return _draw("checkout.html", scene, base, language)


def draw_fragment(scene: Scene, base: str, language: str) -> str:
    """Draw the part that changes."""
    return _draw("checkout_state.html", scene, base, language)


def draw_details(
    scene: Scene,
    base: str,
    language: str,
    channel: str,
    said: Mapping[str, str],
    faults: frozenset[str],
) -> str:
    """Draw the page that asks who pays, with what was said already and which of it is wrong."""
    return _draw(
        "checkout_details.html",
        scene,
        base,
        language,
        channel=channel,
        said=said,
        faults=faults,
        states=STATES,
    )


def draw_problem(problem: Problem, language: str, request_id: str) -> str:
    """Draw the page for when there is nothing else to show."""
    return draw("checkout_problem.html", language, problem=problem, request_id=request_id)


def clock(now: datetime, until: datetime) -> str:
    """Return the time left as 14:59 or 1:02:03, which is read alike in every language."""
    seconds = max(0, int((until - now).total_seconds()))
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes:02}:{seconds:02}"


def code(content: str) -> Markup:
    """Draw a QR code as inline SVG, with the quiet zone that the standard asks for."""
    drawn = segno.make_qr(content, error="m").svg_inline(omitsize=True, border=4, svgclass=None)
    return Markup(drawn)  # noqa: S704 - paths and numbers of segno's; the content is not in it


def _draw(template: str, scene: Scene, base: str, language: str, **more: object) -> str:
    def left(until: datetime) -> str:
        # 6.9 days are 7 days, and no week.
        remaining = until - scene.now
        return format_timedelta(remaining, granularity="minute", threshold=1, locale=language)

    in_flight = [
        Flying(each.channel, left(each.until), each.refundable) for each in scene.in_flight
    ]
    return draw(
        template,
        language,
        scene=scene,
        problem=scene.problem if scene.problem in _PROBLEMS else None,
        base=base,
        amount=scene.order.money.display(language),
        in_flight=in_flight,
        clock=partial(clock, scene.now),
        code=code,
        epoch=_epoch_ms,
        left=left,
        ticks=scene.until is not None and scene.until - scene.now < _TICKS_WITHIN,
        last_day=lambda ends: format_date(boleto.last_day(ends), "long", locale=language),
        day_and_month=lambda ends: format_skeleton("MMMMd", boleto.last_day(ends), locale=language),
        boleto=boleto,
        **more,
    )


def _epoch_ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
