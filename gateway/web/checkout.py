"""The buyer's side: one page that shows every state, and the buttons on it.

The token in the URL is the only credential; it can do nothing but pay and look. Looking never makes
an attempt: an attempt is made when the buyer chooses, by a POST, with or without JavaScript.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import wraps
from hashlib import blake2s
from typing import Annotated, Final

from aiohttp import web
from msgspec import Meta, Struct
from msgspec.structs import replace

from gateway.db import merchants, orders
from gateway.db.merchants import Merchant
from gateway.errors import InvalidRequest, NotFound, OrderAlreadyPaid, OrderClosed
from gateway.ids import AttemptId
from gateway.model import Order, Terminal
from gateway.objects import encode
from gateway.payments.applying import Applied, apply_for_payment
from gateway.payments.asking import ask_once
from gateway.payments.desk import Desk
from gateway.payments.planning import Wish
from gateway.web.bodies import ChannelName, NamedBuyer
from gateway.web.buyers import faults_in, named, nested
from gateway.web.calls import Reply
from gateway.web.keys import DESK, HUB
from gateway.web.live import check_same_origin, snapshot_of, status, token_of, ws
from gateway.web.pages import language_of, page_response
from gateway.web.payer import payer_at, recogniser_of
from gateway.web.problems import REQUEST_ID, problem_of
from gateway.web.scene import Device, Kind, Scene, device_of, scene_of
from gateway.web.scenery import draw_checkout, draw_details, draw_fragment, draw_problem
from gateway.web.ways import ways_to_pay
from gateway.web.wire import Shape, attempt_id, connection, read_form, read_json, send

__all__ = ["apply", "fragment", "page", "q", "returned", "returned_by_form", "status", "ws"]

# The channel is asked when the buyer comes back; a slow one does not hold up the page for longer.
_ASK_FOR_S: Final = 2.0
_LONGEST_USER_AGENT: Final = 512
_FORM: Final = "application/x-www-form-urlencoded"
_PAYER_FIELD: Final = "buyer.openid"  # what applying asks for, where it is made for one person
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Handler = Callable[[web.Request], Awaitable[web.Response]]


class ChoiceBody(Struct, frozen=True, forbid_unknown_fields=True):
    """What the buyer chose."""

    channel: ChannelName
    terminal: (
        Annotated[
            Terminal,
            Meta(description="`pc`, `wap`, `webview` or `app`; left out, the User-Agent decides."),
        ]
        | None
    ) = None
    buyer: Annotated[
        NamedBuyer | None,
        Meta(description="Who pays, for `boleto`: `{name, email, tax_id, address}`."),
    ] = None


_CHOICE: Final = Shape(ChoiceBody)


def for_people(handler: Handler) -> Handler:
    """Answer whatever goes wrong as a page that a buyer can read."""

    @wraps(handler)
    async def answer(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except Exception as error:  # noqa: BLE001 - problem_of logs what nobody expected
            problem = problem_of(error)
            text = draw_problem(problem, language_of(request), request.get(REQUEST_ID, ""))
            response = _page(request, text, status=problem.status)
            if problem.retry_after_s is not None:
                response.headers["Retry-After"] = str(problem.retry_after_s)
            return response

    return answer


@for_people
async def page(request: web.Request) -> web.Response:
    """GET /checkout/{token}"""
    return await _whole_page(request)


@for_people
async def returned(request: web.Request) -> web.Response:
    """GET /checkout/{token}/return/{attempt}"""
    attempt = attempt_id(request)
    order, _now, _merchant = await read_order(request)
    known = next((each for each in order.attempts if each.id == attempt), None)
    if known is None:
        raise NotFound("There is no such attempt of this order.")
    if known.state.live and request.method == "GET":
        await _ask(request.app[DESK], attempt)
    return await _whole_page(request)


@for_people
async def returned_by_form(request: web.Request) -> web.Response:
    """POST /checkout/{token}/return/{attempt}

    A channel's page may send what it has to say along with the buyer. A browser can say anything,
    so it is not read: the buyer goes on to the page, and the channel is asked.
    """
    location = f"{base_of(request)}/return/{attempt_id(request)}"
    return web.Response(status=303, headers={"Location": location})


@for_people
async def q(request: web.Request) -> web.Response:
    """GET /q/{token}: the app that scanned it is recognised by its browser.

    Nothing is made: in a wallet the page, once it is seen, presses that wallet's button by script.
    """
    token = token_of(request)
    await request.app[HUB].order_of(token)
    scanned = "?go=1" if _device(request).wallet else ""
    return web.Response(status=303, headers={"Location": f"/checkout/{token}{scanned}"})


async def fragment(request: web.Request) -> web.Response:
    """GET /checkout/{token}/fragment"""
    scene = await _scene(request)
    language = language_of(request)
    # Two equal scenes are the same page but for its clocks, which go on by themselves.
    digest = blake2s(encode(replace(scene, now=_EPOCH)) + language.encode(), digest_size=12)
    etag = f'"{digest.hexdigest()}"'
    if request.headers.get("If-None-Match") == etag:
        return web.Response(status=304, headers={"ETag": etag})
    response = _page(request, draw_fragment(scene, base_of(request), language))
    response.headers["ETag"] = etag
    return response


async def apply(request: web.Request) -> web.Response:
    """POST /checkout/{token}/attempts, by a script (JSON) or by a form without one."""
    if request.content_type == _FORM:
        return await _apply_by_form(request)
    check_same_origin(request)
    applied = await _apply(request, _CHOICE.from_json(await read_json(request)))
    status_code = 200 if applied.replayed else 201
    return send(Reply(status_code, applied.body, replayed=applied.replayed))


@for_people
async def _apply_by_form(request: web.Request) -> web.Response:
    """Apply, and send the browser back to the page, which shows how it went."""
    check_same_origin(request)
    form = await read_form(request)
    location = base_of(request)
    try:
        await _apply(request, _CHOICE.from_json(encode(nested(form))))
    except (OrderAlreadyPaid, OrderClosed):
        pass  # the page says so itself
    except InvalidRequest as error:
        field = error.members["field"]
        if field == _PAYER_FIELD:
            location += "?problem=payer_unknown"  # it was known when the page was drawn
        elif field.startswith("buyer.") and "channel" in form:
            return await _ask_who_pays(request, form)
        else:
            raise
    except NotFound:
        raise
    except Exception as error:  # noqa: BLE001 - problem_of logs what nobody expected
        location += f"?problem={problem_of(error).code}"
    return web.Response(status=303, headers={"Location": location})


async def _apply(request: web.Request, choice: ChoiceBody) -> Applied:
    user_agent = request.headers.get("User-Agent", "")
    terminal = choice.terminal or _device(request).terminal
    wish = Wish(
        channel=choice.channel,
        terminal=terminal,
        openid=await _payer(request, choice.channel) if terminal is Terminal.WEBVIEW else "",
        client_ip=request.remote or "",
        user_agent=user_agent[:_LONGEST_USER_AGENT],
        buyer=named(choice.buyer or NamedBuyer()),
    )
    order_id = await request.app[HUB].order_of(token_of(request))
    return await apply_for_payment(request.app[DESK], order_id, wish, None)


@for_people
async def details(request: web.Request) -> web.Response:
    """GET /checkout/{token}/details/{channel}: the form for who pays; it makes nothing."""
    return await _details_page(request, request.match_info["channel"], {}, frozenset(), 200)


async def _ask_who_pays(request: web.Request, form: Mapping[str, str]) -> web.Response:
    """Ask for what a slip names; again, where it was typed and something of it is wrong."""
    channel = form["channel"]
    if any(field.startswith("buyer.") for field in form):
        return await _details_page(request, channel, form, faults_in(form), 422)
    location = f"{base_of(request)}/details/{channel}"
    return web.Response(status=303, headers={"Location": location})


async def _details_page(
    request: web.Request,
    channel: str,
    said: Mapping[str, str],
    faults: frozenset[str],
    status_code: int,
) -> web.Response:
    scene, base = await _scene(request), base_of(request)
    if scene.kind.final or scene.kind is Kind.EXPIRED:
        return web.Response(status=303, headers={"Location": base})  # the page says so itself
    if channel not in scene.ways.here:
        raise NotFound("This order cannot be paid that way.")
    scene = replace(scene, until=None)  # the order will wait longer for what is made here
    text = draw_details(scene, base, language_of(request), channel, said, faults)
    return _page(request, text, status=status_code)


async def _payer(request: web.Request, channel: str) -> str:
    """Return for whom the channel makes a payment inside its wallet; empty: for whoever pays."""
    order, _now, _merchant = await read_order(request)
    recogniser = await recogniser_of(request.app[DESK], order, channel)
    return payer_at(request, recogniser) if recogniser is not None else ""


async def _ask(desk: Desk, attempt: AttemptId) -> None:
    """Ask the channel once; if it takes long, the answer comes to the page by the push."""
    asked = asyncio.Event()

    async def errand() -> None:
        try:
            await ask_once(desk, attempt)
        finally:
            asked.set()

    desk.errands.run(errand())
    try:
        async with asyncio.timeout(_ASK_FOR_S):
            await asked.wait()
    except TimeoutError:
        return


async def _whole_page(request: web.Request) -> web.Response:
    scene = await _scene(request)
    # Before there is a form: the page keeps its policy while its pieces are swapped in.
    targets = await request.app[DESK].accounts.form_targets(scene.order)
    text = draw_checkout(scene, base_of(request), language_of(request))
    return _page(request, text, form_targets=targets)


async def _scene(request: web.Request) -> Scene:
    desk = request.app[DESK]
    order, now, merchant = await read_order(request)
    device = _device(request)
    one_code = f"{desk.settings.base_url}/q/{token_of(request)}"
    recogniser = await recogniser_of(desk, order, device.wallet) if device.wallet else None
    return scene_of(
        order,
        await snapshot_of(desk, order, now),
        device,
        merchant=merchant.name,
        ways=await ways_to_pay(desk, order, device, one_code),
        payer=payer_at(request, recogniser) if recogniser is not None else None,
        problem=request.query.get("problem"),
    )


async def read_order(request: web.Request) -> tuple[Order, datetime, Merchant]:
    """Read what the page shows. Raises NotFound."""
    token = token_of(request)
    async with connection(request) as conn:
        reading = await orders.read_by_token(conn, token)
        merchant = await merchants.read(conn, reading[0].merchant) if reading else None
    if reading is None or merchant is None:
        raise NotFound("There is no such checkout.")
    return *reading, merchant


def _device(request: web.Request) -> Device:
    return device_of(request.headers.get("User-Agent", ""))


def base_of(request: web.Request) -> str:
    return f"/checkout/{token_of(request)}"


def _page(
    request: web.Request, text: str, status: int = 200, form_targets: tuple[str, ...] = ()
) -> web.Response:
    base_url = request.app[DESK].settings.base_url
    return page_response(request, text, base_url=base_url, status=status, form_targets=form_targets)
