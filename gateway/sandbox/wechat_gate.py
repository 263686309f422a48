"""The door of WeChat Pay: who may come in, checked in the order that the real one was seen to use,
and the signature that every accepted call is answered with.
"""

import random
import re

import msgspec
from aiohttp import web

from gateway.sandbox.faults import FaultBoard
from gateway.sandbox.keys import SandboxKeys
from gateway.sandbox.wechat_crypto import MerchantKey, Signer, read_authorization
from gateway.sandbox.wechat_errors import WechatRefusal, sign_error

KIND = "wechat"
PREFIX = f"/{KIND}"
CLOCK_TOLERANCE_S = 300

SECONDS = re.compile(r"[0-9]{1,12}")
MALFORMED = "Http头Authorization值格式错误，请参考《微信支付商户REST API签名规则》"
MALFORMED_ORDER_CALL = "签名信息错误，验签失败"
STALE = "Http头Authorization中的timestamp与发起请求的时间不得超过5分钟"
WRONG_SERIAL = "商户证书序列号有误。请使用签名私钥匹配的证书序列号"


class WechatGate:
    """Checks requests and signs answers with whichever of the channel's keys is in use."""

    def __init__(self, keys: SandboxKeys, faults: FaultBoard) -> None:
        self._keys = keys
        self._faults = faults
        self._merchant_key = MerchantKey(keys.merchant.certificate)
        self._public_key = Signer(keys.public_key_id, keys.public_key_pair)
        self._platform = [Signer(one.serial, one.key) for one in keys.platform]
        self._stranger = Signer(keys.public_key_id, keys.merchant.key)

    def admit(self, request: web.Request, body: bytes) -> None:
        """Let a merchant's request in. Raises WechatRefusal in the documented order."""
        if not request.headers.get("User-Agent") or not request.headers.get("Accept"):
            raise WechatRefusal(400, "INVALID_REQUEST", "Http头缺少Accept或User-Agent")
        target = _own_path(request.raw_path)
        claim = read_authorization(request.headers.get("Authorization", ""))
        if claim is None or not SECONDS.fullmatch(claim.timestamp):
            bare = "Authorization" not in request.headers
            order_call = target.startswith("/v3/pay/transactions/")
            raise sign_error(MALFORMED_ORDER_CALL if bare and order_call else MALFORMED)
        if abs(self._now_s() - int(claim.timestamp)) > CLOCK_TOLERANCE_S:
            raise sign_error(STALE)
        if claim.mchid != self._keys.mchid or claim.serial_no != self._keys.merchant.serial:
            raise sign_error(WRONG_SERIAL)
        # A client that is given a base URL with a path may sign the path it really sends, or the
        # channel's own path as it would through a proxy. Both prove the same.
        if not any(
            self._merchant_key.signed(request.method, path, claim, body)
            for path in (target, request.raw_path)
        ):
            raise sign_error("签名错误")
        self._answering_key(request)

    def answer(self, request: web.Request, payload: msgspec.Struct | None) -> web.Response:
        """A signed answer: 200 with JSON, or 204 signed over nothing."""
        body = b"" if payload is None else msgspec.json.encode(payload)
        headers = self._answering_key(request).headers(
            body, self._now_s(), probe=self._faults.spoils_answer(KIND)
        )
        if payload is None:
            return web.Response(status=204, headers=headers)
        return web.Response(
            body=body, headers=headers, content_type="application/json", charset="utf-8"
        )

    def callback_headers(self, body: bytes) -> dict[str, str]:
        """The headers of one send of a callback, by the key that callbacks are signed with now."""
        chosen = self._faults.of(KIND).callback_signer
        if chosen == "mixed":
            chosen = random.choice(("public_key", "certificate"))
        signer = self._public_key if chosen == "public_key" else self.platform_signer
        return self._callback(signer, body)

    def forged_headers(self, body: bytes) -> dict[str, str]:
        """As a stranger would sign: the right key id, the wrong key."""
        return self._callback(self._stranger, body)

    def probe_headers(self, body: bytes) -> dict[str, str]:
        """As the channel tests that merchants verify: its own key, a signature that must fail."""
        return self._callback(self._public_key, body, probe=True)

    @property
    def platform_signer(self) -> Signer:
        """The platform certificate in use: the second one once it was rotated."""
        return self._platform[int(self._faults.of(KIND).rotate_certificate)]

    def _callback(self, signer: Signer, body: bytes, *, probe: bool = False) -> dict[str, str]:
        headers = signer.headers(body, self._now_s(), probe=probe)
        return {"Content-Type": "application/json", "User-Agent": "Mozilla/4.0", **headers}

    def _answering_key(self, request: web.Request) -> Signer:
        """The key a merchant asked to be answered with; the platform certificate by default."""
        wanted = request.headers.get("Wechatpay-Serial")
        if wanted == self._keys.public_key_id:
            return self._public_key
        if wanted is None or wanted in (signer.serial for signer in self._platform):
            return self.platform_signer
        raise WechatRefusal(400, "PARAM_ERROR", "平台证书序列号Wechatpay-Serial错误")

    def _now_s(self) -> int:
        return int(self._faults.now(KIND).timestamp())


def _own_path(raw_path: str) -> str:
    return raw_path.removeprefix(PREFIX)
