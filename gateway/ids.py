"""Ids that sort by time: a prefix that says what it names, then 26 characters of Crockford base 32.

The 26 characters hold 48 bits of milliseconds and 80 random bits (the layout of a ULID), so ids
made later sort later, indexes stay compact, and nobody can guess a neighbour's.
"""

import re
import secrets
import time
from datetime import UTC, datetime, timedelta
from typing import Final, NewType

OrderId = NewType("OrderId", str)
AttemptId = NewType("AttemptId", str)
RefundId = NewType("RefundId", str)
EventId = NewType("EventId", str)
OperatorId = NewType("OperatorId", str)

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS: Final = [first + second for first in _ALPHABET for second in _ALPHABET]
_NUMBER: Final = re.compile(r"[0-9A-Z]{26}(R[0-9]{1,4})?")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_last = 0


def time_ordered() -> str:
    """Return 26 characters that sort after all that this process has made before."""
    global _last  # noqa: PLW0603 - ids of one process are one sequence
    value = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    if value <= _last:
        value = _last + 1 + secrets.randbits(64)  # the same millisecond, or a clock set back
    _last = value
    return "".join(_PAIRS[(value >> shift) & 0x3FF] for shift in range(120, -1, -10))


def time_of(number: str) -> datetime:
    """Return when the 26 characters at the head of a number were made, to the millisecond.

    Raises ValueError where the number does not begin with a time.
    """
    head = number[:10]
    if len(head) < 10:
        raise ValueError("a number begins with ten characters of time")
    made_ms = 0
    for character in head:
        made_ms = made_ms << 5 | _ALPHABET.index(character)
    return _EPOCH + timedelta(milliseconds=made_ms)


def new_order_id() -> OrderId:
    return OrderId("ord_" + time_ordered())


def new_attempt_id() -> AttemptId:
    return AttemptId("att_" + time_ordered())


def new_refund_id() -> RefundId:
    return RefundId("ref_" + time_ordered())


def new_event_id() -> EventId:
    return EventId("evt_" + time_ordered())


def new_operator_id() -> OperatorId:
    return OperatorId("op_" + time_ordered())


def number_of(attempt: AttemptId) -> str:
    """Return what the channel sees as our order number: the attempt's 26 alphanumerics."""
    return attempt.removeprefix("att_")


def is_number(text: str) -> bool:
    """Does it look like a number of ours, of a payment or of a refund?

    Others may sell through the same account at a channel, which tells us of theirs too.
    """
    return _NUMBER.fullmatch(text) is not None


def new_checkout_token() -> str:
    """Return the credential in a checkout URL: 192 random bits, safe in a path."""
    return secrets.token_urlsafe(24)
