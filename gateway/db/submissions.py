"""What was submitted a moment ago: a row for each window of time in which the same is refused."""

from typing import Final

from gateway.db.orders import Connection

# A window is free when it is new or over; of two at once the second waits for the first one's row.
_CLAIM: Final = """
    INSERT INTO submissions AS s (digest, token, ends_at)
    VALUES ($1, $2, now() + $3 * interval '1 second')
    ON CONFLICT (digest) DO UPDATE SET token = excluded.token, ends_at = excluded.ends_at
    WHERE s.ends_at <= now()
    RETURNING token
"""
_LEFT: Final = """
    SELECT extract(epoch FROM ends_at - now())::float8 FROM submissions WHERE digest = $1
"""
_GIVE_BACK: Final = "DELETE FROM submissions WHERE digest = $1 AND token = $2"
# The condition stands outside too: a row that is claimed again while this waits for it is not over.
_FORGET_OVER: Final = """
    DELETE FROM submissions WHERE ends_at <= now() AND digest IN (
        SELECT digest FROM submissions WHERE ends_at <= now() ORDER BY ends_at LIMIT $1
    )
"""


async def claim(conn: Connection, digest: bytes, token: bytes, window_s: float) -> float | None:
    """Open the window of a submission; returns for how many seconds somebody else's is open."""
    if await conn.fetchval(_CLAIM, digest, token, window_s) is not None:
        return None
    left = await conn.fetchval(_LEFT, digest)
    return 0.0 if left is None else max(float(left), 0.0)  # it ended between the two statements


async def give_back(conn: Connection, digest: bytes, token: bytes) -> None:
    """Close the window, if it is still ours."""
    await conn.execute(_GIVE_BACK, digest, token)


async def forget_over(conn: Connection, limit: int) -> int:
    """Delete windows that are over; returns how many."""
    return int((await conn.execute(_FORGET_OVER, limit)).removeprefix("DELETE "))
