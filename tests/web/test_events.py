"""The merchant's event log, and webhooks sent again."""

import pytest

from tests.rig import Rig, StartRig, until
from tests.web.api import Answer, Api, another_merchant


@pytest.fixture
async def rig(start_rig: StartRig) -> Rig:
    """With its worker, which numbers the events and sends the webhooks."""
    return await start_rig(worker=True)


async def numbered(api: Api, count: int) -> Answer:
    """Read the first page once it has so many events."""

    async def look() -> Answer | None:
        answer = await api.get("/v1/events")
        return answer if len(answer.data) >= count else None

    found = await until(look)
    assert isinstance(found, Answer)
    return found


async def paid_orders(api: Api, count: int) -> set[str]:
    orders = [(await api.open_order()).id for _ in range(count)]
    for order in orders:
        await api.pay(await api.apply(order))
    return set(orders)


async def test_events_are_paged_without_gaps(api: Api) -> None:
    orders = await paid_orders(api, 5)
    whole = (await numbered(api, 5)).data
    assert {event["order"] for event in whole} == orders
    assert {event["type"] for event in whole} == {"order.paid"}
    paged: list[dict[str, object]] = []
    page = await api.get("/v1/events?limit=2")
    while page.data:
        paged += page.data
        page = await api.get(f"/v1/events?limit=2&after={paged[-1]['id']}")
    assert paged == whole


async def test_the_cursor_is_there_while_there_is_more(api: Api) -> None:
    await paid_orders(api, 2)
    whole = await numbered(api, 2)
    full = await api.get("/v1/events?limit=2")
    assert whole.json["next_cursor"] is None
    assert full.json["next_cursor"] == full.data[-1]["id"]


async def test_an_event_carries_the_order_as_the_move_left_it(api: Api) -> None:
    (order,) = await paid_orders(api, 1)
    (event,) = (await numbered(api, 1)).data
    data = event["data"]
    assert isinstance(data, dict)
    assert data["order"]["id"] == event["order"] == order
    assert data["order"]["state"] == "paid"
    assert data["order"]["version"] == event["version"]


async def test_after_an_unknown_event_there_is_nothing(api: Api) -> None:
    answer = await api.get(f"/v1/events?after=evt_{'0' * 26}")
    assert (answer.status, answer.code) == (404, "not_found")


async def test_a_webhook_is_sent_again_on_demand(api: Api) -> None:
    await paid_orders(api, 1)
    (event,) = (await numbered(api, 1)).data
    received = api.rig.receiver.received
    await until(lambda: received)
    answer = await api.post(f"/v1/events/{event['id']}/redeliver")
    assert (answer.status, answer.id) == (202, event["id"])
    await until(lambda: len(received) == 2)
    assert received[0] == received[1]


async def test_another_merchants_events_are_not_there(api: Api) -> None:
    await paid_orders(api, 1)
    (event,) = (await numbered(api, 1)).data
    other = await another_merchant(api.rig)
    assert (await other.get("/v1/events")).data == []
    assert (await other.get(f"/v1/events?after={event['id']}")).code == "not_found"
    assert (await other.post(f"/v1/events/{event['id']}/redeliver")).code == "not_found"
