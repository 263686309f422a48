"""The programs of a run: started, killed without warning, and started again at once."""

import asyncio
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

from gateway.embedded.child import start_child
from gateway.embedded.server import end
from tests.chaos.place import SHOP, Place

_UP_WITHIN_S: Final = 60.0
_LOOK_AGAIN_S: Final = 0.05
_REAPED_WITHIN_S: Final = 30.0
_SAYS_IT_IS_UP: Final = (b" at http://", b"the worker is up")


class Program:
    """One process. `deaths` are those that nobody wanted, with the last words."""

    def __init__(self, name: str, folder: Path, command: list[str]) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self.deaths: list[str] = []
        self._folder = folder
        self._command = command
        self._began_at = 0  # in the log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as output:
            self._began_at = output.tell()
            self._process = start_child(
                self._command,
                user=None,
                dies_by=signal.SIGKILL,
                output=output,
                folder=self._folder,
                keep_open=[],
            )

    async def wait_until_up(self) -> None:
        async with asyncio.timeout(_UP_WITHIN_S):
            while not self._is_up():
                self.revive()
                await asyncio.sleep(_LOOK_AGAIN_S)

    def kill(self) -> None:
        """End it as a power cut would, and start it again."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(_REAPED_WITHIN_S)
        self.start()

    async def freeze(self, for_s: float) -> None:
        """Let it stand still, so that it goes on with what has long been decided by others."""
        process = self._process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(for_s)
        finally:
            process.send_signal(signal.SIGCONT)  # where it was killed meanwhile, to nobody

    def revive(self) -> None:
        """Start it again if it has ended, as its supervisor.

        One that could not start, because PostgreSQL was away, is no news; one that was up before
        it ended is.
        """
        assert self._process is not None
        if self._process.poll() is not None:
            if self._is_up():
                self.deaths.append(self._said()[-2000:].decode(errors="replace"))
            self.start()

    async def stop(self) -> None:
        """End it for good; nobody needs its last words."""
        if self._process is not None:
            await end(self._process, (signal.SIGKILL,))

    def _is_up(self) -> bool:
        said = self._said()
        return any(words in said for words in _SAYS_IT_IS_UP)

    def _said(self) -> bytes:
        """What it said since it was last started."""
        with self.log.open("rb") as log:
            log.seek(self._began_at)
            return log.read()


class Programs:
    """The sandbox and the shop, which nobody kills, and the product, which is killed."""

    def __init__(self, place: Place, *, guarded: bool) -> None:
        module = "gateway" if guarded else "tests.chaos.unguarded"
        one, two = (str(port) for port in place.ports.gateways)
        self.gateways = (
            _program(place, "gateway-1", module, "serve", "--worker", "--port", one),
            _program(place, "gateway-2", module, "serve", "--no-worker", "--port", two),
        )
        self.workers = (_program(place, "worker", module, "worker"),)
        self._others = (_sandbox(place), _shop(place))

    @property
    def product(self) -> tuple[Program, ...]:
        return (*self.gateways, *self.workers)

    async def start(self) -> None:
        for program in (*self._others, *self.product):
            program.start()
        for program in (*self._others, *self.product):
            await program.wait_until_up()

    async def keep(self) -> None:
        """Be the supervisor, until cancelled."""
        while True:
            for program in self.product:
                program.revive()
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def stop(self) -> None:
        everything = (*self.product, *self._others)
        await asyncio.gather(*(program.stop() for program in everything))


def _program(place: Place, name: str, module: str, *words: str) -> Program:
    # Unbuffered, so that a log has what was said before a kill.
    return Program(name, place.folder, [sys.executable, "-u", "-m", module, *words])


def _sandbox(place: Place) -> Program:
    where = ("--port", str(place.ports.sandbox), "--data", str(place.folder))
    return _program(place, "sandbox", "gateway", "sandbox", *where)


def _shop(place: Place) -> Program:
    """The shop takes its secrets from the environment, and a child is given none but by `env`."""
    env = shutil.which("env")
    assert env is not None
    secrets = (
        f"PAYONCE_SHOP_API_KEY={place.api_keys[SHOP]}",
        f"PAYONCE_SHOP_WEBHOOK_SECRET={place.webhook_secret}",
    )
    where = ("--port", str(place.ports.shop), "--data", str(place.folder / "shop"))
    words = ("-u", "-m", "gateway", "shop", "--gateway-url", place.gateway_url, *where)
    return Program("shop", place.folder, [env, *secrets, sys.executable, *words])
