"""Signatures, and the name of a certificate, made by other programs (Node's crypto, OpenSSL)."""

import pytest

from gateway.channels import signing
from gateway.channels.alipay_certificates import read_roots, sn_of, sn_of_roots
from gateway.channels.alipay_keys import Keys
from gateway.channels.alipay_wire import Trade, money_of, yuan
from gateway.channels.forms import read_fields, read_form, text_to_sign
from gateway.errors import BadCallback, UnknownKey
from gateway.money import MAX_AMOUNT, Money
from tests.fakes.alipay_crypto import stub_side

PUBLIC_KEY = """-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAt0pg4+BCai5uTMXvRJFb
62iLlZkFYIStW27fJJjLgsqCnnhmJbxpJZTZA6ntNtbO4fKlkeZNhF3Y/PoGy+mH
CD/BzY/5ANvA++6qifRcoZy/td8xzQY8uIF+dMYzMGlhM3BqeIHuCfznhgnUis4n
BWWgmt1yLNJLY7GDpnvB54jKKteQ/Iq7pKP5ejTYLyb3zrG6x18qS3JNvD3SmBNw
xPFAop8Lnzx/Ez+ro+eE+54Dz/ljHBOnhPSx9+PrHPcb0EIxILGfin4jDT0aET54
O5yGi3AnE8+Mn4qGk6JeUO4wGofZUM+BLUEEWcm7FwWWFoMSHDMoNo18DCDupCdm
WwIDAQAB
-----END PUBLIC KEY-----"""
KEYS = Keys({"": signing.read_public_key("alipay_public_key", PUBLIC_KEY)})

# The object inside an answer, with the slashes escaped as Alipay escapes them.
INNER = (
    rb'{"code":"10000","msg":"Success","out_trade_no":"01KACB3V9D6H2M4XQ7R8S5T0WZ",'
    rb'"qr_code":"https:\/\/qr.alipay.com\/bax03431ljhokirwl38f00a7"}'
)
SIGNATURE_OF_INNER = (
    "LMEfyzTHMhJ6+I//mE2WH9oNbUB7zORgMjaFSOShx/knO/BbegK2Uy6pypMRvmprLrbjPEIgFjuiQzxACXvfF/qqFB"
    "AZEpoyjIIQhT/Tv9W2BbDbtmtYaR1Xr8j4Uy1+rn85rhWVd8dW/kTa+NHXFN+c5B0Q7pmj05BztSsGHlw+t60dSD3r"
    "fE99PcqCxGUDOe8Le49jTBFanOAT3XozjBI/vc1/M15K1oFkpnhekI/iSrSKbLxPDHL1sVE5TpNadR63ZiC/3RvQPS"
    "wruLaVQOfYzXiLAeoaBoYlgi/hn3uMh5CMcNyhimLpAq7FP2AytMGAonhXqj799Dn+8Tn3TA=="
)

NOTICE = (
    b"gmt_create=2026-11-22+10%3A34%3A50&charset=utf-8&notify_time=2026-11-22+10%3A34%3A57&subje"
    b"ct=%E4%B8%A4%E6%9D%AF+tea+%EF%BC%86+%E2%80%9Ccake%E2%80%9D+100%25+%2B1&body=&notify_type=t"
    b"rade_status_sync&app_id=2021000147600235&notify_id=2026112200222103456045440509361234&trad"
    b"e_no=2026112222001445440500000001&out_trade_no=01KACB3V9D6H2M4XQ7R8S5T0WZ&trade_status=TRA"
    b"DE_SUCCESS&total_amount=12.34&version=1.0&seller_id=2088102146225135&gmt_payment=2026-11-2"
    b"2+10%3A34%3A56&fund_bill_list=%5B%7B%22amount%22%3A%2212.34%22%2C%22fundChannel%22%3A%22AL"
    b"IPAYACCOUNT%22%7D%5D"
)
SIGNATURE_WITH_EMPTY_FIELDS = (
    "rnmEkaVPQHmc5ROdxqdgi5X3luD/PtoOcVQhuMFdsjYz5nY9hqoBG+9VSadh5SnJN8rseWuRtV69aTXWlcbVp0DJnC"
    "MVSEhnJgYvdN0aJNRc7hkBvVlw0PA8eQ1i54SPTyV4wumMkpraK2JjOc3b2sNp1e6XN1TQpRnqvrPKvzsHV4y5SdWX"
    "K+4GlCUjXKf9j2J1U0XjLMmzkIYZJy84ONsA61+wnZmeXPgI5t9cwYeu+JvIsGAMRULEWeRPZrbIARAXEthgtxX+Bx"
    "RDn6cL4vJCWjBeQutqFQ0VBkXGoT/87x6FkwkZbjJZVv//mRn0cZaACJN0PVuRJImR8BzBPg=="
)
SIGNATURE_WITHOUT_EMPTY_FIELDS = (
    "Hw1ieO60/n7PlU3p+p0GTeqwpsg8FeheJHx18yFjxC6rtpI0I0+wZKOLJJwXqvXWLC0YGnpQInQiAND1MKWQsSQpie"
    "8WxTayrR/6AzxAp5seBY9UpAy8ORhEhHhA3D5whFM0tvBbJ6SXW/eQUPP498e69A6MWhXZl6ckTloVUJqmFDIgX4IN"
    "Hu07oydWiV6e3zcqAc/I/wrkQuzKTtieDCAyl2fA8+UN3jlH7LTZIxw7C/f05HbBi3lwmlheBO7nKNqjli+YV/Yam8"
    "LCk4rBCK8uT1Vs85UBv5PsbUkYhWka4dCIQHH4K5ek8ISv/S2D3ENy0LPY/6I629O9cz9/Gw=="
)

# Issuer: CN=Ant Financial Certification Authority Class 2 R1,OU=Certification Authority,
# O=Ant Financial 测试,C=CN; serial number 5A0102030405060708090A0B0C0D0E0F.
CERTIFICATE = """-----BEGIN CERTIFICATE-----
MIID8zCCAtugAwIBAgIQWgECAwQFBgcICQoLDA0ODzANBgkqhkiG9w0BAQsFADCB
iTELMAkGA1UEBhMCQ04xHTAbBgNVBAoMFEFudCBGaW5hbmNpYWwg5rWL6K+VMSAw
HgYDVQQLDBdDZXJ0aWZpY2F0aW9uIEF1dGhvcml0eTE5MDcGA1UEAwwwQW50IEZp
bmFuY2lhbCBDZXJ0aWZpY2F0aW9uIEF1dGhvcml0eSBDbGFzcyAyIFIxMCAXDTI2
MTEyMjAyMDMxNloYDzIxMjYxMDI5MDIwMzE2WjCBiTELMAkGA1UEBhMCQ04xHTAb
BgNVBAoMFEFudCBGaW5hbmNpYWwg5rWL6K+VMSAwHgYDVQQLDBdDZXJ0aWZpY2F0
aW9uIEF1dGhvcml0eTE5MDcGA1UEAwwwQW50IEZpbmFuY2lhbCBDZXJ0aWZpY2F0
aW9uIEF1dGhvcml0eSBDbGFzcyAyIFIxMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A
MIIBCgKCAQEAvEG80BWIpSuf2+1QgCYM0Y6SO61gJ1j62qmkLZmDeNhbt0qOPgra
WNp5AcDCOZaH8A4KBay2fEEnBmPKb6LTX0w4on54bP07GcqVUij3oQbIfJ4BxiWK
9O1MhRgwQuSIMgAK2C7DnVlKkITXTXPLaYFHNJamESGH0iWSmwsQnDNuvfpAIbXs
UHm621isXp8UVP5NpOAlqCJ6+fNlt67eKa1c6hlEcsULzC+LYPbAvkUjCeDhMtP/
PXAoZlyORoVBz0VGk+krzntMdIGLSjLOu+sFi3XgWgbFEkOTyTf0D51dck6YTlIu
7VGLPNhQUYP5ncG3MPytgdR/gch/amG9XQIDAQABo1MwUTAdBgNVHQ4EFgQU5Rf2
Ovwz3uDSWpjLBLKL4Hsh7xIwHwYDVR0jBBgwFoAU5Rf2Ovwz3uDSWpjLBLKL4Hsh
7xIwDwYDVR0TAQH/BAUwAwEB/zANBgkqhkiG9w0BAQsFAAOCAQEAqyzYos1BCOx+
AV61k+CD0u0iVvKohT12qEfFF4YgAFj+9JrC1BqNiHgfTBhYBxBCSvxvgwKyHPMR
KdM7S3+jei5/9mvlJpUP68zSQ+vuLRgOqd8YqXog3YCUc/50uuxyxvWzpwWq35Y4
lYWm9lS6Lq23Pgg4LLNd7+vhTHhMjEwcrQAw7ch2DNziLDSmHEphLSPf3NdHf0x4
sETpCg43vFfnEF/JoHxhNxRlwUaxkXAcMmfJFssYEJoElowzAiRBiahw0izrDD2m
oXFMhyOLqtNKGIXTB4EN00Eu48Iz9a2bvT0YBC3PBFZjb4aYtigymlJIgLNILHVX
tAqNHkM5fg==
-----END CERTIFICATE-----"""
SN = "678752d8284bf109faf8e0ae3d6e7bb9"


def test_a_known_signature_over_an_answer_is_good() -> None:
    KEYS.check("", SIGNATURE_OF_INNER, INNER)


@pytest.mark.parametrize(
    ("inner", "signature"),
    [
        (INNER.replace(b"\\/", b"/"), SIGNATURE_OF_INNER),
        (INNER + b" ", SIGNATURE_OF_INNER),
        (INNER.replace(b"WZ", b"WX"), SIGNATURE_OF_INNER),
        (INNER, SIGNATURE_OF_INNER[:-4]),
        (INNER, SIGNATURE_OF_INNER + "AAAA"),
        (INNER, SIGNATURE_WITH_EMPTY_FIELDS),
        (INNER, ""),
        (INNER, "签名"),
    ],
)
def test_the_same_signature_with_anything_changed_is_bad(inner: bytes, signature: str) -> None:
    with pytest.raises(BadCallback, match="does not fit"):
        KEYS.check("", signature, inner)


def test_a_public_key_is_used_whatever_certificate_is_named() -> None:
    KEYS.check("0123456789abcdef", SIGNATURE_OF_INNER, INNER)


def test_a_certificate_that_is_not_here_is_named_in_short() -> None:
    certified = Keys({"abc": KEYS.by_serial[""]})
    certified.check("abc", SIGNATURE_OF_INNER, INNER)
    certified.check("", SIGNATURE_OF_INNER, INNER)
    with pytest.raises(UnknownKey) as refused:
        certified.check("f" * 1000, SIGNATURE_OF_INNER, INNER)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    ("signature", "keeps_empty"),
    [(SIGNATURE_WITH_EMPTY_FIELDS, True), (SIGNATURE_WITHOUT_EMPTY_FIELDS, False)],
)
def test_a_form_is_read_into_the_text_that_was_signed(signature: str, keeps_empty: bool) -> None:
    fields = read_form(NOTICE)
    assert fields is not None
    text = text_to_sign((name, value) for name, value in fields.items() if value or keeps_empty)
    KEYS.check("", signature, text)


def test_a_form_is_read_into_a_payment() -> None:
    fields = read_form(NOTICE)
    assert fields is not None
    trade = read_fields(fields, Trade)
    assert trade is not None
    assert (trade.out_trade_no, trade.total_amount) == ("01KACB3V9D6H2M4XQ7R8S5T0WZ", "12.34")


@pytest.mark.parametrize(
    "body", [b"a=1&a=2", b"a=1&%61=1", b"&".join(b"f%d=" % n for n in range(201))]
)
def test_a_form_that_can_be_read_in_two_ways_or_has_no_end_is_not_read(body: bytes) -> None:
    assert read_form(body) is None


def test_a_form_keeps_bytes_that_are_no_text() -> None:
    assert read_form(b"a=%FF&b=%00+%2B&c&&") == {b"a": b"\xff", b"b": b"\x00 +", b"c": b""}


def test_a_certificate_is_named_by_its_issuer_and_its_number() -> None:
    assert sn_of(signing.read_certificates("app_certificate", CERTIFICATE)[0]) == SN


def test_roots_that_cannot_be_read_or_used_are_passed_over() -> None:
    side = stub_side()
    assert sn_of_roots(read_roots("root_certificate", side.roots_pem)) == side.roots_sn
    both = f"{CERTIFICATE}\n{side.roots_pem}"
    assert sn_of_roots(read_roots("root_certificate", both)) == f"{SN}_{side.roots_sn}"


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("0.01", 1),
        ("12.34", 1234),
        ("12.3", 1230),
        ("12", 1200),
        ("0", 0),
        ("0.10", 10),
        ("9999999999.99", MAX_AMOUNT - 1),
    ],
)
def test_an_amount_in_yuan_is_read_exactly(text: str, amount: int) -> None:
    assert money_of(text) == Money(amount, "CNY")
    assert money_of(yuan(Money(amount, "CNY"))) == Money(amount, "CNY")


@pytest.mark.parametrize(
    "text", ["", "12.345", "-1", "1e3", "1,000.00", ".5", "5.", "１２", "12.34\n", "99999999999"]
)
def test_what_is_not_an_amount_is_not_read(text: str) -> None:
    fields = read_form(NOTICE)
    assert fields is not None
    changed = {**fields, b"total_amount": text.encode()}
    assert read_fields(changed, Trade) is None
