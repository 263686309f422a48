"""Bank cards through Stripe Checkout: its page takes the card, and we debit it.

The buyer enters the card at Stripe, so that its number never comes near us. What they confirm is
held on the card and not debited (`capture_method=manual`): that is APPROVED, and `capture` takes
it, once the order was found open again. What is not captured is cancelled, or let go by Stripe
after seven days.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import aiohttp

from gateway.channels.actions import RedirectAction
from gateway.channels.base import (
    CaptureRequest,
    Clock,
    CloseResult,
    Created,
    CreateRequest,
    Traits,
    utc_now,
)
from gateway.channels.stripe import KEY_LIFE, Stripe, close_result, must_be
from gateway.channels.stripe_account import read_credentials
from gateway.channels.stripe_codes import outcome_of_session, refuse_capture
from gateway.channels.stripe_connection import DEADLINE_S, Connection
from gateway.channels.stripe_wire import (
    IntentStatus,
    PaymentIntent,
    Session,
    number_in,
    session_fields,
)
from gateway.errors import ChannelRefused, ChannelUnavailable
from gateway.model import ChannelReport, Outcome, Terminal

PRODUCT: Final = "checkout"
# Those whose minor units are the same at Stripe and in ISO 4217, and that it does not round.
CURRENCIES: Final = frozenset(
    {"AUD", "BRL", "CAD", "CHF", "CNY", "CZK", "DKK", "EUR", "GBP", "HKD"}
    | {"JPY", "MXN", "NOK", "NZD", "PLN", "SEK", "SGD", "THB", "USD"}
)
TRAITS: Final = Traits(
    channel="card",
    products=dict.fromkeys(Terminal, PRODUCT),
    all_products=frozenset({PRODUCT}),
    currencies=CURRENCIES,
    minimum=50,  # of dollars; other currencies have a least amount of their own
    maximum=99_999_999,
    closes=True,
    refunds=True,
    live_after_close=False,
    # Stripe takes no session that ends within half an hour; a repeat a little later says the same.
    shortest_window=timedelta(minutes=32),
    late_margin=timedelta(minutes=10),
    repeat_window=KEY_LIFE,
    refund_repeat_window=KEY_LIFE,
    ask_ladder_s=(5, 10, 30, 60, 180, 300, 600, 1800),
    slow_ask_s=3600,
    captures=True,
)
_SESSIONS: Final = "/v1/checkout/sessions"
_SESSION: Final = "cs_"
_WITH_INTENT: Final = {"expand[0]": "payment_intent.latest_charge"}


class StripeCard(Stripe):
    """One merchant's cards; see `gateway.channels.base.Capturing`.

    `channel_ref` is the session's id; of a payment that came beside it, the PaymentIntent's.
    """

    @property
    def traits(self) -> Traits:
        return TRAITS

    async def create(self, request: CreateRequest) -> Created:
        """Make a page at Stripe on which the buyer enters a card; the same again is harmless.

        Raises ChannelRefused for a no, with `number_spent` where the number has another session, or
        one that can no longer be paid.
        """
        self.must_be_in_time(request)
        heard = await self.make(_SESSIONS, session_fields(request), request.number)
        session = heard.expect(Session)
        must_be(request.number, number_in(session.metadata))
        if heard.replayed:
            # What is said again is what was true when it was said first.
            session = await self._session(session.id, request.number) or session
        if session.status != "open" or not session.url:
            raise ChannelRefused(
                "session_over", "the session was paid or has ended", number_spent=True
            )
        until = min(datetime.fromtimestamp(session.expires_at, UTC), request.pay_by)
        return Created(RedirectAction(session.url), until, channel_ref=session.id)

    async def query(self, number: str, channel_ref: str = "") -> ChannelReport:
        """Ask what became of a payment. Raises ChannelUnavailable for every other answer.

        Without `channel_ref` nobody was sent to the page, and there is something to find only where
        a buyer came there all the same.
        """
        if not channel_ref.startswith(_SESSION):
            return self.report(number, await self._intent(number, channel_ref))
        session = await self._session(channel_ref, number)
        if session is None:
            return self.report(number, None)
        return self.report(number, session.intent, outcome_of_session(session))

    async def capture(self, request: CaptureRequest) -> ChannelReport:
        """Debit what the buyer approved, once for a `request_id`.

        Raises ChannelRefused only where Stripe says that it was not debited: an error that it
        repeats for a day under a `request_id` is another's to get round.
        """
        approved = await self._approved(request)
        heard = await self.debit(approved.id, request.request_id)
        if heard.error is None:
            intent: PaymentIntent | None = heard.expect(PaymentIntent)
        else:
            intent = await self.intent(approved.id, request.number)
        if intent is None:
            raise ChannelUnavailable("what was to be captured is not there any more")
        must_be(request.number, number_in(intent.metadata))
        match intent.status:
            case IntentStatus.SUCCEEDED | IntentStatus.PROCESSING:
                return self.report(request.number, intent)
            case _ if heard.error is not None:
                raise refuse_capture(heard.error)
            case _:
                raise ChannelUnavailable(f"after a capture the payment is {intent.status}")

    async def close(self, number: str, channel_ref: str = "") -> CloseResult:
        """End the session while it is open, and let go of what is held on the card."""
        if not channel_ref.startswith(_SESSION):
            intent = await self._intent(number, channel_ref)
            return await self._let_go(intent, number)
        session = await self._session(channel_ref, number)
        if session is None:
            return CloseResult.NOT_FOUND
        match outcome_of_session(session):
            case Outcome.CLOSED:
                return CloseResult.CLOSED
            case Outcome.UNPAID if session.status == "open":
                return await self._expire(session, number)
            case _:
                return await self._let_go(session.intent, number)

    async def _session(self, session_id: str, number: str) -> Session | None:
        heard = await self.connection.get(f"{_SESSIONS}/{session_id}", dict(_WITH_INTENT))
        if heard.missing:
            return None
        session = heard.expect(Session)
        must_be(number, number_in(session.metadata))
        return session

    async def _intent(self, number: str, channel_ref: str) -> PaymentIntent | None:
        if channel_ref:
            return await self.intent(channel_ref, number)
        return await self.search(number)

    async def _approved(self, request: CaptureRequest) -> PaymentIntent:
        number, channel_ref = request.number, request.channel_ref
        if channel_ref.startswith(_SESSION):
            session = await self._session(channel_ref, number)
            intent = session.intent if session else None
        else:
            intent = await self._intent(number, channel_ref)
        if intent is None:
            raise ChannelRefused("not_approved", "nothing is held on a card for it")
        return intent

    async def _expire(self, session: Session, number: str) -> CloseResult:
        heard = await self.connection.post(f"{_SESSIONS}/{session.id}/expire", {})
        if heard.error is not None:
            return CloseResult.UNKNOWN  # the buyer may have confirmed in that moment
        ended = heard.expect(Session)
        must_be(number, number_in(ended.metadata))
        return CloseResult.CLOSED if ended.status == "expired" else CloseResult.UNKNOWN

    async def _let_go(self, intent: PaymentIntent | None, number: str) -> CloseResult:
        if intent is None or intent.status in (IntentStatus.SUCCEEDED, IntentStatus.CANCELED):
            return close_result(intent)
        return close_result(await self.cancel(intent.id, number))


def stripe_card(
    account_id: str,
    settings: Mapping[str, str],
    secrets: Mapping[str, str],
    http: aiohttp.ClientSession,
    *,
    clock: Clock = utc_now,
    deadline_s: float = DEADLINE_S,
) -> StripeCard:
    """Make the adapter of one account's cards. Each verb has `deadline_s` for each of its calls.

    `settings` and `secrets` have the keys that `stripe_account` lists. Raises ConfigurationError
    that names every field that is missing or malformed. `http` stays the caller's, to close.
    """
    credentials = read_credentials(settings, secrets)
    return StripeCard(account_id, credentials, Connection(credentials, http, deadline_s), clock)
