"""Stripe's own package runs against the sandbox as it is: it is what most merchants use."""

from pathlib import Path

import msgspec
import pytest

from gateway.sandbox.keys import SandboxKeys, stripe_account
from tests.sandbox.merchant import Json
from tests.sandbox.sdk_runs import SCRIPTS, python_with, run_script

SDK = "stripe-16.1.0"


@pytest.fixture(scope="session")
def sdk() -> Path:
    return python_with(SDK, "stripe==16.1.0")


@pytest.mark.timeout(300)  # the first run installs the SDK
async def test_stripes_package_runs_unchanged(
    sdk: Path, keys: SandboxKeys, sandbox_url: str
) -> None:
    account = stripe_account(keys, sandbox_url + "/stripe")
    given: Json = {"account": account, "sandbox_url": sandbox_url}
    printed = await run_script(given, str(sdk), str(SCRIPTS / "stripe_run.py"))
    seen = msgspec.json.decode(printed, type=Json)
    told = {step: seen.pop(step) for step in list(seen) if step.endswith("_event")}
    assert seen == {
        "same_session": True,
        "replayed": "true",
        "session": ["open", None, 1234],
        "mismatch": ["IdempotencyError", 400, None],
        "held": ["complete", "requires_capture", 1234],
        "paid": ["succeeded", 1234, True],
        "cancel_paid": ["InvalidRequestError", 400, "payment_intent_unexpected_state"],
        "expire_paid": ["InvalidRequestError", 400, None],
        "refund": ["succeeded", 1000, True],
        "refunds": [[True, "succeeded"]],
        "too_much": ["InvalidRequestError", 400, None],
        "slip": ["requires_action", 47, True],
        "found": [[True, "succeeded"]],
        "no_refund": ["InvalidRequestError", 400, None],
        "wrong_payer": ["InvalidRequestError", 400, "tax_id_invalid"],
        "unknown": ["InvalidRequestError", 404, "resource_missing"],
        "stranger": ["AuthenticationError", 401, None],
    }
    assert told["held_event"] == told["paid_event"] != told["slip_event"]
    assert str(told["refund_event"]).startswith("re_")
