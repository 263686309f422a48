"""Alipay's newer protocol: signatures in headers, refusals as HTTP errors, the same trades."""

import time
from uuid import uuid4

import msgspec
import pytest

from tests.sandbox.alipay_merchant import AlipayMerchant, verifies
from tests.sandbox.merchant import Answer, Json

NUMBER = "ORDER000001"


async def call(
    alipay: AlipayMerchant,
    path: str,
    body: Json,
    *,
    later_s: float = 0,
    signed_as: str = "POST",
    **claim: str,
) -> Answer:
    """POST below /v3/alipay/trade/, signed as documented unless the test changes something."""
    raw = msgspec.json.encode(body).decode()
    stamp = int((time.time() + later_s) * 1000)
    said = {"app_id": alipay.account["app_id"], "nonce": str(uuid4()), "timestamp": str(stamp)}
    words = ",".join(f"{name}={value}" for name, value in (said | claim).items())
    path = f"/v3/alipay/trade/{path}"
    sign = alipay.sign_text(f"{words}\n{signed_as}\n{path}\n{raw}\n")
    headers = {
        "Authorization": f"ALIPAY-SHA256withRSA {words},sign={sign}",
        "Content-Type": "application/json",
    }
    url = alipay.account["base_url"] + path
    async with alipay.session.post(url, data=raw, headers=headers) as answer:
        return Answer(answer.status, dict(answer.headers), await answer.read())


async def test_an_answer_is_flat_and_signed_in_its_headers(alipay: AlipayMerchant) -> None:
    answer = await call(alipay, "precreate", alipay.order(NUMBER))
    assert answer.status == 200
    assert set(answer.json) == {"out_trade_no", "qr_code"}
    signed = f"{answer.headers['alipay-timestamp']}\n{answer.headers['alipay-nonce']}\n".encode()
    signature = answer.headers["alipay-signature"]
    assert verifies(alipay.trusted, signed + answer.body + b"\n", signature)
    assert answer.headers["alipay-trace-id"]


async def test_a_trade_is_the_same_by_either_protocol(alipay: AlipayMerchant) -> None:
    await call(alipay, "precreate", alipay.order(NUMBER) | {"notify_url": alipay.receiver.url})
    await alipay.pay(NUMBER)
    (send,) = await alipay.receiver.until(1)
    old = await alipay.query(NUMBER)
    new = await call(alipay, "query", {"out_trade_no": NUMBER})
    assert old.body["trade_no"] == new.json["trade_no"] == alipay.told(send.body)["trade_no"]


async def test_a_refusal_is_an_http_error_without_a_signature(alipay: AlipayMerchant) -> None:
    answer = await call(alipay, "query", {"out_trade_no": NUMBER})
    assert (answer.status, answer.code) == (400, "ACQ.TRADE_NOT_EXIST")
    assert "alipay-signature" not in answer.headers


@pytest.mark.parametrize(
    ("claim", "later_s", "code"),
    [
        ({"app_id": "2021000000000000"}, 0, "invalid-app-id"),
        ({"timestamp": "now"}, 0, "missing-signature"),
        ({"app_cert_sn": "0" * 32}, 0, "invalid-app-cert-sn"),
        ({}, -601, "invalid-timestamp"),
        ({}, 601, "invalid-timestamp"),
    ],
)
async def test_whoever_cannot_prove_who_calls_is_answered_401(
    alipay: AlipayMerchant, claim: dict[str, str], later_s: float, code: str
) -> None:
    answer = await call(alipay, "query", {}, later_s=later_s, **claim)
    assert (answer.status, answer.code) == (401, code)


async def test_the_whole_request_is_covered_by_the_signature(alipay: AlipayMerchant) -> None:
    answer = await call(alipay, "query", {"out_trade_no": NUMBER}, signed_as="GET")
    assert (answer.status, answer.code) == (401, "invalid-signature")


async def test_faults_lie_in_the_way_of_both_protocols(alipay: AlipayMerchant) -> None:
    await alipay.faults(
        error={"verb": "create", "status": 503, "after_executing": True, "times": 1}
    )
    answer = await call(alipay, "precreate", alipay.order(NUMBER))
    assert (answer.status, answer.code) == (503, "aop.unknow-error")
    assert (await alipay.pay(NUMBER)).status == 200
