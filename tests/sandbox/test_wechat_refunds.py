"""WeChat Pay's refunds: once per refund number, never more than was paid, ended by a callback."""

import asyncio

import msgspec

from tests.sandbox.merchant import Answer, Json, Merchant

NUMBER = "ORDER000001"


async def paid(merchant: Merchant) -> None:
    await merchant.create(NUMBER)
    await merchant.pay(NUMBER)
    await merchant.receiver.until(1)


def entry(answer: Answer) -> dict[str, object]:
    data = answer.json["data"]
    assert isinstance(data, list)
    (only,) = data
    assert isinstance(only, dict)
    return only


async def test_a_refund_is_accepted_then_done_and_told(merchant: Merchant) -> None:
    await paid(merchant)
    asked = await merchant.refund(NUMBER, "REFUND01")
    assert asked.status == 200
    assert merchant.verified(asked.headers, asked.body)
    assert asked.json["status"] == "PROCESSING"
    news = (await merchant.receiver.until(2))[1].json
    assert news["event_type"] == "REFUND.SUCCESS"
    plain = msgspec.json.decode(merchant.decrypted(news["resource"]), type=dict[str, object])
    assert plain["refund_status"] == "SUCCESS"
    assert "status" not in plain
    assert plain["out_refund_no"] == "REFUND01"
    assert plain["mchid"] == merchant.keys.mchid
    found = (await merchant.query_refund("REFUND01")).json
    assert found["status"] == "SUCCESS"
    assert found["refund_id"] == asked.json["refund_id"] == plain["refund_id"]
    assert (await merchant.query(NUMBER)).json["trade_state"] == "REFUND"


async def test_the_ledger_counts_what_really_went_back(merchant: Merchant) -> None:
    await merchant.faults(refund_takes_s=3600)
    await paid(merchant)
    await merchant.refund(NUMBER, "REFUND01", 1000)
    under_way = entry(await merchant.control("ledger"))
    assert (under_way["captured"], under_way["refunded"]) == (1234, 0)
    assert under_way["refunds"] == [{"number": "REFUND01", "amount": 1000, "state": "processing"}]


async def test_the_same_refund_again_is_the_same_refund(merchant: Merchant) -> None:
    await paid(merchant)
    first = await merchant.refund(NUMBER, "REFUND01", 1000)
    await merchant.receiver.until(2)
    again = await merchant.refund(NUMBER, "REFUND01", 1000)
    assert again.json["refund_id"] == first.json["refund_id"]
    assert entry(await merchant.control("ledger"))["refunded"] == 1000


async def test_a_refund_number_cannot_be_used_for_other_money(merchant: Merchant) -> None:
    await paid(merchant)
    await merchant.refund(NUMBER, "REFUND01", 1000)
    answer = await merchant.refund(NUMBER, "REFUND01", 999)
    assert (answer.status, answer.code) == (400, "INVALID_REQUEST")


async def test_parallel_refunds_never_exceed_what_was_paid(merchant: Merchant) -> None:
    await paid(merchant)
    answers = await asyncio.gather(
        *(merchant.refund(NUMBER, f"REFUND{n:02}", 500) for n in range(4))
    )
    assert sorted(answer.status for answer in answers) == [200, 200, 400, 400]
    await merchant.receiver.until(3)
    assert entry(await merchant.control("ledger"))["refunded"] == 1000


async def test_a_refund_needs_a_paid_order_and_its_total(merchant: Merchant) -> None:
    assert (await merchant.refund(NUMBER, "REFUND01")).code == "RESOURCE_NOT_EXISTS"
    await merchant.create(NUMBER)
    assert (await merchant.refund(NUMBER, "REFUND01")).code == "INVALID_REQUEST"
    await merchant.pay(NUMBER)
    path = "/v3/refund/domestic/refunds"
    wrong_total: Json = {
        "out_trade_no": NUMBER,
        "out_refund_no": "REFUND01",
        "amount": {"refund": 1, "total": 1, "currency": "CNY"},
    }
    assert (await merchant.call("POST", path, wrong_total)).code == "INVALID_REQUEST"
    neither: Json = {
        "out_refund_no": "R",
        "amount": {"refund": 1, "total": 1234, "currency": "CNY"},
    }
    assert (await merchant.call("POST", path, neither)).code == "PARAM_ERROR"
    assert (await merchant.query_refund("REFUND01")).code == "RESOURCE_NOT_EXISTS"


async def test_a_refund_can_end_badly_and_then_needs_a_new_number(merchant: Merchant) -> None:
    await merchant.faults(refund_end="closed")
    await paid(merchant)
    await merchant.refund(NUMBER, "REFUND01")
    news = (await merchant.receiver.until(2))[1].json
    assert news["event_type"] == "REFUND.CLOSED"
    assert (await merchant.refund(NUMBER, "REFUND01")).json["status"] == "CLOSED"
    await merchant.faults(refund_end="done")
    await merchant.refund(NUMBER, "REFUND02")
    await merchant.receiver.until(3)
    assert entry(await merchant.control("ledger"))["refunded"] == 1234


async def test_each_of_two_payments_under_one_number_is_refunded_by_its_own_id(
    merchant: Merchant,
) -> None:
    await paid(merchant)
    assert (await merchant.pay(NUMBER)).code == "paid"
    twice = await merchant.pay(NUMBER, again=True)
    captures = twice.json["captures"]
    assert isinstance(captures, list)
    assert twice.json["captured"] == 2468
    path = "/v3/refund/domestic/refunds"
    for position, capture in enumerate(captures):
        body: dict[str, object] = {
            "transaction_id": capture["ref"],
            "out_refund_no": f"REFUND0{position}",
            "amount": {"refund": 1234, "total": 1234, "currency": "CNY"},
        }
        answer = await merchant.call("POST", path, body)
        assert (answer.status, answer.json["transaction_id"]) == (200, capture["ref"])
