"""Two persons who look at the refunds that wait for them, and let them go."""

import asyncio
from typing import Final

from msgspec import Struct

from tests.chaos.client import Client, GaveUp
from tests.chaos.place import Place

_PAUSE_S: Final = 2.0


class Held(Struct, frozen=True):
    id: str


class Page(Struct, frozen=True):
    data: list[Held]


async def approve_what_is_held(place: Place, client: Client) -> None:
    """Approve, one after the other, until cancelled; what the channel cannot give back one of them
    pays back by other means.
    """
    url = f"{place.gateway_url}/v1/refunds"
    by = [{"Authorization": f"Bearer {token}"} for token in place.operators]
    while True:
        await asyncio.sleep(_PAUSE_S)
        try:
            page = await client.call("GET", f"{url}?state=held&limit=100", headers=by[0])
            for held in page.read(Page).data:
                for person in by:
                    note = {"note": "the buyer paid twice"}
                    approve = f"{url}/{held.id}/approve"
                    said = await client.call("POST", approve, note, headers=person)
                    if said.code == "refund_not_supported":
                        returned = {"note": "by hand", "reference": f"transfer of {held.id}"}
                        by_hand = f"{url}/{held.id}/mark-returned"
                        await client.call("POST", by_hand, returned, headers=person)
                        break
        except GaveUp:
            continue
