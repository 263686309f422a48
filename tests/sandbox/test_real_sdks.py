"""SDKs that merchants really use run against the sandbox as they are.

Each goes through its own signing, verifying and decrypting, so that what the sandbox believes to be
the protocol is what others, who met the real channel, believe too.
"""

from pathlib import Path

import msgspec
import pytest

from gateway.sandbox.keys import SandboxKeys, wechat_account
from tests.sandbox.merchant import Json
from tests.sandbox.sdk_runs import SCRIPTS, node_folder_with, python_with, run_script

# httpx is held below 1: the SDK asks only for a lowest version.
PYTHON_SDK = "wechatpayv3-2.0.1"
PYTHON_PACKAGES = ("wechatpayv3[async]==2.0.1", "httpx<1")
NODE_SDK = "wechatpay-axios-plugin@0.9.6"


class Step(msgspec.Struct, frozen=True):
    """A call as the SDK saw it."""

    status: int
    body: Json | None


class PaidResource(msgspec.Struct, frozen=True):
    out_trade_no: str
    trade_state: str
    transaction_id: str


class PaidCallback(msgspec.Struct, frozen=True):
    """TRANSACTION.SUCCESS after the SDK verified and decrypted it."""

    event_type: str
    resource: PaidResource
    verified: bool = True


class RefundResource(msgspec.Struct, frozen=True):
    out_refund_no: str
    refund_status: str


class RefundCallback(msgspec.Struct, frozen=True):
    """REFUND.SUCCESS after the SDK verified and decrypted it."""

    event_type: str
    resource: RefundResource
    verified: bool = True


class SeenBill(msgspec.Struct, frozen=True):
    """The file as it came: its digest, and of each line number, state, paid and given back."""

    sha1: str
    rows: tuple[tuple[str, str, str, str], ...]


class Seen(msgspec.Struct, frozen=True):
    """All that a script prints."""

    create: Step
    query: Step
    paid_callback: PaidCallback
    query_paid: Step
    close_paid: Step
    refund: Step
    refund_callback: RefundCallback
    query_refund: Step
    create_other: Step
    close: Step
    query_closed: Step
    bill_link: Step
    bill: SeenBill


@pytest.fixture(scope="session")
def python_sdk() -> Path:
    return python_with(PYTHON_SDK, *PYTHON_PACKAGES)


@pytest.fixture(scope="session")
def node_sdk() -> Path:
    return node_folder_with(NODE_SDK)


async def run_sdk(given: Json, *command: str) -> Seen:
    return msgspec.json.decode(await run_script(given, *command), type=Seen)


def check(seen: Seen) -> None:
    """Every answer was believed by the SDK and says what the protocol says."""

    def field(step: Step, name: str) -> object:
        assert step.body is not None
        return step.body[name]

    assert seen.create.status == seen.create_other.status == 200
    assert str(field(seen.create, "code_url")).startswith("weixin://wxpay/bizpayurl?pr=")
    assert field(seen.query, "trade_state") == "NOTPAY"
    assert seen.paid_callback.verified
    assert seen.paid_callback.event_type == "TRANSACTION.SUCCESS"
    assert seen.paid_callback.resource.trade_state == "SUCCESS"
    assert field(seen.query_paid, "trade_state") == "SUCCESS"
    assert field(seen.query_paid, "transaction_id") == seen.paid_callback.resource.transaction_id
    assert (seen.close_paid.status, field(seen.close_paid, "code")) == (400, "ORDERPAID")
    assert (seen.refund.status, field(seen.refund, "status")) == (200, "PROCESSING")
    assert seen.refund_callback.verified
    assert seen.refund_callback.event_type == "REFUND.SUCCESS"
    assert seen.refund_callback.resource.refund_status == "SUCCESS"
    assert field(seen.query_refund, "status") == "SUCCESS"
    assert (seen.close.status, seen.close.body) == (204, None)
    assert field(seen.query_closed, "trade_state") == "CLOSED"
    assert field(seen.bill_link, "hash_value") == seen.bill.sha1
    number = seen.paid_callback.resource.out_trade_no
    assert set(seen.bill.rows) == {
        (number, "SUCCESS", "12.34", "0.00"),
        (number, "REFUND", "0.00", "10.00"),
    }


@pytest.mark.timeout(300)  # the first run installs the SDK
@pytest.mark.parametrize("mode", ["public_key", "certificate"])
async def test_wechatpayv3_runs_unchanged(
    python_sdk: Path, keys: SandboxKeys, sandbox_url: str, mode: str
) -> None:
    account = wechat_account(keys, sandbox_url + "/wechat")
    given: Json = {"account": account, "sandbox_url": sandbox_url, "mode": mode}
    check(await run_sdk(given, str(python_sdk), str(SCRIPTS / "wechatpayv3_run.py")))


@pytest.mark.timeout(300)  # the first run installs the SDK
@pytest.mark.parametrize("mode", ["public_key", "certificate"])
async def test_wechatpay_axios_plugin_runs_unchanged(
    node_sdk: Path, keys: SandboxKeys, sandbox_url: str, mode: str
) -> None:
    given: Json = {
        "account": wechat_account(keys, sandbox_url + "/wechat"),
        "platform": keys.platform[0],
        "sandbox_url": sandbox_url,
        "mode": mode,
    }
    script = SCRIPTS / "axios_plugin_run.mjs"
    check(await run_sdk(given, "node", str(script), str(node_sdk)))
