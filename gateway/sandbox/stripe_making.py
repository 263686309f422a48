"""What a merchant asks Stripe for, read and judged: a Checkout Session, or a Boleto."""

from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from gateway.sandbox.ledger import Ledger, Payment
from gateway.sandbox.stripe_errors import StripeRefusal
from gateway.sandbox.stripe_forms import (
    Form,
    form_in,
    need,
    need_int,
    refuse_unknown,
    text_in,
    texts_in,
)
from gateway.sandbox.stripe_slips import new_barcode, typed_line, voucher_end
from gateway.sandbox.stripe_state import BOLETO, CARD, State, new_id, written

SESSION_LIFE = (timedelta(minutes=30), timedelta(hours=24))
SLACK = timedelta(seconds=5)
LEAST, MOST = {"brl": 50, "usd": 50, "eur": 50, "jpy": 50}, 99_999_999
BOLETO_RANGE = range(5_00, 50_000_00)
LONGEST_SLIP_DAYS = 60
PARAMETERS = {
    "session": "mode payment_method_types client_reference_id metadata payment_intent_data "
    "line_items success_url cancel_url expires_at expand customer_email locale",
    "slip": "amount currency description metadata payment_method_types payment_method_data "
    "payment_method_options confirm expand receipt_email return_url",
}
METADATA_LIMITS = (50, 40, 500)
"""How many, how long a name, how long a value."""


def session_asked(ledger: Ledger, form: Form, now: datetime) -> Payment:
    """The payment that a Checkout Session is for. Raises StripeRefusal."""
    refuse_unknown(form, PARAMETERS["session"].split())
    if need(form, "mode") != "payment" or texts_in(form, "payment_method_types") != ["card"]:
        raise StripeRefusal("This sandbox has Checkout Sessions of mode payment, for cards.")
    if text_in(form, "payment_intent_data", "capture_method") != "manual":
        raise StripeRefusal(
            "This sandbox has no Session that debits at once.",
            param="payment_intent_data[capture_method]",
        )
    amount, currency, subject = _line(form)
    metadata = _metadata(form_in(form, "payment_intent_data"))
    session_metadata = _metadata(form)
    number = metadata.get("number") or text_in(form, "client_reference_id") or new_id("no")
    until = _end_of_session(form, now)
    state = State(
        metadata=metadata,
        session_metadata=session_metadata,
        reference=text_in(form, "client_reference_id"),
        success_url=need(form, "success_url"),
        cancel_url=text_in(form, "cancel_url"),
    )
    payment = _new_payment(ledger, CARD, number, amount, currency, now)
    return replace(
        payment,
        product="checkout",
        subject=subject,
        request=written(state),
        tokens=(new_id("cs_test"),),
        payable_until=until,
    )


def slip_asked(ledger: Ledger, form: Form, now: datetime) -> Payment:
    """The payment that a Boleto is for. Raises StripeRefusal."""
    refuse_unknown(form, PARAMETERS["slip"].split())
    amount, currency = need_int(form, "amount"), need(form, "currency")
    if texts_in(form, "payment_method_types") != [BOLETO] or text_in(form, "confirm") != "true":
        raise StripeRefusal("This sandbox has PaymentIntents that are a Boleto at once.")
    if currency != "brl":
        raise StripeRefusal("Boleto takes brl alone.", param="currency")
    if amount not in BOLETO_RANGE:
        code = "amount_too_small" if amount < BOLETO_RANGE.start else "amount_too_large"
        raise StripeRefusal("Boleto takes R$5.00 to R$49,999.99.", code=code, param="amount")
    state = _payer(form, _metadata(form))
    days = 3
    if text_in(form, "payment_method_options", BOLETO, "expires_after_days"):
        days = need_int(form, "payment_method_options", BOLETO, "expires_after_days")
    if days > LONGEST_SLIP_DAYS:
        raise StripeRefusal(
            "A Boleto is payable for 60 days at most.",
            param="payment_method_options[boleto][expires_after_days]",
        )
    until = voucher_end(now, days)
    barcode = new_barcode(amount, until)
    number = state.metadata.get("number") or new_id("no")
    payment = _new_payment(ledger, BOLETO, number, amount, currency, now)
    return replace(
        payment,
        product="voucher",
        subject=text_in(form, "description"),
        request=written(replace(state, barcode=barcode)),
        tokens=(typed_line(barcode),),
        payable_until=until,
    )


def _new_payment(
    ledger: Ledger, channel: str, number: str, amount: int, currency: str, now: datetime
) -> Payment:
    """A number may come twice, under another key or when a day is over: each is a payment."""
    ref = new_id("pi")
    taken = ledger.find(channel, number) is not None
    return Payment(
        channel=channel,
        number=f"{number}@{ref}" if taken else number,
        product="",
        amount=amount,
        currency=currency.upper(),
        subject="",
        request="",
        notify_url="",
        tokens=(),
        created_at=now,
        payable_until=now,
        ref=ref,
    )


def _line(form: Form) -> tuple[int, str, str]:
    """Amount, currency and name of the one thing that is sold."""
    line = ("line_items", "0")
    amount = need_int(form, *line, "price_data", "unit_amount")
    amount *= need_int(form, *line, "quantity")
    currency = need(form, *line, "price_data", "currency")
    if not (len(currency) == 3 and currency.isascii() and currency.islower()):
        raise StripeRefusal(f"Invalid currency: {currency}.", param="currency")
    if amount < LEAST.get(currency, 1):
        raise StripeRefusal("The amount is below the least.", code="amount_too_small")
    if amount > MOST:
        raise StripeRefusal("The amount is above the most.", code="amount_too_large")
    return amount, currency, need(form, *line, "price_data", "product_data", "name")


def _end_of_session(form: Form, now: datetime) -> datetime:
    if not text_in(form, "expires_at"):
        return now + SESSION_LIFE[1]
    until = datetime.fromtimestamp(need_int(form, "expires_at"), now.tzinfo)
    if not SESSION_LIFE[0] - SLACK <= until - now <= SESSION_LIFE[1] + SLACK:
        raise StripeRefusal(
            "The `expires_at` timestamp must be between 30 minutes and 24 hours from now.",
            param="expires_at",
        )
    return until


def _payer(form: Form, metadata: dict[str, str]) -> State:
    said = ("payment_method_data", "billing_details")
    if need(form, "payment_method_data", "type") != BOLETO:
        raise StripeRefusal("Not a Boleto.", param="payment_method_data[type]")
    for part in ("line1", "city", "state", "postal_code"):
        need(form, *said, "address", part)
    if need(form, *said, "address", "country") != "BR":
        raise StripeRefusal(
            "A Boleto is made out to an address in Brazil.",
            param="payment_method_data[billing_details][address][country]",
        )
    tax_id = need(form, "payment_method_data", BOLETO, "tax_id")
    if len([character for character in tax_id if character.isalnum()]) not in (11, 14):
        raise StripeRefusal(
            f"The tax ID {tax_id} is neither a CPF nor a CNPJ.",
            code="tax_id_invalid",
            param="payment_method_data[boleto][tax_id]",
        )
    name, email = need(form, *said, "name"), need(form, *said, "email")
    return State(metadata=metadata, tried=True, payer=name, email=email, tax_id=tax_id)


def _metadata(form: Form) -> dict[str, str]:
    return read_metadata(form_in(form, "metadata"))


def read_metadata(said: Form) -> dict[str, str]:
    """Read what a merchant notes on an object. Raises StripeRefusal."""
    most, longest_name, longest_value = METADATA_LIMITS
    try:
        metadata = msgspec.convert(said, dict[str, str])
    except msgspec.ValidationError:
        raise StripeRefusal("Invalid metadata", param="metadata") from None
    too_long = any(
        len(name) > longest_name or len(value) > longest_value for name, value in metadata.items()
    )
    if len(metadata) > most or too_long:
        raise StripeRefusal("The metadata is too long.", param="metadata")
    return metadata
