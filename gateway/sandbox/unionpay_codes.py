"""What UnionPay makes up: its own numbers; and what it recognises a refund by."""

import secrets
import string
from datetime import datetime

import msgspec

from gateway.sandbox.ledger import Refund
from gateway.sandbox.unionpay_gate import in_beijing

CODE = "https://qr.95516.com/00010000/"
"""What a code that a merchant shows begins with."""


class Kept(msgspec.Struct, frozen=True):
    """What a refund is recognised by; it stands in the place of a reason, which nobody sends."""

    txn_type: str
    txn_time: str


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
