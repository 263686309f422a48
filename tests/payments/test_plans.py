"""How PostgreSQL reads an order, where nobody has yet counted what is in its tables."""

import asyncpg

from gateway.db import orders

SURPLUS = """
    INSERT INTO merchants (id, name, webhook_secrets) VALUES ('m', 'M', '');
    INSERT INTO channel_accounts (id, merchant, kind, settings, secrets)
    VALUES ('a', 'm', 'wechat', '{}', '');
    INSERT INTO orders (
        id, merchant, merchant_order_no, amount, currency, subject, token, expires_at)
    SELECT 'ord' || n, 'm', n, 1, 'CNY', 'tea', 'token' || n, now() FROM generate_series(1, 3000) n;
    INSERT INTO attempts (
        id, order_id, number, account, channel, product, terminal, state, amount, currency,
        received_amount, received_currency, payment_ref, parameters, pay_by, live_until)
    SELECT 'att' || n, 'ord' || n, n, 'a', 'wechat', 'native', 'pc', 'surplus', 1, 'CNY',
        1, 'CNY', n, '{}', now(), now() FROM generate_series(1, 3000) n;
    INSERT INTO refunds (
        id, order_id, attempt_id, account, reason, number, amount, currency, state)
    SELECT 'ref' || n, 'ord' || n, 'att' || n, 'a', 'surplus', n, 1, 'CNY', 'held'
    FROM generate_series(1, 3000) n;
"""


async def test_an_order_is_read_without_reading_the_refunds_of_all(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as conn:
        await conn.execute(SURPLUS)
        lines = await conn.fetch(f"EXPLAIN {orders._READ}", "ord7")
    plan = "\n".join(line[0] for line in lines)
    assert "Index Cond: (attempt_id = a.id)" in plan, plan
    assert not any(whole in plan for whole in ("Merge", "Hash", "Seq Scan")), plan
