"""What UnionPay's codes mean to us; a code that is not listed tells us nothing.

An answer has a code for the call, and the answer to a query a second one for the transaction.
"""

from typing import Final

from gateway.channels.unionpay_wire import Answer, FileAnswer
from gateway.errors import ChannelRefused, ChannelUnavailable
from gateway.model import Outcome, RefundState

ACCEPTED: Final = "00"
SUCCEEDED: Final = frozenset({ACCEPTED, "A6"})  # A6: done, with a defect that is UnionPay's
# The transaction is not known there, or not yet: it is not a failure.
NOT_FOUND: Final = "34"
DUPLICATE: Final = "12"
NO_FILE: Final = "98"  # for that day, or not yet

_DID_NOTHING: Final = frozenset({"01", "10", "11", "13", "36", "39"}) | frozenset(
    str(code) for code in range(60, 67)
)
_REFUND_DID_NOTHING: Final = _DID_NOTHING | {"35"}
# After these money has gone back already: under this number, or all that there was.
_REFUND_SPENT: Final = frozenset({"45", "46"})

# The money is on its way; whoever is charged too late is given it back by UnionPay itself.
_PROCESSING: Final = frozenset({"83"})
_ENDED: Final = frozenset({"02", "42"})
_REFUND_FAILED: Final = frozenset({"01", "02", "35", "36", "39"}) | frozenset(
    str(code) for code in range(60, 67)
)

_HINTS: Final = {
    "10": "a field is malformed; check mer_id, and that the merchant has this product",
    "11": "check pfx: its certificate must be the one that UnionPay has for the merchant",
    "36": "the amount does not fit the payment",
    "39": "too late for it, or this machine's clock is wrong",
}
_LONGEST_SENTENCE: Final = 300


def refuse_create(answer: Answer) -> ChannelRefused | ChannelUnavailable:
    """Return what to raise for an answer to `create` that is not yes."""
    if answer.resp_code == DUPLICATE:
        return ChannelRefused(answer.resp_code, sentence_of(answer), number_spent=True)
    if answer.resp_code in _DID_NOTHING:
        return ChannelRefused(answer.resp_code, sentence_of(answer))
    return nothing_known(answer)


def refuse_refund(answer: Answer) -> ChannelRefused | ChannelUnavailable:
    """Return what to raise for an answer to `refund` that is not yes."""
    if answer.resp_code in _REFUND_SPENT:
        return ChannelRefused(answer.resp_code, sentence_of(answer), number_spent=True)
    if answer.resp_code in _REFUND_DID_NOTHING:
        return ChannelRefused(answer.resp_code, sentence_of(answer))
    return nothing_known(answer)


def nothing_known(answer: Answer) -> ChannelUnavailable:
    return ChannelUnavailable(sentence_of(answer))


def sentence_of(answer: Answer | FileAnswer) -> str:
    """Say for the operator what UnionPay answered, and what to do where we know."""
    said = f"{answer.resp_code} {answer.resp_msg}".strip()[:_LONGEST_SENTENCE]
    hint = _HINTS.get(answer.resp_code)
    return f"{said} ({hint})" if hint else said


def outcome_of(code: str) -> Outcome:
    """Say how a payment stands by its `origRespCode`.

    Before payTimeout a refused card ends nothing, and the code does not say whether it is over; so
    whatever is neither success nor the end is UNPAID, and the attempt's own deadline ends it.
    """
    if code in SUCCEEDED:
        return Outcome.PAID
    if code in _PROCESSING:
        return Outcome.PROCESSING
    if code == NOT_FOUND:
        return Outcome.NOT_FOUND
    return Outcome.CLOSED if code in _ENDED else Outcome.UNPAID


def refund_state_of(code: str) -> RefundState:
    """Say how a refund or a void stands by its code; what is not listed is under way."""
    if code in SUCCEEDED:
        return RefundState.DONE
    return RefundState.FAILED if code in _REFUND_FAILED else RefundState.SENT
