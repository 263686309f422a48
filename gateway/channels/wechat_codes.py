"""What WeChat Pay's codes and states mean to us; a code that is not listed tells us nothing."""

from typing import Final, NoReturn

from gateway.channels.wechat_wire import Answer, RefundStatus, TradeState
from gateway.errors import ChannelRefused, ChannelUnavailable
from gateway.model import Outcome, RefundState

# After these the call has done nothing: the request, the account or the signature was wrong.
DID_NOTHING: Final = frozenset(
    {
        "APPID_MCHID_NOT_MATCH",
        "INVALID_REQUEST",
        "MCH_NOT_EXISTS",
        "NO_AUTH",
        "PARAM_ERROR",
        "RULE_LIMIT",
        "SIGN_ERROR",
        "USER_ACCOUNT_ABNORMAL",
    }
)
REFUND_DID_NOTHING: Final = DID_NOTHING | {"NOT_ENOUGH", "RESOURCE_NOT_EXISTS", "TRADE_ERROR"}

# After these there may be a payment under our number, and it may be paid.
NUMBER_SPENT: Final = frozenset({"OUT_TRADE_NO_USED", "ORDERPAID", "ORDER_CLOSED", "TRADE_ERROR"})
NUMBER_REPEATED: Final = "商户订单号重复"  # the sentence of an INVALID_REQUEST that means the same

NO_SUCH_ORDER: Final = frozenset({"ORDER_NOT_EXIST", "ORDERNOTEXIST"})
FOUND_PAID: Final = frozenset({"ORDERPAID", "TRADE_ERROR"})

_HINTS: Final = {
    "NO_AUTH": "the merchant account has not been given this product",
    "APPID_MCHID_NOT_MATCH": "check appid and mchid: they are not bound to each other",
    "MCH_NOT_EXISTS": "check mchid",
    "NOT_ENOUGH": "top up the account that refunds are taken from",
}
# One code for whatever is wrong with a signature; by a word of its sentence, what that is.
_SIGN_HINTS: Final = {
    "时间": "set this machine's clock: it is more than five minutes off",
    "序列号": "check merchant_serial, and that it is a certificate of mchid",
    "": "check merchant_key: it must belong to the certificate of merchant_serial",
}
_LONGEST_SENTENCE: Final = 300


def refuse_create(answer: Answer) -> NoReturn:
    """Raise ChannelRefused for a listed refusal of `create`, ChannelUnavailable for the rest."""
    code = answer.refusal.code
    repeated = code == "INVALID_REQUEST" and NUMBER_REPEATED in answer.refusal.message
    if _says_no(answer) and (repeated or code in NUMBER_SPENT):
        raise ChannelRefused(code, sentence_of(answer), number_spent=True)
    if _says_no(answer) and code in DID_NOTHING:
        raise ChannelRefused(code, sentence_of(answer))
    raise ChannelUnavailable(sentence_of(answer))


def refuse_refund(answer: Answer) -> NoReturn:
    """Raise ChannelRefused for a listed refusal of `refund`, ChannelUnavailable for the rest."""
    if _says_no(answer) and answer.refusal.code in REFUND_DID_NOTHING:
        raise ChannelRefused(answer.refusal.code, sentence_of(answer))
    raise ChannelUnavailable(sentence_of(answer))


def sentence_of(answer: Answer) -> str:
    """Say for the operator what WeChat Pay answered, and what to do where we know."""
    refusal = answer.refusal
    if not refusal.code:
        return f"HTTP {answer.status}, in words that are not WeChat Pay's"
    said = " ".join(filter(None, (str(answer.status), refusal.code, refusal.message)))
    hint = _HINTS.get(refusal.code)
    if refusal.code == "SIGN_ERROR":
        hint = next(hint for word, hint in _SIGN_HINTS.items() if word in refusal.message)
    return f"{said[:_LONGEST_SENTENCE]} ({hint})" if hint else said[:_LONGEST_SENTENCE]


def outcome_of(state: TradeState) -> Outcome:
    match state:
        case TradeState.SUCCESS | TradeState.REFUND:
            return Outcome.PAID
        case TradeState.NOTPAY:
            return Outcome.UNPAID
        case TradeState.PAYERROR:
            # A refused card ends nothing: the number can still be paid, so it is not DECLINED.
            return Outcome.UNPAID
        case TradeState.USERPAYING:
            return Outcome.PROCESSING
        case TradeState.CLOSED | TradeState.REVOKED:
            return Outcome.CLOSED


def refund_state_of(status: RefundStatus) -> RefundState:
    match status:
        case RefundStatus.SUCCESS:
            return RefundState.DONE
        case RefundStatus.CLOSED:
            return RefundState.FAILED
        case RefundStatus.PROCESSING:
            return RefundState.SENT
        case RefundStatus.ABNORMAL:
            # The buyer's card would not take it, and a person finishes it under the same number on
            # WeChat Pay's merchant site. FAILED would ask for a new number: money back twice.
            return RefundState.SENT


def _says_no(answer: Answer) -> bool:
    """429 is the exception among the 4xx: the call may have been taken."""
    return 400 <= answer.status < 500 and answer.status != 429
