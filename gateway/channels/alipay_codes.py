"""What Alipay's codes and states mean to us; a code that is not listed tells us nothing.

Unlike other channels Alipay signs its refusals, so that they are evidence; only its gateway's own
errors come unsigned, and those never reach this module.
"""

from typing import Final, NoReturn

from gateway.channels.alipay_wire import Answer, Trade, TradeStatus
from gateway.errors import ChannelRefused, ChannelUnavailable
from gateway.model import Outcome

BUSINESS_FAILURE: Final = "40004"
NO_SUCH_TRADE: Final = "ACQ.TRADE_NOT_EXIST"

# The gateway refused the call before it came to the product: a field, a right or our signature.
_GATEWAY_REFUSED: Final = frozenset({"40001", "40002", "40003", "40006"})
# ... unless the fault was on its side, which says nothing of what was done.
_ITS_FAULT: Final = ("isp.", "aop.")

_CREATE_DID_NOTHING: Final = frozenset(
    {
        "ACQ.ACCESS_FORBIDDEN",
        "ACQ.EXIST_FORBIDDEN_WORD",
        "ACQ.INVALID_PARAMETER",
        "ACQ.PARTNER_ERROR",
        "ACQ.TOTAL_FEE_EXCEED",
    }
)
# After these there is a payment under our number, and it may be paid.
_NUMBER_SPENT: Final = frozenset(
    {"ACQ.TRADE_HAS_SUCCESS", "ACQ.TRADE_HAS_CLOSE", "ACQ.CONTEXT_INCONSISTENT"}
)

# The payment is not one that waits for its buyer: it is paid, or closed already.
NOT_TO_CLOSE: Final = frozenset(
    {"ACQ.TRADE_STATUS_ERROR", "ACQ.REASON_TRADE_STATUS_INVALID", "ACQ.REASON_ILLEGAL_STATUS"}
)

_REFUND_DID_NOTHING: Final = frozenset(
    {
        NO_SUCH_TRADE,
        "ACQ.INVALID_PARAMETER",
        "ACQ.REASON_TRADE_REFUND_FEE_ERR",
        "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL",
        "ACQ.SELLER_BALANCE_NOT_ENOUGH",
        "ACQ.TRADE_HAS_FINISHED",
        "ACQ.TRADE_NOT_ALLOW_REFUND",
        "ACQ.TRADE_STATUS_ERROR",
    }
)
# After these money may have gone back: under this number, or all that there was.
_REFUND_SPENT: Final = frozenset({"ACQ.DISCORDANT_REPEAT_REQUEST", "ACQ.TRADE_HAS_CLOSE"})

_HINTS: Final = {
    "isv.invalid-app-id": "check app_id",
    "isv.invalid-signature": "check app_key: its public half must be the app's key at Alipay",
    "isv.invalid-timestamp": "check this machine's clock",
    "isv.insufficient-isv-permissions": "the app has not been given this product",
    "ACQ.ACCESS_FORBIDDEN": "the merchant has not signed for this product",
    "ACQ.SELLER_BALANCE_NOT_ENOUGH": "top up the account that refunds are taken from",
}
_LONGEST_SENTENCE: Final = 300


def refuse_create(answer: Answer) -> NoReturn:
    """Raise ChannelRefused for a listed refusal of `create`, ChannelUnavailable for the rest."""
    _refuse(answer, _CREATE_DID_NOTHING, _NUMBER_SPENT)


def refuse_refund(answer: Answer) -> NoReturn:
    """Raise ChannelRefused for a listed refusal of `refund`, ChannelUnavailable for the rest."""
    _refuse(answer, _REFUND_DID_NOTHING, _REFUND_SPENT)


def says_no_such_trade(answer: Answer) -> bool:
    return answer.code == BUSINESS_FAILURE and answer.sub_code == NO_SUCH_TRADE


def nothing_known(answer: Answer) -> ChannelUnavailable:
    return ChannelUnavailable(sentence_of(answer.code, answer.sub_code, answer.message))


def sentence_of(code: str, sub_code: str, message: str) -> str:
    """Say for the operator what Alipay answered, and what to do where we know."""
    said = " ".join(filter(None, (code, sub_code, message)))[:_LONGEST_SENTENCE]
    hint = _HINTS.get(sub_code)
    return f"{said} ({hint})" if hint else said


def outcome_of(trade: Trade) -> Outcome:
    match trade.trade_status:
        case TradeStatus.TRADE_SUCCESS | TradeStatus.TRADE_FINISHED:
            return Outcome.PAID
        case TradeStatus.WAIT_BUYER_PAY:
            return Outcome.UNPAID
        case TradeStatus.TRADE_CLOSED:
            # One word for two things: nobody ever paid, or all of it was given back.
            return Outcome.PAID if trade.was_paid else Outcome.CLOSED


def _refuse(answer: Answer, did_nothing: frozenset[str], spent: frozenset[str]) -> NoReturn:
    sentence = sentence_of(answer.code, answer.sub_code, answer.message)
    if answer.code == BUSINESS_FAILURE and answer.sub_code in spent:
        raise ChannelRefused(answer.sub_code, sentence, number_spent=True)
    if answer.code == BUSINESS_FAILURE and answer.sub_code in did_nothing:
        raise ChannelRefused(answer.sub_code, sentence)
    if answer.code in _GATEWAY_REFUSED and not answer.sub_code.startswith(_ITS_FAULT):
        raise ChannelRefused(answer.sub_code or answer.code, sentence)
    raise ChannelUnavailable(sentence)
