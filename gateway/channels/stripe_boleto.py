"""Boleto through Stripe: a slip that the buyer pays at any bank of Brazil, for days.

Three things make it different. **Nobody can know that the paper was paid** until the bank says so,
about a business day later. **A cancelled slip may still be payable**: whether banks refuse it is
not documented, so that `close` says STILL_LIVE, and only time ends an attempt. **Nothing can be
given back** through Stripe: money that came twice is for a person to return.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import aiohttp

from gateway.channels.actions import VoucherAction
from gateway.channels.base import (
    Clock,
    CloseResult,
    Created,
    CreateRequest,
    RefundRequest,
    Traits,
    Voucher,
    utc_now,
)
from gateway.channels.stripe import KEY_LIFE, Stripe, close_result, must_be
from gateway.channels.stripe_account import read_credentials
from gateway.channels.stripe_connection import DEADLINE_S, Connection
from gateway.channels.stripe_wire import (
    BoletoDetails,
    IntentStatus,
    PaymentIntent,
    boleto_fields,
    number_in,
)
from gateway.errors import ChannelRefused, ChannelUnavailable
from gateway.model import ChannelReport, Outcome, RefundReport, Terminal

PRODUCT: Final = "voucher"
_HOUR_S: Final = 3600
TRAITS: Final = Traits(
    channel="boleto",
    products=dict.fromkeys(Terminal, PRODUCT),
    all_products=frozenset({PRODUCT}),
    currencies=frozenset({"BRL"}),
    minimum=5_00,
    maximum=49_999_99,
    closes=False,
    refunds=False,
    live_after_close=True,
    shortest_window=timedelta(days=1),
    # A bank's word takes a business day or two, and there are weekends and holidays.
    late_margin=timedelta(days=4),
    repeat_window=KEY_LIFE,
    needs_buyer=frozenset({PRODUCT}),
    voucher=Voucher(days=3, time_zone="America/Sao_Paulo"),
    ask_ladder_s=(60, _HOUR_S, 6 * _HOUR_S),
    slow_ask_s=12 * _HOUR_S,
)


class StripeBoleto(Stripe):
    """One merchant's slips; see `gateway.channels.base.Channel`. `channel_ref` is the
    PaymentIntent's id.
    """

    @property
    def traits(self) -> Traits:
        return TRAITS

    async def create(self, request: CreateRequest) -> Created:
        """Have a slip made out to the buyer; the same request again is harmless.

        Raises ChannelRefused for a no (a tax id that is none, say), with `number_spent` where the
        number has another slip, or one that can no longer be paid.
        """
        self.must_be_in_time(request)
        heard = await self.make("/v1/payment_intents", boleto_fields(request), request.number)
        intent = heard.expect(PaymentIntent)
        must_be(request.number, number_in(intent.metadata))
        if heard.replayed:
            # What is said again is what was true when it was said first.
            intent = await self.intent(intent.id, request.number) or intent
        slip = _slip_of(intent)
        if slip is None:
            raise ChannelRefused("slip_over", "the slip was paid or cancelled", number_spent=True)
        until = datetime.fromtimestamp(slip.expires_at, UTC)
        action = VoucherAction(slip.number, slip.hosted_voucher_url, slip.pdf, until)
        return Created(action, min(until, request.pay_by), channel_ref=intent.id)

    async def query(self, number: str, channel_ref: str = "") -> ChannelReport:
        """Ask whether a bank has said that the slip was paid. Raises ChannelUnavailable.

        A slip that was cancelled is UNPAID, not CLOSED: it may be in the buyer's hand.
        """
        intent = await self._intent(number, channel_ref)
        if intent is not None and intent.status == IntentStatus.CANCELED:
            return self.report(number, intent, Outcome.UNPAID)
        return self.report(number, intent)

    async def close(self, number: str, channel_ref: str = "") -> CloseResult:
        """Cancel the slip at Stripe, and say all the same that it can still be paid."""
        intent = await self._intent(number, channel_ref)
        if intent is not None and intent.status != IntentStatus.CANCELED:
            intent = await self.cancel(intent.id, number)
        result = close_result(intent)
        return CloseResult.STILL_LIVE if result is CloseResult.CLOSED else result

    async def refund(self, request: RefundRequest) -> RefundReport:
        """Refuse: Stripe gives no Boleto back, in full or in part."""
        raise ChannelRefused("refunds_unsupported", "a Boleto is given back by hand")

    async def _intent(self, number: str, channel_ref: str) -> PaymentIntent | None:
        if channel_ref:
            return await self.intent(channel_ref, number)
        return await self.search(number)


def stripe_boleto(
    account_id: str,
    settings: Mapping[str, str],
    secrets: Mapping[str, str],
    http: aiohttp.ClientSession,
    *,
    clock: Clock = utc_now,
    deadline_s: float = DEADLINE_S,
) -> StripeBoleto:
    """Make the adapter of one account's slips. Each verb has `deadline_s` for each of its calls.

    `settings` and `secrets` have the keys that `stripe_account` lists. Raises ConfigurationError
    that names every field that is missing or malformed. `http` stays the caller's, to close.
    """
    credentials = read_credentials(settings, secrets)
    return StripeBoleto(account_id, credentials, Connection(credentials, http, deadline_s), clock)


def _slip_of(intent: PaymentIntent) -> BoletoDetails | None:
    """Return the slip that waits to be paid. Raises ChannelUnavailable where it is not shown."""
    if intent.status != "requires_action":
        return None
    shown = intent.next_action.boleto_display_details if intent.next_action else None
    if shown is None:
        raise ChannelUnavailable("the answer shows no slip")
    return shown
