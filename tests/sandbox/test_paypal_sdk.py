"""PayPal's own package runs against the sandbox as it is: it is what merchants use."""

from pathlib import Path

import msgspec
import pytest

from gateway.sandbox.keys import SandboxKeys, paypal_account
from tests.sandbox.merchant import Json
from tests.sandbox.sdk_runs import SCRIPTS, python_with, run_script

SDK = "paypal-server-sdk-2.4.0"


@pytest.fixture(scope="session")
def sdk() -> Path:
    return python_with(SDK, "paypal-server-sdk==2.4.0")


@pytest.mark.timeout(300)  # the first run installs the SDK
async def test_paypals_package_runs_unchanged(
    sdk: Path, keys: SandboxKeys, sandbox_url: str
) -> None:
    account = paypal_account(keys, sandbox_url + "/paypal")
    given: Json = {"account": account, "sandbox_url": sandbox_url}
    printed = await run_script(given, str(sdk), str(SCRIPTS / "paypal_run.py"))
    assert msgspec.json.decode(printed, type=Json) == {
        "create": [201, "PAYER_ACTION_REQUIRED"],
        "replay": [200, True],
        "links": ["payer-action", "self"],
        "too_early": [422, "UNPROCESSABLE_ENTITY", "ORDER_NOT_APPROVED"],
        "approved": "APPROVED",
        "capture": [201, "COMPLETED", "COMPLETED"],
        "capture_again": 200,
        "already": [422, "UNPROCESSABLE_ENTITY", "ORDER_ALREADY_CAPTURED"],
        "captured": ["COMPLETED", "12.34", True],
        "refund": [201, "COMPLETED", "5.00"],
        "refund_again": [200, True],
        "refund_shown": "COMPLETED",
        "captured_then": "PARTIALLY_REFUNDED",
        "unknown": [404, "RESOURCE_NOT_FOUND", "INVALID_RESOURCE_ID"],
    }
