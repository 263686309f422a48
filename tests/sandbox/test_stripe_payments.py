"""Stripe's payments: the page, the hold, the capture, the slip, and what is told of them."""

import hmac
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from stdnum import luhn

from gateway.sandbox.keys import SandboxKeys
from gateway.sandbox.stripe_slips import new_barcode, stripes, typed_line
from gateway.web import boleto
from tests.sandbox.conftest import StartSandbox
from tests.sandbox.merchant import Answer, Json, Receiver
from tests.sandbox.stripe_merchant import INTENTS, SESSIONS, StripeMerchant, error_of


def text(answer: Answer, field: str) -> str:
    return str(answer.json[field])


async def page(stripe: StripeMerchant, url: str, **form: str) -> tuple[int, str, str]:
    """A browser opens a page, or posts its form: status, text, where it is sent."""
    method = "POST" if form else "GET"
    async with stripe.session.request(
        method, url, data=form or None, allow_redirects=False
    ) as answer:
        return answer.status, await answer.text(), answer.headers.get("Location", "")


async def held(stripe: StripeMerchant, number: str = "N1") -> str:
    """A session whose card is held; returns its PaymentIntent."""
    session = text(await stripe.make_session(number), "id")
    assert (await stripe.control("pay", channel="card", number=number)).status == 200
    return text(await stripe.call("GET", f"{SESSIONS}/{session}"), "payment_intent")


async def test_a_card_is_held_and_not_debited_before_it_is_captured(
    stripe: StripeMerchant,
) -> None:
    intent = await held(stripe)
    assert (await stripe.entry("N1"))["captured"] == 0
    captured = await stripe.call("POST", f"{INTENTS}/{intent}/capture")
    assert captured.json["amount_received"] == 1234
    assert (await stripe.entry("N1"))["captured"] == 1234
    again = await stripe.call("POST", f"{INTENTS}/{intent}/capture")
    assert error_of(again)["code"] == "payment_intent_unexpected_state"
    assert (await stripe.entry("N1"))["captured"] == 1234


async def test_a_hold_is_let_go_by_the_merchant_or_after_a_week(stripe: StripeMerchant) -> None:
    let_go, forgotten = await held(stripe, "N1"), await held(stripe, "N2")
    cancelled = await stripe.call("POST", f"{INTENTS}/{let_go}/cancel")
    assert cancelled.json["status"] == "canceled"
    await stripe.control("faults", channel="card", clock_shift_s=7 * 86_400 + 60)
    for intent in (let_go, forgotten):
        answer = await stripe.call("POST", f"{INTENTS}/{intent}/capture")
        assert error_of(answer)["code"] == "payment_intent_unexpected_state"
        shown = error_of(answer)["payment_intent"]
        assert isinstance(shown, dict)
        assert shown["status"] == "canceled"


async def test_a_page_that_has_ended_takes_no_card(stripe: StripeMerchant) -> None:
    made = await stripe.make_session("N1")
    expired = await stripe.call("POST", f"{SESSIONS}/{text(made, 'id')}/expire")
    assert (expired.json["status"], expired.json["url"]) == ("expired", None)
    assert (await stripe.control("pay", channel="card", number="N1")).status == 409
    status, _, where = await page(stripe, text(made, "url"), card="good")
    assert (status, where) == (303, f"/stripe/c/pay/{text(made, 'id')}")
    assert (await stripe.entry("N1"))["captured"] == 0
    again = await stripe.call("POST", f"{SESSIONS}/{text(made, 'id')}/expire")
    assert again.status == 400


async def test_the_page_declines_asks_the_bank_and_sends_back(stripe: StripeMerchant) -> None:
    made = await stripe.make_session("N1")
    url = text(made, "url")
    assert "¥" not in (await page(stripe, url))[1]
    assert (await page(stripe, url, card="declined"))[2].endswith("?declined=1")
    assert (await page(stripe, url, card="secure"))[2].startswith("/stripe/c/secure/")
    assert (await page(stripe, url, card="good"))[2] == "https://shop.example/back"
    assert (await page(stripe, url, card="good"))[0] == 303  # twice, and it is held once
    session = await stripe.call("GET", f"{SESSIONS}/{text(made, 'id')}")
    assert session.json["status"] == "complete"
    assert (await page(stripe, f"{stripe.url}/stripe/c/pay/nobody"))[0] == 404


async def test_a_slip_is_confirmed_when_the_bank_says_so(stripe: StripeMerchant) -> None:
    made = await stripe.make_slip("N1")
    await stripe.control("faults", channel="boleto", confirmation_takes_s=86_400)
    await stripe.control("pay", channel="boleto", number="N1")
    assert (await stripe.entry("N1"))["captured"] == 1234
    intent = f"{INTENTS}/{text(made, 'id')}"
    assert (await stripe.call("GET", intent)).json["status"] == "requires_action"
    await stripe.control("faults", channel="boleto", clock_shift_s=86_401)
    assert (await stripe.call("GET", intent)).json["status"] == "succeeded"


@pytest.mark.parametrize(("cancel", "status"), [("blocks", 409), ("still_pays", 200)])
async def test_a_bank_takes_a_cancelled_slip_or_not(
    stripe: StripeMerchant, cancel: str, status: int
) -> None:
    made = await stripe.make_slip("N1")
    cancelled = await stripe.call("POST", f"{INTENTS}/{text(made, 'id')}/cancel")
    assert cancelled.json["status"] == "canceled"
    await stripe.control("faults", channel="boleto", boleto_cancel=cancel)
    assert (await stripe.control("pay", channel="boleto", number="N1")).status == status


async def test_a_slip_is_over_when_its_last_day_is(stripe: StripeMerchant) -> None:
    made = await stripe.make_slip("N1")
    await stripe.control("faults", channel="boleto", clock_shift_s=5 * 86_400)
    assert (await stripe.control("pay", channel="boleto", number="N1")).status == 409
    shown = await stripe.call("GET", f"{INTENTS}/{text(made, 'id')}")
    assert shown.json["status"] == "requires_payment_method"
    late = await stripe.control("pay", channel="boleto", number="N1", again=True)
    assert late.status == 200
    shown = await stripe.call("GET", f"{INTENTS}/{text(made, 'id')}")
    assert shown.json["status"] == "succeeded"


async def test_a_slip_paid_twice_is_two_payments_under_one_number(stripe: StripeMerchant) -> None:
    await stripe.make_slip("N1")
    for again in (False, True):
        await stripe.control("pay", channel="boleto", number="N1", again=again)
    found = await stripe.call("GET", f"{INTENTS}/search", {"query": "metadata['number']:'N1'"})
    assert isinstance(found.json["data"], list)
    assert len(found.json["data"]) == 2
    assert (await stripe.entry("N1"))["captured"] == 2468


async def test_a_slip_is_shown_to_a_bank_and_in_the_wallet(stripe: StripeMerchant) -> None:
    made = await stripe.make_slip("N1", description="chá")
    details = made.json["next_action"]
    assert isinstance(details, dict)
    slip = details["boleto_display_details"]
    _, shown, _ = await page(stripe, slip["hosted_voucher_url"])
    assert "R$12.34" in shown
    assert "Ana Souza" in shown
    _, wallet, _ = await page(stripe, f"{stripe.url}/wallet?code={slip['number']}")
    assert "R$12.34" in wallet
    await page(stripe, f"{stripe.url}/wallet/pay", token=slip["number"])
    assert (await stripe.entry("N1"))["captured"] == 1234


async def test_what_happens_is_told_with_a_signature_of_that_moment(
    stripe: StripeMerchant, receiver: Receiver
) -> None:
    await stripe.hear()
    receiver.status = 500
    await held(stripe)
    sends = await receiver.until(4)
    for sent in sends:
        told = dict(part.split("=", 1) for part in sent.headers["Stripe-Signature"].split(","))
        message = f"{told['t']}.".encode() + sent.body
        secret = stripe.account["webhook_secret"].encode()
        assert told["v1"] == hmac.new(secret, message, "sha256").hexdigest()
    kinds = {str(sent.json["type"]) for sent in sends}
    assert kinds == {"checkout.session.completed", "payment_intent.amount_capturable_updated"}
    assert len({str(sent.json["id"]) for sent in sends}) == 2


async def test_nobody_hears_before_it_was_said_where(
    stripe: StripeMerchant, receiver: Receiver
) -> None:
    await held(stripe)
    await stripe.hear()
    await stripe.make_slip("N2")
    (sent,) = await receiver.until(1)
    assert sent.json["type"] == "payment_intent.requires_action"


async def test_a_stop_forgets_nothing(
    keys: SandboxKeys, start_sandbox: StartSandbox, receiver: Receiver, tmp_path: Path
) -> None:
    """Held cards, slips and what nobody was told are there again."""
    state = tmp_path / "ledger.jsonl"
    async with aiohttp.ClientSession() as session:
        server = await start_sandbox(state)
        before = StripeMerchant(session, keys, str(server.make_url("")).rstrip("/"), receiver)
        intent = await held(before, "N1")
        await before.make_slip("N2")
        await before.control("pay", channel="boleto", number="N2")
        await server.close()
        server = await start_sandbox(state)
        after = StripeMerchant(session, keys, str(server.make_url("")).rstrip("/"), receiver)
        captured = await after.call("POST", f"{INTENTS}/{intent}/capture")
        assert captured.json["status"] == "succeeded"
        assert (await after.entry("N2"))["captured"] == 1234


async def test_forged_news_is_signed_by_somebody_else(
    stripe: StripeMerchant, receiver: Receiver
) -> None:
    await stripe.hear()
    await stripe.control("faults", channel="boleto", forge_callbacks=True)
    await stripe.make_slip("N1")
    sends = await receiver.until(2)
    secret = stripe.account["webhook_secret"].encode()

    def genuine(headers: Json, body: bytes) -> bool:
        told = dict(part.split("=", 1) for part in str(headers["Stripe-Signature"]).split(","))
        message = f"{told['t']}.".encode() + body
        return told["v1"] == hmac.new(secret, message, "sha256").hexdigest()

    assert sorted(genuine(dict(sent.headers), sent.body) for sent in sends) == [False, True]


def test_a_slips_line_and_bars_are_read_by_others_as_they_were_meant() -> None:
    """By the check digits of others, and as the gateway draws the same bars."""
    due = datetime(2026, 11, 25, 23, 59, tzinfo=UTC)
    barcode = new_barcode(123456, due)
    line = typed_line(barcode)
    for field in (line[:10], line[10:21], line[21:32]):
        luhn.validate(field)
    assert barcode.endswith(line[4:9] + line[10:20] + line[21:31])
    assert line.endswith("0000123456")
    assert boleto.code_of(line) == barcode
    widths = [3 if wide == "1" else 1 for wide in boleto.elements(barcode)]
    assert [width for _, width in stripes(barcode)] == widths[::2]
    assert [place for place, _ in stripes(barcode)] == [
        sum(widths[:index]) for index in range(0, len(widths), 2)
    ]
