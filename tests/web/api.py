"""A merchant's program: it calls the gateway over HTTP and keeps what came back as it came."""

import itertools
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.merchants import add_merchant, let_key_in
from gateway.secrets import Cipher, new_api_key, new_webhook_secret
from tests.rig import Rig

_numbers: Final = itertools.count(1)

NATIVE: Final = {"channel": "wechat", "terminal": "pc"}
H5: Final = {
    "channel": "wechat",
    "terminal": "wap",
    "buyer": {"ip": "203.0.113.7", "user_agent": "Mozilla/5.0"},
}


class Answer(Struct, frozen=True):
    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        return msgspec.json.decode(self.body, type=dict[str, object])

    @property
    def data(self) -> list[dict[str, object]]:
        return msgspec.convert(self.json["data"], list[dict[str, object]])

    @property
    def code(self) -> object:
        """The problem's code, once the problem was found to be well formed."""
        said = self.json
        assert self.headers["Content-Type"] == "application/problem+json"
        assert said["status"] == self.status
        assert said["type"] == f"urn:payonce:problem:{said['code']}"
        assert said["title"]
        assert said["detail"]
        assert said["request_id"]
        return said["code"]

    @property
    def id(self) -> str:
        return str(self.json["id"])

    @property
    def replayed(self) -> bool:
        return self.headers.get("Idempotent-Replayed") == "true"


def new_order(**changes: object) -> dict[str, object]:
    """A body of POST /v1/orders that is accepted, with a number of its own."""
    number = f"no-{next(_numbers)}"
    body = {"merchant_order_no": number, "amount": 100, "currency": "CNY", "subject": "tea"}
    return {**body, **changes}


class Api:
    def __init__(self, rig: Rig, api_key: str | None = None) -> None:
        self.rig = rig
        self.api_key = rig.api_key if api_key is None else api_key

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        raw: bytes | None = None,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Call with the merchant's key; `raw` sends bytes as they are, `key` is for idempotency."""
        sent = CIMultiDict({"Authorization": f"Bearer {self.api_key}"})
        data = raw if body is None else msgspec.json.encode(body)
        if data is not None:
            sent["Content-Type"] = "application/json"
        if key is not None:
            sent["Idempotency-Key"] = key
        for name in headers or {}:
            sent.popall(name, None)
        sent.extend(headers or {})
        async with self.rig.http.request(
            method, self.rig.url + path, data=data, headers=sent, allow_redirects=False
        ) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        return await self.call("GET", path, headers=headers)

    async def post(self, path: str, body: object = None, *, key: str | None = None) -> Answer:
        return await self.call("POST", path, body, key=key)

    async def open_order(self, **changes: object) -> Answer:
        answer = await self.post("/v1/orders", new_order(**changes))
        assert answer.status == 201, answer.body
        return answer

    async def apply(self, order: str, body: object = None, key: str | None = None) -> Answer:
        return await self.post(f"/v1/orders/{order}/attempts", body or NATIVE, key=key)

    async def pay(self, attempt: Answer) -> None:
        """Let the buyer pay, and wait until the order says so."""
        await self.rig.pay(str(attempt.json["number"]))
        order = str(attempt.json["order"])
        answer = await self.get(f"/v1/orders/{order}")
        while answer.json["state"] == "open":
            answer = await self.get(f"/v1/orders/{order}?version={answer.json['version']}&wait=10")
        assert answer.json["state"] == "paid"


async def another_merchant(rig: Rig) -> Api:
    """A second merchant of the same gateway."""
    api_key, name = new_api_key(), f"other{next(_numbers)}"
    cipher = Cipher(rig.settings.secret_keys)
    async with rig.desk.pool.acquire() as conn:
        await add_merchant(conn, cipher, name, "Other", None, new_webhook_secret())
        await let_key_in(conn, name, api_key)
    return Api(rig, api_key)
