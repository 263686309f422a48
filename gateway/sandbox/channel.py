"""What a channel of the sandbox is to the control calls and the wallet, whatever it speaks."""

from collections.abc import Iterable
from datetime import datetime
from typing import Protocol

import msgspec
from aiohttp import web

from gateway.sandbox.callbacks import CallbackSender
from gateway.sandbox.faults import FaultBoard
from gateway.sandbox.ledger import Ledger, Payment


class Shared(msgspec.Struct, frozen=True):
    """What all channels share: one ledger, one fault board, one sender of callbacks.

    `webhooks` says where a merchant hears news, by kind of account, for the channels that are told
    that once and not with every payment.
    """

    ledger: Ledger
    faults: FaultBoard
    callbacks: CallbackSender
    public_url: str
    webhooks: dict[str, str] = {}


class Orders(Protocol):
    """What a wallet can do with the orders of one channel."""

    def pay(self, number: str, *, amount: int | None, at: datetime | None, again: bool) -> Payment:
        """The buyer pays, or approves where the merchant debits. Raises NotPayable."""

    def scan(self, number: str) -> Payment:
        """The buyer scans or opens it. Raises NotPayable when the number is unknown."""

    def decline(self, number: str) -> Payment:
        """The buyer's bank refuses. Raises NotPayable."""


class SandboxChannel(Orders, Protocol):
    """A channel as it behaves on the wire, and what a wallet can do with it."""

    kind: str

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        """The channel's own protocol, under `/{kind}/`."""

    def resume(self) -> None:
        """Take up what a stop interrupted: refunds under way, news not yet acknowledged."""

    def reset(self) -> None:
        """Forget what is under way; the ledger is cleared by the caller."""

    def way_back(self, payment: Payment, wanted: str) -> str:
        """Where the buyer's browser goes from here, paid or not; nothing when it stays.

        `wanted` is what the page was asked for, and comes from the browser: not to be trusted.
        """
