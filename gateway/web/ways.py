"""Which channels a page can be paid with, on the device that it is open on."""

from msgspec.structs import replace

from gateway.model import Order, Terminal
from gateway.payments.desk import Desk
from gateway.web.payer import recogniser_of
from gateway.web.scene import WALLETS, Device, Ways


async def ways_to_pay(desk: Desk, order: Order, device: Device, one_code: str) -> Ways:
    """Find the ways; `one_code` is the URL that is offered where several wallets can scan it."""
    here = await _payable(desk, order, device)
    offers = await desk.accounts.offered(order.merchant, device.terminal, order.money)
    ways = Ways(here, named=frozenset(each.channel for each in offers if each.names_buyer))
    if device is Device.PC:
        inside = [name for name in WALLETS if name in await _payable(desk, order, Device(name))]
        shared = tuple(inside) if len(inside) > 1 else ()
        return replace(ways, one_code=one_code if shared else "", shared=shared)
    if device.wallet in here:
        return ways
    codes = await desk.accounts.offered(order.merchant, Terminal.PC, order.money)
    by_code = tuple(each.channel for each in codes if each.channel in WALLETS)
    return replace(ways, by_code=by_code)


async def _payable(desk: Desk, order: Order, device: Device) -> tuple[str, ...]:
    """Return the channels that a page on that device can be paid with."""
    payable = []
    for offer in await desk.accounts.offered(order.merchant, device.terminal, order.money):
        if not device.opens(offer.channel):
            continue
        if offer.product == "jsapi" and await recogniser_of(desk, order, offer.channel) is None:
            continue  # nobody can say for whom it is to be made
        payable.append(offer.channel)
    return tuple(payable)
