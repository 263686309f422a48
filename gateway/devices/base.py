"""What a push platform is to us: it takes a note for a token, or says that the token is dead.

Whatever else happens is PushUnavailable and tried again: a note may reach a device twice, and says
the same then.
"""

from typing import Final, Protocol, TypeVar

import aiohttp
import msgspec
from msgspec import Struct

from gateway.errors import PushUnavailable
from gateway.ids import OrderId
from gateway.model import OrderState
from gateway.objects import Surplus

DEADLINE_S: Final = 5.0
# For so long a platform keeps a note for a device that is away; then the app looks by itself.
KEPT_FOR_S: Final = 24 * 3600

Body = TypeVar("Body")
encode: Final = msgspec.json.Encoder().encode


class Note(Struct, frozen=True):
    """How an order stands, in words for whoever holds the device, and as data for the app.

    No amount, no name, no way to pay: it is shown on locked screens and passes other companies.
    """

    order: OrderId
    version: int
    state: OrderState
    surplus: Surplus
    title: str
    body: str

    def data(self) -> dict[str, str]:
        """What the app gets beside the words. Of two notes the one with the higher version wins."""
        return {
            "order": self.order,
            "version": str(self.version),
            "state": self.state.value,
            "surplus": self.surplus,
        }


class Told(Struct, frozen=True):
    """The platform has the note; `reference` is what it wants to hear of it when a later note takes
    its place, or empty.
    """

    reference: str = ""


class Dead(Struct, frozen=True):
    """The token will never reach a device (again): it is forgotten."""


class PushPlatform(Protocol):
    def takes(self, token: str) -> bool:
        """Can this be a token of the platform?"""

    async def push(self, token: str, note: Note, replaces: str) -> Told | Dead:
        """Give the platform a note, which takes the place of an older one of that order.

        `replaces` is the reference of what the device was told last of the order, or empty. Raises
        PushUnavailable.
        """


class Answer(Struct, frozen=True):
    """A platform's answer; `wait_s`: how long it wants to be left alone."""

    status: int
    body: bytes
    wait_s: float | None


async def post(
    http: aiohttp.ClientSession, url: str, body: bytes, headers: dict[str, str]
) -> Answer:
    """Post to a platform. Raises PushUnavailable, whose words never repeat what was sent."""
    try:
        async with http.post(url, data=body, headers=headers, allow_redirects=False) as answer:
            wait = answer.headers.get("Retry-After") or answer.headers.get("X-Rate-Limit-Reset")
            return Answer(answer.status, await answer.read(), seconds(wait))
    except (aiohttp.ClientError, OSError) as error:
        raise PushUnavailable(type(error).__name__) from None


def read(body: bytes, wanted: type[Body]) -> Body | None:
    """Read an answer's body; None: it is nothing that we know."""
    try:
        return msgspec.json.decode(body, type=wanted)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def seconds(said: str | None) -> float | None:
    """Read a Retry-After in seconds; a date, which no platform is known to say, is passed over."""
    return float(said) if said is not None and said.isdecimal() else None
