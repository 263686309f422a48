"""Signatures and ciphertext made by another program (Node's crypto) out of the protocol's rules."""

from datetime import UTC, datetime, timedelta

import pytest

from gateway.channels import signing
from gateway.channels.wechat_keys import Keys, PlatformKey, name_of, unseal
from gateway.channels.wechat_wire import Sealed
from gateway.errors import BadCallback
from tests.fakes.wechat_crypto import stub_keys

PUBLIC_KEY = """-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEArtwzoFVjIrD4Kn/elUQM
lRBObHkSSiMPmx+diZaOKzByLWxOvmDdy/H8fvJGtoRoH9I8Zjq+ht3AXRSodQ47
wD5NSYsxSDUmnT14ueWOVdbpZSwEIe7bnrrV8VKi4p/4Lm8Zpey6YqrhiCP5O5lP
z9kGbgcZZrR5FOxeOr5H3NaGiKkM0hCShDWpP+3PbM30g6fdyMR3EOPUKCmwG9Gd
9WiTEy3KqDmU/GvAsxM1PC2RLe6AFlyLeoEP6+D3DCNUGKajqLsAmEdgPqLzJlsN
Ere6FBMbeSrIrBC88jH528dwdLOqfnryIeiX99EuNbsmBuv00EkfjzcNt+xe9P9M
pwIDAQAB
-----END PUBLIC KEY-----"""
BODY = b'{"code_url":"weixin://wxpay/bizpayurl?pr=p4lpSuKzz"}'
SIGNATURE_OF_BODY = (
    "NzupYhtRlzpbTkdpkPLnED137PrHgCuU+yPjSJcKJz1vBZTDZTwG6wAflDt9gdbERUfHRdGFuFlzU90RPx8kQKID2DFL"
    "qneWafTgxCwPXPf5E4sCIWUhDZELZdRRrhUeIfrMbynGfnCpz73wNsCJoi+fDR4YVvlxmBQw79OiMZUAT4A6FTT1kHNQ"
    "6nYerN/B+MbaffA/5C8w6f5QZAO8Z8MBj+ekbAgxXRc4UnU9WqadWtFl3AVocN+IhVbcNnnjCkj258rQuvuUXuOfQCe9"
    "Uc39EgT6JPiLGaaKp0hKDndIiqKWzO4Q0MkNBKjd5f7j8ixZRllbU4HKON0JrlIN/g=="
)
SIGNATURE_OF_NOTHING = (
    "NgcQd8yX8xV9pTVpo/7ki5iorsK5ORtKKQ7Eoi2KV5JLDqURgF6X9IQA0EW8S98Uz8o4l/L5dIEA+4FtCY9W1ksToDTk"
    "xY8yAFZyvq59Ea5cNTtKX/+gxuYKOYNRIFJteWriMazemArthYBoM2gv7FfP1VneS2cYANeMZkeuHki4j9QQ5EqNZzvT"
    "oldS3/sgCfnFsfPcixa9vhhidm2iND7Ooh2cAjdyqGDG+AcW+Krz0lpEkZe4qx8fAipIwtZQZSx3m4/ALE1vDYzaotWE"
    "Uq7AK6Kge+3H9/0tPAdsjaHjjC58LqIGfuBMO5Mg4e7Eb5dg/rAUHN41ntbvekokbQ=="
)
SIGNED_AT = datetime.fromtimestamp(1554208460, UTC)
HEADERS = {
    "wechatpay-timestamp": "1554208460",
    "wechatpay-nonce": "593BEC0C930BF1AFEB40B4A08C8FB242",
    "wechatpay-serial": "PUB_KEY_ID_01",
}
KEYS = Keys({"PUB_KEY_ID_01": PlatformKey(signing.read_public_key("public_key", PUBLIC_KEY))})

APIV3_KEY = b"0123456789abcdefghijKLMNOPQRSTUV"
SEALED = Sealed(
    algorithm="AEAD_AES_256_GCM",
    nonce="fdasflkja484",
    associated_data="transaction",
    ciphertext="ZB0HqyeuCOcSxM5mi1wk8NrkSqqmbeZbNfX2IJoKiw==",
)


@pytest.mark.parametrize(
    ("body", "signature"), [(BODY, SIGNATURE_OF_BODY), (b"", SIGNATURE_OF_NOTHING)]
)
def test_a_known_signature_over_a_body_or_over_nothing_is_good(body: bytes, signature: str) -> None:
    KEYS.check({**HEADERS, "wechatpay-signature": signature}, body, SIGNED_AT)


@pytest.mark.parametrize(
    "change",
    [
        {"wechatpay-timestamp": "1554208461"},
        {"wechatpay-nonce": "593BEC0C930BF1AFEB40B4A08C8FB243"},
        {"wechatpay-nonce": ""},
        {"wechatpay-nonce": "593BEC0C930BF1AFEB40B4A08C8FB242\n"},
        {"wechatpay-signature": SIGNATURE_OF_NOTHING},
        {"wechatpay-signature": SIGNATURE_OF_BODY + "AAAA"},
        {"wechatpay-signature": SIGNATURE_OF_BODY[:-4]},
        {"wechatpay-signature": "签名"},
        {"wechatpay-signature": "WECHATPAY/SIGNTEST/" + SIGNATURE_OF_BODY[19:]},
        {"wechatpay-signature-type": "WECHATPAY2-SM2-WITH-SM3"},
        {"wechatpay-serial": "PUB_KEY_ID_01 "},
        {"wechatpay-timestamp": "١٥٥٤٢٠٨٤٦٠"},
    ],
)
def test_the_same_signature_with_anything_changed_is_bad(change: dict[str, str]) -> None:
    headers = {**HEADERS, "wechatpay-signature": SIGNATURE_OF_BODY, **change}
    with pytest.raises(BadCallback) as refused:
        KEYS.check(headers, BODY, SIGNED_AT)
    assert refused.value.reason == "signature"


@pytest.mark.parametrize(
    ("age_s", "good"), [(300, True), (-300, True), (301, False), (-301, False)]
)
def test_a_signature_is_good_for_five_minutes_either_way(age_s: int, good: bool) -> None:
    headers = {**HEADERS, "wechatpay-signature": SIGNATURE_OF_BODY}
    now = SIGNED_AT + timedelta(seconds=age_s)
    if good:
        KEYS.check(headers, BODY, now)
        return
    with pytest.raises(BadCallback) as refused:
        KEYS.check(headers, BODY, now)
    assert refused.value.reason == "stale"


def test_a_part_of_the_body_cannot_be_passed_off_as_the_nonce() -> None:
    pen = stub_keys().public
    headers = pen.headers(b"first\nsecond", SIGNED_AT)
    keys = Keys({pen.serial: PlatformKey(pen.key.public_key())})
    keys.check(headers, b"first\nsecond", SIGNED_AT)
    moved = {**headers, "wechatpay-nonce": headers["wechatpay-nonce"] + "\nfirst"}
    with pytest.raises(BadCallback, match="malformed"):
        keys.check(moved, b"second", SIGNED_AT)


def test_known_ciphertext_is_decrypted() -> None:
    assert unseal(APIV3_KEY, SEALED) == '{"金额":1234}'.encode()


@pytest.mark.parametrize(
    "sealed",
    [
        Sealed("AEAD_AES_128_GCM", SEALED.ciphertext, SEALED.nonce, SEALED.associated_data),
        Sealed(SEALED.algorithm, SEALED.ciphertext, SEALED.nonce, "refund"),
        Sealed(SEALED.algorithm, SEALED.ciphertext, "fdasflkja485", SEALED.associated_data),
        Sealed(SEALED.algorithm, SEALED.ciphertext, "", SEALED.associated_data),
        Sealed(SEALED.algorithm, "AAAA" + SEALED.ciphertext[4:], SEALED.nonce, "transaction"),
        Sealed(SEALED.algorithm, "", SEALED.nonce, SEALED.associated_data),
        Sealed(SEALED.algorithm, "not base64!", SEALED.nonce, SEALED.associated_data),
        Sealed(SEALED.algorithm, "金额", SEALED.nonce, SEALED.associated_data),
    ],
)
def test_anything_but_the_known_ciphertext_is_not_decrypted(sealed: Sealed) -> None:
    assert unseal(APIV3_KEY, sealed) is None


def test_a_merchants_signature_is_verified_by_its_own_public_half() -> None:
    key = stub_keys().merchant.pen.key
    signature = signing.sign(key, b"GET\n/v3/certificates\n1554208460\nnonce\n\n")
    message = b"GET\n/v3/certificates\n1554208460\nnonce\n\n"
    assert signing.verify(key.public_key(), signature, message)
    assert not signing.verify(key.public_key(), signature, message + b"\n")


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("5157f09efdc096de15ebe81a47057a7232f1b8e1", "5157F09EFDC096DE15EBE81A47057A7232F1B8E1"),
        ("0ABC", "ABC"),
        ("PUB_KEY_ID_00ab", "PUB_KEY_ID_00ab"),
    ],
)
def test_serials_are_compared_whatever_their_case_and_leading_zeros(
    written: str, name: str
) -> None:
    assert name_of(written) == name
