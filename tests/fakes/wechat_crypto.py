"""The channel's half of WeChat Pay's cryptography, written from the protocol's description alone.

It shares no line with the adapter or the sandbox: what all three agree on is the protocol.
"""

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from os import urandom

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.fakes import keys
from tests.fakes.keys import new_key, private_pem, public_pem, signature, signed_by

Json = Mapping[str, object]

_AUTHORIZATION = re.compile(
    r'WECHATPAY2-SHA256-RSA2048 mchid="(?P<mchid>[^"]*)",nonce_str="(?P<nonce>[^"]*)",'
    r'signature="(?P<signature>[^"]*)",timestamp="(?P<timestamp>[0-9]+)",serial_no="(?P<serial>[^"]*)"'
)


@dataclass(frozen=True)
class Pen:
    """A private key and the serial that its signatures are known by."""

    serial: str
    key: rsa.RSAPrivateKey

    def headers(self, body: bytes, at: datetime) -> dict[str, str]:
        """The five Wechatpay-* headers, in lower case, of a message signed at a time."""
        timestamp, nonce = str(int(at.timestamp())), urandom(16).hex()
        message = timestamp.encode() + b"\n" + nonce.encode() + b"\n" + body + b"\n"
        return {
            "wechatpay-timestamp": timestamp,
            "wechatpay-nonce": nonce,
            "wechatpay-serial": self.serial,
            "wechatpay-signature": signature(self.key, message),
            "wechatpay-signature-type": "WECHATPAY2-SHA256-RSA2048",
        }


@dataclass(frozen=True)
class Certified:
    """A platform key with its certificate as PEM."""

    pen: Pen
    pem: str


@dataclass(frozen=True)
class WeChatKeys:
    """What merchant and channel share, and the private halves of both."""

    mchid: str
    appid: str
    apiv3_key: str
    merchant: Certified
    public: Pen
    public_pem: str
    certificates: tuple[Certified, ...]
    stranger: rsa.RSAPrivateKey

    def settings(self, base_url: str, *, public_key: bool = True) -> dict[str, str]:
        """The settings of an account that talks to whoever has these keys."""
        settings = {
            "mchid": self.mchid,
            "appid": self.appid,
            "merchant_serial": self.merchant.pen.serial,
            "merchant_key": private_pem(self.merchant.pen.key),
            "apiv3_key": self.apiv3_key,
            "base_url": base_url,
        }
        if public_key:
            settings |= {"public_key_id": self.public.serial, "public_key": self.public_pem}
        return settings


@cache
def stub_keys() -> WeChatKeys:
    """One set of keys for the whole run: making six RSA keys takes most of a second."""
    public = new_key()
    return WeChatKeys(
        mchid="1900000109",
        appid="wxd678efh567hg6787",
        apiv3_key="0123456789abcdefghijKLMNOPQRSTUV",
        merchant=certified("merchant", 0x1DDE55AD98ED71D6EDD4A4A16996DE7B47773A8C),
        public=Pen("PUB_KEY_ID_0119000001092024091200382300001234", public),
        public_pem=public_pem(public),
        # The second serial begins with a zero, which some libraries print and others do not.
        certificates=(
            certified("platform 1", 0x5157F09EFDC096DE15EBE81A47057A7232F1B8E1),
            certified("platform 2", 0x0ABCF09EFDC096DE15EBE81A47057A7232F1B8E2),
        ),
        stranger=new_key(),
    )


def certified(name: str, serial: int, *, days: int = 365) -> Certified:
    """A new key with a certificate that ends `days` from now."""
    made = keys.certified(name, issues=None, days=days, serial=serial)
    return Certified(Pen(f"{serial:040X}", made.key), made.pem)


def fault_of_request(
    keys: WeChatKeys, method: str, target: str, authorization: str, body: str, now: datetime
) -> str:
    """Say what is wrong with a request's Authorization, in the channel's order; empty: nothing."""
    said = _AUTHORIZATION.fullmatch(authorization)
    if said is None:
        return "Http头Authorization值格式错误，请参考《微信支付商户REST API签名规则》"
    if abs(now.timestamp() - int(said["timestamp"])) > 300:
        return "Http头Authorization中的timestamp与发起请求的时间不得超过5分钟"
    if said["serial"] != keys.merchant.pen.serial or said["mchid"] != keys.mchid:
        return "商户证书序列号有误。请使用签名私钥匹配的证书序列号"
    message = f"{method}\n{target}\n{said['timestamp']}\n{said['nonce']}\n{body}\n"
    return "" if signed_by(keys.merchant.pen.key, said["signature"], message) else "签名错误"


def seal(apiv3_key: str, plain: bytes, associated_data: str) -> dict[str, object]:
    """Encrypt as callbacks and certificates are."""
    nonce = urandom(6).hex()
    sealed = AESGCM(apiv3_key.encode()).encrypt(nonce.encode(), plain, associated_data.encode())
    return {
        "algorithm": "AEAD_AES_256_GCM",
        "nonce": nonce,
        "associated_data": associated_data,
        "ciphertext": b64encode(sealed).decode(),
    }


def unseal(apiv3_key: str, ciphertext: str, nonce: str, associated_data: str) -> bytes:
    """Decrypt what `seal` encrypted."""
    key = AESGCM(apiv3_key.encode())
    return key.decrypt(nonce.encode(), b64decode(ciphertext), associated_data.encode())


def notification(keys: WeChatKeys, event: str, plain: Json | bytes) -> bytes:
    """The body of a callback that carries `plain`."""
    original = "transaction" if event.startswith("TRANSACTION") else "refund"
    text = plain if isinstance(plain, bytes) else json.dumps(plain, ensure_ascii=False).encode()
    envelope = {
        "id": f"EV-{urandom(8).hex()}",
        "create_time": "2026-11-22T10:34:56+08:00",
        "resource_type": "encrypt-resource",
        "event_type": event,
        "summary": "支付成功",
        "resource": {"original_type": original, **seal(keys.apiv3_key, text, original)},
    }
    return json.dumps(envelope, ensure_ascii=False).encode()
