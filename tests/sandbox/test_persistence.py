"""The ledger outlives the sandbox: a killed one is started again and knows what was paid."""

from pathlib import Path

import aiohttp
import msgspec
import pytest

from gateway.sandbox.keys import FILE_NAME, SandboxKeys, sandbox_keys, wechat_account
from gateway.sandbox.server import sandbox_app
from tests.sandbox.conftest import StartSandbox
from tests.sandbox.merchant import Json, Merchant, Receiver

NUMBER = "ORDER000001"


async def merchant_at(
    start_sandbox: StartSandbox,
    session: aiohttp.ClientSession,
    keys: SandboxKeys,
    receiver: Receiver,
    state_file: Path,
) -> Merchant:
    server = await start_sandbox(state_file)
    return Merchant(session, keys, str(server.make_url("")).rstrip("/"), receiver)


async def ledger(merchant: Merchant) -> list[Json]:
    data = (await merchant.control("ledger")).json["data"]
    assert isinstance(data, list)
    return data


async def test_what_was_answered_is_known_after_a_crash(
    start_sandbox: StartSandbox, keys: SandboxKeys, receiver: Receiver, tmp_path: Path
) -> None:
    state_file = tmp_path / "ledger.jsonl"
    async with aiohttp.ClientSession() as session:
        before = await merchant_at(start_sandbox, session, keys, receiver, state_file)
        first = await before.create(NUMBER)
        await before.create("ORDER000002")
        await before.close("ORDER000002")
        await before.pay(NUMBER)
        await receiver.until(1)
        await before.refund(NUMBER, "REFUND01", 1000)
        await receiver.until(2)
        kept = state_file.read_bytes()
        # A second sandbox reads what the first one, never stopped, has on disk by now.
        crashed = tmp_path / "crashed.jsonl"
        crashed.write_bytes(kept + b'{"channel":"wechat","number":"ORDER0000')
        after = await merchant_at(start_sandbox, session, keys, receiver, crashed)
        assert await ledger(after) == await ledger(before)
        assert (await after.query(NUMBER)).json == (await before.query(NUMBER)).json
        assert (await after.pay(NUMBER)).code == "paid"
        assert (await after.create("ORDER000002")).code == "ORDER_CLOSED"
        assert first.status == 200


async def test_what_was_under_way_is_taken_up_again(
    start_sandbox: StartSandbox, keys: SandboxKeys, receiver: Receiver, tmp_path: Path
) -> None:
    state_file = tmp_path / "ledger.jsonl"
    async with aiohttp.ClientSession() as session:
        before = await merchant_at(start_sandbox, session, keys, receiver, state_file)
        await before.faults(drop_callbacks=1, refund_takes_s=3600)
        await before.create(NUMBER)
        await before.pay(NUMBER)
        await before.refund(NUMBER, "REFUND01")
        assert receiver.received == []
        crashed = tmp_path / "crashed.jsonl"
        crashed.write_bytes(state_file.read_bytes())
        await merchant_at(start_sandbox, session, keys, receiver, crashed)
        news = [send.json["event_type"] for send in await receiver.until(2)]
        assert sorted(map(str, news)) == ["REFUND.SUCCESS", "TRANSACTION.SUCCESS"]


async def test_acknowledged_news_is_not_told_again(
    start_sandbox: StartSandbox, keys: SandboxKeys, receiver: Receiver, tmp_path: Path
) -> None:
    state_file = tmp_path / "ledger.jsonl"
    async with aiohttp.ClientSession() as session:
        before = await merchant_at(start_sandbox, session, keys, receiver, state_file)
        await before.create(NUMBER)
        await before.pay(NUMBER)
        while b'"told":true' not in state_file.read_bytes():
            await receiver.until(1)
            await before.control("ledger")
        after = await merchant_at(start_sandbox, session, keys, receiver, state_file)
        assert (await after.control("callbacks")).json == {"data": []}


async def test_a_reset_empties_the_file(
    start_sandbox: StartSandbox, keys: SandboxKeys, receiver: Receiver, tmp_path: Path
) -> None:
    state_file = tmp_path / "ledger.jsonl"
    async with aiohttp.ClientSession() as session:
        merchant = await merchant_at(start_sandbox, session, keys, receiver, state_file)
        await merchant.create(NUMBER)
        await merchant.control("reset", {})
        assert state_file.read_bytes() == b""
        await merchant.create(NUMBER)
        assert state_file.read_bytes().count(b"\n") == 1


def test_a_file_of_something_else_is_refused_by_name(keys: SandboxKeys, tmp_path: Path) -> None:
    state_file = tmp_path / "ledger.jsonl"
    state_file.write_text('{"colour":"red"}\n')
    with pytest.raises(ValueError, match=r"ledger\.jsonl, line 1: .*missing required field"):
        sandbox_app(keys, public_url="http://127.0.0.1", state_file=state_file)
    assert state_file.read_text() == '{"colour":"red"}\n'


def test_keys_are_made_once_and_readable_by_their_owner_only(
    keys: SandboxKeys, tmp_path: Path
) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(msgspec.json.encode(keys))
    assert sandbox_keys(tmp_path) == keys
    made = sandbox_keys(tmp_path / "new")
    assert sandbox_keys(tmp_path / "new") == made != keys
    assert (tmp_path / "new" / FILE_NAME).stat().st_mode & 0o777 == 0o600
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"sandbox-keys\.json does not hold sandbox keys"):
        sandbox_keys(tmp_path)


def test_a_merchant_is_given_exactly_the_settings_of_an_account(keys: SandboxKeys) -> None:
    account = wechat_account(keys, "http://127.0.0.1:9000/wechat")
    assert set(account) == {
        *("mchid", "appid", "merchant_serial", "merchant_key", "apiv3_key"),
        *("public_key_id", "public_key", "base_url"),
        *("app_secret", "oauth_base_url", "oauth_api_base_url"),
    }
    assert len(account["apiv3_key"]) == 32
    assert account["public_key_id"].startswith("PUB_KEY_ID_")
