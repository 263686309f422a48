"""What PayPal's refusals mean to us; what is not listed as one tells us nothing.

Names are those of the API's published descriptions: an error has a name, and most have an issue.
"""

from typing import Final

from gateway.channels.paypal_connection import Answer
from gateway.errors import ChannelRefused, ChannelUnavailable

ALREADY_CAPTURED: Final = "ORDER_ALREADY_CAPTURED"

# An earlier call with the same id, or another one about the same order, is still being worked on.
_UNDER_WAY: Final = frozenset(
    {
        "ORDER_COMPLETION_IN_PROGRESS",
        "PREVIOUS_REQUEST_IN_PROGRESS",
        "PREVIOUS_REQUEST_NOT_COMPLETED",
        "DUPLICATE_REQUEST_ID",
    }
)
# A refund of ours may be the reason: a question decides.
_REFUND_SPENT: Final = frozenset({"CAPTURE_FULLY_REFUNDED", "DUPLICATE_INVOICE_ID"})
_HINTS: Final = {
    "CURRENCY_NOT_SUPPORTED": "limit the account to currencies that the merchant may take",
    "DUPLICATE_INVOICE_ID": "PayPal has a payment of this order already",
    "INSUFFICIENT_FUNDS": "top up the balance that refunds are taken from",
    "INSTRUMENT_DECLINED": "the buyer may choose another card or account",
    "PERMISSION_DENIED": "the app may not do this; look at its features at PayPal",
    "PAYEE_ACCOUNT_RESTRICTED": "the merchant's PayPal account is restricted",
}
_LONGEST_SENTENCE: Final = 300


def refuse_create(answer: Answer) -> ChannelRefused | ChannelUnavailable:
    """Return what to raise for an answer to `create` that is not yes. Nothing can be debited."""
    return _refuse(answer, (400, 403, 422))


def refuse_capture(answer: Answer) -> ChannelRefused | ChannelUnavailable:
    """Return what to raise for an answer to `capture` that is not yes.

    PayPal does not debit what it refuses, and an order that is over (404) is debited no more.
    """
    return _refuse(answer, (400, 403, 404, 422))


def refuse_refund(answer: Answer) -> ChannelRefused | ChannelUnavailable:
    """Return what to raise for an answer to `refund` that is not yes."""
    refusal = _refuse(answer, (400, 403, 404, 422))
    if isinstance(refusal, ChannelRefused) and answer.refusal.issue in _REFUND_SPENT:
        return ChannelRefused(refusal.code, sentence_of(answer), number_spent=True)
    return refusal


def sentence_of(answer: Answer) -> str:
    """Say for the operator what PayPal answered, and what to do where we know."""
    refusal = answer.refusal
    described = refusal.details[0].description if refusal.details else ""
    words = (
        str(answer.status),
        refusal.issue,
        described or refusal.message or refusal.error_description,
        refusal.debug_id and f"debug_id {refusal.debug_id}",
    )
    said = " ".join(filter(None, words))[:_LONGEST_SENTENCE]
    hint = _HINTS.get(refusal.issue)
    return f"{said} ({hint})" if hint else said


def _refuse(answer: Answer, refusals: tuple[int, ...]) -> ChannelRefused | ChannelUnavailable:
    issue = answer.refusal.issue
    if answer.status in refusals and issue and issue not in _UNDER_WAY:
        return ChannelRefused(issue, sentence_of(answer))
    return ChannelUnavailable(sentence_of(answer))
