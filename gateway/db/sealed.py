"""What is kept encrypted, in whichever table: read in pages, and written under another key."""

from typing import Final

from msgspec import Struct

from gateway.db.orders import Connection

Key = tuple[object, ...]


class Drawer(Struct, frozen=True):
    """A column whose values are encrypted."""

    holds: str  # what its rows are, as people say
    table: str
    column: str
    keys: tuple[str, ...] = ("id",)
    before_all: Key = ("",)  # sorts before every key

    @property
    def one(self) -> str:
        """The condition that finds one row; its parameters are the first ones."""
        return " AND ".join(f"{name} = ${n}" for n, name in enumerate(self.keys, start=1))

    @property
    def key(self) -> str:
        return ", ".join(self.keys)


DRAWERS: Final = (
    Drawer("channel accounts", "channel_accounts", "secrets"),
    Drawer("merchants", "merchants", "webhook_secrets"),
    Drawer("devices", "devices", "token", ("order_id", "digest"), ("", b"")),
)


async def page(conn: Connection, drawer: Drawer, after: Key, limit: int) -> list[tuple[Key, bytes]]:
    """Return up to `limit` rows after a key, in order: each one's key, and what is encrypted."""
    numbers = ", ".join(f"${n}" for n in range(1, len(after) + 1))
    rows = await conn.fetch(
        f"SELECT {drawer.key}, {drawer.column} FROM {drawer.table} "
        f"WHERE ({drawer.key}) > ({numbers}) ORDER BY {drawer.key} LIMIT {limit:d}",
        *after,
    )
    return [(tuple(row)[:-1], row[-1]) for row in rows]


async def read(conn: Connection, drawer: Drawer, key: Key) -> bytes | None:
    found: bytes | None = await conn.fetchval(
        f"SELECT {drawer.column} FROM {drawer.table} WHERE {drawer.one}", *key
    )
    return found


async def swap(conn: Connection, drawer: Drawer, key: Key, old: bytes, new: bytes) -> bool:
    """Write `new` in the place of `old`; False: it is not `old` any more, and stays as it is."""
    last = len(key)
    done = await conn.execute(
        f"UPDATE {drawer.table} SET {drawer.column} = ${last + 2} "
        f"WHERE {drawer.one} AND {drawer.column} = ${last + 1}",
        *key,
        old,
        new,
    )
    return done == "UPDATE 1"
