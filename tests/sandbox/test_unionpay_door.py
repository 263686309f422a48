"""UnionPay's door: what it reads, what it refuses, and what its answers look like."""

from base64 import b64decode

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs12

from gateway.sandbox.keys import SandboxKeys
from tests.sandbox.unionpay_merchant import UnionPayMerchant

NUMBER = "ORDER000001"


async def test_an_answer_is_text_with_values_as_they_are(unionpay: UnionPayMerchant) -> None:
    reply = await unionpay.create("qr", NUMBER)
    assert reply.status == 200
    assert reply.fields["qrCode"].startswith("https://qr.95516.com/")
    assert reply.fields["respMsg"] == "成功[0000000]"
    assert unionpay.verifies(reply.fields)


async def test_the_certificate_in_an_answer_ends_without_a_line_end(
    unionpay: UnionPayMerchant,
) -> None:
    pem = (await unionpay.query(NUMBER)).fields["signPubKeyCert"]
    assert pem.endswith("-----END CERTIFICATE-----")
    assert "\n" not in pem.replace("\r\n", "")


def test_the_merchants_file_is_locked_in_the_old_way_that_every_library_opens(
    keys: SandboxKeys,
) -> None:
    pfx = b64decode(keys.unionpay.pfx)
    by_sha1_and_triple_des = bytes.fromhex("060a2a864886f70d010c0103")
    assert by_sha1_and_triple_des in pfx
    _, certificate, _ = pkcs12.load_key_and_certificates(pfx, keys.unionpay.pfx_password.encode())
    assert certificate is not None
    pem = keys.unionpay.merchant_certificate
    assert certificate == x509.load_pem_x509_certificate(pem.encode())


def test_certificates_lead_from_the_signer_over_the_middle_to_the_root(
    keys: SandboxKeys,
) -> None:
    mine = keys.unionpay
    signer, merchant, middle, root = (
        x509.load_pem_x509_certificate(pem.encode())
        for pem in (
            mine.signer_certificate,
            mine.merchant_certificate,
            mine.middle_certificate,
            mine.root_certificate,
        )
    )
    signer.verify_directly_issued_by(middle)
    merchant.verify_directly_issued_by(middle)
    middle.verify_directly_issued_by(root)
    assert "@00040000:SIGN@" in signer.subject.rfc4514_string()


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("version", "5.0.0", "10"),
        ("encoding", "GBK", "10"),
        ("signMethod", "02", "10"),
        ("accessType", "1", "10"),
        ("merId", "777290058999999", "10"),
        ("certId", "1", "11"),
        ("signature", "AAAA", "11"),
        ("signature", "not base64", "11"),
        ("txnTime", "2026-11-22", "10"),
        ("orderId", "SHORT", "10"),
        ("orderId", "WITH-A-DASH", "10"),
        ("txnAmt", "12.34", "10"),
        ("txnAmt", "0", "10"),
        ("currencyCode", "840", "10"),
        ("bizType", "000201", "10"),
        ("backUrl", "", "13"),
        ("txnAmt", "", "13"),
        ("merId", "", "13"),
    ],
)
async def test_what_is_wrong_is_refused_with_a_signature(
    unionpay: UnionPayMerchant, name: str, value: str, code: str
) -> None:
    reply = await unionpay.create("qr", NUMBER, **{name: value})
    assert (reply.code, unionpay.verifies(reply.fields)) == (code, True)
    assert await unionpay.numbers() == []


async def test_every_field_is_covered_by_the_signature(unionpay: UnionPayMerchant) -> None:
    signed = unionpay.payment("qr", NUMBER)
    for name, value in {"txnAmt": "1", "backUrl": "http://x.test", "reqReserved": "x"}.items():
        assert (await unionpay.post("back", {**signed, name: value})).code == "11"
    assert (await unionpay.post("back", {**signed, "reqReserved": ""})).code == "00"


async def test_each_address_takes_its_own_ways_to_pay(unionpay: UnionPayMerchant) -> None:
    assert (await unionpay.post("app", unionpay.payment("qr", NUMBER))).code == "10"
    assert (await unionpay.post("back", unionpay.payment("app", NUMBER))).code == "10"
    refused = await unionpay.post("front", unionpay.payment("app", NUMBER))
    assert (refused.status, await unionpay.numbers()) == (200, [])


async def test_an_error_comes_bare_or_as_a_code_inside_an_answer(
    unionpay: UnionPayMerchant,
) -> None:
    await unionpay.faults(error={"verb": "query", "status": 502, "after_executing": False})
    assert (await unionpay.query(NUMBER)).status == 502
    error = {"verb": "create", "status": 500, "after_executing": True, "code": "03"}
    await unionpay.faults(error=error)
    assert (await unionpay.create("qr", NUMBER)).code == "03"
    assert await unionpay.numbers() == [NUMBER]


async def test_a_spoilt_answer_does_not_verify(unionpay: UnionPayMerchant) -> None:
    await unionpay.faults(probe_answers=1)
    assert not unionpay.verifies((await unionpay.query(NUMBER)).fields)
    assert unionpay.verifies((await unionpay.query(NUMBER)).fields)
