"""UnionPay's payments: asked for by a server or by a browser's form, paid, never closed."""

from datetime import datetime, timedelta
from urllib.parse import parse_qsl, urlencode

from msgspec.structs import replace

from gateway.sandbox.channel import Shared
from gateway.sandbox.ledger import Capture, Payment
from gateway.sandbox.unionpay_gate import KIND, Sent, UnionPayRefusal, read_time
from gateway.sandbox.unionpay_news import UnionPayNews
from gateway.sandbox.unionpay_numbers import (
    find_refund,
    new_code,
    new_query_id,
    new_tn,
    number_beside,
)

NOW_MEANS = timedelta(hours=1)
"""How far txnTime may be off when a server asks; a form counts until its payTimeout."""
LONGEST_LIFE = timedelta(days=1)
SHAPES = {
    "qr": ("07", "000000", "08"),
    "app": ("01", "000201", "08"),
    "wap": ("01", "000201", "08"),
    "pc": ("01", "000201", "07"),
}
"""What a way to pay says as txnSubType, bizType and channelType."""
PAYMENT_FIELDS = ("channelType", "backUrl", "txnAmt", "currencyCode")


class UnionPayTrades:
    """The payments of the one merchant."""

    def __init__(self, shared: Shared, news: UnionPayNews) -> None:
        self._ledger = shared.ledger
        self._faults = shared.faults
        self._news = news

    def place(self, sent: Sent, *products: str) -> Payment:
        """Take a payment, or answer the one that is the same. Raises UnionPayRefusal."""
        product = _product(sent, products)
        if sent["currencyCode"] != "156" or not 0 < int_of(sent, "txnAmt") < 10**12:
            raise UnionPayRefusal("10", "txnAmt")
        known = self.find(sent)
        if known is not None:
            if known.product != product or _kept(sent) != known.request or known.captures:
                raise UnionPayRefusal("12")
            self._check_time(known.payable_until)
            return known
        if find_refund(self._ledger, sent) is not None:
            raise UnionPayRefusal("12")
        now = self._now()
        asked_at = read_time(sent, "txnTime")
        until = read_time(sent, "payTimeout") if sent.get("payTimeout") else now + LONGEST_LIFE
        self._check_time(until)
        by_form = bool(sent.get("frontUrl"))
        if not by_form and abs(now - asked_at) > NOW_MEANS:
            raise UnionPayRefusal("39", "txnTime")
        payment = Payment(
            channel=KIND,
            number=self._new_number(sent),
            product=product,
            amount=int_of(sent, "txnAmt"),
            currency="CNY",
            subject=sent.get("orderDesc", ""),
            request=_kept(sent),
            notify_url=sent["backUrl"],
            tokens=(new_code() if product == "qr" else new_tn(now),),
            created_at=now,
            payable_until=until,
            ref=new_query_id(now),
        )
        self._ledger.save(payment)
        self._news.forge_paid(payment)
        return payment

    def find(self, sent: Sent) -> Payment | None:
        """The payment that has this orderId and this txnTime."""
        for number in (sent["orderId"], number_beside(sent)):
            payment = self._ledger.find(KIND, number)
            if payment is not None and fields_of(payment)["txnTime"] == sent["txnTime"]:
                return payment
        return None

    def pay(self, number: str, *, amount: int | None, at: datetime | None, again: bool) -> Payment:
        """Take the buyer's money and tell the merchant. Raises NotPayable."""
        payment = self._ledger.known(KIND, number)
        paid_at = at or self._now()
        capture = Capture(
            ref=new_query_id(paid_at) if payment.captures else payment.ref,
            amount=payment.amount if amount is None else amount,
            paid_at=paid_at,
        )
        paid = self._ledger.pay(KIND, number, capture, though_paid=again)
        self._news.tell_paid(paid, capture)
        return paid

    def scan(self, number: str) -> Payment:
        return self._ledger.scan(KIND, number, self._now())

    def decline(self, number: str) -> Payment:
        """A refused card ends nothing here: the buyer may take another, and nobody is told."""
        payment = self.scan(number)
        return self._ledger.save(replace(payment, declines=payment.declines + 1))

    def standing(self, payment: Payment) -> str:
        """The code that a query answers for a payment."""
        if payment.captures:
            return "00"
        if self._now() > payment.payable_until:
            return "02"
        return "01" if payment.declines else "05"

    def _new_number(self, sent: Sent) -> str:
        taken = self._ledger.find(KIND, sent["orderId"]) is not None
        return number_beside(sent) if taken else sent["orderId"]

    def _check_time(self, until: datetime) -> None:
        if self._now() >= until:
            raise UnionPayRefusal("39", "payTimeout")

    def _now(self) -> datetime:
        return self._faults.now(KIND)


def fields_of(payment: Payment) -> dict[str, str]:
    """What the merchant sent to ask for a payment."""
    return dict(parse_qsl(payment.request))


def int_of(sent: Sent, name: str) -> int:
    """Read an amount. Raises UnionPayRefusal."""
    text = sent.get(name, "")
    if not (text.isascii() and text.isdigit()):
        raise UnionPayRefusal("10", name)
    return int(text)


def _product(sent: Sent, products: tuple[str, ...]) -> str:
    shape = (sent["txnSubType"], sent["bizType"], sent["channelType"])
    for product in products:
        if SHAPES[product] == shape:
            return product
    raise UnionPayRefusal("10", "bizType")


def _kept(sent: Sent) -> str:
    said = {name: value for name, value in sent.items() if name not in ("certId", "signature")}
    return urlencode(sorted(said.items()))
