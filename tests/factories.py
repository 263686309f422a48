"""Orders, attempts and reports for tests that need no database."""

from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from gateway.ids import AttemptId, OrderId
from gateway.model import (
    Attempt,
    AttemptState,
    ChannelReport,
    Order,
    OrderState,
    Outcome,
    Source,
    Terminal,
)
from gateway.money import Money

NOW = datetime(2026, 11, 11, 12, 0, tzinfo=UTC)
PRICE = Money(100, "CNY")


def an_attempt(name: str = "1", state: AttemptState = AttemptState.PAYING) -> Attempt:
    """An attempt on WeChat Pay, live for another hour."""
    money = PRICE if state.holds_money else None
    return Attempt(
        id=AttemptId(f"att_{name:0>26}"),
        order_id=OrderId("ord_" + "0" * 26),
        number=f"{name:0>26}",
        account="wx",
        channel="wechat",
        product="native",
        terminal=Terminal.PC,
        payer="",
        state=state,
        superseded=False,
        amount=PRICE.amount,
        currency=PRICE.currency,
        received_amount=money.amount if money else None,
        received_currency=money.currency if money else None,
        payment_ref=f"ref-{name}" if money else None,
        parameters="{}",
        next_action=None,
        next_action_until=NOW + timedelta(hours=1),
        pay_by=NOW + timedelta(minutes=50),
        live_until=NOW + timedelta(hours=1),
        calling_until=None,
        ask_at=NOW,
        asks=0,
        needs_attention=False,
        created_at=NOW,
        updated_at=NOW,
        refund_state=None,
    )


def an_order(*attempts: Attempt, state: OrderState = OrderState.OPEN) -> Order:
    """An order over PRICE with those attempts; a paid one was paid by its captured attempt."""
    captured = next((a.id for a in attempts if a.state is AttemptState.CAPTURED), None)
    return Order(
        id=OrderId("ord_" + "0" * 26),
        merchant="demo",
        merchant_order_no="no-1",
        amount=PRICE.amount,
        currency=PRICE.currency,
        subject="tea",
        buyer_id=None,
        items=None,
        state=state,
        version=7,
        token="token",
        amount_refunded=0,
        paid_attempt=captured,
        expires_at=NOW + timedelta(minutes=30),
        created_at=NOW,
        paid_at=NOW if state is OrderState.PAID else None,
        closed_at=NOW if state is OrderState.CLOSED else None,
        close_reason="expired" if state is OrderState.CLOSED else None,
        notify_url=None,
        return_url=None,
        metadata=None,
        attempts=attempts,
    )


def a_report(
    attempt: Attempt,
    outcome: Outcome = Outcome.PAID,
    *,
    payment_ref: str = "ref-new",
    money: Money = PRICE,
    refunded: int | None = 0,
    source: Source = Source.CALLBACK,
) -> ChannelReport:
    report = ChannelReport(attempt.account, attempt.number, outcome, source)
    if outcome is not Outcome.PAID:
        return report
    return replace(report, payment_ref=payment_ref, money=money, refunded=refunded)
