"""Rotation of the secret keys: everything that is encrypted is written again with the first one.

It runs beside everything else. Each row is written by itself, and only where it still is what was
read; whoever changed it meanwhile is not undone, and is looked at again. So it may be stopped and
run again at any time.
"""

from typing import Final

from msgspec import Struct

from gateway.db import sealed
from gateway.db.orders import Connection
from gateway.db.sealed import DRAWERS, Drawer, Key
from gateway.errors import ConfigurationError
from gateway.secrets import Cipher

_AT_ONCE: Final = 200


class Rotated(Struct, frozen=True):
    """What was found of one thing: how many were written again, and how many needed it not."""

    holds: str
    rewritten: int
    current: int
    unreadable: tuple[str, ...]  # whose they are; no key decrypts them


async def rotate(conn: Connection, cipher: Cipher) -> list[Rotated]:
    """Encrypt everything with the first key that is not; what no key decrypts stays as it is."""
    return [await _walk(conn, cipher, drawer, write=True) for drawer in DRAWERS]


async def look(conn: Connection, cipher: Cipher) -> list[Rotated]:
    """Say what `rotate` would do: `rewritten` is how many still need an older key."""
    return [await _walk(conn, cipher, drawer, write=False) for drawer in DRAWERS]


async def _walk(conn: Connection, cipher: Cipher, drawer: Drawer, *, write: bool) -> Rotated:
    rewritten = current = 0
    unreadable: list[str] = []
    after = drawer.before_all
    while rows := await sealed.page(conn, drawer, after, _AT_ONCE):
        for key, token in rows:
            try:
                old = await _renew(conn, cipher, drawer, key, token, write=write)
            except ConfigurationError:
                unreadable.append(str(key[0]))
                continue
            rewritten += old
            current += not old
        after = rows[-1][0]
    return Rotated(drawer.holds, rewritten, current, tuple(unreadable))


async def _renew(
    conn: Connection, cipher: Cipher, drawer: Drawer, key: Key, token: bytes, *, write: bool
) -> bool:
    """Write one row again if it needs it; says whether it did. Raises ConfigurationError."""
    found: bytes | None = token
    while found is not None:
        if cipher.is_current(found):
            return False
        renewed = cipher.renew(found)
        if not write or await sealed.swap(conn, drawer, key, found, renewed):
            return True
        found = await sealed.read(conn, drawer, key)
    return False
