"""Signatures, certificates and a merchant's file that another program (OpenSSL) made."""

from base64 import b64decode
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from gateway.channels.unionpay_account import read_credentials
from gateway.channels.unionpay_connection import Connection
from gateway.channels.unionpay_trust import UNIONPAYS_NAME, Believed, Trust
from gateway.errors import BadCallback

VECTORS = Path(__file__).parent / "vectors" / "unionpay"
ANSWER = b64decode((VECTORS / "answer.base64.txt").read_text())
SETTINGS = {
    "mer_id": "777290058110048",
    "pfx": (VECTORS / "merchant.pfx.base64.txt").read_text(),
    "pfx_password": "000000",
    "root_cert": (VECTORS / "root.pem").read_text(),
    "middle_cert": (VECTORS / "middle.pem").read_text(),
}


def now() -> datetime:
    return datetime.now(UTC)


def fields_in(text: bytes) -> dict[bytes, bytes]:
    return {name: value for name, _, value in (part.partition(b"=") for part in text.split(b"&"))}


async def test_a_request_is_signed_as_openssl_signs_it_with_the_file_that_openssl_made() -> None:
    credentials = read_credentials(SETTINGS, {})
    expected = (VECTORS / "request.txt").read_text()
    said = dict(part.split("=", 1) for part in expected.split("&"))
    mine = {"version", "encoding", "signMethod", "certId", "accessType", "merId"}
    async with aiohttp.ClientSession() as http:
        connection = Connection(credentials, http, now)
        signed = connection.sign({name: said[name] for name in said.keys() - mine})
    signature = (VECTORS / "request.signature.txt").read_text()
    assert signed == {**said, "signature": signature}


def test_an_answer_that_openssl_signed_is_believed() -> None:
    Believed(read_credentials(SETTINGS, {}).trust, now).check(fields_in(ANSWER))


@pytest.mark.parametrize(
    "change", [(b"=00&", b"=01&"), (b"62+a=b", b"62 a=b"), (b"\r\n", b"\n"), (b"CERT", b"cert")]
)
def test_an_answer_that_was_changed_is_not(change: tuple[bytes, bytes]) -> None:
    text = ANSWER.replace(*change)
    assert text != ANSWER
    with pytest.raises(BadCallback, match="certificate"):
        Believed(read_credentials(SETTINGS, {}).trust, now).check(fields_in(text))


def test_a_field_without_a_value_is_no_part_of_what_is_signed() -> None:
    text = ANSWER.replace(b"reqReserved=&", b"")
    assert text != ANSWER
    Believed(read_credentials(SETTINGS, {}).trust, now).check(fields_in(text))


def test_under_another_root_nobody_is_believed() -> None:
    trust = read_credentials(SETTINGS, {}).trust
    other = Trust(trust.intermediates, trust.intermediates, frozenset({UNIONPAYS_NAME}))
    Believed(other, now).check(fields_in(ANSWER))  # a middle certificate may stand for the root
    nobody = Trust((), trust.intermediates, frozenset({UNIONPAYS_NAME}))
    with pytest.raises(BadCallback, match="does not lead to the root"):
        Believed(nobody, now).check(fields_in(ANSWER))
