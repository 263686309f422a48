"""The control calls: the buyer's acts, the faults, and the truth about money."""

import asyncio
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest

from tests.sandbox.merchant import Json, Merchant

NUMBER = "ORDER000001"


async def states(merchant: Merchant) -> list[tuple[object, object, object]]:
    data = (await merchant.control("ledger")).json["data"]
    assert isinstance(data, list)
    return [(entry["number"], entry["captured"], entry["state"]) for entry in data]


async def calls(merchant: Merchant) -> dict[object, object]:
    data = (await merchant.control("calls")).json["data"]
    assert isinstance(data, list)
    return {one["verb"]: one["count"] for one in data}


@pytest.mark.parametrize(
    ("call", "body", "field"),
    [
        ("pay", {"number": NUMBER}, "channel"),
        ("pay", {"channel": "wechat"}, "number"),
        ("pay", {"channel": "wechat", "number": 1}, "number"),
        ("pay", {"channel": "wechat", "number": NUMBER, "amount": 0}, "amount"),
        ("pay", {"channel": "wechat", "number": NUMBER, "at": "yesterday"}, "at"),
        ("pay", {"channel": "wechat", "number": NUMBER, "at": "2026-01-01T00:00:00"}, "at"),
        ("pay", {"channel": "wechat", "number": NUMBER, "ammount": 5}, "ammount"),
        ("pay", {"channel": "cash", "number": NUMBER}, "channel"),
        ("scan", {"channel": "wechat"}, "number"),
        ("decline", {"number": NUMBER}, "channel"),
        ("faults", {}, "channel"),
        ("webhooks", {"kind": "stripe", "url": "nowhere"}, "url"),
        ("webhooks", {"kind": "stripe"}, "url"),
        ("faults", {"channel": "wechat", "drop_callbacks": 1.1}, "drop_callbacks"),
        ("faults", {"channel": "wechat", "close": "sometimes"}, "close"),
        ("faults", {"channel": "wechat", "lose_answer": {"verb": "steal"}}, "lose_answer.verb"),
        (
            "faults",
            {
                "channel": "wechat",
                "error": {"verb": "create", "status": 200, "after_executing": True},
            },
            "error.status",
        ),
    ],
)
async def test_bad_input_is_answered_422_with_the_fields_name(
    merchant: Merchant, call: str, body: Json, field: str
) -> None:
    answer = await merchant.control(call, body)
    assert (answer.status, answer.json["field"]) == (422, field)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"channel":"\xff"}'])
async def test_a_control_call_that_is_not_json_is_answered_422(
    merchant: Merchant, body: bytes
) -> None:
    async with merchant.session.post(merchant.url + "/_control/pay", data=body) as answer:
        assert answer.status == 422
        assert answer.content_type == "application/json"


async def test_every_fault_of_the_contract_is_taken_and_a_field_not_sent_stays(
    merchant: Merchant,
) -> None:
    faults: Json = {
        "drop_callbacks": 0.5,
        "delay_callbacks_s": 0.1,
        "duplicate_callbacks": 2,
        "reorder_callbacks": True,
        "forge_callbacks": True,
        "close": "paid_race",
        "unscanned_close": "sticky",
        "boleto_cancel": "still_pays",
        "lose_answer": {"verb": "capture", "after_executing": True, "times": 2},
        "error": {"verb": "query_refund", "status": 503, "after_executing": False, "times": 3},
        "latency_s": 0.01,
        "clock_shift_s": -5.0,
    }
    first = await merchant.faults(**faults)
    assert first.status == 200
    later = await merchant.faults(latency_s=0.0)
    assert later.json == {**first.json, "latency_s": 0.0}
    assert faults.items() <= first.json.items()
    cleared = await merchant.faults(reset=True)
    assert cleared.json["drop_callbacks"] == 0


async def test_the_ledger_is_the_truth_in_minor_units(merchant: Merchant) -> None:
    await merchant.create(NUMBER)
    await merchant.create("ORDER000002")
    paid_at = datetime.now(UTC) - timedelta(seconds=30)
    answer = await merchant.pay(NUMBER, at=paid_at.isoformat())
    entry = answer.json
    assert entry.keys() >= {
        *("channel", "number", "captured", "refunded", "state"),
        *("created_at", "paid_at", "refunds"),
    }
    assert datetime.fromisoformat(str(entry["paid_at"])) == paid_at
    assert await states(merchant) == [(NUMBER, 1234, "paid"), ("ORDER000002", 0, "open")]


async def test_of_many_buyers_at_once_one_pays(merchant: Merchant) -> None:
    await merchant.create(NUMBER)
    answers = await asyncio.gather(*(merchant.pay(NUMBER) for _ in range(10)))
    assert sorted(answer.status for answer in answers) == [200] + [409] * 9
    assert await states(merchant) == [(NUMBER, 1234, "paid")]


async def test_paying_and_closing_at_once_never_both_succeed(merchant: Merchant) -> None:
    for position in range(10):
        number = f"ORDER{position:06}"
        await merchant.create(number)
        pay, close = await asyncio.gather(merchant.pay(number), merchant.close(number))
        assert (pay.status, close.status) in {(200, 400), (409, 204)}


async def test_a_close_can_be_made_to_race_a_payment(merchant: Merchant) -> None:
    await merchant.faults(close="paid_race")
    await merchant.create(NUMBER)
    assert (await merchant.close(NUMBER)).status == 204
    assert (await merchant.query(NUMBER)).json["trade_state"] == "CLOSED"
    assert (await merchant.pay(NUMBER)).status == 200
    assert (await merchant.query(NUMBER)).json["trade_state"] == "SUCCESS"


async def test_a_close_can_be_refused(merchant: Merchant) -> None:
    await merchant.faults(close="refuse")
    await merchant.create(NUMBER)
    answer = await merchant.close(NUMBER)
    assert (answer.status, answer.code) == (403, "TRADE_ERROR")
    assert (await merchant.query(NUMBER)).json["trade_state"] == "NOTPAY"


@pytest.mark.parametrize("executed", [True, False])
async def test_a_lost_answer_cuts_the_connection(merchant: Merchant, executed: bool) -> None:
    lost: Json = {"verb": "create", "after_executing": executed, "times": 2}
    await merchant.faults(lose_answer=lost)
    for _ in range(2):
        with pytest.raises(aiohttp.ClientConnectionError):
            await merchant.create(NUMBER)
    assert await states(merchant) == ([(NUMBER, 0, "open")] if executed else [])
    assert (await merchant.create("ORDER000002")).status == 200
    assert (await merchant.control("faults")).json["wechat"] == (await merchant.faults()).json


@pytest.mark.parametrize("executed", [True, False])
@pytest.mark.parametrize(
    ("status", "code"),
    [(500, "SYSTEM_ERROR"), (503, "SERVICE_UNAVAILABLE"), (429, "FREQUENCY_LIMITED")],
)
async def test_an_error_hides_whether_the_call_was_executed(
    merchant: Merchant, executed: bool, status: int, code: str
) -> None:
    await merchant.create(NUMBER)
    await merchant.faults(error={"verb": "close", "status": status, "after_executing": executed})
    answer = await merchant.close(NUMBER)
    assert (answer.status, answer.code) == (status, code)
    assert "Wechatpay-Signature" not in answer.headers
    assert await states(merchant) == [(NUMBER, 0, "closed" if executed else "open")]


async def test_calls_are_counted_even_when_their_answers_are_lost(merchant: Merchant) -> None:
    await merchant.faults(lose_answer={"verb": "create", "after_executing": True})
    with pytest.raises(aiohttp.ClientConnectionError):
        await merchant.create(NUMBER)
    await merchant.create(NUMBER)
    await merchant.query(NUMBER)
    await merchant.close(NUMBER)
    assert await calls(merchant) == {"create": 2, "query": 1, "close": 1}


async def test_latency_holds_every_answer(merchant: Merchant) -> None:
    await merchant.faults(latency_s=0.2)
    began_at = asyncio.get_running_loop().time()
    await merchant.query(NUMBER)
    assert asyncio.get_running_loop().time() - began_at >= 0.2


async def test_reset_forgets_money_faults_counts_and_callbacks(merchant: Merchant) -> None:
    merchant.receiver.status = 500
    await merchant.create(NUMBER)
    await merchant.pay(NUMBER)
    await merchant.refund(NUMBER, "REFUND01")
    await merchant.faults(latency_s=0.1)
    assert (await merchant.control("reset", {})).status == 204
    for listed in ("ledger", "calls", "callbacks"):
        assert (await merchant.control(listed)).json == {"data": []}
    assert (await merchant.query(NUMBER)).code == "ORDER_NOT_EXIST"
    assert (await merchant.query_refund("REFUND01")).code == "RESOURCE_NOT_EXISTS"
