"""The argument names what exists, and every statement is one that PostgreSQL accepts."""

import importlib
import pkgutil
import re
from pathlib import Path

import asyncpg
import pytest

import gateway.db
from gateway import payments

TESTS = Path(__file__).parent.parent


def named_in_the_argument() -> set[str]:
    assert payments.__doc__ is not None
    return set(re.findall(r"`([^`]+)`", payments.__doc__))


async def test_every_name_in_the_argument_exists(pool: asyncpg.Pool) -> None:
    in_sql = {
        row[0]
        for row in await pool.fetch(
            "SELECT conname FROM pg_constraint UNION SELECT indexname FROM pg_indexes "
            "UNION SELECT proname FROM pg_proc"
        )
    }
    tests = {
        name
        for file in TESTS.rglob("test_*.py")
        for name in re.findall(
            r"^async def (test_\w+)|^def (test_\w+)", file.read_text(), re.MULTILINE
        )
        for name in name
        if name
    }
    missing = {
        name
        for name in named_in_the_argument()
        if name not in tests and name not in in_sql and not _in_python(name)
    }
    assert not missing


def test_the_argument_is_not_empty() -> None:
    names = named_in_the_argument()
    assert sum(name.startswith("test_") for name in names) >= 13
    assert {"one_captured_per_order", "gateway.payments.settle.decide"} <= names


def statements() -> list[tuple[str, str]]:
    found = []
    for module_info in pkgutil.iter_modules(gateway.db.__path__):
        module = importlib.import_module(f"gateway.db.{module_info.name}")
        for name, value in vars(module).items():
            is_whole = isinstance(value, str) and re.match(
                r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b", value
            )
            if name.isupper() and is_whole and name not in PARTS:
                found.append((f"{module_info.name}.{name}", value))
    return found


# Pieces that whole statements are put together from.
PARTS = {"_COLUMNS", "KEPT"}


@pytest.mark.parametrize(("name", "sql"), statements())
async def test_postgresql_accepts_the_statement(pool: asyncpg.Pool, name: str, sql: str) -> None:
    async with pool.acquire() as conn:
        prepared = await conn.prepare(sql)
        assert prepared is not None, name


async def test_a_refund_of_the_winner_cannot_be_called_surplus(pool: asyncpg.Pool) -> None:
    keys = await pool.fetchval(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE conname = 'a_refund_fits_its_attempt'"
    )
    assert "(attempt_id, order_id, attempt_state) REFERENCES attempts(id, order_id, state)" in keys


def _in_python(name: str) -> bool:
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part, None)
        return found is not None
    return False
