"""`payonce channel check`: a right account is proven, and each usual fault has a sentence of its
own that names the setting.

To try another kind, add a line to `SANDBOX`, and to `WRONG` what can be wrong with its settings.
"""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from typing import Final, Protocol, cast

import aiohttp
import pytest
from aiohttp import web
from aiohttp.client_reqrep import ConnectionKey
from cryptography.fernet import Fernet
from msgspec import Struct

from gateway.channel_check import Checked, Wire, _sentence, check
from gateway.channels.base import Channel
from gateway.channels.kinds import KINDS
from gateway.db.accounts import AccountRow
from gateway.errors import ChannelUnavailable
from gateway.payments import accounts
from gateway.payments.accounts import MAKERS
from gateway.ports import free_port
from gateway.sandbox.keys import (
    SandboxKeys,
    alipay_account,
    alipay_certificate_account,
    paypal_account,
    sandbox_keys,
    stripe_account,
    unionpay_account,
    wechat_account,
)
from gateway.sandbox.server import sandbox_app
from gateway.secrets import Cipher
from gateway.up import serving
from tests.channels.wechat_benches import stub_bench
from tests.fakes.wechat_crypto import certified

Settings = dict[str, str]

SANDBOX: Final[dict[str, Callable[[SandboxKeys, str], Settings]]] = {
    "wechat": wechat_account,
    "alipay": alipay_account,
    "unionpay": unionpay_account,
    "paypal": paypal_account,
    "stripe": stripe_account,
}
KINDS_HERE = pytest.mark.parametrize("kind", list(SANDBOX))


class Hurriable(Protocol):
    """What every maker of adapters is besides: its deadline can be chosen."""

    def __call__(
        self,
        account: str,
        settings: Mapping[str, str],
        secrets: Mapping[str, str],
        http: aiohttp.ClientSession,
        /,
        *,
        deadline_s: float,
    ) -> Channel: ...


class Wrong(Struct, frozen=True):
    """A setting that is well-formed and wrong, and what is said of it."""

    kind: str
    setting: str
    text: Callable[[SandboxKeys], str]  # from another installation's keys
    said: tuple[str, ...]


WRONG: Final = (
    Wrong("wechat", "mchid", lambda _: "1600000001", ("SIGN_ERROR", "mchid")),
    Wrong("wechat", "merchant_serial", lambda o: o.merchant.serial, ("check merchant_serial",)),
    Wrong("wechat", "merchant_key", lambda o: o.merchant.key, ("check merchant_key",)),
    Wrong("wechat", "public_key", lambda o: o.public_key, ("not WeChat Pay's", "public_key")),
    Wrong("wechat", "apiv3_key", lambda o: o.apiv3_key, ("apiv3_key",)),
    Wrong("alipay", "app_id", lambda _: "2021000000000001", ("check app_id",)),
    Wrong("alipay", "app_key", lambda o: o.alipay.app_key, ("check app_key",)),
    Wrong(
        "alipay",
        "alipay_public_key",
        lambda o: o.alipay.alipay_public_key,
        ("not Alipay's", "alipay_public_key"),
    ),
    Wrong("unionpay", "mer_id", lambda _: "777290058000001", ("check mer_id",)),
    Wrong(
        "unionpay",
        "root_cert",
        lambda o: o.unionpay.root_certificate,
        ("not UnionPay's", "root_cert"),
    ),
    Wrong("paypal", "client_id", lambda o: o.paypal.client_id, ("check client_id",)),
    Wrong("paypal", "webhook_id", lambda o: o.paypal.webhook_id, ("webhook_id: the app has no",)),
    Wrong("paypal", "client_secret", lambda o: o.paypal.client_secret, ("client_secret",)),
    Wrong("stripe", "secret_key", lambda o: o.stripe.secret_key, ("secret_key",)),
)


@pytest.fixture(scope="module")
def keys() -> SandboxKeys:
    return sandbox_keys(None)


@pytest.fixture(scope="module")
def other(keys: SandboxKeys) -> SandboxKeys:
    """Another merchant's keys, as different as they can be."""
    return sandbox_keys(None)


class Sandbox(Struct, frozen=True):
    url: str
    keys: SandboxKeys

    def account(self, kind: str, **changes: str) -> Settings:
        return {**SANDBOX[kind](self.keys, f"{self.url}/{kind}"), **changes}

    async def faults(self, kind: str, **said: object) -> None:
        """Let every channel of a kind misbehave."""
        async with aiohttp.ClientSession() as http:
            for traits in KINDS[kind].channels:
                fault = {"channel": traits.channel, **said}
                async with http.post(f"{self.url}/_control/faults", json=fault) as answer:
                    assert answer.status == 200, await answer.text()

    async def ledger(self) -> list[object]:
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"{self.url}/_control/ledger") as answer,
        ):
            return list((await answer.json())["data"])


@asynccontextmanager
async def running(keys: SandboxKeys, ahead: timedelta = timedelta()) -> AsyncIterator[Sandbox]:
    """Run a sandbox whose clock, as its answers tell it, is ahead of ours."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    app = sandbox_app(keys, public_url=url)

    async def tell_the_time(_request: web.Request, response: web.StreamResponse) -> None:
        response.headers["Date"] = format_datetime(datetime.now(UTC) + ahead, usegmt=True)

    app.on_response_prepare.append(tell_the_time)
    async with serving(app, "127.0.0.1", port):
        yield Sandbox(url, keys)


@pytest.fixture
async def sandbox(keys: SandboxKeys) -> AsyncIterator[Sandbox]:
    async with running(keys) as up:
        yield up


async def checked(kind: str, settings: Mapping[str, str]) -> Checked:
    """Check an account with those settings, none of which is kept."""
    cipher = Cipher([Fernet.generate_key().decode()])
    terminals = ["pc", "wap", "webview", "app"]
    row = AccountRow(
        "acct", "demo", kind, json.dumps(settings), cipher.encrypt({}), 100, terminals, True
    )
    return await check(row, cipher)


async def fault(kind: str, settings: Mapping[str, str]) -> str:
    """What is wrong with an account; something must be."""
    found = await checked(kind, settings)
    assert not found.ok, found.says
    return found.says


@KINDS_HERE
async def test_a_right_account_is_proven_and_nothing_is_made(sandbox: Sandbox, kind: str) -> None:
    found = await checked(kind, sandbox.account(kind))
    assert (found.ok, found.account, found.kind) == (True, "acct", kind), found.says
    assert found.says.startswith("answers as it should")
    assert await sandbox.ledger() == []


async def test_what_is_told_of_a_right_account_is_how_long_its_certificates_last(
    sandbox: Sandbox, keys: SandboxKeys
) -> None:
    by_certificates = alipay_certificate_account(keys, f"{sandbox.url}/alipay")
    for kind, settings, named in (
        ("alipay", by_certificates, ("app_certificate", "alipay_certificate", "root_certificate")),
        ("unionpay", sandbox.account("unionpay"), ("pfx", "root_cert", "middle_cert")),
    ):
        found = await checked(kind, settings)
        assert found.ok, found.says
        for setting in named:
            assert f"{setting} is good until 20" in found.says


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: f"{wrong.kind} {wrong.setting}")
async def test_a_setting_that_is_wrong_is_named(
    sandbox: Sandbox, other: SandboxKeys, wrong: Wrong
) -> None:
    settings = sandbox.account(wrong.kind, **{wrong.setting: wrong.text(other)})
    says = await fault(wrong.kind, settings)
    for words in wrong.said:
        assert words in says


async def test_another_merchants_pfx_is_named(sandbox: Sandbox, other: SandboxKeys) -> None:
    stranger = {"pfx": other.unionpay.pfx, "pfx_password": other.unionpay.pfx_password}
    assert "check pfx" in await fault("unionpay", sandbox.account("unionpay", **stranger))


@KINDS_HERE
async def test_settings_that_are_incomplete_are_all_named(sandbox: Sandbox, kind: str) -> None:
    settings = sandbox.account(kind)
    needed = [each.name for each in KINDS[kind].settings if each.default is None]
    says = await fault(kind, {name: settings[name] for name in settings if name not in needed})
    assert needed
    for name in needed:
        assert f"{name}: " in says


@KINDS_HERE
async def test_a_port_where_nobody_listens_is_said(sandbox: Sandbox, kind: str) -> None:
    port = free_port()
    says = await fault(kind, sandbox.account(kind, base_url=f"http://127.0.0.1:{port}"))
    assert says.startswith(f"base_url: 127.0.0.1:{port} cannot be reached (Conn")


@KINDS_HERE
async def test_a_port_that_speaks_no_tls_is_said(sandbox: Sandbox, kind: str) -> None:
    base_url = sandbox.url.replace("http://", "https://")
    says = await fault(kind, sandbox.account(kind, base_url=base_url))
    assert says.startswith("base_url: 127.0.0.1:")
    assert "does not speak TLS" in says


@KINDS_HERE
async def test_a_place_where_there_is_no_channel_is_said(sandbox: Sandbox, kind: str) -> None:
    says = await fault(kind, sandbox.account(kind, base_url=f"{sandbox.url}/nowhere"))
    assert "404" in says
    assert "check base_url" in says


@KINDS_HERE
async def test_a_channel_that_does_not_answer_in_time_is_said(
    sandbox: Sandbox, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    makers = cast(tuple[Hurriable, ...], MAKERS[kind])
    hurried = tuple(partial(make, deadline_s=0.2) for make in makers)
    monkeypatch.setitem(accounts.MAKERS, kind, hurried)
    await sandbox.faults(kind, latency_s=1)
    says = await fault(kind, sandbox.account(kind))
    assert says.startswith("no answer within 0.2 s")
    assert "base_url" in says


@KINDS_HERE
async def test_a_connection_that_is_cut_is_said(sandbox: Sandbox, kind: str) -> None:
    cut = {"verb": "query", "after_executing": False, "times": 9}
    await sandbox.faults(kind, lose_answer=cut)
    assert "the connection was cut; check base_url" in await fault(kind, sandbox.account(kind))


@KINDS_HERE
@pytest.mark.parametrize(("ahead_s", "how"), [(400, "behind"), (-400, "ahead of")])
async def test_a_clock_that_is_off_is_said(
    keys: SandboxKeys, kind: str, ahead_s: int, how: str
) -> None:
    async with running(keys, ahead=timedelta(seconds=ahead_s)) as late:
        says = await fault(kind, late.account(kind))
    assert "this machine's clock is " in says
    assert f"s {how} the channel's" in says


async def test_a_channel_that_finds_our_clock_off_is_believed(sandbox: Sandbox) -> None:
    await sandbox.faults("wechat", clock_shift_s=400)
    assert "set this machine's clock" in await fault("wechat", sandbox.account("wechat"))


@pytest.mark.parametrize(
    ("kind", "error", "said"),
    [
        (
            "alipay",
            {"status": 400, "code": "isv.insufficient-isv-permissions"},
            "has not been given this product",
        ),
        ("unionpay", {"status": 400, "code": "10"}, "that the merchant has this product"),
    ],
)
async def test_a_permission_that_is_missing_is_said(
    sandbox: Sandbox, kind: str, error: dict[str, object], said: str
) -> None:
    await sandbox.faults(kind, error={"verb": "query", "after_executing": False, **error})
    assert said in await fault(kind, sandbox.account(kind))


async def test_a_permission_that_wechat_pay_has_not_given_is_said() -> None:
    async with stub_bench() as bench:
        refusal = {"code": "NO_AUTH", "message": "商户无权限"}
        bench.stub.answers["query"] = 403, json.dumps(refusal).encode()
        says = await fault("wechat", bench.keys.settings(bench.url))
    assert "has not been given this product" in says


async def test_a_merchant_that_has_only_the_public_key_is_not_asked_for_certificates() -> None:
    """WeChat Pay lists none for it, and says so in an answer that is not signed."""
    async with stub_bench() as bench:
        bench.stub.listed.clear()
        found = await checked("wechat", bench.keys.settings(bench.url))
    assert found.ok, found.says


async def test_a_certificate_that_ended_is_said(sandbox: Sandbox) -> None:
    expired = certified("expired", 0x11111111, days=-1)
    old = sandbox.account("wechat", platform_certificates=expired.pem)
    says = await fault("wechat", old)
    assert "platform_certificates: the certificate of" in says
    assert "payonce channel set" in says


def test_a_name_that_is_not_known_is_said() -> None:
    unknown = aiohttp.ClientConnectorDNSError(
        ConnectionKey("pay.example", 443, True, True, None, None, None),
        OSError(-2, "Name or service not known"),
    )
    error = ChannelUnavailable("no answer: ClientConnectorDNSError")
    error.__cause__ = unknown
    assert _sentence(error, Wire()).startswith("base_url: pay.example:443 is not known")


async def test_secrets_that_no_key_decrypts_are_said_as_that(sandbox: Sandbox) -> None:
    row = AccountRow("acct", "demo", "wechat", "{}", b"nothing", 100, ["pc"], True)
    found = await check(row, Cipher([Fernet.generate_key().decode()]))
    assert "PAYONCE_SECRET_KEYS" in found.says
