"""Alipay's SDKs that merchants really use run against the sandbox as they are.

Each goes through its own signing and verifying, so that what the sandbox believes to be the
protocol is what others, who met the real channel, believe too.
"""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from gateway.sandbox.keys import SandboxKeys, alipay_account, alipay_certificate_account
from tests.sandbox.merchant import Json
from tests.sandbox.sdk_runs import SCRIPTS, node_folder_with, python_with, run_script

PYTHON_SDK = "python-alipay-sdk-3.4.0"
PYTHON_PACKAGES = ("python-alipay-sdk==3.4.0",)
NODE_SDK = "alipay-sdk@4.14.0"

MODES = pytest.mark.parametrize(
    "account_of",
    [
        pytest.param(alipay_account, id="public_key"),
        pytest.param(alipay_certificate_account, id="certificate"),
    ],
)
AccountOf = Callable[[SandboxKeys, str], dict[str, str]]


class Page(msgspec.Struct, frozen=True):
    """A page that the SDK sent a browser to."""

    status: int
    text: str


class SeenByRest(msgspec.Struct, frozen=True):
    """The same by the newer protocol; a refusal is its code and its HTTP status."""

    create: Json
    query: Json
    query_paid: Json
    close_paid: Json
    refund: Json
    query_refund: Json


class Seen(msgspec.Struct, frozen=True):
    """All that a script prints: answers that the SDK believed."""

    create: Json
    query: Json
    notification: dict[str, str]
    notification_holds: bool
    query_paid: Json
    close_paid: Json
    refund: Json
    query_refund: Json
    close: Json
    query_closed: Json
    pages: tuple[Page, ...]
    rest: SeenByRest | None = None
    bill: tuple[str, ...] = ()  # its files
    bill_archive: str = ""  # how it begins


@pytest.fixture(scope="session")
def python_sdk() -> Path:
    return python_with(PYTHON_SDK, *PYTHON_PACKAGES)


@pytest.fixture(scope="session")
def node_sdk() -> Path:
    return node_folder_with(NODE_SDK)


def check(printed: bytes) -> Seen:
    """Every answer was believed by the SDK and says what the protocol says."""
    seen = msgspec.json.decode(printed, type=Seen)
    assert str(seen.create["qr_code"]).startswith("https://qr.alipay.com/")
    assert (seen.query["code"], seen.query["sub_code"]) == ("40004", "ACQ.TRADE_NOT_EXIST")
    assert seen.notification_holds
    assert seen.notification["trade_status"] == "TRADE_SUCCESS"
    assert seen.notification["out_trade_no"] == seen.create["out_trade_no"]
    assert seen.query_paid["trade_status"] == "TRADE_SUCCESS"
    assert seen.query_paid["trade_no"] == seen.notification["trade_no"]
    assert seen.close_paid["sub_code"] == "ACQ.TRADE_STATUS_ERROR"
    assert (seen.refund["fund_change"], seen.refund["refund_fee"]) == ("Y", "10.00")
    assert seen.query_refund["refund_status"] == "REFUND_SUCCESS"
    assert seen.close["code"] == "10000"
    assert seen.query_closed["trade_status"] == "TRADE_CLOSED"
    assert [page.status for page in seen.pages] == [200, 200, 200]
    assert all("确认付款" in page.text for page in seen.pages)
    return seen


def check_rest(seen: SeenByRest | None) -> None:
    assert seen is not None
    assert str(seen.create["qr_code"]).startswith("https://qr.alipay.com/")
    assert seen.query == {"code": "ACQ.TRADE_NOT_EXIST", "status": 400}
    assert seen.query_paid["trade_status"] == "TRADE_SUCCESS"
    assert seen.close_paid == {"code": "ACQ.TRADE_STATUS_ERROR", "status": 400}
    assert (seen.refund["fund_change"], seen.refund["refund_fee"]) == ("Y", "10.00")
    assert seen.query_refund["refund_status"] == "REFUND_SUCCESS"


@pytest.mark.timeout(300)  # the first run installs the SDK
@MODES
async def test_python_alipay_sdk_runs_unchanged(
    python_sdk: Path, keys: SandboxKeys, sandbox_url: str, account_of: AccountOf
) -> None:
    account = account_of(keys, sandbox_url + "/alipay")
    given: Json = {"account": account, "sandbox_url": sandbox_url}
    seen = check(await run_script(given, str(python_sdk), str(SCRIPTS / "alipay_python_run.py")))
    details, sums = seen.bill
    number = seen.create["out_trade_no"]
    assert f"\t,{number}\t,交易\t," in details
    assert f"\t,{number}\t,退款\t," in details
    assert "#退款合计：1笔，商家实收退款共-10.00元" in details
    assert "\r\n合计\t,\t,1,1,2.34,2.34," in sums


@pytest.mark.timeout(300)  # the first run installs the SDK
@MODES
async def test_alipay_sdk_runs_unchanged(
    node_sdk: Path, keys: SandboxKeys, sandbox_url: str, account_of: AccountOf
) -> None:
    account = account_of(keys, sandbox_url + "/alipay")
    given: Json = {"account": account, "sandbox_url": sandbox_url}
    script = str(SCRIPTS / "alipay_sdk_run.mjs")
    seen = check(await run_script(given, "node", script, str(node_sdk)))
    check_rest(seen.rest)
    assert seen.bill_archive == "PK"
