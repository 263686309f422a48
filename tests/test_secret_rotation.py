"""Rotation of the secret keys: everything is written again with the first, and what is changed
meanwhile is not lost.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest
from cryptography.fernet import Fernet

from gateway.db import migrations, sealed
from gateway.db.orders import Connection
from gateway.db.sealed import DRAWERS, Drawer, Key
from gateway.merchants import add_merchant
from gateway.secret_rotation import Rotated, look, rotate
from gateway.secrets import Cipher
from tests.rig import until

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()
BEFORE, AFTER, ALONE = Cipher([OLD]), Cipher([NEW, OLD]), Cipher([NEW])
SCHEMA = Path(migrations.__path__[0]) / "0001_core.sql"
MANY = 450  # more than are read at once


@pytest.fixture
async def conn(pool: asyncpg.Pool) -> AsyncIterator[Connection]:
    """Rows of everything that is encrypted, written with the old key."""
    async with pool.acquire() as conn:
        for n in range(MANY):
            await add_merchant(conn, BEFORE, f"m{n}", "M", None, f"whsec_{n}")
        await conn.execute(
            "INSERT INTO channel_accounts (id, merchant, kind, settings, secrets)"
            " VALUES ('wx', 'm0', 'wechat', '{}', $1)",
            BEFORE.encrypt({"apiv3_key": "k"}),
        )
        await conn.execute(
            "INSERT INTO orders (id, merchant, merchant_order_no, amount, currency, subject, token,"
            " expires_at) VALUES ('ord', 'm0', '1', 1, 'CNY', 'tea', 't', now())"
        )
        for n in range(3):
            await conn.execute(
                "INSERT INTO devices (order_id, digest, platform, token, language, forget_at)"
                " VALUES ('ord', $1, 'fcm', $2, 'en', now() + $3::interval)",
                bytes([n]),
                BEFORE.encrypt({"token": f"device {n}"}),
                timedelta(days=7),
            )
        yield conn


def counts(found: list[Rotated]) -> dict[str, tuple[int, int]]:
    return {each.holds: (each.rewritten, each.current) for each in found}


async def test_everything_is_readable_without_the_old_key_afterwards(conn: Connection) -> None:
    everything = {"channel accounts": (1, 0), "merchants": (MANY, 0), "devices": (3, 0)}
    assert counts(await look(conn, AFTER)) == everything
    assert counts(await rotate(conn, AFTER)) == everything
    assert ALONE.decrypt_settings(await conn.fetchval("SELECT secrets FROM channel_accounts")) == {
        "apiv3_key": "k"
    }
    secrets = await conn.fetch("SELECT id, webhook_secrets FROM merchants")
    assert {row[0]: ALONE.decrypt_list(row[1]) for row in secrets} == {
        f"m{n}": [f"whsec_{n}"] for n in range(MANY)
    }
    tokens = await conn.fetch("SELECT token FROM devices ORDER BY digest")
    assert [ALONE.decrypt_settings(row[0])["token"] for row in tokens] == [
        f"device {n}" for n in range(3)
    ]


async def test_a_second_run_writes_nothing(conn: Connection) -> None:
    await rotate(conn, AFTER)
    before = await conn.fetch("SELECT xmin, webhook_secrets FROM merchants")
    assert {each.rewritten for each in await rotate(conn, AFTER)} == {0}
    assert await conn.fetch("SELECT xmin, webhook_secrets FROM merchants") == before


async def test_what_no_key_decrypts_is_named_and_left_and_holds_up_nothing(
    conn: Connection,
) -> None:
    lost = Cipher([Fernet.generate_key().decode()]).encrypt(["whsec"])
    await conn.execute("UPDATE merchants SET webhook_secrets = $1 WHERE id = 'm7'", lost)
    merchants = next(each for each in await rotate(conn, AFTER) if each.holds == "merchants")
    assert (merchants.rewritten, merchants.unreadable) == (MANY - 1, ("m7",))
    assert await conn.fetchval("SELECT webhook_secrets FROM merchants WHERE id = 'm7'") == lost


async def swap_blindly(conn: Connection, drawer: Drawer, key: Key, _old: bytes, new: bytes) -> bool:
    """As `sealed.swap` would be without the guard."""
    column = f"{drawer.column} = ${len(key) + 1}"
    await conn.execute(f"UPDATE {drawer.table} SET {column} WHERE {drawer.one}", *key, new)
    return True


@pytest.mark.parametrize(
    ("guarded", "kept"),
    [
        pytest.param(True, "changed", id="as shipped"),
        pytest.param(False, "k", id="control: written without looking"),
    ],
)
async def test_a_secret_that_is_changed_meanwhile_is_kept(
    conn: Connection,
    pool: asyncpg.Pool,
    guarded: bool,
    kept: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not guarded:
        monkeypatch.setattr(sealed, "swap", swap_blindly)

    async def blocked() -> bool:
        return bool(
            await conn.fetchval(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
        )

    async def rotating() -> None:
        async with pool.acquire() as other:
            await rotate(other, AFTER)

    async with pool.acquire() as operator:
        change = operator.transaction()
        await change.start()
        await operator.execute(
            "UPDATE channel_accounts SET secrets = $1", BEFORE.encrypt({"apiv3_key": "changed"})
        )
        rotation = asyncio.create_task(rotating())
        await until(blocked)
        await change.commit()
    await rotation
    secrets = await conn.fetchval("SELECT secrets FROM channel_accounts")
    assert ALONE.decrypt_settings(secrets) == {"apiv3_key": kept}


def test_everything_that_the_tables_call_encrypted_is_rotated() -> None:
    tables = re.split(r"^CREATE TABLE ", SCHEMA.read_text(), flags=re.MULTILINE)[1:]
    encrypted = {
        (table.split()[0], column)
        for table in tables
        for column in re.findall(r"(\w+) bytea NOT NULL, -- encrypted", table)
    }
    assert encrypted == {(each.table, each.column) for each in DRAWERS}
