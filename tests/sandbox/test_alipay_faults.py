"""What goes wrong between a merchant and Alipay on demand, what is counted, and what is kept."""

from pathlib import Path

import aiohttp
import msgspec
import pytest

from gateway.sandbox.keys import SandboxKeys, sandbox_keys
from tests.sandbox.alipay_merchant import AlipayMerchant
from tests.sandbox.conftest import StartSandbox
from tests.sandbox.merchant import Json, Receiver

NUMBER = "ORDER000001"


@pytest.mark.parametrize("after_executing", [True, False])
async def test_a_lost_answer_leaves_the_call_done_or_undone(
    alipay: AlipayMerchant, *, after_executing: bool
) -> None:
    fault = {"verb": "create", "after_executing": after_executing, "times": 1}
    await alipay.faults(lose_answer=fault)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await alipay.precreate(NUMBER)
    assert len(await alipay.captured()) == after_executing
    assert (await alipay.precreate(NUMBER)).code == "10000"
    assert len(await alipay.captured()) == 1


async def test_a_refund_whose_answer_was_lost_is_found_again(alipay: AlipayMerchant) -> None:
    await alipay.precreate(NUMBER)
    await alipay.pay(NUMBER)
    await alipay.faults(lose_answer={"verb": "refund", "after_executing": True, "times": 1})
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await alipay.refund(NUMBER, "R1")
    assert (await alipay.query_refund(NUMBER, "R1")).body["refund_status"] == "REFUND_SUCCESS"
    assert (await alipay.refund(NUMBER, "R1")).body["fund_change"] == "N"


async def test_an_http_error_comes_from_in_front_of_the_gateway(alipay: AlipayMerchant) -> None:
    error = {"verb": "query", "status": 502, "after_executing": False, "times": 1}
    await alipay.faults(error=error)
    async with alipay.session.post(
        alipay.gateway, data=alipay.signed("alipay.trade.query", {"out_trade_no": NUMBER})
    ) as answer:
        assert (answer.status, answer.content_type) == (502, "text/html")
    assert (await alipay.query(NUMBER)).code == "ACQ.TRADE_NOT_EXIST"


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("aop.unknow-error", "20000"),
        ("isp.unknow-error", "20000"),
        ("ACQ.SYSTEM_ERROR", "40004"),
        ("isv.app-call-limited-exceeded", "40005"),
        ("isv.invalid-parameter", "40002"),
    ],
)
async def test_an_error_with_a_code_comes_inside_a_signed_200(
    alipay: AlipayMerchant, word: str, code: str
) -> None:
    error = {"verb": "create", "status": 503, "code": word, "after_executing": True, "times": 1}
    await alipay.faults(error=error)
    failed = await alipay.precreate(NUMBER)
    assert (failed.status, failed.signed) == (200, True)
    assert (failed.body["code"], failed.body["sub_code"]) == (code, word)
    assert (await alipay.pay(NUMBER)).status == 200


async def test_calls_are_counted_by_what_they_ask_and_about_what(alipay: AlipayMerchant) -> None:
    await alipay.precreate(NUMBER)
    await alipay.pay(NUMBER)
    trade_no = (await alipay.query(NUMBER)).body["trade_no"]
    await alipay.call("alipay.trade.query", {"trade_no": trade_no})
    await alipay.close(NUMBER)
    await alipay.refund(NUMBER, "R1", "1.00")
    await alipay.query_refund(NUMBER, "R1")
    async with alipay.session.get(alipay.link("page", "PAGE1"), allow_redirects=False):
        pass
    data = (await alipay.control("calls")).json["data"]
    assert isinstance(data, list)
    assert {(one["verb"], one["number"]): one["count"] for one in data} == {
        ("create", NUMBER): 1,
        ("query", NUMBER): 2,
        ("close", NUMBER): 1,
        ("refund", "R1"): 1,
        ("query_refund", "R1"): 1,
        ("create", "PAGE1"): 1,
    }


async def ledger(alipay: AlipayMerchant) -> list[Json]:
    data = (await alipay.control("ledger")).json["data"]
    assert isinstance(data, list)
    return data


async def test_what_was_answered_is_known_after_a_crash(
    start_sandbox: StartSandbox, keys: SandboxKeys, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.status, receiver.answer = 200, b"success"
    state_file, crashed = tmp_path / "ledger.jsonl", tmp_path / "crashed.jsonl"
    async with aiohttp.ClientSession() as session:

        async def at(path: Path) -> AlipayMerchant:
            server = await start_sandbox(path)
            return AlipayMerchant(session, keys, str(server.make_url("")).rstrip("/"), receiver)

        before = await at(state_file)
        await before.faults(drop_callbacks=1)
        for number in (NUMBER, "SCANNED", "CLOSED"):
            await before.precreate(number)
            await before.scan(number)
        await before.pay(NUMBER)
        await before.refund(NUMBER, "R1", "2.00")
        await before.close("CLOSED")
        crashed.write_bytes(state_file.read_bytes())
        after = await at(crashed)
        assert await ledger(after) == await ledger(before)
        for number in (NUMBER, "SCANNED", "CLOSED"):
            assert (await after.query(number)).body == (await before.query(number)).body
        assert (await after.refund(NUMBER, "R1", "2.00")).body["fund_change"] == "N"
        (send,) = await receiver.until(1)
        assert after.told(send.body)["out_trade_no"] == NUMBER


def test_keys_from_before_alipay_keep_what_they_have_and_gain_its_own(
    keys: SandboxKeys, tmp_path: Path
) -> None:
    path = tmp_path / "sandbox-keys.json"
    older = msgspec.json.decode(msgspec.json.encode(keys), type=dict[str, msgspec.Raw])
    del older["alipay"]
    path.write_bytes(msgspec.json.encode(older))
    gained = sandbox_keys(tmp_path)
    assert (gained.mchid, gained.merchant) == (keys.mchid, keys.merchant)
    assert gained.alipay != keys.alipay
    assert sandbox_keys(tmp_path) == gained
