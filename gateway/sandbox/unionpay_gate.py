"""UnionPay's door: who may come in, and the signature on everything that goes out.

Written from the documents of ACP 5.1.0, and on purpose not shared with the gateway's adapter.
"""

import hashlib
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from typing import cast

from aiohttp import web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509 import load_pem_x509_certificate

from gateway.sandbox.faults import FaultBoard
from gateway.sandbox.keys import SandboxKeys
from gateway.sandbox.pem import load_private

KIND = "unionpay"
PREFIX = f"/{KIND}"
BEIJING = timezone(timedelta(hours=8))
TIME = "%Y%m%d%H%M%S"

ECHOED = (
    "txnType",
    "txnSubType",
    "bizType",
    "merId",
    "orderId",
    "txnTime",
    "settleDate",
    "fileType",
)

Sent = Mapping[str, str]
"""The fields of a form."""

MESSAGES = {
    "00": "成功[0000000]",
    "01": "交易失败。详情请咨询95516[6100001]",
    "02": "系统未开放或暂时关闭，请稍后再试",
    "03": "交易通讯超时，请发起查询交易",
    "05": "交易已受理，请稍后查询交易结果",
    "06": "系统繁忙，请稍后再试",
    "10": "报文格式错误",
    "11": "验证签名失败",
    "12": "重复交易",
    "13": "报文交易要素缺失",
    "34": "查无此交易",
    "35": "原交易不存在或状态不正确",
    "36": "与原交易信息不符",
    "37": "已超过最大查询次数或操作过于频繁",
    "39": "交易不在受理时间范围内",
    "98": "文件不存在",
}


class UnionPayRefusal(Exception):
    """The channel says no; the answer is signed."""

    def __init__(self, code: str, about: str = "") -> None:
        super().__init__(f"{code} {about}")
        self.code = code
        self.about = about


class UnionPayGate:
    """Checks requests, signs answers, and signs what is told afterwards."""

    def __init__(self, keys: SandboxKeys, faults: FaultBoard) -> None:
        mine = keys.unionpay
        self._faults = faults
        self._mer_id = mine.mer_id
        merchant = load_pem_x509_certificate(mine.merchant_certificate.encode())
        self._cert_id = str(merchant.serial_number)
        self._merchant_key = cast(rsa.RSAPublicKey, merchant.public_key())
        self._signer = (mine.signer_key, mine.signer_certificate)
        self._stranger = (mine.merchant_key, mine.merchant_certificate)

    def admit(self, sent: Sent, wanted: Iterable[str]) -> None:
        """Let a merchant's call about a transaction in. Raises UnionPayRefusal."""
        self.admit_any(sent, ("orderId", *wanted))
        number = sent["orderId"]
        if not (8 <= len(number) <= 40 and number.isascii() and number.isalnum()):
            raise UnionPayRefusal("10", "orderId")

    def admit_any(self, sent: Sent, wanted: Iterable[str]) -> None:
        """Let a merchant's call in, whatever it is about. Raises UnionPayRefusal."""
        always = ("version", "encoding", "signMethod", "certId", "signature", "merId")
        for name in (*always, "txnTime", "txnType", "txnSubType", "bizType", *wanted):
            if not sent.get(name):
                raise UnionPayRefusal("13", name)
        fixed = {"version": "5.1.0", "encoding": "UTF-8", "signMethod": "01", "accessType": "0"}
        for name, value in {**fixed, "merId": self._mer_id}.items():
            if sent.get(name) != value:
                raise UnionPayRefusal("10", name)
        if sent["certId"] != self._cert_id or not self._signed(sent):
            raise UnionPayRefusal("11")
        read_time(sent, "txnTime")

    def answer(self, sent: Sent, said: Sent) -> web.Response:
        """A signed answer: values as they are between `&` and `=`, nothing quoted."""
        echoed = {name: sent[name] for name in ECHOED if name in sent}
        text = _joined(self.signed({**echoed, **said}))
        if self._faults.spoils_answer(KIND):
            text = text.replace("respCode=", "respCode=A", 1)
        return web.Response(text=text, content_type="text/html", charset="utf-8")

    def signed(self, said: Sent, *, forged: bool = False) -> dict[str, str]:
        """Fields on their way to the merchant, with the certificate that they are signed with."""
        key, certificate = self._stranger if forged else self._signer
        told = {
            "version": "5.1.0",
            "encoding": "UTF-8",
            "signMethod": "01",
            "accessType": "0",
            **said,
            # Some merchants' libraries strip what they read before they check it.
            "signPubKeyCert": certificate.strip().replace("\n", "\r\n"),
        }
        signature = load_private(key).sign(_digest(told), padding.PKCS1v15(), hashes.SHA256())
        return {**told, "signature": b64encode(signature).decode()}

    @property
    def mer_id(self) -> str:
        return self._mer_id

    def _signed(self, sent: Sent) -> bool:
        try:
            self._merchant_key.verify(
                b64decode(sent["signature"], validate=True),
                _digest(sent),
                padding.PKCS1v15(),
                hashes.SHA256(),
            )
        except (InvalidSignature, Base64Error):
            return False
        return True


def respond(code: str, about: str = "") -> dict[str, str]:
    """A code with its sentence."""
    sentence = MESSAGES.get(code, "其他错误")
    return {"respCode": code, "respMsg": f"{sentence}[{about}]" if about else sentence}


def read_time(sent: Sent, name: str) -> datetime:
    """Read a time of Beijing's. Raises UnionPayRefusal."""
    try:
        return datetime.strptime(sent[name], TIME).replace(tzinfo=BEIJING)
    except ValueError:
        raise UnionPayRefusal("10", name) from None


def in_beijing(moment: datetime) -> str:
    return moment.astimezone(BEIJING).strftime(TIME)


def _digest(fields: Sent) -> bytes:
    text = _joined({name: value for name, value in fields.items() if name != "signature" and value})
    return hashlib.sha256(text.encode()).hexdigest().encode()


def _joined(fields: Sent) -> str:
    return "&".join(f"{name}={value}" for name, value in sorted(fields.items()))
