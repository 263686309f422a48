"""WeChat Pay's signatures and notifications, for the channel, the floors and the callbacks we send.

Each signature exists twice: with RSA, as WeChat Pay has it, and with HMAC, which costs a hundredth,
so that what the product costs can be seen apart from what RSA costs.
"""

import hmac
import secrets
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from gateway.sandbox.keys import SandboxKeys

Sign: TypeAlias = Callable[[bytes], str]
Verify: TypeAlias = Callable[[str, bytes], None]  # raises when the signature is not good

PRICE: Final = 100
CURRENCY: Final = "CNY"


def rsa_signing(private_pem: str) -> Sign:
    key = load_pem_private_key(private_pem.encode(), None)
    assert isinstance(key, RSAPrivateKey)
    padding, digest = PKCS1v15(), SHA256()
    return lambda message: b64encode(key.sign(message, padding, digest)).decode()


def rsa_verifying(public_pem: str) -> Verify:
    key = load_pem_public_key(public_pem.encode())
    assert isinstance(key, RSAPublicKey)
    padding, digest = PKCS1v15(), SHA256()
    return lambda signature, message: key.verify(b64decode(signature), message, padding, digest)


def hmac_signing(secret: str) -> Sign:
    key = secret.encode()
    return lambda message: b64encode(hmac.digest(key, message, "sha256")).decode()


def hmac_verifying(secret: str) -> Verify:
    sign = hmac_signing(secret)

    def verify(signature: str, message: bytes) -> None:
        if not hmac.compare_digest(sign(message), signature):
            raise ValueError("the signature is not good")

    return verify


def signed_message(timestamp: str, nonce: str, body: bytes) -> bytes:
    """What WeChat Pay signs of its answers and its callbacks."""
    return f"{timestamp}\n{nonce}\n".encode() + body + b"\n"


def signed_headers(sign: Sign, serial: str, body: bytes) -> dict[str, str]:
    """The headers that WeChat Pay puts on an answer or a callback, signed now."""
    timestamp, nonce = str(int(time.time())), secrets.token_hex(16)
    return {
        "Wechatpay-Timestamp": timestamp,
        "Wechatpay-Nonce": nonce,
        "Wechatpay-Serial": serial,
        "Wechatpay-Signature": sign(signed_message(timestamp, nonce, body)),
    }


def paid_notification(keys: SandboxKeys, number: str) -> bytes:
    """The body of the callback that says that the payment with that number succeeded."""
    amount = {"total": PRICE, "payer_total": PRICE, "currency": CURRENCY}
    trade = {
        "mchid": keys.mchid,
        "appid": keys.appid,
        "out_trade_no": number,
        "transaction_id": f"42{number}",
        "trade_type": "NATIVE",
        "trade_state": "SUCCESS",
        "trade_state_desc": "支付成功",
        "bank_type": "OTHERS",
        "success_time": "2026-11-11T12:00:00+08:00",
        "payer": {"openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"},
        "amount": {**amount, "payer_currency": CURRENCY},
    }
    nonce = secrets.token_hex(6)
    sealed = AESGCM(keys.apiv3_key.encode()).encrypt(
        nonce.encode(), msgspec.json.encode(trade), b"transaction"
    )
    return msgspec.json.encode(
        {
            "id": secrets.token_hex(18),
            "create_time": "2026-11-11T12:00:00+08:00",
            "resource_type": "encrypt-resource",
            "event_type": "TRANSACTION.SUCCESS",
            "summary": "支付成功",
            "resource": {
                "original_type": "transaction",
                "algorithm": "AEAD_AES_256_GCM",
                "ciphertext": b64encode(sealed).decode(),
                "associated_data": "transaction",
                "nonce": nonce,
            },
        }
    )
