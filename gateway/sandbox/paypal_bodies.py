"""PayPal's bodies: what merchants send, and how orders, captures and refunds look.

Written from the published descriptions of Orders v2 and Payments v2, and on purpose not shared with
the gateway's adapter.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from gateway.sandbox.ledger import Capture, Payment, Refund, RefundState

WHOLE = frozenset({"HUF", "JPY", "TWD"})
"""Currencies that are written without places; of these only the yen has no smaller units."""
CURRENCIES = WHOLE | frozenset(
    {"AUD", "BRL", "CAD", "CHF", "CNY", "CZK", "DKK", "EUR", "GBP", "HKD", "ILS"}
    | {"MXN", "MYR", "NOK", "NZD", "PHP", "PLN", "SEK", "SGD", "THB", "USD"}
)
Json = dict[str, object]


class SentAmount(Struct, frozen=True):
    currency_code: str
    value: str

    def minor(self) -> int | None:
        """Minor units; None for what PayPal would not take."""
        whole, point, places = self.value.partition(".")
        longest = 0 if self.currency_code in WHOLE else 2
        digits = whole.isascii() and whole.isdigit() and (not point or places.isdigit())
        if self.currency_code not in CURRENCIES or not digits or len(places) > longest:
            return None
        units = int(whole + places.ljust(0 if self.currency_code == "JPY" else 2, "0"))
        return units or None


class SentUnit(Struct, frozen=True):
    amount: SentAmount
    reference_id: str = "default"
    custom_id: str = ""
    invoice_id: str = ""
    description: str = ""


class SentContext(Struct, frozen=True):
    return_url: str = ""
    cancel_url: str = ""


class SentWallet(Struct, frozen=True):
    experience_context: SentContext = SentContext()


class SentSource(Struct, frozen=True):
    paypal: SentWallet | None = None


class SentOrder(Struct, frozen=True):
    """With a payment source the buyer has an action to take; without, an order to approve."""

    intent: str
    purchase_units: tuple[SentUnit, ...]
    payment_source: SentSource | None = None
    application_context: SentContext = SentContext()

    @property
    def context(self) -> SentContext:
        source = self.payment_source
        if source is not None and source.paypal is not None:
            return source.paypal.experience_context
        return self.application_context


class SentRefund(Struct, frozen=True):
    amount: SentAmount | None = None
    invoice_id: str = ""
    custom_id: str = ""
    note_to_payer: str = ""


class Kept(Struct, frozen=True, kw_only=True):
    """What PayPal knows of an order beside the money that it took.

    `amount` is what a capture takes in the place of the price, when a test wants that. `pending` is
    the id of a capture whose money is on its way; `denied`: it never came.
    """

    request_id: str = ""
    approved_at: datetime | None = None
    instrument: str = "balance"
    amount: int | None = None
    capture_request_id: str = ""
    pending: str = ""
    denied: bool = False


class KeptRefund(Struct, frozen=True, kw_only=True):
    """What a refund was asked for with; it stands in the place of a reason."""

    request_id: str
    invoice_id: str
    custom_id: str
    note: str


REFUND_STATUS = {
    RefundState.PROCESSING: "PENDING",
    RefundState.DONE: "COMPLETED",
    RefundState.CLOSED: "FAILED",
    RefundState.ABNORMAL: "PENDING",
}


def kept_of(payment: Payment) -> Kept:
    return msgspec.json.decode(payment.kept, type=Kept)


def sent_of(payment: Payment) -> SentOrder:
    return msgspec.json.decode(payment.request, type=SentOrder)


def kept_refund(refund: Refund) -> KeptRefund:
    return msgspec.json.decode(refund.reason, type=KeptRefund)


def written(kept: Struct) -> str:
    return msgspec.json.encode(kept).decode()


def amount(minor: int, currency: str) -> Json:
    if currency in WHOLE:
        value = str(minor if currency == "JPY" else minor // 100)
    else:
        value = f"{minor // 100}.{minor % 100:02}"
    return {"currency_code": currency, "value": value}


def status_of(payment: Payment) -> str:
    kept = kept_of(payment)
    if payment.captures or kept.pending:
        return "COMPLETED"
    if kept.approved_at is not None:
        return "APPROVED"
    asked_for_action = sent_of(payment).payment_source is not None
    return "PAYER_ACTION_REQUIRED" if asked_for_action else "CREATED"


class Bodies:
    """Writes bodies for one merchant, with links to where the sandbox is."""

    def __init__(self, api_url: str, merchant_id: str) -> None:
        self._api = api_url
        self._payee: Json = {
            "email_address": "merchant@example.com",
            "merchant_id": merchant_id,
        }

    def order(self, payment: Payment, *, minimal: bool = False) -> Json:
        status = status_of(payment)
        body: Json = {"id": payment.ref, "status": status, "links": self._links(payment, status)}
        if minimal:
            return body
        sent = sent_of(payment)
        unit = sent.purchase_units[0]
        said: Json = {
            "reference_id": unit.reference_id,
            "amount": amount(payment.amount, payment.currency),
            "payee": self._payee,
            "description": unit.description,
            "custom_id": unit.custom_id,
            "invoice_id": unit.invoice_id,
        }
        shown: Json = {name: value for name, value in said.items() if value}
        if status == "COMPLETED":
            shown["payments"] = self._payments(payment)
        return {
            **body,
            "intent": "CAPTURE",
            "payment_source": {"paypal": {"email_address": "buyer@example.com"}},
            "purchase_units": [shown],
            "create_time": moment(payment.created_at),
        }

    def captures(self, payment: Payment) -> Sequence[Json]:
        kept = kept_of(payment)
        if kept.pending:
            status = "DECLINED" if kept.denied else "PENDING"
            charged = kept.amount or payment.amount
            reason: Json = {"status_details": {"reason": "PENDING_REVIEW"}}
            approved_at = kept.approved_at or payment.created_at
            one = self._capture(payment, kept.pending, charged, status, approved_at)
            return [one | ({} if kept.denied else reason)]
        return [self.capture(payment, capture) for capture in payment.captures]

    def capture(self, payment: Payment, capture: Capture) -> Json:
        done = (RefundState.DONE, RefundState.PROCESSING)
        given = sum(
            refund.amount
            for refund in payment.refunds
            if refund.capture_ref == capture.ref and refund.state in done
        )
        status = "COMPLETED"
        if given:
            status = "REFUNDED" if given >= capture.amount else "PARTIALLY_REFUNDED"
        return self._capture(payment, capture.ref, capture.amount, status, capture.paid_at)

    def refund(self, payment: Payment, refund: Refund) -> Json:
        kept = kept_refund(refund)
        said: Json = {
            "invoice_id": kept.invoice_id,
            "custom_id": kept.custom_id,
            "note_to_payer": kept.note,
        }
        return {
            "id": refund.ref,
            "status": REFUND_STATUS[refund.state],
            "amount": amount(refund.amount, payment.currency),
            **{name: value for name, value in said.items() if value},
            "create_time": moment(refund.created_at),
            "links": [
                self._link("self", f"/v2/payments/refunds/{refund.ref}"),
                self._link("up", f"/v2/payments/captures/{refund.capture_ref}"),
            ],
        }

    def _payments(self, payment: Payment) -> Mapping[str, Sequence[Json]]:
        refunds = [self.refund(payment, refund) for refund in payment.refunds]
        captures = {"captures": self.captures(payment)}
        return captures | ({"refunds": refunds} if refunds else {})

    def _capture(self, payment: Payment, ref: str, charged: int, status: str, at: datetime) -> Json:
        unit = sent_of(payment).purchase_units[0]
        said: Json = {"custom_id": unit.custom_id, "invoice_id": unit.invoice_id}
        return {
            "id": ref,
            "status": status,
            "amount": amount(charged, payment.currency),
            "final_capture": True,
            "payee": self._payee,
            **{name: value for name, value in said.items() if value},
            "supplementary_data": {"related_ids": {"order_id": payment.ref}},
            "create_time": moment(at),
            "links": [
                self._link("self", f"/v2/payments/captures/{ref}"),
                self._link("refund", f"/v2/payments/captures/{ref}/refund", "POST"),
                self._link("up", f"/v2/checkout/orders/{payment.ref}"),
            ],
        }

    def _links(self, payment: Payment, status: str) -> Sequence[Json]:
        path = f"/v2/checkout/orders/{payment.ref}"
        links = [self._link("self", path)]
        page = f"/checkoutnow?token={payment.ref}"
        if status == "PAYER_ACTION_REQUIRED":
            links.append(self._link("payer-action", page))
        if status == "CREATED":
            links.append(self._link("approve", page))
        if status in ("CREATED", "APPROVED"):
            links.append(self._link("capture", f"{path}/capture", "POST"))
        return links

    def _link(self, rel: str, path: str, method: str = "GET") -> Json:
        return {"href": self._api + path, "rel": rel, "method": method}


def moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
