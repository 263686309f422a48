"""Stripe's payments: asked for by a merchant, confirmed by a buyer, captured or cancelled.

A card is held when its buyer confirms, and debited when the merchant captures. A slip is paid at a
bank, and Stripe hears of it later.
"""

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta

from msgspec.structs import replace

from gateway.sandbox.channel import Shared
from gateway.sandbox.ledger import Capture, NotPayable, Payment
from gateway.sandbox.stripe_errors import StripeRefusal, no_such
from gateway.sandbox.stripe_forms import Form, need_int, refuse_unknown, text_in
from gateway.sandbox.stripe_making import session_asked, slip_asked
from gateway.sandbox.stripe_news import StripeNews
from gateway.sandbox.stripe_objects import Json, intent_object, session_object
from gateway.sandbox.stripe_state import (
    BOLETO,
    CARD,
    capture_of,
    intent_status,
    new_id,
    session_status,
    state_of,
    written,
)

UNEXPECTED = "payment_intent_unexpected_state"
CHANNELS = (CARD, BOLETO)
REASONS = ("", "duplicate", "fraudulent", "requested_by_customer", "abandoned")


class StripePayments:
    """The payments of the one merchant, on both channels."""

    def __init__(self, shared: Shared, news: StripeNews) -> None:
        self._shared = shared
        self._ledger = shared.ledger
        self._news = news
        self._timers: set[asyncio.TimerHandle] = set()

    # What the merchant asks for

    def make_session(self, form: Form) -> Json:
        payment = self._ledger.save(session_asked(self._ledger, form, self._now(CARD)))
        return self._session(payment, ())

    def make_slip(self, form: Form) -> Json:
        payment = self._ledger.save(slip_asked(self._ledger, form, self._now(BOLETO)))
        self._news.tell_intent(payment, payment.ref, "requires_action")
        return self.show(payment, payment.ref)

    def show_session(self, session: str, expand: Iterable[str]) -> Json:
        return self._session(self.session(session), expand)

    def show(self, payment: Payment, intent: str, expand: Iterable[str] = ()) -> Json:
        now = self._now(payment.channel)
        return intent_object(payment, intent, now, self._shared.public_url, expand)

    def found(self, number: str) -> list[tuple[Payment, str]]:
        """Every PaymentIntent whose metadata has this number, the newest first."""
        found = [
            (payment, intent)
            for payment in self._ledger
            if payment.channel in CHANNELS
            and state_of(payment).tried
            and state_of(payment).metadata.get("number") == number
            for intent in dict.fromkeys((payment.ref, *(one.ref for one in payment.captures)))
        ]
        return found[::-1]

    def expire_session(self, session: str) -> Json:
        """End a session that is open. Raises StripeRefusal."""
        payment = self.session(session)
        refuses = self._shared.faults.of(CARD).close == "refuse"
        if session_status(payment, self._now(CARD)) != "open" or refuses:
            raise StripeRefusal(
                'Only Checkout Sessions with a status in ["open"] can be expired. '
                f"This Checkout Session has a status of {session_status(payment, self._now(CARD))}."
            )
        payment = self._ledger.close(payment, self._now(CARD))
        self._news.tell_session(payment, "expired")
        return self._session(payment, ())

    def cancel(self, intent: str, form: Form) -> Json:
        """Cancel what can no longer or not yet be debited. Raises StripeRefusal."""
        refuse_unknown(form, ("cancellation_reason", "expand"))
        payment = self.intent(intent)
        reason = text_in(form, "cancellation_reason")
        if reason not in REASONS:
            raise StripeRefusal("Invalid cancellation_reason", param="cancellation_reason")
        now = self._now(payment.channel)
        status = intent_status(payment, intent, now)
        refuses = self._shared.faults.of(payment.channel).close == "refuse"
        if status in ("succeeded", "canceled", "processing") or refuses:
            raise self._unexpected(payment, intent, status, "cancel")
        if payment.channel == CARD and session_status(payment, now) == "open":
            raise StripeRefusal("A PaymentIntent of a Checkout Session ends with the Session.")
        state = replace(state_of(payment), canceled_at=now, reason=reason)
        payment = self._ledger.close(replace(payment, request=written(state)), now)
        self._news.tell_intent(payment, intent, "canceled")
        return self.show(payment, intent)

    def capture(self, intent: str, form: Form, expand: Iterable[str]) -> Json:
        """Debit what is held. Raises StripeRefusal."""
        refuse_unknown(form, ("amount_to_capture", "expand"))
        payment = self.intent(intent)
        status = intent_status(payment, intent, self._now(CARD))
        if status != "requires_capture":
            raise self._unexpected(payment, intent, status, "capture")
        held = state_of(payment).held
        amount = need_int(form, "amount_to_capture") if "amount_to_capture" in form else held
        if not 0 < amount <= held:
            raise StripeRefusal(
                "The amount to capture is more than is held.",
                code="amount_too_large",
                param="amount_to_capture",
            )
        capture = Capture(ref=intent, amount=amount, paid_at=self._now(CARD))
        # What the state says was judged above: a hold outlives the session's time to pay.
        payment = self._ledger.pay(CARD, payment.number, capture, though_paid=True)
        self._news.tell_paid(payment, capture)
        return self.show(payment, intent, expand)

    # What the buyer does

    def hold(self, number: str, amount: int | None, at: datetime | None, *, again: bool) -> Payment:
        """The buyer confirms a card on Stripe's page: it is held. Raises NotPayable.

        With `again` a payment under the same number, as it is made when a key is forgotten, is
        confirmed and debited at once.
        """
        payment, now = self._ledger.known(CARD, number), at or self._now(CARD)
        held = payment.amount if amount is None else amount
        if again:
            return self._pay_again(payment, held, now)
        state = state_of(payment)
        if payment.captures or state.held_at is not None:
            raise NotPayable("paid")
        races = self._shared.faults.of(CARD).close == "paid_race"
        if payment.closed_at is not None and not races:
            raise NotPayable("closed")
        if now > payment.payable_until:
            raise NotPayable("expired")
        confirmed = replace(state, held=held, held_at=now, tried=True, canceled_at=None)
        payment = self._ledger.save(replace(payment, request=written(confirmed)))
        self._news.tell_session(payment, "completed")
        self._news.tell_intent(payment, payment.ref, "amount_capturable_updated")
        return payment

    def pay_slip(
        self, number: str, amount: int | None, at: datetime | None, *, again: bool
    ) -> Payment:
        """The buyer pays the slip at a bank. Stripe says so when the bank does. Raises NotPayable.

        With `again` it is paid a second time, or late; what the bank does then, nobody has said.
        """
        payment, now = self._ledger.known(BOLETO, number), at or self._now(BOLETO)
        faults = self._shared.faults.of(BOLETO)
        paid = payment.amount if amount is None else amount
        if again and payment.captures:
            return self._pay_again(payment, paid, now)
        confirmed_at = self._now(BOLETO) + timedelta(seconds=faults.confirmation_takes_s)
        capture = Capture(ref=payment.ref, amount=paid, paid_at=now)
        still_pays = faults.boleto_cancel == "still_pays" or faults.close == "paid_race"
        payment = self._ledger.pay(
            BOLETO, number, capture, though_closed=still_pays, though_paid=again
        )
        state = replace(state_of(payment), confirmed_at=confirmed_at)
        payment = self._ledger.save(replace(payment, request=written(state)))
        self._tell_later(payment, capture, faults.confirmation_takes_s)
        return payment

    def decline(self, channel: str, number: str) -> Payment:
        """The buyer's bank refuses a card: they may take another. Raises NotPayable."""
        payment = self._ledger.known(channel, number)
        state = state_of(payment)
        tried = replace(payment, declines=payment.declines + 1)
        if channel == CARD and state.held_at is None:
            tried = replace(tried, request=written(replace(state, tried=True)))
        payment = self._ledger.save(tried)
        if channel == CARD:
            self._news.tell_intent(payment, payment.ref, "payment_failed")
        return payment

    def scan(self, channel: str, number: str) -> Payment:
        return self._ledger.scan(channel, number, self._now(channel))

    # What is there

    def session(self, session: str) -> Payment:
        """The payment of a Checkout Session. Raises StripeRefusal."""
        payment = self._ledger.find_by_token(session)
        if payment is None or payment.channel != CARD:
            raise no_such("checkout.session", session, "session")
        return payment

    def intent(self, intent: str) -> Payment:
        """The payment that a PaymentIntent belongs to. Raises StripeRefusal."""
        for channel in CHANNELS:
            payment = self._ledger.find_by_ref(channel, intent)
            if payment is not None and state_of(payment).tried:
                return payment
        raise no_such("payment_intent", intent, "intent")

    def resume(self, channel: str) -> None:
        """Tell what a stop kept from being told."""
        now = self._now(channel)
        for payment in self._ledger:
            for capture in payment.captures:
                if payment.channel == channel and not capture.told:
                    due = state_of(payment).confirmed_at or now
                    self._tell_later(payment, capture, max(0.0, (due - now).total_seconds()))

    def reset(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def _pay_again(self, payment: Payment, amount: int, at: datetime) -> Payment:
        """Money that comes beside the first is a PaymentIntent of its own."""
        capture = Capture(ref=new_id("pi"), amount=amount, paid_at=at)
        paid = self._ledger.pay(payment.channel, payment.number, capture, though_paid=True)
        self._news.tell_paid(paid, capture)
        return paid

    def _tell_later(self, payment: Payment, capture: Capture, wait_s: float) -> None:
        def tell() -> None:
            self._timers.discard(timer)
            now = self._ledger.find(payment.channel, payment.number)
            if now is not None and capture_of(now, capture.ref) is not None:
                self._news.tell_paid(now, capture)

        if wait_s <= 0:
            self._news.tell_paid(payment, capture)
            return
        # A little later than the moment from which a query says so, by a clock of another kind.
        timer = asyncio.get_running_loop().call_later(wait_s + 0.01, tell)
        self._timers.add(timer)

    def _session(self, payment: Payment, expand: Iterable[str]) -> Json:
        return session_object(payment, self._now(CARD), self._shared.public_url, expand)

    def _unexpected(self, payment: Payment, intent: str, status: str, verb: str) -> StripeRefusal:
        return StripeRefusal(
            f"You cannot {verb} this PaymentIntent because it has a status of {status}.",
            code=UNEXPECTED,
            intent=self.show(payment, intent),
        )

    def _now(self, channel: str) -> datetime:
        return self._shared.faults.now(channel)
