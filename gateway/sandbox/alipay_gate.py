"""The door of Alipay's gateway: who may come in, checked in the order that the real one was seen
to use, and the signature that goes with every answer to somebody who came in.
"""

from collections.abc import Container, Iterable, Mapping
from datetime import datetime
from uuid import uuid4

import msgspec
from aiohttp import web

from gateway.sandbox.alipay_crypto import AppKey, Signer, certificate_sn, joined, root_sn
from gateway.sandbox.alipay_errors import AlipayRefusal, NotAdmitted
from gateway.sandbox.faults import FaultBoard
from gateway.sandbox.keys import SandboxKeys

KIND = "alipay"
PREFIX = f"/{KIND}"

Sent = Mapping[str, str]
"""A request's parameters, from its query and its body alike."""

CLOCK_TOLERANCE_MS = 10 * 60 * 1000
WRONG_SIGNATURE = "验签出错，建议检查签名字符串或签名私钥与应用公钥是否匹配"


async def read_parameters(request: web.Request) -> Sent:
    """Merge query and form, for libraries divide the parameters between them as they like."""
    form = await request.post()
    sent = dict(request.query)
    sent.update((name, value) for name, value in form.items() if isinstance(value, str))
    return sent


class AlipayGate:
    """Checks requests, signs answers, and signs what is told afterwards."""

    def __init__(self, keys: SandboxKeys, faults: FaultBoard) -> None:
        self._keys = keys.alipay
        self._faults = faults
        self._app_key = AppKey(keys.alipay.app_certificate)
        self._app_sn = certificate_sn(keys.alipay.app_certificate)
        self._root_sn = root_sn(keys.alipay.root_certificates)
        self._signers = [Signer(one.key, one.certificate) for one in keys.alipay.alipay]
        self._stranger = Signer(keys.alipay.app_key, keys.alipay.app_certificate)

    def admit(self, sent: Sent, methods: Container[str]) -> None:
        """Let a merchant's call in. Raises NotAdmitted, for the application before all else."""
        self._check_application(sent)
        if not sent.get("method"):
            raise _missing("method", "缺少方法名参数")
        if sent["method"] not in methods:
            raise _wrong("method", "不存在的方法名")
        _check_public_parameters(sent)
        self._check_certificates(sent)
        if not self._app_key.signed(joined(sent, without=("sign",)), sent["sign"]):
            raise _wrong("signature", WRONG_SIGNATURE)

    def admit_claim(self, claim: Sent, messages: Iterable[bytes]) -> None:
        """Let in a call of the newer protocol, if any of the messages is what was signed.

        Raises NotAdmitted.
        """
        self._check_application(claim)
        self._check_certificates(claim)
        if abs(self._now_ms() - int(claim["timestamp"])) > CLOCK_TOLERANCE_MS:
            raise _wrong("timestamp", "时间戳与服务器时间相差超过10分钟")
        if not any(self._app_key.signed(message, claim["sign"]) for message in messages):
            raise _wrong("signature", WRONG_SIGNATURE)

    def answer_headers(self, body: bytes, *, by_certificate: bool) -> dict[str, str]:
        """The newer protocol's signature over an answer."""
        signer = self._answering(by_certificate=by_certificate)
        stamp, nonce = str(self._now_ms()), uuid4().hex
        signed = f"{stamp}\n{nonce}\n".encode() + body + b"\n" + self._spoiling()
        headers = {
            "alipay-timestamp": stamp,
            "alipay-nonce": nonce,
            "alipay-signature": signer.sign(signed),
        }
        return headers | ({"alipay-sn": signer.sn} if by_certificate else {})

    def answer(self, sent: Sent, payload: msgspec.Struct) -> web.Response:
        """A signed answer under the method's own name, always 200."""
        name = sent["method"].replace(".", "_") + "_response"
        text = _as_json(payload)
        by_certificate = bool(sent.get("app_cert_sn"))
        signer = self._answering(by_certificate=by_certificate)
        members = [_member(name, text)]
        if by_certificate:
            members.append(_member("alipay_cert_sn", msgspec.json.encode(signer.sn)))
        members.append(_member("sign", msgspec.json.encode(signer.sign(text + self._spoiling()))))
        return _response(b"{" + b",".join(members) + b"}")

    def refuse(self, sent: Sent, refusal: AlipayRefusal) -> web.Response:
        """A refusal; whoever was not let in is not worth a signature."""
        if isinstance(refusal, NotAdmitted):
            return _response(b"{" + _member("error_response", _as_json(refusal.body)) + b"}")
        return self.answer(sent, refusal.body)

    def signed(self, parameters: Sent, signer: Signer) -> dict[str, str]:
        """Parameters on their way to the merchant; `sign_type` is not part of what is signed."""
        sign = signer.sign(joined(parameters, without=("sign", "sign_type")))
        return {**parameters, "sign": sign}

    def find_certificate(self, sn: str) -> str:
        """The certificate that has this number. Raises AlipayRefusal."""
        for signer in self._signers:
            if signer.sn == sn:
                return signer.certificate
        raise AlipayRefusal("40002", "isv.invalid-alipay-cert-sn", "支付宝公钥证书SN不存在")

    @property
    def certificate_signer(self) -> Signer:
        """Whose certificate is in use: the second one once it was rotated."""
        return self._signers[int(self._faults.of(KIND).rotate_certificate)]

    @property
    def public_key_signer(self) -> Signer:
        return self._signers[0]

    @property
    def stranger(self) -> Signer:
        """Who signs forged news: a merchant that trusts any key it knows may take its own."""
        return self._stranger

    def _answering(self, *, by_certificate: bool) -> Signer:
        return self.certificate_signer if by_certificate else self.public_key_signer

    def _spoiling(self) -> bytes:
        """What to sign in addition, so that a signature does not hold when a fault says so."""
        return b" " if self._faults.spoils_answer(KIND) else b""

    def _now_ms(self) -> int:
        return int(self._faults.now(KIND).timestamp() * 1000)

    def _check_application(self, sent: Sent) -> None:
        if not sent.get("app_id"):
            raise _missing("app_id", "缺少AppID参数")
        if sent["app_id"] != self._keys.app_id:
            raise _wrong("app_id", "无效的AppID参数")

    def _check_certificates(self, sent: Sent) -> None:
        if sent.get("app_cert_sn", self._app_sn) != self._app_sn:
            raise _wrong("app_cert_sn", "应用公钥证书SN不匹配")
        by_certificate = "app_cert_sn" in sent
        if by_certificate and sent.get("alipay_root_cert_sn") != self._root_sn:
            raise _wrong("alipay_root_cert_sn", "支付宝根证书SN不匹配")


def _check_public_parameters(sent: Sent) -> None:
    """Check what every call carries. Raises NotAdmitted."""
    for name in ("sign", "sign_type", "timestamp", "version", "charset"):
        if not sent.get(name):
            raise _missing(name.replace("sign", "signature"), f"缺少{name}参数")
    if sent["sign_type"] != "RSA2":
        raise _wrong("signature_type", "无效的签名类型，应用只接受RSA2")
    if sent["charset"].lower() not in ("utf-8", "utf8"):
        raise _wrong("charset", "无效的字符集参数，沙盒只接受utf-8")
    if sent.get("format", "JSON").upper() != "JSON":
        raise _wrong("format", "无效的数据格式")
    if sent["version"] != "1.0":
        raise _wrong("version", "无效的版本参数")
    try:
        datetime.strptime(sent["timestamp"], "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 - a shape, no time
    except ValueError:
        raise _wrong("timestamp", "无效的时间戳参数") from None


def _missing(name: str, sub_msg: str) -> NotAdmitted:
    return NotAdmitted("40001", f"isv.missing-{name.replace('_', '-')}", sub_msg)


def _wrong(name: str, sub_msg: str) -> NotAdmitted:
    return NotAdmitted("40002", f"isv.invalid-{name.replace('_', '-')}", sub_msg)


def _as_json(payload: msgspec.Struct) -> bytes:
    """JSON as the real one writes it: every slash is escaped, though nothing asks for that."""
    return msgspec.json.encode(payload).replace(b"/", rb"\/")


def _member(name: str, text: bytes) -> bytes:
    return b'"' + name.encode() + b'":' + text


def _response(body: bytes) -> web.Response:
    return web.Response(body=body, headers={"Content-Type": "text/html;charset=utf-8"})
