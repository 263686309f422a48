"""The Redis scripts, each on the keys of one order that nobody else has."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from redis.asyncio import Redis

from gateway.locks import claims
from gateway.locks.claims import Run

TEXTS: Final = {path.stem: path.read_text() for path in Path(claims.__file__).parent.glob("*.lua")}
CLAIM_MS: Final = 600_000
LIVE_MS: Final = 500_000
QUIET_MS: Final = 400_000
FINAL_MS: Final = 700_000
WINDOW_MS: Final = 300_000
_SLACK_MS: Final = 60_000


class Scripts:
    """The scripts of one order, with these texts; what they are told is told apart easily."""

    def __init__(self, redis: Redis, texts: Mapping[str, str] = TEXTS) -> None:
        order = secrets.token_hex(8)
        self.answer, self.holder, self.quiet, self.pages = (
            f"{{{order}}}:{name}" for name in ("answer", "claim", "quiet", "pages")
        )
        self.redis = redis
        self._execute: Run = redis.execute_command
        self._texts = texts

    async def claim(self, token: str = "ours", same: str = "a code") -> list[str | None] | None:
        said = await self._run("claim", self._keys, token, CLAIM_MS, same)
        return msgspec.convert(said, list[str | None] | None)

    async def remember(self, token: str = "ours", same: str = "a code") -> None:
        await self._run("remember", self._keys, token, same, "the code", LIVE_MS)

    async def renew(self, token: str, ttl_ms: int) -> None:
        await self._run("renew", [self.holder], token, ttl_ms)

    async def release(self, token: str) -> None:
        await self._run("release", [self.holder], token)

    async def hush(self, version: int) -> None:
        await self._run("hush", self._keys, QUIET_MS, version)

    async def conclude(self, version: int, final: str = "") -> int | None:
        """Returns how many pages have heard of it."""
        told = (final, FINAL_MS, self.pages, f"the order {version}", version)
        return msgspec.convert(await self._run("conclude", self._keys, *told), int | None)

    async def submit(self, token: str) -> int | None:
        left_ms = await self._run("submit", [self.holder], token, WINDOW_MS)
        return msgspec.convert(left_ms, int | None)

    async def ends_within(self, key: str, ttl_ms: int) -> bool:
        """Will the key be gone after that time, and not much sooner?"""
        left_ms: int = await self.redis.pttl(key)
        return ttl_ms - _SLACK_MS < left_ms <= ttl_ms

    @property
    def _keys(self) -> list[str]:
        return [self.answer, self.holder, self.quiet]

    async def _run(self, name: str, keys: list[str], *told: object) -> object:
        return await self._execute("EVAL", self._texts[name], len(keys), *keys, *told)
