"""The commands that set up and examine: what they write, and what they say when something is
wrong.
"""

import json
import os
import socket
import subprocess
import sys
from base64 import b64decode
from pathlib import Path

import asyncpg
import pytest
from cryptography.fernet import Fernet

from gateway.errors import ConfigurationError
from gateway.ports import free_port
from gateway.sandbox.keys import SandboxKeys, sandbox_keys, unionpay_account, wechat_account
from gateway.secrets import hash_api_key
from gateway.settings import Settings, read_settings

CODE = Path(__file__).parents[1]


class Command:
    """Runs `payonce` as a process of its own on the test's database."""

    def __init__(self, database_url: str, redis_url: str, folder: Path) -> None:
        self._folder = folder
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(CODE),
            "PAYONCE_DATABASE_URL": database_url,
            "PAYONCE_REDIS_URL": redis_url,
            "PAYONCE_SECRET_KEYS": Fernet.generate_key().decode(),
        }

    def __call__(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "gateway", *words],
            env={**self._environment, **environment},
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def answer(self, *words: str) -> dict[str, str]:
        done = self(*words, "--json")
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))


@pytest.fixture
def payonce(database_url: str, redis_url: str, tmp_path: Path) -> Command:
    return Command(database_url, redis_url, tmp_path)


@pytest.fixture(scope="module")
def keys() -> SandboxKeys:
    return sandbox_keys(None)


def test_a_merchant_is_added_once_and_its_key_is_kept_hashed(
    payonce: Command, database_url: str
) -> None:
    added = payonce.answer("merchant", "add", "--id", "shop", "--name", "Shop")
    again = payonce("merchant", "add", "--id", "shop", "--name", "Shop")
    assert again.returncode == 1
    assert "--id" in again.stderr
    assert "Traceback" not in again.stderr
    assert added["webhook_secret"].startswith("whsec_")
    listed = payonce("merchant", "list", "--json")
    assert [row["id"] for row in json.loads(listed.stdout)] == ["shop"]
    assert added["api_key"] not in listed.stdout


@pytest.mark.parametrize("words", [("serve",), ("merchant", "list")])
def test_a_database_that_is_away_is_said_in_a_sentence(
    payonce: Command, words: tuple[str, ...]
) -> None:
    nowhere = f"postgresql://payonce:word@127.0.0.1:{free_port()}/payonce"
    done = payonce(*words, PAYONCE_DATABASE_URL=nowhere)
    assert done.returncode == 1
    assert done.stderr.startswith("payonce: PostgreSQL does not serve us: ConnectionRefusedError")
    assert "Traceback" not in done.stderr


def test_a_folder_that_cannot_be_made_is_named(payonce: Command, tmp_path: Path) -> None:
    a_file = tmp_path / "file"
    a_file.touch()
    refused = payonce("sandbox", "--data", str(a_file))
    assert refused.returncode == 1
    assert refused.stderr == f"payonce: {a_file / 'sandbox'}: Not a directory\n"


async def test_rotating_a_key_lets_both_work_for_a_while(
    payonce: Command, pool: asyncpg.Pool
) -> None:
    old = payonce.answer("merchant", "add", "--id", "shop", "--name", "Shop")["api_key"]
    new = payonce.answer("merchant", "rotate-key", "--id", "shop")["api_key"]
    rows = await pool.fetch("SELECT hash, expires_at FROM api_keys")
    ends = {row["hash"]: row["expires_at"] for row in rows}
    assert ends[hash_api_key(old)] is not None
    assert ends[hash_api_key(new)] is None


async def test_a_channel_account_is_kept_with_its_secrets_encrypted(
    payonce: Command, pool: asyncpg.Pool, keys: SandboxKeys, tmp_path: Path
) -> None:
    payonce.answer("merchant", "add", "--id", "shop", "--name", "Shop")
    words = ["channel", "add", "--merchant", "shop", "--id", "wx_main", "--kind", "wechat"]
    for name, value in wechat_account(keys, "http://127.0.0.1:1/wechat").items():
        (tmp_path / name).write_text(value)
        words += ["--secret", f"{name}=@{tmp_path / name}"]
    payonce.answer(*words)
    row = await pool.fetchrow("SELECT settings, secrets FROM channel_accounts")
    assert row is not None
    assert "PRIVATE KEY" not in row["settings"]
    assert keys.apiv3_key not in row["settings"]
    assert keys.apiv3_key.encode() not in row["secrets"]


async def test_a_file_that_is_no_text_is_taken_as_base64(
    payonce: Command, pool: asyncpg.Pool, keys: SandboxKeys, tmp_path: Path
) -> None:
    payonce.answer("merchant", "add", "--id", "shop", "--name", "Shop")
    account = unionpay_account(keys, "http://127.0.0.1:1/unionpay")
    (tmp_path / "merchant.pfx").write_bytes(b64decode(account.pop("pfx")))
    words = ["channel", "add", "--merchant", "shop", "--id", "up_main", "--kind", "unionpay"]
    words += ["--secret", f"pfx=@{tmp_path / 'merchant.pfx'}"]
    for name, value in account.items():
        words += ["--set", f"{name}={value}"]
    payonce.answer(*words)
    settings = await pool.fetchval("SELECT settings FROM channel_accounts")
    assert json.loads(settings).keys() == account.keys() - {"pfx_password"}


def test_a_wrong_channel_setting_is_named_and_nothing_is_written(payonce: Command) -> None:
    payonce.answer("merchant", "add", "--id", "shop", "--name", "Shop")
    words = ("channel", "add", "--merchant", "shop", "--id", "wx", "--kind", "wechat")
    refused = payonce(*words, "--set", "mchid=1")
    assert refused.returncode == 1
    assert "appid" in refused.stderr
    assert json.loads(payonce("channel", "list", "--json").stdout) == []
    for wrong in (
        ("channel", "add", "--merchant", "shop", "--id", "wx", "--kind", "cowries"),
        ("channel", "add", "--merchant", "nobody", "--id", "wx", "--kind", "wechat"),
        ("channel", "add", "--merchant", "shop", "--id", "a/b", "--kind", "wechat"),
        (*words, "--set", "nonsense"),
        (*words, "--set", "ask_ladder=soon"),
        (*words, "--secret", "merchant_key=@nowhere.pem"),
    ):
        refused = payonce(*wrong)
        assert refused.returncode == 1
        assert "Traceback" not in refused.stderr


def test_the_doctor_says_what_is_wrong_and_what_to_do(payonce: Command) -> None:
    well = payonce("doctor", "--json")
    assert well.returncode == 0, well.stdout + well.stderr
    assert all(finding["ok"] for finding in json.loads(well.stdout))
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    no_broker = f"amqp://127.0.0.1:{free_port()}/"
    ill = payonce("doctor", "--json", PAYONCE_REDIS_URL=nowhere, PAYONCE_EVENTS_URL=no_broker)
    assert ill.returncode == 1
    bad = [finding for finding in json.loads(ill.stdout) if not finding["ok"]]
    assert [finding["what"] for finding in bad] == ["Redis", "message queue"]


def test_migrating_twice_applies_nothing_the_second_time(payonce: Command) -> None:
    assert payonce("migrate").stdout == "nothing to apply\n"


def test_settings_are_read_from_the_file_and_the_environment_wins(tmp_path: Path) -> None:
    file = tmp_path / "payonce.toml"
    file.write_text("port = 9000\npool_size = 30\nsecret_keys = []\n")
    settings = read_settings({"PAYONCE_PORT": "9001"}, file)
    assert (settings.port, settings.pool_size) == (9001, 30)
    assert read_settings({}) == Settings()


def test_rabbitmq_without_its_client_is_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = {"PAYONCE_EVENTS_URL": "amqp://broker/"}
    assert read_settings(said).events_url == "amqp://broker/"
    monkeypatch.setattr("gateway.settings.find_spec", lambda _name: None)
    with pytest.raises(ConfigurationError, match=r"EVENTS_URL.*payonce\[amqp\]"):
        read_settings(said)


def test_every_wrong_setting_is_said_at_once() -> None:
    with pytest.raises(ConfigurationError) as wrong:
        read_settings(
            {
                "PAYONCE_PORT": "70000",
                "PAYONCE_COLOUR": "red",
                "PAYONCE_DATABASE_URL": "mysql://x",
                "PAYONCE_EVENTS_URL": "kafka://x",
                "PAYONCE_SECRET_KEYS": "short",
                "PAYONCE_ALLOW_PRIVATE_WEBHOOKS": "perhaps",
                "PAYONCE_TRUSTED_PROXIES": "10.0.0.0/8, 10.0.0.1/8, proxy",
            }
        )
    said = str(wrong.value)
    for name in ("PORT", "COLOUR", "DATABASE_URL", "EVENTS_URL", "SECRET_KEYS"):
        assert f"PAYONCE_{name}" in said
    assert "PAYONCE_ALLOW_PRIVATE_WEBHOOKS" in said
    assert "short" not in said
    assert said.count("PAYONCE_TRUSTED_PROXIES") == 2


def test_serve_without_secret_keys_says_how_to_make_one(payonce: Command) -> None:
    refused = payonce("serve", "--port", str(free_port()), PAYONCE_SECRET_KEYS="")
    assert refused.returncode == 1
    assert "new-secret-key" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_up_says_which_option_is_wrong_before_it_makes_anything(
    payonce: Command, tmp_path: Path
) -> None:
    port = free_port()
    a_file = tmp_path / "file"
    a_file.touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        refused = {
            "--port": payonce("up", "--port", str(port), "--data", "data"),
            "'--port'": payonce("up", "--port", "70000"),
            "'--data'": payonce("up", "--data", str(a_file)),
            "--ready-file": payonce("up", "--ready-file", "nowhere/ready.json"),
        }
    for named, said in refused.items():
        assert said.returncode != 0
        assert named in said.stderr
        assert "Traceback" not in said.stderr
    assert not (tmp_path / "data").exists()


def test_a_ready_file_of_an_earlier_start_is_not_left_to_be_believed(
    payonce: Command, tmp_path: Path
) -> None:
    stale = tmp_path / "ready.json"
    stale.write_text("{}")
    port = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        payonce("up", "--port", str(port), "--ready-file", str(stale))
    assert not stale.exists()
