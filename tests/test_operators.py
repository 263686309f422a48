"""The commands about operators and refunds: tokens are shown once, kept hashed, can be revoked."""

import json

import asyncpg

from gateway.secrets import hash_api_key
from tests.test_cli import Command, keys, payonce

__all__ = ["keys", "payonce"]


async def test_an_operator_is_added_once_and_its_token_is_kept_hashed(
    payonce: Command, pool: asyncpg.Pool
) -> None:
    added = payonce.answer("operator", "add", "--name", "Ann")
    assert added["token"].startswith("opr_")
    kept = await pool.fetchval("SELECT token_hash FROM operators WHERE name = 'Ann'")
    assert kept == hash_api_key(added["token"])
    again = payonce("operator", "add", "--name", "Ann")
    assert (again.returncode, "--name" in again.stderr) == (1, True)
    assert "Traceback" not in again.stderr
    listed = payonce("operator", "list", "--json")
    assert json.loads(listed.stdout) == [{"id": added["id"], "name": "Ann", "revoked": "no"}]
    assert payonce.answer("operator", "revoke", "--id", added["id"])["revoked"] == "yes"
    assert json.loads(payonce("operator", "list", "--json").stdout)[0]["revoked"] == "yes"
    nobody = payonce("operator", "revoke", "--id", "op_nobody")
    assert (nobody.returncode, "--id" in nobody.stderr) == (1, True)


async def test_a_merchants_surplus_can_be_held(payonce: Command, pool: asyncpg.Pool) -> None:
    payonce.answer("merchant", "add", "--id", "shop", "--name", "Shop")
    for choice in ("held", "auto"):
        payonce.answer("merchant", "set", "--id", "shop", "--surplus-refunds", choice)
        assert await pool.fetchval("SELECT surplus_refunds FROM merchants") == choice
    nobody = payonce("merchant", "set", "--id", "nobody", "--surplus-refunds", "held")
    assert (nobody.returncode, "--id" in nobody.stderr) == (1, True)


def test_limits_that_are_no_amounts_are_refused(payonce: Command) -> None:
    payonce.answer("merchant", "add", "--id", "shop", "--name", "Shop")
    words = ("channel", "add", "--merchant", "shop", "--id", "wx", "--kind", "wechat")
    refused = payonce(*words, "--set", "refund_limit=much")
    assert refused.returncode == 1
    assert "refund_limit" in refused.stderr
