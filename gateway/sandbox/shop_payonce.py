"""Everything a merchant's program has to know of PayOnce: two calls and one webhook.

Two answers must never be mixed up. `UnavailableError` means that nothing is known: the order may
or may not exist, so the same call is made again, with the same number and the same key.
`RefusedError` means that PayOnce said no.
"""

from collections.abc import Mapping
from typing import TypeVar

import aiohttp
import msgspec
from standardwebhooks import Webhook, WebhookVerificationError

from gateway.sandbox.shop_orders import Order, PayOnceOrder

CALL_TIMEOUT_S = 5.0
# With these codes a 409 says "not now" and not "no".
PASSING_CODES = frozenset({"request_in_progress", "apply_in_progress"})

T = TypeVar("T")


class UnavailableError(Exception):
    """No answer, or none that says anything: ask again later."""


class Problem(msgspec.Struct, frozen=True):
    """An error of PayOnce (RFC 9457); `duplicate_submission` names the first order."""

    code: str = "unknown"
    detail: str = ""
    order: str | None = None
    checkout_url: str | None = None


class RefusedError(Exception):
    """PayOnce said no, and why."""

    def __init__(self, status: int, problem: Problem) -> None:
        super().__init__(f"{status} {problem.code}: {problem.detail}")
        self.problem = problem


class ForgedError(Exception):
    """The webhook does not carry PayOnce's signature, or carries an old one."""


class MalformedError(Exception):
    """What came is no event."""


class EventData(msgspec.Struct, frozen=True):
    """What an event is about; only the order matters to a shop."""

    order: PayOnceOrder


class Event(msgspec.Struct, frozen=True):
    """What webhooks and the queue carry: the order as it was when the event happened."""

    id: str
    type: str
    data: EventData


class Line(msgspec.Struct, frozen=True):
    """One line of what is bought, as PayOnce shows it."""

    name: str
    quantity: int
    unit_amount: int


class CreateOrder(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of POST /v1/orders. It depends on the stored order alone: repeats are equal."""

    merchant_order_no: str
    amount: int
    currency: str
    subject: str
    buyer_id: str | None = None
    items: list[Line]
    notify_url: str
    return_url: str
    allow_duplicate: bool = False


class PayOnce:
    """PayOnce's API, as one merchant sees it."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        gateway_url: str,
        api_key: str,
        webhook_secret: str,
    ) -> None:
        self._session = session
        self._orders_url = f"{gateway_url}/v1/orders"
        self._authorization = f"Bearer {api_key}"
        self._webhook = Webhook(webhook_secret)

    async def create(self, order: Order) -> PayOnceOrder:
        """Open the order at PayOnce, or get the one that this number opened before.

        Raises UnavailableError (repeat it), RefusedError.
        """
        body = msgspec.json.encode(body_of(order))
        headers = {"Content-Type": "application/json", "Idempotency-Key": f"order-{order.no}"}
        return await self._call("POST", self._orders_url, headers, body)

    async def ask(self, payonce_order: str) -> PayOnceOrder:
        """The order as PayOnce has it now. Raises UnavailableError, RefusedError."""
        return await self._call("GET", f"{self._orders_url}/{payonce_order}", {}, None)

    def read_webhook(self, headers: Mapping[str, str], body: bytes) -> Event:
        """Verify a webhook over its raw bytes, then read it.

        The library compares in constant time and refuses what is five minutes off the clock.
        Raises ForgedError, MalformedError.
        """
        try:
            self._webhook.verify(body, dict(headers), json_parse=False)
        except (WebhookVerificationError, ValueError) as error:
            # ValueError: the body is not UTF-8, or the signature not base64.
            raise ForgedError(str(error)) from error
        return read_event(body)

    async def _call(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None
    ) -> PayOnceOrder:
        try:
            async with self._session.request(
                method,
                url,
                data=body,
                headers={"Authorization": self._authorization, **headers},
                timeout=aiohttp.ClientTimeout(total=CALL_TIMEOUT_S),
                allow_redirects=False,
            ) as answer:
                return read_answer(answer.status, await answer.read())
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UnavailableError(f"{method} {url}: {type(error).__name__}") from error


def read_event(body: bytes) -> Event:
    """Read an event, from a webhook or from the message queue. Raises MalformedError."""
    try:
        return msgspec.json.decode(body, type=Event)
    except msgspec.DecodeError as error:
        raise MalformedError(str(error)) from error


def read_answer(status: int, body: bytes) -> PayOnceOrder:
    """Tell an order, a refusal and "nothing is known" apart."""
    if status in (200, 201):
        return decode(body, PayOnceOrder)
    if 400 <= status < 500 and status not in (408, 429):
        problem = decode(body, Problem)
        if problem.code not in PASSING_CODES:
            raise RefusedError(status, problem)
    raise UnavailableError(f"PayOnce answered {status}")


def decode(body: bytes, kind: type[T]) -> T:
    """Read an answer; one that cannot be read says nothing."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise UnavailableError(f"an answer that cannot be read: {error}") from error


def body_of(order: Order) -> CreateOrder:
    """Say to PayOnce what is owed, where its news goes and where the buyer comes back to."""
    return CreateOrder(
        merchant_order_no=order.no,
        amount=order.amount,
        currency=order.currency,
        subject=subject_of(order),
        buyer_id=order.buyer_id,
        items=[Line(item.name, item.quantity, item.price) for item in order.items],
        notify_url=f"{order.shop_url}/webhooks/payonce",
        return_url=f"{order.shop_url}/orders/{order.no}",
        allow_duplicate=order.allow_duplicate,
    )


def subject_of(order: Order) -> str:
    """What the buyer reads in the wallet."""
    return " + ".join(
        item.name if item.quantity == 1 else f"{item.name} × {item.quantity}"
        for item in order.items
    )
