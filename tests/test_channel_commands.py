"""The commands about channel accounts, secrets and merchants, as processes of their own."""

import json

import asyncpg
import pytest
from cryptography.fernet import Fernet

from gateway.merchants import add_channel, add_merchant
from gateway.ports import free_port
from gateway.sandbox.keys import SandboxKeys, wechat_account
from gateway.secrets import Cipher
from tests.test_cli import Command, keys, payonce

__all__ = ["keys", "payonce"]
URL = "https://shop.example/payonce"
OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


@pytest.fixture
async def account(pool: asyncpg.Pool, keys: SandboxKeys) -> str:
    """An account whose channel is not there, encrypted with the old key."""
    cipher = Cipher([OLD])
    settings = wechat_account(keys, f"http://127.0.0.1:{free_port()}")
    async with pool.acquire() as conn:
        await add_merchant(conn, cipher, "shop", "Shop", URL, "whsec")
        await add_channel(conn, cipher, "shop", "wx", "wechat", settings)
    return "wx"


def test_an_account_is_changed_shown_switched_and_checked(
    payonce: Command, account: str, keys: SandboxKeys
) -> None:
    def run(*words: str) -> tuple[int, str]:
        done = payonce(*words, PAYONCE_SECRET_KEYS=OLD, PAYONCE_PUBLIC_URL="https://pay.example")
        assert "Traceback" not in done.stderr
        assert keys.apiv3_key not in done.stdout + done.stderr
        return done.returncode, done.stdout or done.stderr

    assert run("channel", "set", "--id", account, "--set", "ask_timeout_s=20", "--json") == (
        0,
        '{"id": "wx", "changed": "ask_timeout_s"}\n',
    )
    _, switched = run("channel", "disable", "--id", account, "--terminal", "wap", "--json")
    assert json.loads(switched)["terminals"] == "pc,webview,app"
    code, checked = run("channel", "check")
    assert code == 1
    assert checked.startswith("BAD  wx (wechat): base_url: 127.0.0.1:")
    run("channel", "disable", "--id", account)
    assert run("channel", "check", "--json") == (0, "[]\n")
    _, shown = run("channel", "show", "--id", account, "--json")
    told = json.loads(shown)
    assert (told["enabled"], told["ask_timeout_s"], told["apiv3_key"]) == ("no", "20", "secret")
    assert told["callbacks"] == "https://pay.example/callbacks/wx"


def test_secrets_are_rotated_and_the_doctor_counts_them(payonce: Command, account: str) -> None:
    def doctor(keys: str) -> dict[str, str]:
        done = payonce("doctor", "--json", PAYONCE_SECRET_KEYS=keys)
        return {each["what"]: each["says"] for each in json.loads(done.stdout)}

    both = f"{NEW},{OLD}"
    waiting = "channel accounts (1), merchants (1) still need an older key"
    assert doctor(both)["secrets"].startswith(waiting)
    done = payonce("secrets", "rotate", "--json", PAYONCE_SECRET_KEYS=both)
    rewritten = {each["what"]: each["rewritten"] for each in json.loads(done.stdout)}
    assert rewritten == {"channel accounts": 1, "merchants": 1, "devices": 0}
    after = doctor(NEW)
    assert after["secrets"] == "all encrypted with the first key"
    assert after[f"channel {account}"].startswith("base_url: ")
    lost = payonce("secrets", "rotate", PAYONCE_SECRET_KEYS=OLD)
    assert (lost.returncode, "PAYONCE_SECRET_KEYS" in lost.stderr) == (1, True)


def test_of_a_merchant_what_is_named_is_changed(payonce: Command, account: str) -> None:
    words = ("merchant", "set", "--id", "shop")
    changed = payonce.answer(*words, "--extend-for-slow-channels", "off", "--name", "Tea")
    assert changed == {
        "id": "shop",
        "name": "Tea",
        "notify_url": URL,
        "surplus_refunds": "auto",
        "extend_for_slow_channels": "off",
    }
    assert payonce.answer(*words, "--notify-url", "") == {**changed, "notify_url": ""}
    refused = payonce(*words, "--notify-url", "ftp://shop.example")
    assert (refused.returncode, "--notify-url: must begin with" in refused.stderr) == (1, True)
