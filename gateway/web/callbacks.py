"""Channels call us: verify, settle, and acknowledge only what is committed."""

from datetime import UTC, datetime
from typing import Final

import msgspec
from aiohttp import web

from gateway.channels.base import Callback, Channel
from gateway.errors import BadCallback, ChannelUnavailable, NotFound, PayloadTooLarge
from gateway.model import ChannelReport, Evidence, Outcome, RefundReport
from gateway.payments.calling import read_callback
from gateway.payments.capturing import go_on
from gateway.payments.desk import Desk
from gateway.payments.settle import UnknownNumber
from gateway.telemetry import CALLBACKS, log
from gateway.web.keys import DESK

MAX_BODY: Final = 64 * 1024
# What proves a callback later is kept; what only the transport needed is not.
_KEPT_HEADERS: Final = ("content-type", "user-agent", "request-id", "stripe-signature")
_KEPT_BEGINNINGS: Final = ("wechatpay-", "paypal-")


async def receive(request: web.Request) -> web.Response:
    """POST /callbacks/{account}: the channel's own protocol and acknowledgement."""
    desk = request.app[DESK]
    account = await desk.accounts.by_id(request.match_info["account"])
    if account is None:
        raise NotFound("There is no channel account with that id.")
    adapter = account.adapter
    callback = await _callback(request)
    try:
        read = await read_callback(adapter, callback)
    except BadCallback as error:
        return _refused(adapter, account.id, error.reason, str(error))
    except ChannelUnavailable:
        return _later(adapter, account.id, 503, "keys could not be refreshed", "unavailable")
    report = read.report
    number = report.number if report is not None else ""
    evidence = _evidence(account.id, read.notification_id, number, callback)
    try:
        result = await _settle(desk, report, evidence)
    except UnknownNumber:
        return _later(adapter, account.id, 404, "no such order number yet", "unknown_number")
    return _answer(adapter.acknowledgement(), account.id, result)


async def _settle(
    desk: Desk, report: ChannelReport | RefundReport | None, evidence: Evidence
) -> str:
    """Settle what the callback reports; returns what it did, in a word. Raises UnknownNumber."""
    if report is None:
        await desk.keep(evidence)
        return "noted"
    if isinstance(report, RefundReport):
        return await _settle_refund(desk, report, evidence)
    settled = await desk.settle(report, evidence)
    if report.outcome is Outcome.APPROVED:
        # The channel is called after it has its acknowledgement; were that lost, asking finds it.
        desk.errands.run(go_on(desk, settled, report))
    if report.outcome is not Outcome.PAID:
        return "noted"
    return "settled" if settled.moved else "repeated"


async def _settle_refund(desk: Desk, report: RefundReport, evidence: Evidence) -> str:
    """Settle news of a refund. One that is not ours was made by hand at the channel: it is kept.

    It cannot be ours and not here yet, for a refund is committed before the channel is called.
    """
    try:
        settled = await desk.settle_refund(report, evidence)
    except UnknownNumber:
        return "unknown_refund"
    return "settled" if settled.moved else "repeated"


async def _callback(request: web.Request) -> Callback:
    if request.content_length is not None and request.content_length > MAX_BODY:
        raise PayloadTooLarge(f"A callback has at most {MAX_BODY} bytes.")
    body = await request.content.read(MAX_BODY + 1)
    while len(body) <= MAX_BODY and not request.content.at_eof():
        body += await request.content.read(MAX_BODY + 1 - len(body))
    if len(body) > MAX_BODY:
        raise PayloadTooLarge(f"A callback has at most {MAX_BODY} bytes.")
    headers = {name.lower(): value for name, value in request.headers.items()}
    return Callback(headers, body, datetime.now(UTC))


def _evidence(account: str, notification: str, number: str, callback: Callback) -> Evidence:
    kept = {
        name: value.encode(errors="replace").decode()  # aiohttp keeps bytes that are no UTF-8
        for name, value in callback.headers.items()
        if name in _KEPT_HEADERS or name.startswith(_KEPT_BEGINNINGS)
    }
    return Evidence(
        account, notification, number, msgspec.json.encode(kept).decode(), callback.body
    )


def _refused(adapter: Channel, account: str, reason: str, detail: str) -> web.Response:
    log.warning("callback_refused", account=account, reason=reason, detail=detail)
    return _answer(adapter.rejection("the callback was refused"), account, f"refused_{reason}")


def _later(adapter: Channel, account: str, status: int, detail: str, result: str) -> web.Response:
    """Nothing is wrong with the callback, and it shall come again."""
    _, body = adapter.rejection(detail)
    return _answer((status, body), account, result)


def _answer(answer: tuple[int, bytes], account: str, result: str) -> web.Response:
    CALLBACKS.labels(account=account, result=result).inc()
    status, body = answer
    media = "application/json" if body.startswith(b"{") else "text/plain"
    return web.Response(status=status, body=body or None, content_type=media)
