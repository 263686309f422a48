"""Buyers' phones: one for each platform, with a token that lives there."""

from typing import Final, Protocol

from msgspec import Struct

from gateway.ids import OrderId
from tests.fakes.apns_server import KEY_ID, TEAM_ID, TOPIC, FakeApns, p8
from tests.fakes.fcm_server import FakeFcm
from tests.fakes.jpush_server import APP_KEY, MASTER_SECRET, FakeJPush
from tests.fakes.platforms import FakePlatform, Shown
from tests.rig import Rig, until

TOKENS: Final = {
    "fcm": "dGVzdA0:APA91bHun4MxP5egoKMwt2KZFBaFUH-1RYqx_devicedevice",
    "apns": "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0",
    "jpush": "1104a89792b7f9a5e3b",
}


class StartPushing(Protocol):
    """Start a rig that pushes by these platforms, or by all."""

    async def __call__(self, *platforms: str, worker: bool = False) -> Rig: ...


class Phones(Struct, frozen=True):
    fcm: FakeFcm
    apns: FakeApns
    jpush: FakeJPush

    @property
    def platforms(self) -> dict[str, FakePlatform]:
        return {"fcm": self.fcm, "apns": self.apns, "jpush": self.jpush}

    def settings(self, *names: str) -> dict[str, object]:
        """The settings that set up these platforms, or all."""
        every: dict[str, dict[str, object]] = {
            "fcm": {
                "push_fcm_credentials": self.fcm.key_file(),
                "push_fcm_url": self.fcm.url,
            },
            "apns": {
                "push_apns_key": p8(),
                "push_apns_key_id": KEY_ID,
                "push_apns_team_id": TEAM_ID,
                "push_apns_topic": TOPIC,
                "push_apns_url": self.apns.url,
            },
            "jpush": {
                "push_jpush_app_key": APP_KEY,
                "push_jpush_master_secret": MASTER_SECRET,
                "push_jpush_url": self.jpush.url,
            },
        }
        chosen = names or every
        return {name: value for each in chosen for name, value in every[each].items()}

    async def shown(self, name: str, state: str = "paid", surplus: str = "none") -> Shown:
        """Wait until that phone shows how an order stands."""

        def look() -> Shown | None:
            wanted = (state, surplus)
            return next(
                (
                    note
                    for note in self.platforms[name].taken
                    if (note.data["state"], note.data["surplus"]) == wanted
                ),
                None,
            )

        return await until(look)


async def listen(rig: Rig, order: OrderId, *names: str) -> None:
    """Let these phones, or all, hear of the order, without the detour of HTTP."""
    for name in names or TOKENS:
        address = rig.desk.devices.address_of(f"{name}:{TOKENS[name]}")
        assert address is not None
        await rig.desk.devices.add(order, address, "en")
