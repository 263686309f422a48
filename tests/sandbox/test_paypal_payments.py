"""PayPal in the sandbox: tokens, orders that are debited on the merchant's call, refunds, news."""

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from gateway.sandbox.keys import SandboxKeys
from tests.sandbox.conftest import StartSandbox
from tests.sandbox.merchant import Answer, Json, ReceivedCallback, Receiver
from tests.sandbox.paypal_merchant import CONTEXT, PayPalMerchant


@pytest.fixture
async def paypal(
    keys: SandboxKeys, sandbox_url: str, receiver: Receiver
) -> AsyncIterator[PayPalMerchant]:
    receiver.status = 200
    async with aiohttp.ClientSession() as session:
        merchant = PayPalMerchant(session, keys, sandbox_url, receiver)
        await merchant.log_in()
        await merchant.faults(refund_takes_s=0)
        await merchant.control("webhooks", kind="paypal", url=receiver.url)
        yield merchant


def issue(answer: Answer) -> tuple[int, object]:
    details = answer.json["details"]
    assert isinstance(details, list)
    return answer.status, details[0]["issue"]


def part(answer: Answer, *path: str | int) -> object:
    """What stands at a place in a body."""
    found: object = answer.json
    for step in path:
        assert isinstance(found, dict | list)
        found = found[step]  # type: ignore[index]
    return found


async def made(paypal: PayPalMerchant, number: str = "NUMBER1") -> str:
    answer = await paypal.create(number)
    assert answer.status == 201
    return str(answer.json["id"])


async def captured(paypal: PayPalMerchant, number: str = "NUMBER1") -> str:
    """A payment; returns the id of its capture."""
    order = await made(paypal, number)
    await paypal.pay(number)
    answer = await paypal.capture(order)
    return str(part(answer, "purchase_units", 0, "payments", "captures", 0, "id"))


async def refund(paypal: PayPalMerchant, capture: str, number: str, value: str = "5.00") -> Answer:
    price = {"currency_code": "USD", "value": value}
    path = f"/v2/payments/captures/{capture}/refund"
    return await paypal.call("POST", path, number, amount=price, custom_id=number)


async def choose(paypal: PayPalMerchant, order: str, action: str, instrument: str = "") -> str:
    """The buyer decides on PayPal's page; returns where the browser is sent."""
    form = {"token": order, "action": action, "instrument": instrument}
    url = f"{paypal.url}/paypal/checkoutnow"
    async with paypal.session.post(url, data=form, allow_redirects=False) as answer:
        assert answer.status == 303
        return answer.headers["Location"]


def told(received: list[ReceivedCallback]) -> list[object]:
    return [each.json["event_type"] for each in received]


async def test_who_has_no_token_or_an_old_one_stays_outside(paypal: PayPalMerchant) -> None:
    order = await made(paypal)
    await paypal.faults(clock_shift_s=32401)
    answer = await paypal.call("GET", f"/v2/checkout/orders/{order}")
    assert (answer.status, answer.json["error"]) == (401, "invalid_token")
    await paypal.log_in()
    assert (await paypal.create("NUMBER2")).status == 201
    wrong = aiohttp.encode_basic_auth(paypal.account["client_id"], "wrong")
    refused = await paypal.send("POST", "/v1/oauth2/token", wrong, data={})
    assert (refused.status, refused.json["error"]) == (401, "invalid_client")


async def test_the_same_request_id_is_the_same_order_and_another_one_another(
    paypal: PayPalMerchant,
) -> None:
    first, again = await paypal.create("NUMBER1"), await paypal.create("NUMBER1")
    assert (first.status, again.status) == (201, 200)
    assert first.json["id"] == again.json["id"]
    other = await paypal.create("NUMBER1", "ANOTHER")
    assert (other.status, other.json["id"] != first.json["id"]) == (201, True)


async def test_after_six_hours_a_request_id_is_forgotten(paypal: PayPalMerchant) -> None:
    await made(paypal)
    await paypal.faults(clock_shift_s=6 * 3600 + 1)
    assert (await paypal.create("NUMBER1")).status == 201


@pytest.mark.parametrize(
    ("shape", "status", "rel"),
    [
        ({}, "PAYER_ACTION_REQUIRED", "payer-action"),
        ({"payment_source": None, "application_context": CONTEXT}, "CREATED", "approve"),
    ],
)
async def test_the_buyers_link_is_named_by_how_the_order_was_asked_for(
    paypal: PayPalMerchant, shape: Json, status: str, rel: str
) -> None:
    answer = await paypal.create("NUMBER1", changes=shape)
    links = answer.json["links"]
    assert isinstance(links, list)
    assert answer.json["status"] == status
    (link,) = (link for link in links if link["rel"] == rel)
    async with paypal.session.get(link["href"]) as page:
        assert "12.34 USD" in await page.text()


@pytest.mark.parametrize(
    "changes",
    [
        {"intent": "AUTHORIZE"},
        {"purchase_units": []},
        {"purchase_units": [{"amount": {"currency_code": "USD", "value": "12.345"}}]},
        {"purchase_units": [{"amount": {"currency_code": "HUF", "value": "12.34"}}]},
        {"purchase_units": [{"amount": {"currency_code": "XXX", "value": "12.34"}}]},
        {"payment_source": {"paypal": {}}},
    ],
)
async def test_an_order_that_does_not_fit_is_refused(paypal: PayPalMerchant, changes: Json) -> None:
    assert (await paypal.create("NUMBER1", changes=changes)).status in (400, 422)


async def test_an_order_is_debited_on_the_merchants_call_and_not_before(
    paypal: PayPalMerchant,
) -> None:
    order = await made(paypal)
    assert issue(await paypal.capture(order)) == (422, "ORDER_NOT_APPROVED")
    await paypal.pay("NUMBER1")
    assert (await paypal.status_of(order), await paypal.captured("NUMBER1")) == ("APPROVED", 0)
    assert (await paypal.capture(order)).status == 201
    assert (await paypal.status_of(order), await paypal.captured("NUMBER1")) == ("COMPLETED", 1234)
    assert (await paypal.capture(order)).status == 200
    assert issue(await paypal.capture(order, "C2")) == (422, "ORDER_ALREADY_CAPTURED")
    assert issue(await paypal.capture("UNKNOWN"))[0] == 404


@pytest.mark.parametrize("approved", [False, True])
async def test_an_order_that_nobody_captures_in_time_is_gone(
    paypal: PayPalMerchant, *, approved: bool
) -> None:
    order = await made(paypal)
    if approved:
        await paypal.pay("NUMBER1")
    await paypal.faults(clock_shift_s=3 * 3600 + 60)
    assert await paypal.status_of(order) == 404
    assert (await paypal.capture(order)).status == 404
    assert (await paypal.pay("NUMBER1")).status == 409


async def test_a_declined_instrument_debits_nobody_and_another_one_may_be_chosen(
    paypal: PayPalMerchant,
) -> None:
    order = await made(paypal)
    await choose(paypal, order, "approve", "declined")
    assert issue(await paypal.capture(order)) == (422, "INSTRUMENT_DECLINED")
    assert await paypal.status_of(order) == "PAYER_ACTION_REQUIRED"
    await choose(paypal, order, "approve", "balance")
    assert (await paypal.capture(order, "C2")).status == 201


@pytest.mark.parametrize(
    ("ends", "status", "event", "arrived"),
    [
        ("pay", "COMPLETED", "PAYMENT.CAPTURE.COMPLETED", 1234),
        ("decline", "DECLINED", "PAYMENT.CAPTURE.DENIED", 0),
    ],
)
async def test_a_payment_that_is_reviewed_arrives_later_or_never(
    paypal: PayPalMerchant, ends: str, status: str, event: str, arrived: int
) -> None:
    order = await made(paypal)
    await choose(paypal, order, "approve", "reviewed")
    where = ("purchase_units", 0, "payments", "captures", 0, "status")
    assert part(await paypal.capture(order), *where) == "PENDING"
    assert await paypal.captured("NUMBER1") == 0
    await paypal.control(ends, channel="paypal", number="NUMBER1")
    shown = await paypal.call("GET", f"/v2/checkout/orders/{order}")
    assert part(shown, *where) == status
    assert await paypal.captured("NUMBER1") == arrived
    received = await paypal.receiver.until(3)
    expected = {"CHECKOUT.ORDER.APPROVED", "PAYMENT.CAPTURE.PENDING", event}
    assert set(told(received)) == expected


async def test_two_orders_with_one_invoice_are_paid_once(paypal: PayPalMerchant) -> None:
    price = {"currency_code": "USD", "value": "12.34"}
    orders: list[str] = []
    for number in ("NUMBER1", "NUMBER2"):
        unit = {"custom_id": number, "invoice_id": "ord_1", "amount": price}
        answer = await paypal.create(number, changes={"purchase_units": [unit]})
        orders.append(str(answer.json["id"]))
        await paypal.pay(number)
    assert (await paypal.capture(orders[0])).status == 201
    assert issue(await paypal.capture(orders[1])) == (422, "DUPLICATE_INVOICE_ID")


async def test_the_page_leads_back_to_where_the_merchant_said(paypal: PayPalMerchant) -> None:
    order = await made(paypal)
    cancelled = urlsplit(await choose(paypal, order, "cancel"))
    assert (cancelled.path, parse_qs(cancelled.query)) == ("/cancel", {"token": [order]})
    approved = urlsplit(await choose(paypal, order, "approve", "balance"))
    assert (approved.path, parse_qs(approved.query)["token"]) == ("/back", [order])
    await paypal.capture(order)
    again = await choose(paypal, order, "approve", "balance")
    assert again == f"/paypal/checkoutnow?token={order}"
    async with paypal.session.get(f"{paypal.url}{again}") as page:
        assert 'value="approve"' not in await page.text()
    async with paypal.session.get(f"{paypal.url}/wallet?code={order}") as page:
        assert page.url.path == "/paypal/checkoutnow"
    async with paypal.session.get(f"{paypal.url}/paypal/checkoutnow?token=X") as page:
        assert page.status == 404


async def test_a_refund_is_one_for_its_request_id_and_never_more_than_was_paid(
    paypal: PayPalMerchant,
) -> None:
    capture = await captured(paypal)
    first, again = [await refund(paypal, capture, "R1") for _ in range(2)]
    assert (first.status, again.status) == (201, 200)
    assert first.json["id"] == again.json["id"]
    assert issue(await refund(paypal, capture, "R2", "7.35")) == (422, "REFUND_AMOUNT_EXCEEDED")
    assert (await refund(paypal, capture, "R2", "7.34")).status == 201
    assert issue(await refund(paypal, capture, "R3")) == (422, "CAPTURE_FULLY_REFUNDED")
    shown = await paypal.call("GET", f"/v2/payments/captures/{capture}")
    assert shown.json["status"] == "REFUNDED"
    assert (await refund(paypal, "UNKNOWN", "R1")).status == 404


@pytest.mark.parametrize(
    ("end", "status", "event"),
    [
        ("done", "COMPLETED", "PAYMENT.CAPTURE.REFUNDED"),
        ("closed", "FAILED", "PAYMENT.REFUND.FAILED"),
    ],
)
async def test_a_refund_that_takes_a_while_is_pending_and_then_told(
    paypal: PayPalMerchant, end: str, status: str, event: str
) -> None:
    capture = await captured(paypal)
    await paypal.faults(refund_takes_s=0.05, refund_end=end)
    asked = await refund(paypal, capture, "R1")
    assert asked.json["status"] == "PENDING"
    assert event in told(await paypal.receiver.until(3))
    shown = await paypal.call("GET", f"/v2/payments/refunds/{asked.json['id']}")
    assert shown.json["status"] == status


async def test_webhooks_are_signed_once_and_resent_as_they_were(paypal: PayPalMerchant) -> None:
    paypal.receiver.status = 503
    await made(paypal)
    await paypal.pay("NUMBER1")
    received = await paypal.receiver.until(3)
    assert received[0] == received[1] == received[2]
    paypal.receiver.status = 200
    assert await paypal.believes(received[0])
    assert await paypal.asks(received[0]) == "SUCCESS"
    assert await paypal.asks(received[0], webhook_id="ANOTHER") == "FAILURE"
    changed = ReceivedCallback(received[0].headers, received[0].body.replace(b"12.34", b"12.35"))
    assert not await paypal.believes(changed)
    assert await paypal.asks(changed) == "FAILURE"
    broken = ReceivedCallback(received[0].headers, b"{")
    assert await paypal.asks(broken) == 400


async def test_a_forged_webhook_claims_a_capture_and_nobody_vouches_for_it(
    paypal: PayPalMerchant,
) -> None:
    await paypal.faults(forge_callbacks=True)
    await made(paypal)
    (forged,) = await paypal.receiver.until(1)
    assert forged.json["event_type"] == "PAYMENT.CAPTURE.COMPLETED"
    assert not await paypal.believes(forged)
    assert await paypal.asks(forged) == "FAILURE"


async def test_what_was_paid_twice_by_command_is_two_captures(paypal: PayPalMerchant) -> None:
    await captured(paypal)
    assert (await paypal.pay("NUMBER1")).status == 409
    assert (await paypal.pay("NUMBER1", again=True)).status == 200
    assert await paypal.captured("NUMBER1") == 2468
    assert (await paypal.pay("UNKNOWN")).status == 404


@pytest.mark.parametrize(
    ("currency", "value", "minor"), [("JPY", "1234", 1234), ("HUF", "12", 1200), ("EUR", "5", 500)]
)
async def test_the_ledger_counts_in_minor_units(
    paypal: PayPalMerchant, currency: str, value: str, minor: int
) -> None:
    unit = {"custom_id": "NUMBER1", "amount": {"currency_code": currency, "value": value}}
    answer = await paypal.create("NUMBER1", changes={"purchase_units": [unit]})
    await paypal.pay("NUMBER1")
    await paypal.capture(str(answer.json["id"]))
    assert await paypal.captured("NUMBER1") == minor
    async with paypal.session.get(paypal.url) as page:
        assert page.status == 200


async def test_after_a_restart_orders_and_request_ids_are_still_known(
    keys: SandboxKeys, start_sandbox: StartSandbox, receiver: Receiver, tmp_path: Path
) -> None:
    order = ""
    for begins in (True, False):
        server = await start_sandbox(tmp_path / "ledger.jsonl")
        url = str(server.make_url("")).rstrip("/")
        async with aiohttp.ClientSession() as session:
            merchant = PayPalMerchant(session, keys, url, receiver)
            await merchant.log_in()
            if begins:
                order = await made(merchant)
                await merchant.pay("NUMBER1")
            else:
                assert (await merchant.create("NUMBER1")).status == 200
                assert await merchant.status_of(order) == "APPROVED"
                assert (await merchant.capture(order)).status == 201
        await server.close()
