"""The floors: the least programs that do the same durable work.

They validate nothing, log nothing and handle no error; they are what somebody in a hurry would
write with the same libraries (aiohttp, redis-py, asyncpg), on the same servers, with the same
forcing to disk. Each is one handler, and runs as a process of its own:

- `replay`: give the cached answer again; one Lua script, one round trip.
- `apply_hmac`: take the order's lock (Lua) | insert order and attempt, commit | call the channel |
  note its answer, commit | cache the answer, queue the first poll, unlock (Lua).
- `apply_rsa`: the same, signing the call and verifying the answer with RSA, as WeChat Pay wants.
- `callback`: verify (RSA), decrypt | lock (SET NX) | BEGIN, three statements, COMMIT | unlock and
  publish (Lua) | acknowledge.
"""

import asyncio
import secrets
import sys
import time
from base64 import b64decode
from collections.abc import Mapping
from typing import Final

import aiohttp
import asyncpg
import msgspec
import uvloop
from aiohttp import web
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct
from redis.asyncio import Redis

from benchmarks.place import HOST, POOL_SIZE, Place, read_place
from benchmarks.wechat import (
    CURRENCY,
    PRICE,
    Sign,
    Verify,
    hmac_signing,
    hmac_verifying,
    rsa_signing,
    rsa_verifying,
    signed_message,
)

SCHEMA: Final = """
    CREATE TABLE orders (
        id text PRIMARY KEY,
        amount bigint NOT NULL,
        state text NOT NULL DEFAULT 'open',
        created_at timestamptz NOT NULL DEFAULT now()
    );
    CREATE TABLE attempts (
        number text PRIMARY KEY,
        order_id text NOT NULL REFERENCES orders,
        state text NOT NULL DEFAULT 'created',
        payment_ref text,
        next_action text,
        ask_at timestamptz
    );
    CREATE UNIQUE INDEX one_captured ON attempts (order_id) WHERE state = 'captured';
    CREATE UNIQUE INDEX one_offered ON attempts (order_id) WHERE state IN ('created', 'paying');
    CREATE INDEX to_ask ON attempts (ask_at) WHERE ask_at IS NOT NULL;
    CREATE TABLE outbox (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        order_id text NOT NULL,
        body text NOT NULL
    );
    CREATE FUNCTION open_attempt(order_id text, number text, amount bigint)
    RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO orders (id, amount) VALUES (order_id, amount);
        INSERT INTO attempts (number, order_id, ask_at)
        VALUES (number, order_id, now() + interval '3 seconds');
    END $$;
"""

REPLAY: Final = "return redis.call('GET', KEYS[1])"
LOCK: Final = """
    local answer = redis.call('GET', KEYS[1])
    if answer then return answer end
    return redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', 10000)
"""
FINISH: Final = """
    if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
    redis.call('SET', KEYS[1], ARGV[2], 'PX', 10000)
    redis.call('ZADD', KEYS[3], ARGV[3], ARGV[4])
    return redis.call('DEL', KEYS[2])
"""
UNLOCK: Final = """
    if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
    return redis.call('PUBLISH', 'orders', ARGV[2])
"""

OPEN: Final = "SELECT open_attempt($1, $2, $3)"
ACCEPT: Final = """
    UPDATE attempts SET state = 'paying', next_action = $2, ask_at = now() + interval '3 seconds'
    WHERE number = $1
"""
CAPTURE: Final = """
    UPDATE attempts SET state = 'captured', payment_ref = $2, ask_at = NULL
    WHERE number = $1 AND state = 'paying' RETURNING order_id
"""
PAY: Final = "UPDATE orders SET state = 'paid' WHERE id = $1 AND state = 'open'"
TELL: Final = "INSERT INTO outbox (order_id, body) VALUES ($1, $2)"

_PREPAY: Final = "/v3/pay/transactions/native"


class Amount(Struct):
    total: int
    currency: str


class Prepay(Struct):
    appid: str
    mchid: str
    description: str
    out_trade_no: str
    notify_url: str
    amount: Amount


class Resource(Struct):
    nonce: str
    ciphertext: str
    associated_data: str


class Notification(Struct):
    resource: Resource


class Trade(Struct):
    out_trade_no: str
    transaction_id: str


def answer_key(order_id: str) -> str:
    return f"{order_id}:answer"


class Floor:
    """The connections of a floor, and the four handlers."""

    def __init__(
        self,
        place: Place,
        redis: Redis,
        pool: "asyncpg.Pool[asyncpg.Record]",
        http: aiohttp.ClientSession,
    ) -> None:
        self.keys = place.keys
        self.channel_url = place.channel_url
        self.redis = redis
        self.pool = pool
        self.http = http
        self.read_answer = redis.register_script(REPLAY)
        self.lock = redis.register_script(LOCK)
        self.finish = redis.register_script(FINISH)
        self.unlock = redis.register_script(UNLOCK)
        self.sign_rsa = rsa_signing(place.keys.merchant.key)
        self.verify_rsa = rsa_verifying(place.keys.public_key)
        self.sign_hmac = hmac_signing(place.hmac_key)
        self.verify_hmac = hmac_verifying(place.hmac_key)
        self.sealing = AESGCM(place.keys.apiv3_key.encode())

    async def replay(self, request: web.Request) -> web.Response:
        answer = await self.read_answer([answer_key(request.match_info["order"])])
        return web.Response(body=answer, content_type="application/json")

    async def apply_hmac(self, request: web.Request) -> web.Response:
        return await self._apply(request, "/hmac", self.sign_hmac, self.verify_hmac)

    async def apply_rsa(self, request: web.Request) -> web.Response:
        return await self._apply(request, "/wechat", self.sign_rsa, self.verify_rsa)

    async def callback(self, request: web.Request) -> web.Response:
        body = await request.read()
        _verify(self.verify_rsa, request.headers, body)
        resource = msgspec.json.decode(body, type=Notification).resource
        plain = self.sealing.decrypt(
            resource.nonce.encode(),
            b64decode(resource.ciphertext),
            resource.associated_data.encode(),
        )
        trade = msgspec.json.decode(plain, type=Trade)
        lock, token = f"{trade.out_trade_no}:lock", secrets.token_bytes(12)
        await self.redis.set(lock, token, nx=True, px=10_000)
        async with self.pool.acquire() as conn, conn.transaction():
            order_id = await conn.fetchval(CAPTURE, trade.out_trade_no, trade.transaction_id)
            await conn.execute(PAY, order_id)
            await conn.execute(TELL, order_id, plain.decode())
        await self.unlock([lock], [token, order_id])
        return web.Response(status=204)

    async def _apply(
        self, request: web.Request, base: str, sign: Sign, verify: Verify
    ) -> web.Response:
        order_id, token = request.match_info["order"], secrets.token_bytes(12)
        number = secrets.token_hex(13)
        keys = [answer_key(order_id), f"{order_id}:lock", "to_ask"]
        await self.lock(keys[:2], [token])
        await self.pool.execute(OPEN, order_id, number, PRICE)
        answer = await self._call_channel(base, sign, verify, number)
        await self.pool.execute(ACCEPT, number, answer.decode())
        await self.finish(keys, [token, answer, int(time.time()) + 3, number])
        return web.Response(status=201, body=answer, content_type="application/json")

    async def _call_channel(self, base: str, sign: Sign, verify: Verify, number: str) -> bytes:
        keys, path = self.keys, base + _PREPAY
        prepay = Prepay(
            appid=keys.appid,
            mchid=keys.mchid,
            description="tea",
            out_trade_no=number,
            notify_url="http://127.0.0.1/callbacks/wx",
            amount=Amount(PRICE, CURRENCY),
        )
        body = msgspec.json.encode(prepay)
        timestamp, nonce = str(int(time.time())), secrets.token_hex(16)
        signature = sign(f"POST\n{path}\n{timestamp}\n{nonce}\n{body.decode()}\n".encode())
        headers = {
            "Content-Type": "application/json",
            "Authorization": f'WECHATPAY2-SHA256-RSA2048 mchid="{keys.mchid}",nonce_str="{nonce}",'
            f'signature="{signature}",timestamp="{timestamp}",serial_no="{keys.merchant.serial}"',
        }
        async with self.http.post(self.channel_url + path, data=body, headers=headers) as response:
            answer = await response.read()
        _verify(verify, response.headers, answer)
        return answer


def _verify(verify: Verify, headers: Mapping[str, str], body: bytes) -> None:
    message = signed_message(headers["Wechatpay-Timestamp"], headers["Wechatpay-Nonce"], body)
    verify(headers["Wechatpay-Signature"], message)


async def _serve(name: str, port: int, place: Place) -> None:
    async with (
        Redis.from_url(place.floor_redis_url, max_connections=64) as redis,
        asyncpg.create_pool(
            place.floor_database_url, min_size=POOL_SIZE, max_size=POOL_SIZE
        ) as pool,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=200)) as http,
    ):
        floor = Floor(place, redis, pool, http)
        handlers = {
            "replay": floor.replay,
            "apply_hmac": floor.apply_hmac,
            "apply_rsa": floor.apply_rsa,
            "callback": floor.callback,
        }
        app = web.Application()
        path = "/callbacks/{account}" if name == "callback" else "/v1/orders/{order}/attempts"
        app.router.add_post(path, handlers[name])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, HOST, port, backlog=1024).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1], int(sys.argv[2]), read_place(sys.argv[3])))
