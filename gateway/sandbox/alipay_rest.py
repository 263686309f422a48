"""The same methods by Alipay's newer protocol: a path for each, and signatures in headers.

Newer libraries speak it. It has no path for what a browser opens, and a merchant may mix both
protocols for one trade. A refusal is an HTTP error here, and none is signed.
"""

import re
from collections.abc import Iterable, Mapping
from uuid import uuid4

import msgspec
from aiohttp import web

from gateway.sandbox.alipay_answers import Success
from gateway.sandbox.alipay_bodies import number_in
from gateway.sandbox.alipay_errors import AlipayRefusal, NotAdmitted, worded
from gateway.sandbox.alipay_gate import PREFIX, AlipayGate, Sent
from gateway.sandbox.alipay_methods import Method
from gateway.sandbox.channel import Shared
from gateway.sandbox.faults import Error

SCHEME = "ALIPAY-SHA256withRSA "
REFUSED = "https://open.alipay.com/api/errCheck"

_CLAIM = re.compile(r"([a-z_]+)=([^,]*)")


class Link(msgspec.Struct, frozen=True):
    link: str
    desc: str = "解决方案"


class Problem(msgspec.Struct, frozen=True):
    """The body of every refusal: the sub-code of the older protocol, without what wraps it."""

    code: str
    message: str
    links: tuple[Link, ...] = (Link(REFUSED),)


class AlipayRest:
    """`/alipay/v3/alipay/trade/...`, over the methods of `gateway.do`."""

    def __init__(self, shared: Shared, gate: AlipayGate, methods: Mapping[str, Method]) -> None:
        self._shared = shared
        self._gate = gate
        self._methods = {_path_of(name): (name, method) for name, method in methods.items()}

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        for path in self._methods:
            yield web.post(path, self._serve)

    async def _serve(self, request: web.Request) -> web.Response:
        """POST /alipay/v3/alipay/trade/... - one method, through the faults and the door"""
        name, method = self._methods[request.path]
        body = await request.text()
        sent = {"method": name, "biz_content": body, "notify_url": number_in(body, "notify_url")}
        return await self._shared.faults.answer(
            request,
            method.call(sent, self._shared.ledger),
            act=lambda: self._attempt(request, sent, method),
            fail=_fail,
        )

    def _attempt(self, request: web.Request, sent: Sent, method: Method) -> web.Response:
        try:
            claim = _read_authorization(request.headers.get("Authorization", ""))
            root_sn = request.headers.get("alipay-root-cert-sn", "")
            messages = _messages(request, claim, sent["biz_content"])
            self._gate.admit_claim(claim | {"alipay_root_cert_sn": root_sn}, messages)
            return self._answer(claim, method.act(sent))
        except AlipayRefusal as refusal:
            return _refuse(refusal, 401 if isinstance(refusal, NotAdmitted) else 400)

    def _answer(self, claim: Mapping[str, str], payload: msgspec.Struct) -> web.Response:
        """A signed answer: flat, without the code that says it went well."""
        fields = msgspec.to_builtins(payload, str_keys=True)
        for name in Success.__struct_fields__:
            del fields[name]
        body = msgspec.json.encode(fields)
        headers = self._gate.answer_headers(body, by_certificate="app_cert_sn" in claim)
        headers["alipay-trace-id"] = uuid4().hex
        return web.Response(
            body=body, headers=headers, content_type="application/json", charset="utf-8"
        )


def _path_of(method: str) -> str:
    return f"{PREFIX}/v3/{method.replace('.', '/')}"


def _read_authorization(header: str) -> dict[str, str]:
    """What the header claims, with `said`: the text before the signature. Raises NotAdmitted."""
    said, _, signature = header.removeprefix(SCHEME).rpartition(",sign=")
    parts = [_CLAIM.fullmatch(part) for part in said.split(",")]
    claim = {part[1]: part[2] for part in parts if part}
    complete = claim.keys() >= {"app_id", "timestamp", "nonce"} and claim["timestamp"].isdecimal()
    if not header.startswith(SCHEME) or not all(parts) or not complete:
        raise NotAdmitted("40001", "isv.missing-signature", "Authorization 请求头缺失或格式错误")
    return claim | {"said": said, "sign": signature}


def _messages(request: web.Request, claim: Mapping[str, str], body: str) -> tuple[bytes, ...]:
    """What may have been signed: the path that was really sent, or the channel's own path, as
    through a proxy.
    """
    token = request.headers.get("alipay-app-auth-token")
    tail = f"{body}\n" + (f"{token}\n" if token else "")
    paths = (request.raw_path.removeprefix(PREFIX), request.raw_path)
    return tuple(f"{claim['said']}\n{request.method}\n{path}\n{tail}".encode() for path in paths)


def _fail(error: Error) -> web.Response:
    code = error.code if isinstance(error.code, str) else "aop.unknow-error"
    return _refuse(worded(code), error.status)


def _refuse(refusal: AlipayRefusal, status: int) -> web.Response:
    code = refusal.body.sub_code.removeprefix("isv.")
    problem = Problem(code, refusal.body.sub_msg)
    return web.Response(
        status=status, body=msgspec.json.encode(problem), content_type="application/json"
    )
