"""What PayPal says, as reports: of an order, of a capture, of a refund.

Money goes before all else. An order that is COMPLETED may have been debited, or not yet (an
eCheck), or in vain, and only its captures tell.
"""

from typing import TypeVar

from gateway.channels.paypal_wire import (
    Capture,
    CaptureStatus,
    Event,
    Order,
    OrderStatus,
    Refund,
    RefundStatus,
    read_body,
)
from gateway.errors import BadCallback, ChannelUnavailable
from gateway.ids import is_number
from gateway.model import ChannelReport, Outcome, RefundReport, RefundState, Source

Resource = TypeVar("Resource", Order, Capture, Refund)


class Reports:
    """Translates for one account; `merchant_id`, where it is known, is who must be paid."""

    def __init__(self, account: str, merchant_id: str) -> None:
        self._account = account
        self._merchant_id = merchant_id

    def stands(self, order: Order, number: str) -> ChannelReport:
        """Translate an order that we asked for. Raises ChannelUnavailable."""
        if order.number != number or not self._is_ours(order):
            raise ChannelUnavailable("the answer is about another number or merchant")
        report = self._report(order, Source.POLL)
        if report is None:
            raise ChannelUnavailable("the order is completed, but PayPal does not say how")
        return report

    def told(self, event: Event) -> ChannelReport | RefundReport | None:
        """Translate an event; None: it is genuine, and nothing that we act on."""
        match event.event_type.rpartition("."):
            case ("CHECKOUT.ORDER", _, "APPROVED"):
                return self._told_of_order(_resource(event, Order))
            case ("PAYMENT.CAPTURE", _, "COMPLETED" | "PENDING" | "DENIED" | "DECLINED"):
                return self._told_of_capture(_resource(event, Capture))
            case ("PAYMENT.CAPTURE", _, "REFUNDED") | ("PAYMENT.REFUND", _, _):
                refund = _resource(event, Refund)
                number = refund.number
                return self.refunded(refund, number, Source.CALLBACK) if is_number(number) else None
            case _:
                # Also what PayPal took back (REVERSED): that is between the merchant and PayPal.
                return None

    def refunded(self, refund: Refund, number: str, source: Source) -> RefundReport:
        """Translate a refund, by the number that it was asked for with."""
        return RefundReport(
            self._account,
            number,
            refund_state_of(refund.status),
            source,
            refund_ref=refund.id,
            money=refund.amount.money if refund.amount is not None else None,
        )

    def _told_of_order(self, order: Order) -> ChannelReport | None:
        if not is_number(order.number):
            return None  # the app may be another shop's too
        if not self._is_ours(order):
            raise BadCallback("merchant", "the webhook is about a payment to another merchant")
        report = self._report(order, Source.CALLBACK)
        if report is None:
            raise BadCallback("format", "the webhook does not say how the order was completed")
        return report

    def _told_of_capture(self, capture: Capture) -> ChannelReport | None:
        if not is_number(capture.custom_id):
            return None
        if not self._paid_to_us(capture.payee.merchant_id):
            raise BadCallback("merchant", "the webhook is about a payment to another merchant")
        outcome = capture_outcome_of(capture)
        number, order_id = capture.custom_id, capture.order_id
        if outcome is Outcome.PAID:
            refunded = refunded_of(capture, None)
            return self._paid(capture, number, order_id, refunded, Source.CALLBACK)
        return ChannelReport(self._account, number, outcome, Source.CALLBACK, channel_ref=order_id)

    def _report(self, order: Order, source: Source) -> ChannelReport | None:
        """Translate an order; None when it claims to be over without saying how."""
        outcome = outcome_of(order)
        if outcome is None:
            return None
        if outcome is not Outcome.PAID:
            return ChannelReport(self._account, order.number, outcome, source, channel_ref=order.id)
        # An order is captured once. Should it ever be twice, the first is known by now, and the
        # last is the news; each has its own event, too.
        *_, capture = (one for one in order.captures if one.status.paid)
        return self._paid(capture, order.number, order.id, refunded_of(capture, order), source)

    def _paid(
        self, capture: Capture, number: str, order_id: str, refunded: int | None, source: Source
    ) -> ChannelReport:
        return ChannelReport(
            self._account,
            number,
            Outcome.PAID,
            source,
            payment_ref=capture.id,
            money=capture.amount.money,
            refunded=refunded,
            channel_ref=order_id,
        )

    def _is_ours(self, order: Order) -> bool:
        return all(self._paid_to_us(unit.payee.merchant_id) for unit in order.purchase_units)

    def _paid_to_us(self, merchant_id: str) -> bool:
        return not (self._merchant_id and merchant_id) or merchant_id == self._merchant_id


def _resource(event: Event, kind: type[Resource]) -> Resource:
    resource = read_body(bytes(event.resource), kind)
    if resource is None:
        raise BadCallback("format", f"the webhook does not carry a {kind.__name__}")
    return resource


def outcome_of(order: Order) -> Outcome | None:
    """Say how a payment stands; None when it claims to be over without saying how.

    An order that is COMPLETED may have been debited, or not yet (an eCheck), or in vain: its
    captures tell, and money goes before all else.
    """
    captured = {capture.status for capture in order.captures}
    if any(status.paid for status in captured):
        return Outcome.PAID
    if CaptureStatus.PENDING in captured:
        return Outcome.PROCESSING
    match order.status:
        case OrderStatus.COMPLETED:
            # It is debited once, and that failed: no buyer can pay it any more.
            return Outcome.DECLINED if captured else None
        case OrderStatus.APPROVED:
            return Outcome.APPROVED
        case OrderStatus.VOIDED:
            return Outcome.CLOSED
        case OrderStatus.CREATED | OrderStatus.SAVED | OrderStatus.PAYER_ACTION_REQUIRED:
            return Outcome.UNPAID


def capture_outcome_of(capture: Capture) -> Outcome:
    """Say how a payment stands by the one capture that an event is about."""
    if capture.status.paid:
        return Outcome.PAID
    return Outcome.PROCESSING if capture.status is CaptureStatus.PENDING else Outcome.DECLINED


def refunded_of(capture: Capture, order: Order | None) -> int | None:
    """Say how much of a capture was given back, or is on its way; None: some, but not how much."""
    match capture.status:
        case CaptureStatus.REFUNDED:
            return capture.amount.money.amount
        case CaptureStatus.PARTIALLY_REFUNDED | CaptureStatus.COMPLETED:
            going = (RefundStatus.COMPLETED, RefundStatus.PENDING)
            refunds = order.refunds if order is not None else ()
            given = [one for one in refunds if one.status in going]
            if any(one.amount is None for one in given):
                return None
            total = sum(one.amount.money.amount for one in given if one.amount is not None)
            unsaid = total == 0 and capture.status is CaptureStatus.PARTIALLY_REFUNDED
            return None if unsaid else total
        case CaptureStatus.PENDING | CaptureStatus.DECLINED | CaptureStatus.FAILED:
            return 0


def refund_state_of(status: RefundStatus) -> RefundState:
    match status:
        case RefundStatus.COMPLETED:
            return RefundState.DONE
        case RefundStatus.PENDING:
            return RefundState.SENT
        case RefundStatus.FAILED | RefundStatus.CANCELLED:
            return RefundState.FAILED
