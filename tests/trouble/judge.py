"""What must be so when the trouble is over: the database says what the channel's ledger says."""

from collections import Counter

from gateway.db.orders import Connection
from tests.rig import Rig

_RECORDED = """
    SELECT number, sum(received_amount)::bigint FROM attempts
    WHERE state IN ('captured', 'surplus') GROUP BY number
"""
_REFUNDED = """
    SELECT a.number, sum(r.amount)::bigint FROM refunds r JOIN attempts a ON a.id = r.attempt_id
    WHERE r.state = 'done' GROUP BY a.number
"""
_PAID_IN_ANOTHER_WAY = """
    SELECT o.id, o.state, count(a.id) FROM orders o
    LEFT JOIN attempts a ON a.order_id = o.id AND a.state = 'captured'
    GROUP BY o.id HAVING (o.state = 'paid') <> (count(a.id) = 1)
"""
_ANNOUNCED = "SELECT order_id FROM events WHERE type = 'order.paid'"
_PAID = "SELECT id FROM orders WHERE state = 'paid'"
# Where the journal of a noun ends, beside where the noun stands.
_JOURNAL_ENDS_ELSEWHERE = """
    WITH nouns AS (
        SELECT id, state FROM orders UNION ALL SELECT id, state FROM attempts
        UNION ALL SELECT id, state FROM refunds
    ), ends AS (
        SELECT DISTINCT ON (noun_id) noun_id, to_state FROM journal ORDER BY noun_id, id DESC
    )
    SELECT nouns.id, state, to_state FROM nouns LEFT JOIN ends ON noun_id = nouns.id
    WHERE state IS DISTINCT FROM to_state
"""


async def judge(rig: Rig) -> None:
    """Fail unless orders, attempts, refunds, journal, outbox and ledger all tell one story."""
    rows = await rig.ledger()
    async with rig.desk.pool.acquire() as conn:
        assert await _sums(conn, _RECORDED) == _said(rows, "captured")
        assert await _sums(conn, _REFUNDED) == _said(rows, "refunded")
        assert await conn.fetch(_PAID_IN_ANOTHER_WAY) == []
        assert await conn.fetch(_JOURNAL_ENDS_ELSEWHERE) == []
        announced = Counter(row[0] for row in await conn.fetch(_ANNOUNCED))
        assert announced == Counter(row[0] for row in await conn.fetch(_PAID))


async def _sums(conn: Connection, query: str) -> dict[str, int]:
    return {row[0]: row[1] for row in await conn.fetch(query)}


def _said(rows: list[dict[str, object]], column: str) -> dict[str, int]:
    said = {str(row["number"]): int(str(row[column])) for row in rows}
    return {number: amount for number, amount in said.items() if amount}
