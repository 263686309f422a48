"""From the commit to the phone: once, late if it must be, and never not at all."""

import asyncio
from datetime import timedelta

from prometheus_client import REGISTRY

from gateway.devices.telling import LADDER_S
from gateway.model import Order, OrderState
from gateway.payments.settle import settle
from gateway.together import Crew, end
from tests.devices.phones import TOKENS, Phones, StartPushing, listen
from tests.fakes.platforms import LOSE, STALL, Mood
from tests.payments.test_settling import number_in, paid, two_attempts
from tests.rig import Rig, until
from workers.sweep import keep_sweeping


async def order_paid(rig: Rig, *names: str) -> Order:
    """An order that was paid in the ordinary way while these phones listened."""
    order = await rig.order()
    number = number_in((await rig.apply(order)).body)
    await listen(rig, order.id, *names)
    await rig.pay(number)
    return await rig.until_order(order, OrderState.PAID)


async def paid_by_one_who_died(rig: Rig, *names: str) -> Order:
    """An order whose payment was committed by a process that did nothing after it."""
    order = await rig.order()
    number = number_in((await rig.apply(order)).body)
    await listen(rig, order.id, *names)
    settled = await settle(rig.desk.pool, paid(number), rig.settings.base_url)
    return settled.order


async def due(rig: Rig) -> int:
    waiting = "SELECT count(*) FROM devices WHERE due_at IS NOT NULL"
    return int(await rig.desk.pool.fetchval(waiting))


async def time_passes(rig: Rig, by: timedelta) -> None:
    """Everything that devices wait for comes nearer by that much."""
    await rig.desk.pool.execute(
        "UPDATE devices SET due_at = due_at - $1::interval, "
        "leased_until = leased_until - $1::interval",
        by,
    )


async def nothing_is_left_to_tell(rig: Rig) -> None:
    async def look() -> bool:
        return not await due(rig)

    await until(look)


def counted(platform: str, result: str) -> float:
    labels = {"platform": platform, "result": result}
    return REGISTRY.get_sample_value("payonce_pushes_total", labels) or 0


async def test_a_payment_is_told_once_to_every_phone_and_to_the_order_service(
    pushing: StartPushing, phones: Phones
) -> None:
    rig = await pushing(worker=True)
    order = await order_paid(rig)
    for name in TOKENS:
        shown = await phones.shown(name)
        assert (shown.data["order"], shown.version) == (order.id, order.version)
        assert (shown.title, shown.body) == ("Payment received", "Your order has been paid.")
    await nothing_is_left_to_tell(rig)
    for platform in phones.platforms.values():
        assert len(platform.taken) == 1
        assert not platform.refused
    await rig.receiver.wait_for("order.paid", order.id)


async def test_an_order_that_is_closed_is_told(pushing: StartPushing, phones: Phones) -> None:
    rig = await pushing("apns", worker=True)
    order = await rig.order()
    await rig.apply(order)
    await listen(rig, order.id, "apns")
    await rig.desk.pool.execute("UPDATE orders SET expires_at = now(), due_at = now()")
    assert (await phones.shown("apns", "closed")).title == "Order closed"


async def test_money_that_was_not_needed_is_followed_until_it_is_back(
    pushing: StartPushing, phones: Phones
) -> None:
    rig = await pushing(worker=True)
    order, winner, surplus = await two_attempts(rig)
    await listen(rig, order.id)
    await rig.faults(refund_takes_s=0.0)
    await rig.pay(winner)
    await rig.until_order(order, OrderState.PAID)
    await rig.pay(surplus)
    for name in TOKENS:
        assert (await phones.shown(name, surplus="returned")).title == "A payment was returned"
    await nothing_is_left_to_tell(rig)
    for name, platform in phones.platforms.items():
        versions = [note.version for note in platform.taken]
        assert versions == sorted(set(versions))
        assert [note.data["surplus"] for note in platform.screen(TOKENS[name])] == ["returned"]


async def test_a_refund_that_the_merchant_makes_is_no_news_of_ours(
    pushing: StartPushing, phones: Phones
) -> None:
    rig = await pushing("jpush")
    order = await order_paid(rig, "jpush")
    await phones.shown("jpush")
    await nothing_is_left_to_tell(rig)
    await rig.desk.pool.execute("UPDATE devices SET due_at = now(), tries = 0")  # its event
    await rig.desk.devices.tell_order(order.id)
    assert await due(rig) == 0
    assert len(phones.jpush.taken) == 1


async def test_what_a_process_left_when_it_died_is_told_by_the_sweep(
    pushing: StartPushing, phones: Phones
) -> None:
    rig = await pushing()
    order = await paid_by_one_who_died(rig)
    assert await due(rig) == 3
    assert not any(platform.taken for platform in phones.platforms.values())
    sweeping = asyncio.create_task(keep_sweeping(rig.desk))
    for name in TOKENS:
        assert (await phones.shown(name)).version == order.version
    await nothing_is_left_to_tell(rig)
    await end([sweeping])


async def test_a_process_that_dies_while_it_pushes_is_made_up_for_when_its_lease_ends(
    pushing: StartPushing, phones: Phones
) -> None:
    rig = await pushing("fcm")
    order = await paid_by_one_who_died(rig, "fcm")
    phones.fcm.moods.append(STALL)
    telling = asyncio.create_task(rig.desk.devices.tell_order(order.id))
    await phones.fcm.stalled.wait()
    await end([telling])
    await rig.desk.devices.tell_order(order.id)
    assert not phones.fcm.taken, "somebody may still be pushing"
    await time_passes(rig, timedelta(seconds=30))
    await rig.desk.devices.tell_order(order.id)
    assert [note.version for note in phones.fcm.taken] == [order.version]


async def test_a_note_that_brings_down_whoever_pushes_it_is_given_up(
    pushing: StartPushing, phones: Phones
) -> None:
    rig = await pushing("fcm")
    order = await paid_by_one_who_died(rig, "fcm")
    phones.fcm.moods.extend([STALL] * 20)
    for _ in (0.0, *LADDER_S):
        phones.fcm.stalled.clear()
        telling = asyncio.create_task(rig.desk.devices.tell_order(order.id))
        await phones.fcm.stalled.wait()
        await end([telling])
        await time_passes(rig, timedelta(seconds=30))
    left = len(phones.fcm.moods)
    await rig.desk.devices.tell_order(order.id)
    assert len(phones.fcm.moods) == left, "it is not pushed any more"
    assert await due(rig) == 0


async def test_two_who_find_the_same_news_push_it_once(
    pushing: StartPushing, phones: Phones
) -> None:
    rig = await pushing("jpush")
    order = await paid_by_one_who_died(rig, "jpush")
    await asyncio.gather(*(rig.desk.devices.tell_order(order.id) for _ in range(5)))
    assert len(phones.jpush.taken) == 1


async def test_news_that_comes_while_a_phone_is_told_of_the_last_is_told_after_it(
    pushing: StartPushing, phones: Phones
) -> None:
    rig = await pushing("jpush")
    order, winner, surplus = await two_attempts(rig)
    await listen(rig, order.id, "jpush")
    await settle(rig.desk.pool, paid(winner, "ref-1"), rig.settings.base_url)
    phones.jpush.moods.append(STALL)
    telling = asyncio.create_task(rig.desk.devices.tell_order(order.id))
    await phones.jpush.stalled.wait()
    await settle(rig.desk.pool, paid(surplus, "ref-2"), rig.settings.base_url)
    await rig.desk.devices.tell_order(order.id)
    assert not phones.jpush.taken, "the older note is still on its way"
    phones.jpush.go_on.set()
    await telling
    await rig.desk.devices.tell_order(order.id)
    told = [(note.data["surplus"], note.version) for note in phones.jpush.taken]
    newest = (await rig.read(order)).version
    assert told == [("none", newest - 1), ("returning", newest)]
    [shown] = phones.jpush.screen(TOKENS["jpush"])
    assert shown.version == newest
    assert await due(rig) == 0


async def test_a_dead_token_is_forgotten(pushing: StartPushing, phones: Phones) -> None:
    rig = await pushing()
    for platform in phones.platforms.values():
        platform.living.clear()
    order = await paid_by_one_who_died(rig)
    before = {name: counted(name, "dead") for name in TOKENS}
    await rig.desk.devices.tell_order(order.id)
    assert await rig.desk.pool.fetchval("SELECT count(*) FROM devices") == 0
    assert {name: counted(name, "dead") for name in TOKENS} == {
        name: count + 1 for name, count in before.items()
    }


async def test_a_platform_that_is_away_is_tried_on_a_ladder_and_then_given_up(
    pushing: StartPushing, phones: Phones
) -> None:
    rig = await pushing("fcm")
    given_up = counted("fcm", "given_up")
    order, winner, surplus = await two_attempts(rig)
    await listen(rig, order.id, "fcm")
    await settle(rig.desk.pool, paid(winner, "ref-1"), rig.settings.base_url)
    phones.fcm.moods.extend([Mood(503)] * (len(LADDER_S) + 1))
    for pause_s in LADDER_S:
        await rig.desk.devices.tell_order(order.id)
        assert await due(rig) == 1
        await time_passes(rig, timedelta(seconds=pause_s - 1))
        before = len(phones.fcm.moods)
        await rig.desk.devices.tell_order(order.id)
        assert len(phones.fcm.moods) == before, "it is too early"
        await time_passes(rig, timedelta(seconds=1))
    await rig.desk.devices.tell_order(order.id)
    assert not phones.fcm.moods
    assert await due(rig) == 0
    assert counted("fcm", "given_up") == given_up + 1
    await settle(rig.desk.pool, paid(surplus, "ref-2"), rig.settings.base_url)
    await rig.desk.devices.tell_order(order.id)
    assert [note.data["surplus"] for note in phones.fcm.taken] == ["returning"]


async def test_a_platform_that_asks_for_time_gets_it(pushing: StartPushing, phones: Phones) -> None:
    rig = await pushing("fcm")
    order = await paid_by_one_who_died(rig, "fcm")
    phones.fcm.moods.append(Mood(429, headers={"Retry-After": "600"}))
    await rig.desk.devices.tell_order(order.id)
    await time_passes(rig, timedelta(seconds=590))
    await rig.desk.devices.tell_order(order.id)
    assert not phones.fcm.taken
    await time_passes(rig, timedelta(seconds=10))
    await rig.desk.devices.tell_order(order.id)
    assert len(phones.fcm.taken) == 1


async def test_after_a_lost_answer_the_phone_is_told_again_and_shows_it_once(
    pushing: StartPushing, phones: Phones
) -> None:
    rig = await pushing("fcm", "apns")
    order = await paid_by_one_who_died(rig, "fcm", "apns")
    for platform in (phones.fcm, phones.apns):
        platform.moods.append(LOSE)
    await rig.desk.devices.tell_order(order.id)
    assert await due(rig) == 2
    await time_passes(rig, timedelta(seconds=LADDER_S[0]))
    await rig.desk.devices.tell_order(order.id)
    assert await due(rig) == 0
    for name in ("fcm", "apns"):
        assert len(phones.platforms[name].taken) == 2
        assert len(phones.platforms[name].screen(TOKENS[name])) == 1


async def test_a_platform_that_stands_still_holds_up_no_other(
    pushing: StartPushing, phones: Phones
) -> None:
    rig = await pushing("fcm", "apns")
    orders = [await rig.order() for _ in range(40)]
    for order in orders:
        await listen(rig, order.id, "fcm")
    await listen(rig, orders[0].id, "apns")
    await rig.desk.pool.execute(
        "UPDATE orders SET state = 'closed', closed_at = now(), close_reason = 'merchant', "
        "due_at = NULL"
    )
    await rig.desk.pool.execute(
        "UPDATE devices SET due_at = now() - (platform = 'fcm')::int * interval '1 hour'"
    )
    phones.fcm.moods.extend([STALL] * 40)
    crew = Crew("push")
    while not phones.apns.taken:
        await rig.desk.devices.tell_overdue(20, crew)
        await asyncio.sleep(0)
    assert not phones.fcm.taken
    await crew.end()
