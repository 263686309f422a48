"""Who is at a browser, for payments that are made for one person: kept by the browser itself, and
readable to nobody but us.

The openid is personal, so it is in no URL, no log and no error: it is in a cookie that is
encrypted, ends by itself, and counts for one app alone. Where the browser is sent to its wallet to
learn it, another cookie keeps the `state` that it must come back with, so that nobody can bring a
buyer to our page with somebody else's code.
"""

from secrets import compare_digest, token_hex
from typing import Final, TypeVar

import msgspec
from aiohttp import web
from msgspec import Struct

from gateway.channels.base import Recogniser, Recognising
from gateway.errors import ChannelNotConfigured
from gateway.model import Order, Terminal
from gateway.payments.desk import Desk
from gateway.secrets import Cipher
from gateway.web.keys import DESK

_VISIT: Final = "payonce_visit"
_PAYER: Final = "payonce_payer"
_VISIT_LASTS_S: Final = 600
# As long as the payments that are made for it: who shares the phone is asked for anew after that.
_PAYER_LASTS_S: Final = 7200

Sealed = TypeVar("Sealed", bound=Struct)


class Visit(Struct, frozen=True, forbid_unknown_fields=True):
    """A browser's way to its wallet and back: for which app, from which page, with which state."""

    app: str
    page: str
    state: str


class Payer(Struct, frozen=True, forbid_unknown_fields=True):
    """Whom an app's wallet said to be at this browser."""

    app: str
    openid: str


async def recogniser_of(desk: Desk, order: Order, channel: str) -> Recogniser | None:
    """Return what tells who is at a browser inside the channel's wallet, if anything does.

    It is the account's that would take the payment: an id of another one's app is of no use to it.
    """
    try:
        able = await desk.accounts.able(
            order.merchant, channel, Terminal.WEBVIEW, None, order.money
        )
    except ChannelNotConfigured:
        return None
    adapter = able[0].adapter
    return adapter.recogniser if isinstance(adapter, Recognising) else None


def payer_at(request: web.Request, recogniser: Recogniser) -> str:
    """Return who is at the browser, as the app knows them; empty: that is not known."""
    known = _unseal(request, _PAYER, Payer, _PAYER_LASTS_S)
    return known.openid if known is not None and known.app == recogniser.app else ""


def keep_payer(
    request: web.Request, response: web.Response, recogniser: Recogniser, openid: str
) -> None:
    """Let the browser keep who is at it; its visit to the wallet is over."""
    kept = Payer(recogniser.app, openid)
    _keep(request, response, _PAYER, kept, path="/checkout", lasts_s=_PAYER_LASTS_S)


def begin_visit(
    request: web.Request, response: web.Response, recogniser: Recogniser, page: str
) -> str:
    """Let the browser keep the state that its visit to the wallet has; returns the state."""
    visit = Visit(recogniser.app, page, token_hex(16))
    _keep(request, response, _VISIT, visit, path=page, lasts_s=_VISIT_LASTS_S)
    return visit.state


def comes_from_visit(request: web.Request, recogniser: Recogniser, page: str) -> bool:
    """Was it this browser that we sent away from this page, for this app, with this state?"""
    visit = _unseal(request, _VISIT, Visit, _VISIT_LASTS_S)
    if visit is None or (visit.app, visit.page) != (recogniser.app, page):
        return False
    return compare_digest(visit.state.encode(), request.query.get("state", "").encode())


def end_visit(response: web.Response, page: str) -> None:
    response.del_cookie(_VISIT, path=page)


def _keep(
    request: web.Request,
    response: web.Response,
    name: str,
    value: Struct,
    *,
    path: str,
    lasts_s: int,
) -> None:
    """Set a cookie that only we can read, and that comes along when a wallet sends the browser."""
    settings = request.app[DESK].settings
    response.set_cookie(
        name,
        Cipher(settings.secret_keys).encrypt(msgspec.structs.asdict(value)).decode(),
        max_age=lasts_s,
        path=path,
        secure=settings.base_url.startswith("https:"),
        httponly=True,
        samesite="Lax",
    )


def _unseal(request: web.Request, name: str, kind: type[Sealed], age_s: int) -> Sealed | None:
    cipher = Cipher(request.app[DESK].settings.secret_keys)
    said = request.cookies.get(name, "").encode("ascii", "replace")  # what we seal is ASCII
    try:
        return msgspec.convert(cipher.decrypt_fresh(said, age_s), kind)
    except msgspec.ValidationError:
        return None
