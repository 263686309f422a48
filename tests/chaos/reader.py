"""A merchant who only pulls: reads the event log while it is written, and never looks back."""

import asyncio
from typing import Final

import msgspec
from msgspec import Struct

from tests.chaos.client import Client, GaveUp
from tests.chaos.place import Place

_PAUSE_S: Final = 0.2


class Event(Struct, frozen=True):
    id: str
    type: str
    order: str


class Page(Struct, frozen=True):
    data: list[Event]


class Reader:
    """Has read `events`, each once, in the order of the log."""

    def __init__(self, place: Place, merchant: str, client: Client) -> None:
        self.merchant = merchant
        self.events: list[Event] = []
        self._url = f"{place.gateway_url}/v1/events?limit=100"
        self._headers = {"Authorization": f"Bearer {place.api_keys[merchant]}"}
        self._client = client

    async def read(self) -> None:
        """Read on, until cancelled."""
        while True:
            after = f"&after={self.events[-1].id}" if self.events else ""
            try:
                url = self._url + after
                answer = await self._client.call("GET", url, headers=self._headers)
                page = answer.read(Page).data
            except (GaveUp, msgspec.DecodeError):
                continue
            self.events += page
            if not page:
                await asyncio.sleep(_PAUSE_S)
