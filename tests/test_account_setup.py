"""Setting up channel accounts: what is named is changed and nothing else, everything that is wrong
is said at once, and secrets are not shown.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator

import asyncpg
import pytest
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from gateway.account_description import describe
from gateway.db import accounts
from gateway.db.accounts import AccountRow
from gateway.db.orders import Connection
from gateway.errors import ConfigurationError
from gateway.merchants import add_channel, add_merchant, change_channel, switch_channel
from gateway.payments.accounts import read_row
from gateway.sandbox.keys import (
    SandboxKeys,
    alipay_account,
    sandbox_keys,
    unionpay_account,
    wechat_account,
)
from gateway.secrets import Cipher
from tests.rig import until

CIPHER = Cipher([Fernet.generate_key().decode()])


@pytest.fixture(scope="module")
def keys() -> SandboxKeys:
    return sandbox_keys(None)


@pytest.fixture
async def conn(pool: asyncpg.Pool, keys: SandboxKeys) -> AsyncIterator[Connection]:
    """One merchant with an account of each kind."""
    async with pool.acquire() as conn:
        await add_merchant(conn, CIPHER, "shop", "Shop", None, "whsec")
        for kind, settings in (
            ("wechat", wechat_account(keys, "https://sandbox.example")),
            ("alipay", alipay_account(keys, "https://sandbox.example")),
            ("unionpay", unionpay_account(keys, "https://sandbox.example")),
        ):
            await add_channel(conn, CIPHER, "shop", kind, kind, settings)
        yield conn


async def row_of(conn: Connection, account: str = "wechat") -> AccountRow:
    row = await accounts.read(conn, account)
    assert row is not None
    return row


async def texts_of(conn: Connection, account: str = "wechat") -> dict[str, str]:
    settings, secrets = read_row(await row_of(conn, account), CIPHER)
    return {**settings, **secrets}


async def fault_of(conn: Connection, settings: dict[str, str], *, without: str = "") -> str:
    """Why an account cannot be changed so; and it is not."""
    before = await row_of(conn)
    with pytest.raises(ConfigurationError) as refused:
        await change_channel(conn, CIPHER, "wechat", settings, without=without.split())
    assert await row_of(conn) == before
    return str(refused.value)


async def test_what_is_named_is_changed_and_nothing_else(conn: Connection) -> None:
    before, texts = await row_of(conn), await texts_of(conn)
    new = {"apiv3_key": "a" * 32, "ask_timeout_s": "20"}
    await change_channel(conn, CIPHER, "wechat", new, priority=7)
    after = await row_of(conn)
    assert await texts_of(conn) == {**texts, **new}
    assert (after.priority, after.terminals, after.enabled) == (7, before.terminals, True)
    assert "a" * 32 not in after.settings
    await change_channel(conn, CIPHER, "wechat", {}, without=["ask_timeout_s"], terminals=["pc"])
    assert await texts_of(conn) == {**texts, "apiv3_key": "a" * 32}
    assert (await row_of(conn)).terminals == ["pc"]


async def test_a_change_that_would_not_work_is_refused_with_all_that_is_wrong(
    conn: Connection,
) -> None:
    wrong = {"mchid": "no", "merchantkey": "x", "refund_limit": "much", "ask_ladder": "soon"}
    said = await fault_of(conn, wrong)
    for line in (
        "- merchantkey: there is no such setting; did you mean merchant_key?",
        "- mchid: give the merchant number, digits only",
        "- refund_limit: must be whole minor units from 0, like 100000",
        "- ask_ladder: must be whole seconds from 1, like 3,10,30; not 'soon'",
    ):
        assert line in said.splitlines()


@pytest.mark.parametrize(
    ("settings", "without", "said"),
    [
        ({"colour": "red"}, "", "colour: there is no such setting; there are "),
        ({}, "colour", "--unset: the account has no setting 'colour'"),
        ({}, "mchid", "mchid: give the merchant number"),
        ({"min_amount": "9", "max_amount": "8"}, "", "min_amount: is above max_amount"),
        ({"currencies": "yuan"}, "", "currencies: give those that it takes"),
    ],
)
async def test_one_fault_is_said_in_one_line(
    conn: Connection, settings: dict[str, str], without: str, said: str
) -> None:
    assert (await fault_of(conn, settings, without=without)).startswith(said)


async def test_an_account_or_a_terminal_that_there_is_not_is_named(conn: Connection) -> None:
    with pytest.raises(ConfigurationError, match="--id: there is no channel account 'nobody'"):
        await change_channel(conn, CIPHER, "nobody", {})
    with pytest.raises(ConfigurationError, match="--id: there is no channel account 'nobody'"):
        await switch_channel(conn, "nobody", on=False)
    with pytest.raises(ConfigurationError, match="terminals: 'tv' is not one of pc, wap"):
        await change_channel(conn, CIPHER, "wechat", {}, terminals=["tv"])


@pytest.mark.parametrize(
    ("locked", "kept"),
    [
        pytest.param(True, {"ask_ladder": "7", "refund_limit": "5"}, id="as shipped"),
        pytest.param(False, {"refund_limit": "5"}, id="control: read without the lock"),
    ],
)
async def test_two_who_change_an_account_at_once_both_have_their_way(
    conn: Connection,
    pool: asyncpg.Pool,
    locked: bool,
    kept: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = await texts_of(conn)

    async def blocked() -> bool:
        return bool(
            await conn.fetchval(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
        )

    async def change_too() -> None:
        async with pool.acquire() as another:
            await change_channel(another, CIPHER, "wechat", {"refund_limit": "5"})

    async with pool.acquire() as one:
        first = one.transaction()
        await first.start()
        await change_channel(one, CIPHER, "wechat", {"ask_ladder": "7"})
        if not locked:
            monkeypatch.setattr(accounts, "lock", accounts.read)
        second = asyncio.create_task(change_too())
        await until(blocked)
        await first.commit()
    await second
    assert await texts_of(conn) == {**before, **kept}


async def test_an_account_is_switched_off_as_a_whole_or_on_a_terminal(conn: Connection) -> None:
    assert not (await switch_channel(conn, "wechat", on=False)).enabled
    assert (await switch_channel(conn, "wechat", on=True)).enabled
    for on, terminals in (
        (False, ["pc", "webview", "app"]),
        (False, ["pc", "webview", "app"]),
        (True, ["pc", "webview", "app", "wap"]),
        (True, ["pc", "webview", "app", "wap"]),
    ):
        row = await switch_channel(conn, "wechat", on=on, terminal="wap")
        assert (row.enabled, row.terminals) == (True, terminals)


async def test_of_secrets_no_more_is_shown_than_can_be_compared(
    conn: Connection, keys: SandboxKeys
) -> None:
    shown = {kind: describe(await row_of(conn, kind), CIPHER) for kind in ("wechat", "unionpay")}
    whole = json.dumps(shown)
    for secret in (
        keys.merchant.key,
        keys.apiv3_key,
        keys.unionpay.pfx,
        keys.unionpay.pfx_password,
    ):
        assert secret not in whole
    assert "PRIVATE KEY" not in whole
    wechat = shown["wechat"]
    assert (wechat["mchid"], wechat["apiv3_key"]) == (keys.mchid, "secret")
    key = load_pem_public_key(keys.public_key.encode())
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert wechat["public_key"] == f"key, SHA-256 {hashlib.sha256(der).hexdigest()}"
    assert wechat["merchant_key"].startswith("secret key, SHA-256 of its public half ")
    assert shown["unionpay"]["pfx"].startswith("secret certificate 5A")
