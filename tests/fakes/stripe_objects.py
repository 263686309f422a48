"""What the second Stripe keeps and says: its objects, its noes, and how its webhooks are signed."""

import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from typing import TypeVar

Json = dict[str, object]
Fields = dict[str, str]
KEY = "sk_test_stubStubStubStub"
SECRET = "whsec_stubStubStubStub"


class Refused(Exception):
    def __init__(self, status: int, error: Json) -> None:
        super().__init__(error.get("code"))
        self.status = status
        self.error = error


@dataclass
class Intent:
    id: str
    amount: int
    currency: str
    metadata: Fields
    boleto: Fields | None = None
    status: str = "requires_payment_method"
    received: int = 0
    session: str | None = None
    until: int = 0

    @property
    def number(self) -> str:
        return self.metadata.get("number", "")


@dataclass
class Session:
    id: str
    fields: Fields
    intent: str
    status: str = "open"


@dataclass
class Refund:
    id: str
    intent: str
    amount: int
    metadata: Fields
    status: str = "pending"


Known = TypeVar("Known", Intent, Session)


@dataclass(frozen=True)
class Fault:
    """What happens to one call: carried out or not, then answered with a status, or cut off."""

    executes: bool
    said: int | None


def signed(
    event: Json | bytes, *, at: int | None = None, secret: str = SECRET
) -> tuple[Fields, bytes]:
    """An event as it is sent: its headers, names in lower case, and its body."""
    body = event if isinstance(event, bytes) else json.dumps(event, indent=2).encode()
    sent_at = int(time.time()) if at is None else at
    digest = hmac.new(secret.encode(), str(sent_at).encode() + b"." + body, hashlib.sha256)
    return {"stripe-signature": f"t={sent_at},v1={digest.hexdigest()},v0=00"}, body
