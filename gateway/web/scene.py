"""What the buyer's page shows, as data: pure, and total over what an order and its attempts can be.

The template draws a `Scene` and decides nothing; a `Scene` knows nothing of HTML. So what a buyer
sees in each state is a table that tests can walk, and two equal scenes are the same page.
"""

import re
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal, assert_never

from msgspec import Struct

from gateway.channels.base import (
    AppAction,
    FormAction,
    JsapiAction,
    NextAction,
    QrAction,
    RedirectAction,
    VoucherAction,
)
from gateway.model import Attempt, AttemptState, Order, OrderState, Terminal
from gateway.objects import InFlight, Snapshot

# These need an openid, or the merchant's own app; a web page has neither.
NOT_FOR_PAGES: Final = frozenset({"jsapi", "app"})
_PHONE: Final = re.compile(r"Android|iPhone|iPad|iPod|Mobile|HarmonyOS")
_WALLETS: Final = re.compile(r"MicroMessenger|AlipayClient|UnionPay")


class Device(StrEnum):
    """Where the page is open."""

    PC = "pc"
    PHONE = "phone"
    WALLET = "wallet"  # inside a wallet's own browser, which opens no other app

    @property
    def terminal(self) -> Terminal:
        match self:
            case Device.PC:
                return Terminal.PC
            case Device.PHONE:
                return Terminal.WAP
            case Device.WALLET:
                return Terminal.WEBVIEW


class Kind(StrEnum):
    """Which face the page has."""

    CHOOSE = "choose"
    LEAVE = "leave"  # this wallet's browser cannot pay the order: open the page elsewhere
    NOTHING = "nothing"  # no channel takes this order
    PREPARING = "preparing"
    UNANSWERED = "unanswered"  # the channel did not answer; asking again continues the same payment
    SCAN = "scan"
    OPEN = "open"  # a button opens the wallet, or the channel's page
    RENEW = "renew"  # what was offered is too old to be used
    PAID = "paid"
    CLOSED = "closed"
    EXPIRED = "expired"  # time is up, and the channel is being asked

    @property
    def final(self) -> bool:
        return self in (Kind.PAID, Kind.CLOSED)


class Scene(Struct, frozen=True, kw_only=True):
    """Everything on the page. `until` is what the countdown counts to."""

    kind: Kind
    device: Device
    order: Order
    merchant: str
    now: datetime
    problem: str | None
    until: datetime | None = None
    attempt: Attempt | None = None  # the offered one, or the one that paid
    qr: str | None = None
    wallet_url: str | None = None
    form: FormAction | None = None  # what a browser posts to open the channel's page
    here: tuple[str, ...] = ()  # channels that can be paid on this device
    by_code: tuple[str, ...] = ()  # channels that show this device's buyer a code for another phone
    elsewhere: bool = False  # an attempt was begun where this page cannot follow
    surplus: Literal["none", "returning", "returned", "held"] = "none"
    in_flight: tuple[InFlight, ...] = ()

    @property
    def around_code(self) -> bool:
        """Is the face built around the place of a code? Between such faces nothing jumps."""
        match self.kind:
            case Kind.SCAN:
                return True
            case Kind.PREPARING | Kind.UNANSWERED | Kind.RENEW:
                return self.attempt is not None and self.attempt.terminal is Terminal.PC
            case Kind.CHOOSE:
                return self.device is Device.PC and len(self.here) == 1
            case _:
                return False

    @property
    def others(self) -> tuple[str, ...]:
        """The channels of this device but the one that is shown already."""
        attempt = self.attempt
        if self.kind is Kind.CHOOSE or attempt is None or attempt.terminal != self.device.terminal:
            return self.here
        return tuple(channel for channel in self.here if channel != attempt.channel)

    @property
    def refresh_s(self) -> int | None:
        """How soon a page without JavaScript looks again; None: there is nothing to wait for."""
        if self.kind.final:
            return None
        if self.kind is Kind.PREPARING:
            return 2
        return 30 if self.kind is Kind.CHOOSE else 5  # who is choosing is not to be disturbed


def device_of(user_agent: str) -> Device:
    """Guess from the User-Agent; a wrong guess costs the buyer a click on "another phone"."""
    if _WALLETS.search(user_agent):
        return Device.WALLET
    return Device.PHONE if _PHONE.search(user_agent) else Device.PC


def scene_of(
    order: Order,
    snapshot: Snapshot,
    device: Device,
    *,
    merchant: str,
    here: tuple[str, ...],
    by_code: tuple[str, ...],
    problem: str | None,
) -> Scene:
    """Say what the page shows of an order at `snapshot.server_time`; `merchant` is its name."""
    now = snapshot.server_time
    kind, action = _face(order, snapshot, device)
    attempt = order.offered
    elsewhere = kind is Kind.CHOOSE and attempt is not None
    if kind is Kind.CHOOSE and not here:
        kind = Kind.LEAVE if device is Device.WALLET else Kind.CHOOSE if by_code else Kind.NOTHING
    if order.paid_attempt is not None:
        attempt = order.attempt(order.paid_attempt)
    return Scene(
        kind=kind,
        device=device,
        order=order,
        merchant=merchant,
        now=now,
        problem=None if kind.final else problem,
        until=_until(order, attempt, kind),
        attempt=attempt,
        qr=action.content if isinstance(action, QrAction) else None,
        wallet_url=action.url if isinstance(action, RedirectAction) else None,
        form=action if isinstance(action, FormAction) else None,
        here=here,
        by_code=by_code,
        elsewhere=elsewhere,
        surplus=snapshot.surplus,
        in_flight=() if kind.final else tuple(snapshot.in_flight),
    )


def _face(order: Order, snapshot: Snapshot, device: Device) -> tuple[Kind, NextAction | None]:
    match order.state:
        case OrderState.PAID:
            return Kind.PAID, None
        case OrderState.CLOSED:
            return Kind.CLOSED, None
        case OrderState.OPEN if snapshot.server_time >= order.expires_at:
            return Kind.EXPIRED, None
        case OrderState.OPEN if order.offered and _followed(order.offered, device):
            return _face_of(order.offered, snapshot)
        case OrderState.OPEN:
            return Kind.CHOOSE, None


def _face_of(offered: Attempt, snapshot: Snapshot) -> tuple[Kind, NextAction | None]:
    if offered.state is AttemptState.CREATED:
        until = offered.calling_until
        calling = until is not None and snapshot.server_time < until
        return (Kind.PREPARING if calling else Kind.UNANSWERED), None
    action = snapshot.attempt.next_action if snapshot.attempt else None
    match action:
        case None:
            return Kind.RENEW, None
        case QrAction():
            return Kind.SCAN, action
        case RedirectAction() | FormAction():
            return Kind.OPEN, action
        case JsapiAction() | AppAction() | VoucherAction():
            return Kind.CHOOSE, None
        case _:
            assert_never(action)


def _followed(attempt: Attempt, device: Device) -> bool:
    """Can this page go on with the attempt? A code may be scanned off any screen."""
    if attempt.product in NOT_FOR_PAGES:
        return False
    return attempt.terminal in (Terminal.PC, device.terminal)


def _until(order: Order, attempt: Attempt | None, kind: Kind) -> datetime | None:
    if kind.final or kind is Kind.EXPIRED:
        return None
    if kind in (Kind.SCAN, Kind.OPEN) and attempt is not None and attempt.next_action_until:
        return min(attempt.next_action_until, order.expires_at)
    return order.expires_at
