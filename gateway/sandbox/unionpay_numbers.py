"""What UnionPay makes up, its own numbers; and what it recognises a transaction by.

That is orderId and txnTime together. In the ledger the first txnTime of an orderId has the orderId
for its number, and any other one is a payment or a refund of its own beside it.
"""

import secrets
import string
from datetime import datetime

import msgspec

from gateway.sandbox.ledger import Ledger, Refund
from gateway.sandbox.unionpay_gate import KIND, Sent, in_beijing

CODE = "https://qr.95516.com/00010000/"
"""What a code that a merchant shows begins with."""


class Kept(msgspec.Struct, frozen=True):
    """What a refund is recognised by; it stands in the place of a reason, which nobody sends."""

    txn_type: str
    txn_time: str


def number_beside(sent: Sent) -> str:
    """The number in the ledger of what came with another txnTime than the first."""
    return f"{sent['orderId']}@{sent['txnTime']}"


def find_refund(ledger: Ledger, sent: Sent) -> Refund | None:
    """The refund or void that has this orderId and this txnTime."""
    for number in (sent["orderId"], number_beside(sent)):
        found = ledger.find_refund(KIND, number)
        if found is not None and kept_of(found[1]).txn_time == sent["txnTime"]:
            return found[1]
    return None


def kept_of(refund: Refund) -> Kept:
    return msgspec.json.decode(refund.reason, type=Kept)


def new_query_id(now: datetime) -> str:
    """21 digits."""
    return in_beijing(now) + _digits(7)


def new_tn(now: datetime) -> str:
    return in_beijing(now) + _digits(7)


def new_code() -> str:
    word = "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(24))
    return CODE + word


def _digits(length: int) -> str:
    return "".join(secrets.choice(string.digits) for _ in range(length))
