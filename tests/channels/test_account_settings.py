"""The settings of an account: everything that is wrong with them is said at once, and no text of
theirs is.
"""

from collections.abc import Mapping

import aiohttp
import pytest

from gateway.errors import ConfigurationError
from gateway.payments.accounts import MAKERS
from gateway.sandbox.keys import (
    SandboxKeys,
    alipay_account,
    alipay_certificate_account,
    sandbox_keys,
    unionpay_account,
    wechat_account,
)

URL = "https://sandbox.example"


@pytest.fixture(scope="module")
def keys() -> SandboxKeys:
    return sandbox_keys(None)


async def fault(kind: str, settings: Mapping[str, str]) -> str:
    """Why such an account cannot be made; it must not."""
    async with aiohttp.ClientSession() as http:
        with pytest.raises(ConfigurationError) as refused:
            MAKERS[kind][0]("acct_1", settings, {}, http)
    return str(refused.value)


async def test_every_wrong_text_is_named_at_once_whichever_way_it_is_wrong(
    keys: SandboxKeys,
) -> None:
    wechat = wechat_account(keys, URL)
    said = await fault(
        "wechat",
        {**wechat, "mchid": "", "apiv3_key": "s3cret", "merchant_key": "s3cret", "public_key": "x"},
    )
    assert [line.partition(":")[0] for line in said.splitlines()] == [
        "mchid",
        "merchant_key",
        "apiv3_key",
        "public_key",
    ]
    assert "s3cret" not in said


async def test_what_does_not_go_together_is_said_beside_what_is_malformed(
    keys: SandboxKeys,
) -> None:
    by_key, by_certificates = alipay_account(keys, URL), alipay_certificate_account(keys, URL)
    said = await fault("alipay", {**by_key, **by_certificates, "app_id": "x", "app_key": "y"})
    assert [line.partition(":")[0] for line in said.splitlines()] == [
        "app_id",
        "app_key",
        "alipay_public_key",
    ]


async def test_a_setting_that_may_be_left_out_may_be_empty_too(keys: SandboxKeys) -> None:
    settings = {**unionpay_account(keys, URL), "base_url": " "}
    async with aiohttp.ClientSession() as http:
        adapter = MAKERS["unionpay"][0]("acct_1", settings, {}, http)
    assert adapter.traits.form_targets == ("https://*.95516.com",)
