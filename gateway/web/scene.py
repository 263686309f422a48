"""What the buyer's page shows, as data: pure, and total over what an order and its attempts can be.

The template draws a `Scene` and decides nothing; a `Scene` knows nothing of HTML. So what a buyer
sees in each state is a table that tests can walk, and two equal scenes are the same page.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal, assert_never

from msgspec import Struct

from gateway.channels.actions import (
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

WALLETS: Final = ("wechat", "alipay", "unionpay")  # channels with an app that scans and pays
_SLIP: Final = "voucher"  # a product that is paper, which any device can show
_PHONE: Final = re.compile(r"Android|iPhone|iPad|iPod|Mobile|HarmonyOS")


class Device(StrEnum):
    """Where the page is open: a browser, or the one inside a wallet, which opens no other app."""

    PC = "pc"
    PHONE = "phone"
    WECHAT = "wechat"
    ALIPAY = "alipay"
    UNIONPAY = "unionpay"

    @property
    def wallet(self) -> str | None:
        """The channel of the wallet that the page is open in."""
        return self.value if self.value in WALLETS else None

    @property
    def terminal(self) -> Terminal:
        match self:
            case Device.PC:
                return Terminal.PC
            case Device.PHONE:
                return Terminal.WAP
            case Device.WECHAT | Device.ALIPAY | Device.UNIONPAY:
                return Terminal.WEBVIEW

    def opens(self, channel: str) -> bool:
        """Wallets keep each other out; what needs no wallet opens everywhere."""
        return self.wallet in (None, channel) or channel not in WALLETS


_WALLET_SIGNS: Final = {
    "MicroMessenger": Device.WECHAT,
    "AlipayClient": Device.ALIPAY,
    "UnionPay/": Device.UNIONPAY,
}


class Ways(Struct, frozen=True):
    """How a page can be paid: the channels, by where that happens."""

    here: tuple[str, ...] = ()  # on this device
    by_code: tuple[str, ...] = ()  # by a code that is shown here, for another phone
    one_code: str = ""  # the URL that all of `shared` can scan; none where that is not several
    shared: tuple[str, ...] = ()
    named: frozenset[str] = frozenset()  # of those here, which ask first who pays


class Kind(StrEnum):
    """Which face the page has."""

    CHOOSE = "choose"
    LEAVE = "leave"  # this wallet's browser cannot pay the order: open the page elsewhere
    NOTHING = "nothing"  # no channel takes this order
    PREPARING = "preparing"
    UNANSWERED = "unanswered"  # the channel did not answer; asking again continues the same payment
    SCAN = "scan"
    OPEN = "open"  # a button opens the wallet, or the channel's page
    COMPLETING = "completing"  # the buyer approved, and we are debiting: nothing is left to do
    VOUCHER = "voucher"  # a slip to be paid at a bank, days later
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
    voucher: VoucherAction | None = None
    jsapi: Mapping[str, str] | None = None  # what the wallet's own browser is asked to pay
    ways: Ways = Ways()
    identify: bool = False  # the wallet has to say who is there, before its own channel can pay
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
                attempt = self.attempt
                if attempt is None or attempt.terminal is not Terminal.PC:
                    return False
                return attempt.channel in WALLETS  # what needs no wallet shows no code
            case Kind.CHOOSE:
                return self.device is Device.PC and (bool(self.ways.one_code) or self._one_wallet)
            case _:
                return False

    @property
    def _one_wallet(self) -> bool:
        return len(self.ways.here) == 1 and self.ways.here[0] in WALLETS

    @property
    def others(self) -> tuple[str, ...]:
        """The channels of this device but the one that is shown already."""
        attempt = self.attempt
        if self.kind is Kind.CHOOSE or attempt is None:
            return self.ways.here
        if attempt.terminal is Terminal.PC and self.device is not Device.PC and not self.slow:
            return self.ways.here  # what is shown is a code, so each of them is another way
        return tuple(channel for channel in self.ways.here if channel != attempt.channel)

    def presses(self, channel: str) -> bool:
        """May a script press this channel's button for who opened the page by scanning its code?

        Not while somebody else is paying: taking their place is for the buyer to decide.
        """
        return channel == self.device.wallet and not self.elsewhere

    @property
    def slow(self) -> bool:
        """Is it about a slip, on which nothing happens for days?"""
        return self.attempt is not None and self.attempt.product == _SLIP

    @property
    def refresh_s(self) -> int | None:
        """How soon a page without JavaScript looks again; None: there is nothing to wait for."""
        if self.kind.final:
            return None
        if self.slow and self.kind in (Kind.VOUCHER, Kind.EXPIRED):
            return 300
        if self.kind is Kind.PREPARING:
            return 2
        choosing = self.kind is Kind.CHOOSE and not self.ways.one_code
        return 30 if choosing else 5  # who is choosing is not to be disturbed


def device_of(user_agent: str) -> Device:
    """Guess from the User-Agent; a wrong guess costs the buyer a click on "another phone"."""
    for sign, wallet in _WALLET_SIGNS.items():
        if sign in user_agent:
            return wallet
    return Device.PHONE if _PHONE.search(user_agent) else Device.PC


def scene_of(
    order: Order,
    snapshot: Snapshot,
    device: Device,
    *,
    merchant: str,
    ways: Ways,
    payer: str | None = None,
    problem: str | None = None,
) -> Scene:
    """Say what the page shows of an order at `snapshot.server_time`.

    `merchant` is its name. `payer` is who is at the browser; empty: its wallet could say so, and
    None: nobody can.
    """
    kind, action = _face(order, snapshot, device, ways, payer)
    attempt = order.offered
    elsewhere = kind is Kind.CHOOSE and attempt is not None
    if kind is Kind.CHOOSE and not ways.here:
        leaves = device.wallet is not None
        kind = Kind.LEAVE if leaves else Kind.CHOOSE if ways.by_code else Kind.NOTHING
    if order.paid_attempt is not None:
        attempt = order.attempt(order.paid_attempt)
    return Scene(
        kind=kind,
        device=device,
        order=order,
        merchant=merchant,
        now=snapshot.server_time,
        problem=None if kind.final else problem,
        until=_until(order, attempt, kind),
        attempt=attempt,
        qr=action.content if isinstance(action, QrAction) else None,
        wallet_url=action.url if isinstance(action, RedirectAction) else None,
        form=action if isinstance(action, FormAction) else None,
        voucher=action if isinstance(action, VoucherAction) else None,
        jsapi=action.parameters if isinstance(action, JsapiAction) else None,
        ways=ways,
        identify=payer == "",
        elsewhere=elsewhere,
        surplus=snapshot.surplus,
        # When all is over, what must not be paid any more is still said, if nobody can return it.
        in_flight=tuple(
            each for each in snapshot.in_flight if not (kind.final and each.refundable)
        ),
    )


def _face(
    order: Order, snapshot: Snapshot, device: Device, ways: Ways, payer: str | None
) -> tuple[Kind, NextAction | None]:
    match order.state:
        case OrderState.PAID:
            return Kind.PAID, None
        case OrderState.CLOSED:
            return Kind.CLOSED, None
        case OrderState.OPEN if snapshot.server_time >= order.expires_at:
            return Kind.EXPIRED, None
        case OrderState.OPEN if order.offered and order.offered.capture_claimed_at is not None:
            return Kind.COMPLETING, None
        case OrderState.OPEN if order.offered and _followed(order.offered, device, ways, payer):
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
        case RedirectAction() | FormAction() | JsapiAction():
            return Kind.OPEN, action
        case VoucherAction():
            return Kind.VOUCHER, action
        case AppAction():
            return Kind.CHOOSE, None
        case _:
            assert_never(action)


def _followed(attempt: Attempt, device: Device, ways: Ways, payer: str | None) -> bool:
    """Can this page go on with the attempt?"""
    if attempt.product == "app":
        return False
    if attempt.product == "jsapi":  # it was made for one person
        return bool(payer) and payer == attempt.payer
    if attempt.product == _SLIP:
        return True
    if attempt.product == "wap":
        return device is not Device.PC and device.opens(attempt.channel)
    if attempt.terminal is Terminal.PC:
        # A code may be scanned off any screen; a wallet that can pay itself does not show one.
        return device.wallet is None or not ways.here
    return attempt.terminal is device.terminal and device.opens(attempt.channel)


def _until(order: Order, attempt: Attempt | None, kind: Kind) -> datetime | None:
    if kind.final or kind in (Kind.EXPIRED, Kind.COMPLETING):
        return None
    if (
        kind in (Kind.SCAN, Kind.OPEN, Kind.VOUCHER)
        and attempt is not None
        and attempt.next_action_until
    ):
        return min(attempt.next_action_until, order.expires_at)
    return order.expires_at
