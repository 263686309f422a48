"""The scenes: what each race begins with, and who acts at once."""

from typing import Final

from tests.schedules import capture_scenes, refund_scenes
from tests.schedules.exploring import (
    AWAY,
    PLAIN,
    STUCK,
    STUCK_AWAY,
    UNANSWERED,
    UNANSWERED_AWAY,
    UNANSWERED_STUCK,
    UNHEARD,
    Flows,
    Scene,
)
from tests.schedules.stage import Stage
from tests.schedules.tills import H5, NATIVE


async def two_applies_of_one_kind(stage: Stage) -> Flows:
    """F38: two clicks for the same, at two processes."""
    return {"A": stage.apply(NATIVE), "B": stage.apply(NATIVE)}


async def two_applies_on_two_products(stage: Stage) -> Flows:
    """F2: two tabs for two ways to pay."""
    return {"A": stage.apply(NATIVE), "B": stage.apply(H5)}


async def apply_and_callback(stage: Stage) -> Flows:
    """F32: the buyer clicks again while the payment of what he was given arrives."""
    await stage.applied_before(NATIVE)
    [first] = await stage.attempts()
    return {"A": stage.apply(NATIVE), "P": stage.pay(first.number)}


async def apply_and_payment_of_another(stage: Stage) -> Flows:
    """F31: the channel is asked for another code while the first one is paid."""
    await stage.applied_before(NATIVE)
    [first] = await stage.attempts()
    return {"A": stage.apply(H5), "P": stage.pay(first.number)}


async def two_callbacks(stage: Stage) -> Flows:
    """F1: two codes are paid at once."""
    stage.ledger.misbehave(unclosable=True)
    await stage.applied_before(NATIVE)
    await stage.applied_before(H5)
    first, second = await stage.attempts()
    return {"P": stage.pay(first.number), "Q": stage.pay(second.number)}


async def callback_poll_and_return(stage: Stage) -> Flows:
    """F3 and F18: three ways to hear of one payment, and whoever asks may die."""
    await stage.applied_before(NATIVE)
    [first] = await stage.attempts()
    return {
        "P": stage.pay(first.number),
        "Q": stage.poll(first),
        "R": stage.come_back(first),
    }


async def apply_and_expiry(stage: Stage) -> Flows:
    await stage.let_it_expire()
    return {"A": stage.apply(NATIVE), "E": stage.expire()}


async def apply_and_merchant_close(stage: Stage) -> Flows:
    await stage.applied_before(NATIVE)
    return {"A": stage.apply(H5), "C": stage.close()}


async def callback_and_expiry(stage: Stage) -> Flows:
    """F12: the money comes as the order expires."""
    await stage.applied_before(NATIVE)
    [first] = await stage.attempts()
    await stage.let_it_expire()
    return {"P": stage.pay(first.number), "E": stage.expire()}


async def callback_and_merchant_close(stage: Stage) -> Flows:
    """F12: the money comes as the merchant closes the order."""
    await stage.applied_before(NATIVE)
    [first] = await stage.attempts()
    return {"P": stage.pay(first.number), "C": stage.close()}


async def poll_and_close(stage: Stage) -> Flows:
    """F34: the close is answered while the password is on its way, and the callback is lost."""
    await stage.applied_before(NATIVE)
    [first] = await stage.attempts()
    return {
        "C": stage.close(),
        "P": stage.pay_unheard(first.number),
        "Q": stage.poll(first),
    }


async def two_applies_and_callback(stage: Stage) -> Flows:
    await stage.applied_before(NATIVE)
    [first] = await stage.attempts()
    return {
        "A": stage.apply(NATIVE),
        "B": stage.apply(H5),
        "P": stage.pay(first.number),
    }


async def callback_and_news_of_another(stage: Stage) -> Flows:
    """The first code is paid; of the second we hear that it was closed; the buyer clicks on."""
    stage.ledger.misbehave(unclosable=True)
    await stage.applied_before(NATIVE)
    await stage.applied_before(H5)
    first, second = await stage.attempts()
    stage.ledger.entries[second.number].closed = True
    return {
        "P": stage.pay(first.number),
        "Q": stage.poll(second),
        "A": stage.apply_twice(H5),
    }


# Each flow under the conditions that make a difference to it.
SCENES: Final = [
    Scene(flows, conditions)
    for flows, several in (
        (two_applies_of_one_kind, (PLAIN, AWAY, UNHEARD, UNANSWERED, UNANSWERED_AWAY)),
        (
            two_applies_on_two_products,
            (PLAIN, AWAY, STUCK, STUCK_AWAY, UNHEARD, UNANSWERED, UNANSWERED_STUCK),
        ),
        (apply_and_callback, (PLAIN, AWAY)),
        (
            apply_and_payment_of_another,
            (PLAIN, AWAY, STUCK, STUCK_AWAY, UNHEARD, UNANSWERED, UNANSWERED_STUCK),
        ),
        (two_callbacks, (PLAIN, AWAY, STUCK)),
        (callback_poll_and_return, (PLAIN, AWAY)),
        (apply_and_expiry, (PLAIN, AWAY, STUCK, UNHEARD, UNANSWERED)),
        (apply_and_merchant_close, (PLAIN, AWAY, STUCK, STUCK_AWAY, UNANSWERED)),
        (callback_and_expiry, (PLAIN, AWAY, STUCK)),
        (callback_and_merchant_close, (PLAIN, AWAY, STUCK)),
        (poll_and_close, (PLAIN, AWAY, STUCK)),
        (callback_and_news_of_another, (PLAIN, AWAY)),
        (two_applies_and_callback, (PLAIN, AWAY, STUCK, UNANSWERED_STUCK)),
    )
    for conditions in several
] + [*capture_scenes.SCENES, *refund_scenes.SCENES]
