"""What a buyer does next with a payment that a channel has taken: one of these, by its type."""

from datetime import datetime

from msgspec import Struct


class QrAction(Struct, frozen=True, tag_field="type", tag="qr"):
    content: str
    expires_at: datetime


class RedirectAction(Struct, frozen=True, tag_field="type", tag="redirect"):
    url: str


class FormAction(Struct, frozen=True, tag_field="type", tag="form"):
    url: str
    fields: dict[str, str]


class JsapiAction(Struct, frozen=True, tag_field="type", tag="jsapi"):
    parameters: dict[str, str]


class AppAction(Struct, frozen=True, tag_field="type", tag="app"):
    parameters: dict[str, str]


class VoucherAction(Struct, frozen=True, tag_field="type", tag="voucher"):
    number: str
    url: str
    pdf: str
    expires_at: datetime


NextAction = QrAction | RedirectAction | FormAction | JsapiAction | AppAction | VoucherAction
