"""Alipay's gateway: what it reads, in which order it checks, and what its answers look like."""

import asyncio
import hashlib
from base64 import b64decode
from urllib.parse import urlencode, urlsplit

import aiohttp
import pytest
from cryptography.x509 import load_pem_x509_certificate, load_pem_x509_certificates

from gateway.sandbox.keys import SandboxKeys, alipay_certificate_account
from tests.sandbox.alipay_merchant import AlipayMerchant, Reply, public_key

NUMBER = "ORDER000001"
QUERY = "alipay.trade.query"
POINT = {"out_trade_no": NUMBER}


async def get(alipay: AlipayMerchant, query: str) -> Reply:
    async with alipay.session.get(f"{alipay.gateway}?{query}") as answer:
        return alipay.read(answer.status, answer.headers["Content-Type"], await answer.read())


def without(parameters: dict[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in parameters.items() if key != name}


async def test_an_answer_is_compact_json_signed_as_it_stands(alipay: AlipayMerchant) -> None:
    reply = await alipay.precreate(NUMBER)
    assert (reply.status, reply.content_type) == (200, "text/html;charset=utf-8")
    assert (reply.name, reply.signed) == ("alipay_trade_precreate_response", True)
    assert rb'"qr_code":"https:\/\/qr.alipay.com\/' in reply.raw
    assert b": " not in reply.raw


async def test_parameters_are_read_from_wherever_libraries_put_them(
    alipay: AlipayMerchant,
) -> None:
    all_of_them = alipay.signed(QUERY, POINT)
    biz = {"biz_content": all_of_them["biz_content"]}
    rest = without(all_of_them, "biz_content")
    form = aiohttp.FormData(all_of_them, default_to_multipart=True)
    in_query = await get(alipay, urlencode(all_of_them))
    async with alipay.session.post(f"{alipay.gateway}?{urlencode(rest)}", data=biz) as split:
        divided = await split.read()
    async with alipay.session.post(alipay.gateway, data=form) as parts:
        assert parts.request_info.headers["Content-Type"].startswith("multipart/form-data")
        assert await parts.read() == divided == in_query.raw
    assert in_query.signed


async def test_a_request_line_may_name_the_host(alipay: AlipayMerchant) -> None:
    url = urlsplit(alipay.gateway)
    target = f"{alipay.gateway}?{urlencode(alipay.signed(QUERY, POINT))}"
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    head = f"GET {target} HTTP/1.1\r\nHost: {url.netloc}\r\nConnection: close\r\n\r\n"
    writer.write(head.encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"ACQ.TRADE_NOT_EXIST" in answer


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("app_id", "", "isv.missing-app-id"),
        ("app_id", "2021000000000000", "isv.invalid-app-id"),
        ("method", "", "isv.missing-method"),
        ("method", "alipay.trade.steal", "isv.invalid-method"),
        ("sign_type", "", "isv.missing-signature-type"),
        ("sign_type", "RSA", "isv.invalid-signature-type"),
        ("sign", "AAAA", "isv.invalid-signature"),
        ("sign", "not base64", "isv.invalid-signature"),
        ("charset", "", "isv.missing-charset"),
        ("charset", "GBK", "isv.invalid-charset"),
        ("format", "XML", "isv.invalid-format"),
        ("version", "2.0", "isv.invalid-version"),
        ("timestamp", "", "isv.missing-timestamp"),
        ("timestamp", "2026-11-22T10:00:00Z", "isv.invalid-timestamp"),
        ("app_cert_sn", "0" * 32, "isv.invalid-app-cert-sn"),
    ],
)
async def test_whoever_is_not_let_in_is_answered_without_a_signature(
    alipay: AlipayMerchant, name: str, value: str, code: str
) -> None:
    reply = await alipay.call(QUERY, POINT, **{name: value})
    assert (reply.status, reply.name, reply.signed) == (200, "error_response", None)
    assert reply.code == code
    assert reply.body["code"] == ("40001" if "missing" in code else "40002")


async def test_the_application_is_checked_before_the_signature(alipay: AlipayMerchant) -> None:
    unsigned = without(alipay.signed(QUERY, POINT), "sign")
    assert (await alipay.send(unsigned)).code == "isv.missing-signature"
    assert (await alipay.send(unsigned | {"app_id": "1"})).code == "isv.invalid-app-id"
    assert (await alipay.send({})).code == "isv.missing-app-id"


async def test_every_parameter_is_covered_by_the_signature(alipay: AlipayMerchant) -> None:
    signed = alipay.signed(QUERY, POINT, notify_url="https://shop.test/notify")
    for name in ("biz_content", "notify_url", "timestamp", "method"):
        changed = {"timestamp": "2026-11-22 10:00:00", "method": "alipay.trade.close"}
        reply = await alipay.send(signed | {name: changed.get(name, "{}")})
        assert reply.code == "isv.invalid-signature"
    assert (await alipay.send({**signed, "passed_along": ""})).code == "ACQ.TRADE_NOT_EXIST"


@pytest.mark.parametrize(
    ("biz", "code"),
    [
        ("", "isv.missing-parameter"),
        ("[]", "isv.invalid-parameter"),
        ("{", "isv.invalid-parameter"),
        ('{"out_trade_no":["A"]}', "isv.invalid-parameter"),
        ("{}", "ACQ.INVALID_PARAMETER"),
    ],
)
async def test_a_body_that_is_wrong_is_refused_with_a_signature(
    alipay: AlipayMerchant, biz: str, code: str
) -> None:
    for method in (QUERY, "alipay.trade.close", "alipay.trade.fastpay.refund.query"):
        reply = await alipay.call(method, biz)
        assert (reply.code, reply.signed) == (code, True)


def sn(pem: str) -> str:
    """A certificate's number, by the parts of its issuer's name."""
    certificate = load_pem_x509_certificate(pem.encode())
    parts = [str(part.value) for part in reversed(list(certificate.issuer))]
    kinds = ("CN", "OU", "O", "C")
    name = ",".join(f"{kind}={part}" for kind, part in zip(kinds, parts, strict=True))
    text = f"{name}{certificate.serial_number}"
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


async def test_certificates_are_named_in_both_directions(
    alipay: AlipayMerchant, keys: SandboxKeys
) -> None:
    account = alipay_certificate_account(keys, alipay.url)
    assert account.keys() == {
        *("app_id", "app_key", "seller_id", "base_url"),
        *("app_certificate", "alipay_certificate", "root_certificate"),
    }
    roots = account["root_certificate"].split("\n\n")
    assert [by_rsa(one) for one in roots] == [False, True]
    named = {"app_cert_sn": sn(account["app_certificate"]), "alipay_root_cert_sn": sn(roots[1])}
    reply = await alipay.call(QUERY, POINT, **named)
    assert (reply.code, reply.signed) == ("ACQ.TRADE_NOT_EXIST", True)
    assert f'"alipay_cert_sn":"{sn(account["alipay_certificate"])}"'.encode() in reply.raw
    wrong = await alipay.call(QUERY, POINT, **{**named, "alipay_root_cert_sn": "0" * 32})
    assert wrong.code == "isv.invalid-alipay-root-cert-sn"


def by_rsa(pem: str) -> bool:
    algorithm = load_pem_x509_certificate(pem.encode()).signature_algorithm_oid
    return algorithm.dotted_string.startswith("1.2.840.113549.1.1.")


async def test_a_rotated_certificate_can_be_downloaded_and_leads_to_the_root(
    alipay: AlipayMerchant, keys: SandboxKeys
) -> None:
    account = alipay_certificate_account(keys, alipay.url)
    root = next(one for one in account["root_certificate"].split("\n\n") if by_rsa(one))
    named = {"app_cert_sn": sn(account["app_certificate"]), "alipay_root_cert_sn": sn(root)}
    await alipay.faults(rotate_certificate=True)
    reply = await alipay.call(QUERY, POINT, **named)
    assert reply.signed is False
    new_sn = reply.raw.partition(b'"alipay_cert_sn":"')[2][:32].decode()
    download = "alipay.open.app.alipaycert.download"
    answer = await alipay.call(download, {"alipay_cert_sn": new_sn})
    pem = b64decode(answer.body["alipay_cert_content"])
    new, authority = load_pem_x509_certificates(pem)
    new.verify_directly_issued_by(authority)
    authority.verify_directly_issued_by(load_pem_x509_certificate(root.encode()))
    assert sn(pem.decode()) == new_sn != sn(account["alipay_certificate"])
    unknown = await alipay.call(download, {"alipay_cert_sn": "0" * 32})
    assert unknown.code == "isv.invalid-alipay-cert-sn"


def test_both_modes_share_the_first_key(keys: SandboxKeys) -> None:
    certificate = load_pem_x509_certificate(keys.alipay.alipay[0].certificate.encode())
    assert certificate.public_key() == public_key(keys.alipay.alipay_public_key)


async def test_answers_can_carry_a_signature_that_does_not_hold(alipay: AlipayMerchant) -> None:
    await alipay.faults(probe_answers=1)
    assert [(await alipay.query(NUMBER)).signed for _ in range(2)] == [False, True]
