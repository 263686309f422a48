"""What a row of the route table says: the URL, who may call it, what answers, and the contract.

One row routes the request and describes it in the OpenAPI document, so neither forgets the other.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Literal, TypeAlias

from aiohttp import web
from msgspec import Struct

from gateway.errors import Problem
from gateway.ids import OperatorId


class Reply(Struct, frozen=True):
    """A handler's answer before it becomes HTTP, so that an Idempotency-Key can keep it.

    `remember` is what the key keeps when that is not the body. `replayed`: the same answer was
    given before, and the caller is told so.
    """

    status: int
    body: bytes
    remember: bytes | None = None
    replayed: bool = False


Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
MerchantHandler: TypeAlias = Callable[[web.Request, str], Awaitable[web.StreamResponse]]
OperatorHandler: TypeAlias = Callable[[web.Request, OperatorId], Awaitable[web.StreamResponse]]
KeyedHandler: TypeAlias = Callable[[web.Request, str], Awaitable[Reply]]
Replay: TypeAlias = Callable[[web.Request, str, Reply], Awaitable[Reply]]


async def same_again(_request: web.Request, _merchant: str, kept: Reply) -> Reply:
    """Answer a repeated key with the first answer, to the letter."""
    return kept


class Anyone(Struct, frozen=True):
    """Answered to whoever calls."""

    handler: Handler


class Buyer(Struct, frozen=True):
    """Answered to whoever holds the checkout token that is in the URL."""

    handler: Handler


class Merchant(Struct, frozen=True):
    """Answered to a merchant's API key; the handler is told which merchant."""

    handler: MerchantHandler


class MerchantOnce(Struct, frozen=True):
    """As Merchant, and an Idempotency-Key makes it happen once. `replay` answers a repeat."""

    handler: KeyedHandler
    replay: Replay = same_again


class Operator(Struct, frozen=True):
    """Answered to an operator's token; the handler is told which operator."""

    handler: OperatorHandler


Call: TypeAlias = Anyone | Buyer | Merchant | MerchantOnce | Operator


class Answer(Struct, frozen=True):
    """One success of a call: what it means, and its shape (None: no body worth a schema)."""

    says: str
    shape: type[Struct] | None = None
    media: Literal["application/json", "text/html", "text/plain", ""] = "application/json"


class Route(Struct, frozen=True, kw_only=True):
    """One URL with one method, and all that its reader and its caller need to know."""

    name: str
    method: Literal["GET", "POST"]
    path: str
    call: Call
    tag: str
    summary: str
    detail: str = ""
    body: type[Struct] | None = None
    query: type[Struct] | None = None
    answers: Mapping[int, Answer]
    problems: tuple[type[Problem], ...] = ()
    example: object = None  # a body to begin with, shown in the reference
