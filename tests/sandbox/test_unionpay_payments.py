"""UnionPay's payments, refunds, voids and news: one of each for an orderId and a txnTime."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qsl

import aiohttp
import pytest

from gateway.sandbox.keys import SandboxKeys
from gateway.sandbox.unionpay_refunds import settlement_day
from tests.sandbox.conftest import StartSandbox
from tests.sandbox.merchant import Receiver
from tests.sandbox.unionpay_merchant import FRONT_URL, UnionPayMerchant, beijing

NUMBER = "ORDER000001"
LATER = timedelta(seconds=7)


async def test_the_same_request_again_is_the_same_payment(unionpay: UnionPayMerchant) -> None:
    first, again = [await unionpay.create("qr", NUMBER) for _ in range(2)]
    assert first.fields["qrCode"] == again.fields["qrCode"]
    assert await unionpay.numbers() == [NUMBER]


async def test_another_time_silently_makes_a_second_payment_that_can_be_paid_too(
    unionpay: UnionPayMerchant,
) -> None:
    other = beijing(LATER)
    await unionpay.create("qr", NUMBER)
    assert (await unionpay.create("qr", NUMBER, txnTime=other)).code == "00"
    assert await unionpay.numbers() == [NUMBER, f"{NUMBER}@{other}"]
    for number in await unionpay.numbers():
        paid = await unionpay.control("pay", {"channel": "unionpay", "number": number})
        assert paid.status == 200
    first, second = await unionpay.query(NUMBER), await unionpay.query(NUMBER, txnTime=other)
    assert first.standing == second.standing == "00"
    assert first.fields["queryId"] != second.fields["queryId"]


@pytest.mark.parametrize("changes", [{"txnAmt": "1"}, {"backUrl": "http://other.test/"}])
async def test_the_same_two_with_anything_else_are_a_duplicate(
    unionpay: UnionPayMerchant, changes: dict[str, str]
) -> None:
    await unionpay.create("qr", NUMBER)
    assert (await unionpay.create("qr", NUMBER, **changes)).code == "12"
    assert (await unionpay.create("app", NUMBER)).code == "12"


async def test_a_paid_one_is_a_duplicate(unionpay: UnionPayMerchant) -> None:
    await unionpay.paid(NUMBER)
    assert (await unionpay.create("qr", NUMBER)).code == "12"


async def test_a_payment_is_looked_for_by_both(unionpay: UnionPayMerchant) -> None:
    assert (await unionpay.query(NUMBER)).code == "34"
    await unionpay.create("qr", NUMBER)
    assert (await unionpay.query(NUMBER, txnTime=beijing(LATER))).code == "34"
    found = await unionpay.query(NUMBER)
    assert (found.code, found.standing) == ("00", "05")
    assert "queryId" not in found.fields


async def test_a_refused_card_leaves_it_payable_and_time_ends_it(
    unionpay: UnionPayMerchant,
) -> None:
    await unionpay.create("qr", NUMBER)
    point = {"channel": "unionpay", "number": NUMBER}
    await unionpay.control("decline", {**point})
    assert (await unionpay.query(NUMBER)).standing == "01"
    await unionpay.faults(clock_shift_s=31 * 60)
    assert (await unionpay.query(NUMBER)).standing == "02"
    assert (await unionpay.control("pay", {**point})).code == "expired"


@pytest.mark.parametrize(("shift_s", "code"), [(3500, "00"), (3700, "39"), (-3700, "39")])
async def test_the_time_must_be_now_where_a_server_asks(
    unionpay: UnionPayMerchant, shift_s: int, code: str
) -> None:
    await unionpay.faults(clock_shift_s=shift_s)
    until = beijing(timedelta(hours=3))
    assert (await unionpay.create("qr", NUMBER, payTimeout=until)).code == code


async def test_a_form_counts_until_its_time_is_over(unionpay: UnionPayMerchant) -> None:
    form = unionpay.payment("wap", NUMBER)
    await unionpay.faults(clock_shift_s=29 * 60)
    assert (await unionpay.post("front", form)).status == 302
    assert (await unionpay.post("front", form)).status == 302
    assert await unionpay.numbers() == [NUMBER]
    await unionpay.faults(clock_shift_s=31 * 60)
    late = await unionpay.post("front", form)
    assert (late.status, "39" in late.raw) == (200, True)


async def test_the_cashier_takes_the_money_and_leads_back_by_a_signed_form(
    unionpay: UnionPayMerchant,
) -> None:
    form = unionpay.payment("pc", NUMBER)
    url = f"{unionpay.account['base_url']}/gateway/api/frontTransReq.do"
    async with unionpay.session.post(url, data=form) as cashier:
        assert cashier.url.path == "/wallet"
        token = cashier.url.query["code"]
    pay = f"{unionpay.url}/wallet/pay"
    async with unionpay.session.post(pay, data={"token": token}) as front:
        assert front.url.path == f"/unionpay/front/{token}"
        page = await front.text()
    assert f'action="{FRONT_URL}"' in page
    assert 'name="signPubKeyCert"' in page
    (sent,) = await unionpay.receiver.until(1)
    told = unionpay.told(sent.body)
    assert (told["orderId"], told["txnAmt"], told["respCode"]) == (NUMBER, "1234", "00")
    async with unionpay.session.post(url, data=form, allow_redirects=False) as again:
        assert again.status == 302  # to the page that says that it is paid


async def test_nobody_is_led_back_who_has_not_paid(unionpay: UnionPayMerchant) -> None:
    token = (await unionpay.create("app", NUMBER)).fields["tn"]
    async with unionpay.session.get(f"{unionpay.url}/unionpay/front/{token}") as page:
        assert page.status == 404


async def test_news_comes_five_times_until_it_is_heard(unionpay: UnionPayMerchant) -> None:
    unionpay.receiver.status = 500
    await unionpay.paid(NUMBER)
    sends = await unionpay.receiver.until(5)
    assert len({send.body for send in sends}) == 1
    told = unionpay.told(sends[0].body)
    assert told["queryId"] == (await unionpay.query(NUMBER)).fields["queryId"]


async def test_forged_news_bears_another_name_from_the_same_authority(
    unionpay: UnionPayMerchant, keys: SandboxKeys
) -> None:
    await unionpay.faults(forge_callbacks=True)
    await unionpay.create("qr", NUMBER)
    (forged,) = await unionpay.receiver.until(1)
    fields = dict(parse_qsl(forged.body.decode()))
    certificate = fields["signPubKeyCert"].replace("\r\n", "\n")
    assert certificate.strip() == keys.unionpay.merchant_certificate.strip()
    assert (await unionpay.query(NUMBER)).standing == "05"


@pytest.mark.parametrize("txn_type", ["04", "31"])
async def test_a_refund_and_a_void_end_and_are_told(
    unionpay: UnionPayMerchant, txn_type: str
) -> None:
    ref = await unionpay.paid(NUMBER)
    await unionpay.receiver.until(1)
    asked = await unionpay.refund("REFUND01", ref, txnType=txn_type)
    assert (asked.code, asked.fields["origQryId"]) == ("00", ref)
    told = unionpay.told((await unionpay.receiver.until(2))[1].body)
    assert (told["txnType"], told["orderId"], told["respCode"]) == (txn_type, "REFUND01", "00")
    assert told["txnTime"] == unionpay.now
    found = await unionpay.query("REFUND01")
    assert (found.standing, found.fields["queryId"]) == ("00", asked.fields["queryId"])
    assert (await unionpay.query("REFUND01", txnTime=beijing(LATER))).code == "34"
    assert (await unionpay.refund("REFUND01", ref, txnType=txn_type)).code == "12"


@pytest.mark.parametrize(
    ("number", "amount", "changes", "code"),
    [
        ("REFUND01", 1235, {}, "36"),
        ("REFUND01", 0, {}, "36"),
        ("REFUND01", 1233, {"txnType": "31"}, "36"),
        ("REFUND01", 1234, {"origQryId": "202611220000000000000"}, "34"),
        ("REFUND01", 1234, {"txnTime": "20201122000000"}, "39"),
        (NUMBER, 1234, {}, "12"),
        ("REFUND01", 1234, {"origQryId": ""}, "13"),
    ],
)
async def test_what_cannot_be_given_back_is_refused(
    unionpay: UnionPayMerchant, number: str, amount: int, changes: dict[str, str], code: str
) -> None:
    ref = await unionpay.paid(NUMBER)
    assert (await unionpay.refund(number, ref, amount, **changes)).code == code


async def test_another_time_silently_makes_a_second_refund(unionpay: UnionPayMerchant) -> None:
    ref = await unionpay.paid(NUMBER)
    await unionpay.receiver.until(1)
    assert (await unionpay.refund("REFUND01", ref, 500)).code == "00"
    await unionpay.receiver.until(2)
    other = beijing(LATER)
    assert (await unionpay.refund("REFUND01", ref, 500, txnTime=other)).code == "00"
    told = unionpay.told((await unionpay.receiver.until(3))[2].body)
    assert (told["orderId"], told["txnTime"]) == ("REFUND01", other)
    first = await unionpay.query("REFUND01")
    second = await unionpay.query("REFUND01", txnTime=other)
    assert first.fields["queryId"] != second.fields["queryId"]
    assert (await unionpay.refund("REFUND02", ref, 235)).code == "36"


async def test_parts_add_up_and_what_was_given_back_in_part_is_not_voided(
    unionpay: UnionPayMerchant,
) -> None:
    ref = await unionpay.paid(NUMBER)
    assert (await unionpay.refund("REFUND01", ref, 1000)).code == "00"
    assert (await unionpay.refund("REFUND02", ref, 235)).code == "36"
    assert (await unionpay.refund("REFUND03", ref, txnType="31")).code == "35"
    assert (await unionpay.refund("REFUND04", ref, 234)).code == "00"


@pytest.mark.parametrize(
    ("days", "txn_type", "code"), [(1, "31", "39"), (29, "04", "00"), (31, "04", "39")]
)
async def test_a_void_is_for_the_day_of_the_payment_and_a_code_for_thirty_days(
    unionpay: UnionPayMerchant, days: int, txn_type: str, code: str
) -> None:
    ref = await unionpay.paid(NUMBER)
    await unionpay.faults(clock_shift_s=days * 86400)
    then = beijing(timedelta(days=days))
    asked = await unionpay.refund("REFUND01", ref, txnTime=then, txnType=txn_type)
    assert asked.code == code


def test_a_settlement_day_ends_at_eleven_in_the_evening() -> None:
    before = datetime(2026, 11, 22, 14, 59, 59, tzinfo=UTC)
    assert settlement_day(before).day == 22
    assert settlement_day(before + timedelta(seconds=1)).day == 23


async def test_a_refund_that_ends_badly_is_told_and_its_money_stays(
    unionpay: UnionPayMerchant,
) -> None:
    await unionpay.faults(refund_end="closed")
    ref = await unionpay.paid(NUMBER)
    await unionpay.receiver.until(1)
    await unionpay.refund("REFUND01", ref)
    told = unionpay.told((await unionpay.receiver.until(2))[1].body)
    assert told["respCode"] == "01"
    assert (await unionpay.query("REFUND01")).standing == "01"
    await unionpay.faults(refund_end="done")
    assert (await unionpay.refund("REFUND02", ref)).code == "00"


async def test_what_was_under_way_is_taken_up_after_a_crash(
    start_sandbox: StartSandbox, keys: SandboxKeys, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.status = 500
    async with aiohttp.ClientSession() as session:

        async def merchant_at(file: Path) -> UnionPayMerchant:
            url = str((await start_sandbox(file)).make_url("")).rstrip("/")
            return UnionPayMerchant(session, keys, url, receiver)

        before = await merchant_at(tmp_path / "ledger.jsonl")
        await before.faults(refund_takes_s=3600)
        ref = await before.paid(NUMBER)
        await before.refund("REFUND01", ref)
        await receiver.until(5)
        receiver.status = 200
        crashed = tmp_path / "crashed.jsonl"
        crashed.write_bytes((tmp_path / "ledger.jsonl").read_bytes())
        after = await merchant_at(crashed)
        sends = await receiver.until(7)
    told = [after.told(send.body) for send in sends[5:]]
    assert sorted(one["orderId"] for one in told) == [NUMBER, "REFUND01"]
