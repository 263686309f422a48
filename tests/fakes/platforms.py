"""What the local push platforms share: which tokens live, what a screen shows, and how they fail.

They are written from the platforms' documents alone and share no line with the adapters. A platform
takes nothing that is not genuine: what it took is in `taken`, each reason why not in `refused`.
"""

from asyncio import Event
from collections import deque
from collections.abc import Mapping
from typing import Literal

from msgspec import Struct


class Shown(Struct, frozen=True):
    """A note as a device has it; `collapse` says of which older one it takes the place."""

    token: str
    collapse: str
    title: str
    body: str
    data: Mapping[str, str]

    @property
    def version(self) -> int:
        return int(self.data["version"])


class Mood(Struct, frozen=True):
    """How one request fails: answered with that, or never (before or after it was executed)."""

    status: int = 503
    body: bytes = b"{}"
    headers: Mapping[str, str] = {}
    instead: Literal["answer", "lose", "stall"] = "answer"


LOSE = Mood(instead="lose")  # it is executed, and the connection dies before the answer
STALL = Mood(instead="stall")  # nothing happens, until the test says `go_on`


class FakePlatform:
    """One platform; `moods` are for the next requests, one each."""

    def __init__(self) -> None:
        self.url = ""
        self.living: set[str] = set()
        self.taken: list[Shown] = []
        self.refused: list[str] = []
        self.moods: deque[Mood] = deque()
        self.stalled = Event()
        self.go_on = Event()

    def mood(self) -> Mood | None:
        return self.moods.popleft() if self.moods else None

    async def stand_still(self) -> None:
        self.stalled.set()
        await self.go_on.wait()

    def screen(self, token: str) -> list[Shown]:
        """What the device shows: the newest note of each order."""
        newest = {note.collapse: note for note in self.taken if note.token == token}
        return list(newest.values())
