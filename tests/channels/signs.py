"""How each channel signs what it says, so that anything can be said with its own signature.

`plain` is what the signature is over, as text that can be edited; `again` is the same answer with
another such text, signed by the channel. `told` and `tell` are that of a callback.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Protocol
from urllib.parse import parse_qsl

import msgspec
from msgspec import structs

from gateway.channels.base import Callback
from tests.channels import wechat_benches
from tests.channels.mouth import Said
from tests.fakes import (
    alipay_crypto,
    keys,
    paypal_crypto,
    stripe_objects,
    unionpay_crypto,
    wechat_crypto,
)

_OF_SIGNATURES = ("sign", "sign_type", "signature", "signPubKeyCert")


class Signs(Protocol):
    def plain(self, said: Said) -> bytes: ...

    def again(self, said: Said, plain: bytes) -> Said: ...

    def told(self, callback: Callback) -> bytes: ...

    def tell(self, callback: Callback, plain: bytes) -> Callback: ...


class _Resource(msgspec.Struct, frozen=True):
    associated_data: str
    nonce: str
    ciphertext: str


class _Notification(msgspec.Struct, frozen=True):
    event_type: str
    resource: _Resource


class WeChatSigns:
    """A body with headers over it; what a callback carries is sealed besides."""

    def __init__(self, keys: wechat_crypto.WeChatKeys, pen: wechat_crypto.Pen) -> None:
        self._keys = keys
        self._pen = pen

    def plain(self, said: Said) -> bytes:
        return said.body

    def again(self, said: Said, plain: bytes) -> Said:
        signed = self._pen.headers(plain, datetime.now(UTC))
        headers = tuple((name.encode(), value.encode()) for name, value in signed.items())
        return said._replace(headers=headers, body=plain)

    def told(self, callback: Callback) -> bytes:
        resource = msgspec.json.decode(callback.body, type=_Notification).resource
        return wechat_crypto.unseal(
            self._keys.apiv3_key, resource.ciphertext, resource.nonce, resource.associated_data
        )

    def tell(self, callback: Callback, plain: bytes) -> Callback:
        kind = msgspec.json.decode(callback.body, type=_Notification).event_type
        return wechat_benches.signed(self._pen, wechat_crypto.notification(self._keys, kind, plain))


class AlipaySigns:
    """An object inside an object, signed as it is written; and forms."""

    def __init__(self, signer: alipay_crypto.Certified, sn: str) -> None:
        self._signer = signer
        self._sn = sn

    def plain(self, said: Said) -> bytes:
        return bytes(self._inner(said)[1]) if said.body.startswith(b"{") else said.body

    def again(self, said: Said, plain: bytes) -> Said:
        if not said.body.startswith(b"{"):
            return said._replace(body=plain)  # a file, which nobody signs
        signature = keys.signature(self._signer.key, plain).encode()
        named = f',"alipay_cert_sn":"{self._sn}"'.encode() if self._sn else b""
        name = self._inner(said)[0].encode()
        return said._replace(
            body=b'{"' + name + b'":' + plain + named + b',"sign":"' + signature + b'"}'
        )

    def told(self, callback: Callback) -> bytes:
        return _as_text(callback)

    def tell(self, callback: Callback, plain: bytes) -> Callback:
        body = alipay_crypto.notice_body(self._signer.key, _fields_in(plain))
        return structs.replace(callback, body=body)

    def _inner(self, said: Said) -> tuple[str, msgspec.Raw]:
        return next(iter(msgspec.json.decode(said.body, type=dict[str, msgspec.Raw]).items()))


class UnionPaySigns:
    def __init__(self, signer: keys.Certified) -> None:
        self._signer = signer

    def plain(self, said: Said) -> bytes:
        return _without_signature(dict(_pair(part) for part in said.body.decode().split("&")))

    def again(self, said: Said, plain: bytes) -> Said:
        fields = unionpay_crypto.signed(self._signer, _fields_in(plain))
        return said._replace(body=unionpay_crypto.answer_text(fields))

    def told(self, callback: Callback) -> bytes:
        return _as_text(callback)

    def tell(self, callback: Callback, plain: bytes) -> Callback:
        fields = unionpay_crypto.signed(self._signer, _fields_in(plain))
        return structs.replace(callback, body=unionpay_crypto.notice_body(fields))


class _Unsigned:
    """Answers that TLS vouches for alone."""

    def plain(self, said: Said) -> bytes:
        return said.body

    def again(self, said: Said, plain: bytes) -> Said:
        return said._replace(body=plain)

    def told(self, callback: Callback) -> bytes:
        return callback.body


class PayPalSigns(_Unsigned):
    def __init__(self, signer: keys.Certified) -> None:
        self._signer = signer

    def tell(self, callback: Callback, plain: bytes) -> Callback:
        address = callback.headers["paypal-cert-url"]
        return structs.replace(
            callback, headers=paypal_crypto.signed(self._signer, plain, address), body=plain
        )


class StripeSigns(_Unsigned):
    def tell(self, callback: Callback, plain: bytes) -> Callback:
        headers, body = stripe_objects.signed(plain)
        return Callback(headers, body, datetime.now(UTC))


def form_of(fields: Mapping[str, str]) -> bytes:
    return "&".join(f"{name}={value}" for name, value in fields.items()).encode()


def _as_text(callback: Callback) -> bytes:
    return _without_signature(dict(parse_qsl(callback.body.decode(), strict_parsing=True)))


def _without_signature(fields: Mapping[str, str]) -> bytes:
    return form_of({name: text for name, text in fields.items() if name not in _OF_SIGNATURES})


def _fields_in(plain: bytes) -> dict[str, str]:
    return dict(_pair(part) for part in plain.decode("utf-8", "replace").split("&"))


def _pair(part: str) -> tuple[str, str]:
    name, _, value = part.partition("=")
    return name, value
