"""What buyers do, one function a story. Most just pay; the others are why PayOnce exists."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from tests.chaos.buyers import Buyer, Choice
from tests.chaos.client import GaveUp
from tests.chaos.place import CAPTURING, COUNTERS, PULLER

_SHORTEST_LIFE_S: Final = 60
EXPIRES_WITHIN_S: Final = _SHORTEST_LIFE_S + 15

# What Alipay does not close before it was scanned, UnionPay not at all, and no paper knows of.
_LIVE_AFTER_CLOSE: Final = ("alipay", "unionpay", "boleto")
# Where an order lives as long as it is said to: no slip makes it wait.
_SHORT_LIVED: Final = next(
    each for each in COUNTERS if each.merchant == PULLER and "boleto" not in each.channels
)

Story = Callable[[Buyer], Awaitable[None]]


async def pays(buyer: Buyer) -> None:
    await buyer.orders()
    choice = await buyer.chooses(_any(buyer))
    await buyer.thinks()
    await buyer.pays(choice)
    await buyer.watches()


async def clicks_again_afterwards(buyer: Buyer) -> None:
    """Pay, be told, and press the same button and the other one again."""
    channel = _any(buyer)
    await buyer.orders()
    choice = await buyer.chooses(channel)
    await buyer.pays(choice)
    await buyer.watches()
    await asyncio.gather(buyer.chooses(channel), buyer.chooses(_another(buyer, channel)))


async def clicks_twice(buyer: Buyer) -> None:
    channel = _any(buyer)
    await buyer.orders()
    clicks = (buyer.chooses(channel), buyer.chooses(channel), buyer.chooses(channel))
    choices = await asyncio.gather(*clicks)
    await buyer.thinks()
    await asyncio.gather(*(buyer.pays(choice) for choice in choices))
    await buyer.watches()


async def has_two_tabs(buyer: Buyer) -> None:
    """Choose a channel in each, and pay both at once."""
    await buyer.orders()
    choices = await asyncio.gather(*(buyer.chooses(channel) for channel in _two(buyer)))
    await buyer.thinks()
    await asyncio.gather(*(buyer.pays(choice) for choice in choices))
    await buyer.watches()


async def changes_the_channel(buyer: Buyer) -> None:
    """Go from one channel to another, keep a picture of the old code, and pay both."""
    channel = _any(buyer)
    await buyer.orders()
    old = await buyer.chooses(channel)
    await buyer.thinks()
    new = await buyer.chooses(_another(buyer, channel))
    await asyncio.gather(_pays_sometime(buyer, old), _pays_sometime(buyer, new))
    await buyer.watches()
    await buyer.chooses(channel)


async def changes_the_device(buyer: Buyer) -> None:
    """Go from the code on the screen to the phone, where the same channel is another product."""
    channel = _any(buyer)
    await buyer.orders()
    old = await buyer.chooses(channel)
    new = await buyer.chooses(channel, "wap")
    await asyncio.gather(_pays_sometime(buyer, old), _pays_sometime(buyer, new))
    await buyer.watches()


async def pays_one_code_twice(buyer: Buyer) -> None:
    await buyer.orders()
    choice = await buyer.chooses(_any(buyer))
    await buyer.pays(choice)
    if choice is not None and choice.channel in CAPTURING:
        await buyer.watches()  # what was not debited yet cannot be paid again
    await buyer.pays(choice, again=True)
    await buyer.watches()


async def leaves(buyer: Buyer) -> None:
    await buyer.orders()
    await buyer.chooses(_any(buyer))


async def applies_by_api(buyer: Buyer) -> None:
    """Apply through the merchant's program, which repeats itself after the payment."""
    channel, key = _any(buyer), "one-key-for-all-tries"
    await buyer.orders()
    choice = await buyer.applies(channel, key)
    await buyer.pays(choice)
    await buyer.watches()
    await buyer.applies(channel, key)


async def pays_after_the_close(buyer: Buyer) -> None:
    """The merchant closes the order, and a picture of its code is paid."""
    await buyer.orders()
    choice = await buyer.chooses(_live_after_close(buyer))
    await buyer.is_closed_by_the_merchant()
    await buyer.pays(choice)
    await buyer.watches()


async def approves_too_late(buyer: Buyer) -> None:
    """Go from what cannot be closed to what we debit, pay the first, and approve the second."""
    await buyer.orders()
    old = await buyer.chooses(_live_after_close(buyer))
    ours = next(channel for channel in buyer.counter.channels if channel in CAPTURING)
    new = await buyer.chooses(ours)
    await buyer.pays(old)
    await buyer.watches()
    await buyer.pays(new)


async def pays_during_the_close(buyer: Buyer) -> None:
    await buyer.orders()
    choice = await buyer.chooses(_any(buyer))
    await asyncio.gather(buyer.is_closed_by_the_merchant(), buyer.pays(choice))
    await buyer.watches()


async def pays_after_the_expiry(buyer: Buyer) -> None:
    buyer.counter = _SHORT_LIVED
    await buyer.orders_for(_SHORTEST_LIFE_S)
    choice = await buyer.chooses(_any(buyer))
    if await buyer.watches(EXPIRES_WITHIN_S) == "closed":
        await buyer.pays(choice)


async def gets_the_money_back(buyer: Buyer) -> None:
    """Pay, and be refunded by parts: the merchant's people click twice, and too often."""
    await buyer.orders()
    choice = await buyer.chooses(_any(buyer))
    await buyer.pays(choice)
    if await buyer.watches() != "paid":
        return
    await asyncio.gather(
        buyer.is_refunded("a part", 1),
        buyer.is_refunded("a part", 1),
        buyer.is_refunded("the rest"),
        buyer.is_refunded("the rest once more"),
    )


# How many of a hundred buyers do what.
SHARES: Final[dict[Story, int]] = {
    pays: 23,
    clicks_again_afterwards: 10,
    clicks_twice: 8,
    has_two_tabs: 12,
    changes_the_channel: 15,
    changes_the_device: 4,
    pays_one_code_twice: 2,
    leaves: 4,
    applies_by_api: 4,
    approves_too_late: 5,
    pays_after_the_close: 4,
    pays_during_the_close: 4,
    gets_the_money_back: 5,
}


async def live(story: Story, buyer: Buyer) -> bool:
    """Live it to its end; False: nobody answered for so long that the buyer went away."""
    try:
        await story(buyer)
    except GaveUp:
        return False
    return True


async def _pays_sometime(buyer: Buyer, choice: Choice | None) -> None:
    await buyer.thinks()
    await buyer.pays(choice)


def _any(buyer: Buyer) -> str:
    return buyer.random.choice(buyer.counter.channels)


def _two(buyer: Buyer) -> list[str]:
    return buyer.random.sample(buyer.counter.channels, 2)


def _live_after_close(buyer: Buyer) -> str:
    live = [channel for channel in buyer.counter.channels if channel in _LIVE_AFTER_CLOSE]
    return buyer.random.choice(live)


def _another(buyer: Buyer, channel: str) -> str:
    return buyer.random.choice([each for each in buyer.counter.channels if each != channel])
