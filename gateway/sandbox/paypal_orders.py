"""PayPal's orders: made, approved by a buyer, captured by the merchant. Nothing is debited before.

A buyer has three hours to approve, and the merchant three hours from then to capture; an order that
nobody captured in time is not there any more.
"""

from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from gateway.sandbox.channel import Shared
from gateway.sandbox.ledger import Capture, NotPayable, Payment
from gateway.sandbox.paypal_bodies import Kept, SentOrder, kept_of, sent_of, written
from gateway.sandbox.paypal_gate import KIND, PayPalRefusal
from gateway.sandbox.paypal_keys import new_id
from gateway.sandbox.paypal_news import PayPalNews

APPROVE_WITHIN = timedelta(hours=3)
CAPTURE_WITHIN = timedelta(hours=3)
KEY_LIFE = timedelta(hours=6)
LONGEST_KEY = 108
BALANCE, DECLINED, REVIEWED = "balance", "declined", "reviewed"
INSTRUMENTS = (BALANCE, DECLINED, REVIEWED)
"""What a buyer may pay with: it is debited at once, or refused, or looked at by PayPal first."""


class PayPalOrders:
    """The orders of the one merchant."""

    def __init__(self, shared: Shared, news: PayPalNews) -> None:
        self._ledger = shared.ledger
        self._faults = shared.faults
        self._news = news
        self._made: dict[str, str] = {}  # PayPal's ids, by request id
        self._paid: dict[str, str] = {}  # PayPal's ids, by invoice
        for payment in self._ledger:
            if payment.channel == KIND:
                self._note(payment)

    def forget(self) -> None:
        self._made.clear()
        self._paid.clear()

    def place(self, body: bytes, request_id: str) -> tuple[Payment, bool]:
        """Take an order; False: there was one with this request id. Raises PayPalRefusal."""
        check_key(request_id)
        known = self._ledger.find_by_ref(KIND, self._made.get(request_id, ""))
        if known is not None and self._now() < known.created_at + KEY_LIFE:
            return known, False
        sent = _read(body)
        unit = sent.purchase_units[0]
        minor = unit.amount.minor()
        if minor is None:
            raise PayPalRefusal(422, "DECIMAL_PRECISION", "amount")
        ref, now = new_id(17), self._now()
        payment = Payment(
            channel=KIND,
            number=self._number(unit.custom_id, ref),
            product="redirect",
            amount=minor,
            currency=unit.amount.currency_code,
            subject=unit.description,
            request=body.decode(),
            notify_url="",
            tokens=(ref,),
            created_at=now,
            payable_until=now + APPROVE_WITHIN,
            ref=ref,
            kept=written(Kept(request_id=request_id)),
        )
        self._ledger.save(payment)
        self._note(payment)
        self._news.forge_paid(payment)
        return payment, True

    def find(self, ref: str) -> Payment:
        """The order with that id. Raises PayPalRefusal, for one that expired too."""
        payment = self._ledger.find_by_ref(KIND, ref)
        if payment is None or payment.ref != ref or self._expired(payment):
            raise PayPalRefusal(404, "INVALID_RESOURCE_ID", "Specified resource ID does not exist")
        return payment

    def approve(self, payment: Payment, instrument: str, *, at: datetime | None = None) -> Payment:
        """The buyer agrees to be debited, and says what from. Raises NotPayable."""
        now, kept = at or self._now(), kept_of(payment)
        if payment.captures or kept.pending:
            raise NotPayable("paid")
        if now > payment.payable_until:
            raise NotPayable("expired")
        approved = self._save(
            replace(payment, payable_until=now + CAPTURE_WITHIN, scanned_at=now),
            replace(kept, approved_at=now, instrument=instrument),
        )
        self._news.tell_approved(approved)
        return approved

    def capture(self, ref: str, request_id: str) -> tuple[Payment, bool]:
        """Debit the buyer; False: that was done with this request id. Raises PayPalRefusal."""
        check_key(request_id)
        payment = self.find(ref)
        kept = kept_of(payment)
        if payment.captures or kept.pending:
            if request_id and request_id == kept.capture_request_id:
                return payment, False
            raise PayPalRefusal(422, "ORDER_ALREADY_CAPTURED")
        if kept.approved_at is None:
            raise PayPalRefusal(422, "ORDER_NOT_APPROVED")
        if self._invoice_is_paid(payment):
            raise PayPalRefusal(422, "DUPLICATE_INVOICE_ID")
        kept = replace(kept, capture_request_id=request_id)
        if kept.instrument == DECLINED:
            # The buyer has to choose something else, on the same page.
            again = replace(kept, approved_at=None, capture_request_id="")
            self._save(replace(payment, declines=payment.declines + 1), again)
            raise PayPalRefusal(422, "INSTRUMENT_DECLINED")
        if kept.instrument == REVIEWED:
            pending = self._save(payment, replace(kept, pending=new_id(17)))
            self._news.tell_pending(pending)
            return pending, True
        payment = self._save(payment, kept)
        return self._take(payment, new_id(17), self._now()), True

    def pay(self, number: str, *, amount: int | None, at: datetime | None, again: bool) -> Payment:
        """What `/_control/pay` means here: the buyer approves; or the money on its way arrives.

        `again` takes money a second time, whoever asked for it. Raises NotPayable.
        """
        payment = self._ledger.known(KIND, number)
        kept = kept_of(payment)
        if kept.pending and not kept.denied:
            payment = self._save(payment, replace(kept, pending=""))
            return self._take(payment, kept.pending, at or self._now())
        if payment.captures and again:
            return self._take(payment, new_id(17), at or self._now(), though_paid=True)
        priced = self._save(payment, replace(kept, amount=amount)) if amount else payment
        return self.approve(priced, BALANCE, at=at)

    def scan(self, number: str) -> Payment:
        return self._ledger.scan(KIND, number, self._now())

    def decline(self, number: str) -> Payment:
        """The buyer approves, and what it pays with is refused; or money on its way never comes."""
        payment = self._ledger.known(KIND, number)
        kept = kept_of(payment)
        if kept.pending:
            denied = self._save(payment, replace(kept, denied=True))
            self._news.tell_pending(denied)
            return denied
        return self.approve(payment, DECLINED)

    def _take(
        self, payment: Payment, ref: str, at: datetime, *, though_paid: bool = False
    ) -> Payment:
        """Take the buyer's money and tell the merchant."""
        capture = Capture(ref=ref, amount=kept_of(payment).amount or payment.amount, paid_at=at)
        paid = self._ledger.pay(KIND, payment.number, capture, though_paid=though_paid)
        self._note(paid)
        self._news.tell_paid(paid, capture)
        return paid

    def _save(self, payment: Payment, kept: Kept) -> Payment:
        return self._ledger.save(replace(payment, kept=written(kept)))

    def _note(self, payment: Payment) -> None:
        """Keep what an order is found again by."""
        request_id, invoice = kept_of(payment).request_id, _invoice(payment)
        if request_id:
            self._made[request_id] = payment.ref
        if invoice and payment.captures:
            self._paid[invoice] = payment.ref

    def _invoice_is_paid(self, payment: Payment) -> bool:
        """Is another order with this invoice id paid? The merchant has PayPal block those."""
        return self._paid.get(_invoice(payment), payment.ref) != payment.ref

    def _number(self, custom_id: str, ref: str) -> str:
        """The number in the ledger: the merchant's, and beside it that of another order with it."""
        if not custom_id:
            return ref
        return custom_id if self._ledger.find(KIND, custom_id) is None else f"{custom_id}@{ref}"

    def _expired(self, payment: Payment) -> bool:
        under_way = payment.captures or kept_of(payment).pending
        return not under_way and self._now() > payment.payable_until

    def _now(self) -> datetime:
        return self._faults.now(KIND)


def _invoice(payment: Payment) -> str:
    return sent_of(payment).purchase_units[0].invoice_id


def check_key(request_id: str) -> None:
    if len(request_id) > LONGEST_KEY:
        raise PayPalRefusal(400, "INVALID_STRING_MAX_LENGTH", "PayPal-Request-Id")


def _read(body: bytes) -> SentOrder:
    try:
        sent = msgspec.json.decode(body, type=SentOrder)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PayPalRefusal(400, "MALFORMED_REQUEST_JSON", str(error)) from error
    if sent.intent != "CAPTURE" or len(sent.purchase_units) != 1:
        raise PayPalRefusal(422, "UNSUPPORTED_INTENT", "this sandbox captures one unit")
    texts = (sent.purchase_units[0].custom_id, sent.purchase_units[0].description)
    if any(len(text) > 127 for text in texts):
        raise PayPalRefusal(400, "INVALID_STRING_MAX_LENGTH", "purchase_units")
    if not sent.context.return_url or not sent.context.cancel_url:
        raise PayPalRefusal(400, "MISSING_REQUIRED_PARAMETER", "return_url, cancel_url")
    return sent
