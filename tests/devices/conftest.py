"""Three local push platforms, and what speaks to them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.devices.base import Note
from gateway.ids import OrderId
from gateway.model import OrderState
from gateway.ports import free_port
from gateway.up import serving
from tests.devices.phones import TOKENS, Phones, StartPushing
from tests.fakes.apns_server import FakeApns, certificates
from tests.fakes.fcm_server import FakeFcm
from tests.fakes.jpush_server import FakeJPush
from tests.rig import Rig, StartRig, keys, rig, start_rig

__all__ = ["keys", "rig", "start_rig"]


@pytest.fixture
async def fcm() -> AsyncIterator[FakeFcm]:
    fake, port = FakeFcm(), free_port()
    fake.url = f"http://127.0.0.1:{port}"
    fake.living.add(TOKENS["fcm"])
    async with serving(fake.app, "127.0.0.1", port):
        yield fake
        fake.go_on.set()


@pytest.fixture
async def jpush() -> AsyncIterator[FakeJPush]:
    fake, port = FakeJPush(), free_port()
    fake.url = f"http://127.0.0.1:{port}"
    fake.living.add(TOKENS["jpush"])
    async with serving(fake.app, "127.0.0.1", port):
        yield fake
        fake.go_on.set()


@pytest.fixture(scope="session")
def apples_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("apple")
    certificates(folder)
    return folder


@pytest.fixture
async def apns(apples_folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeApns]:
    """Apple's server, whose CA this machine believes for the time of the test."""
    monkeypatch.setenv("SSL_CERT_FILE", str(apples_folder / "ca.pem"))
    fake = FakeApns()
    fake.living.add(TOKENS["apns"])
    async with fake.serving(free_port(), apples_folder):
        yield fake
        fake.go_on.set()


@pytest.fixture
def phones(fcm: FakeFcm, apns: FakeApns, jpush: FakeJPush) -> Phones:
    return Phones(fcm, apns, jpush)


@pytest.fixture
def pushing(start_rig: StartRig, phones: Phones) -> StartPushing:
    async def start(*platforms: str, worker: bool = False) -> Rig:
        return await start_rig(worker=worker, alipay=False, **phones.settings(*platforms))

    return start


@pytest.fixture
def note() -> Note:
    order = OrderId("ord_" + "0" * 26)
    return Note(order, 7, OrderState.PAID, "none", "Payment received", "It has been paid.")
