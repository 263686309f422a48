"""A second WeChat Pay merchant beside the rig's first: another mchid, another channel's side."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from gateway.db.accounts import AccountRow
from gateway.merchants import add_channel
from gateway.model import Attempt, Order
from gateway.ports import free_port
from gateway.sandbox.keys import SandboxKeys, wechat_account
from gateway.sandbox.server import sandbox_app
from gateway.secrets import Cipher
from gateway.up import serving
from tests.rig import MERCHANT, Rig

SECOND: Final = "wx_second"


class Second:
    """The channel's side of the second account."""

    def __init__(self, rig: Rig, url: str) -> None:
        self._rig = rig
        self._url = url

    async def pay(self, number: str) -> None:
        await self._post("pay", number=number)

    async def numbers(self) -> list[str]:
        """All payments that were made there."""
        async with self._rig.http.get(f"{self._url}/_control/ledger") as answer:
            return [entry["number"] for entry in (await answer.json())["data"]]

    async def _post(self, call: str, **said: object) -> None:
        said["channel"] = "wechat"
        async with self._rig.http.post(f"{self._url}/_control/{call}", json=said) as answer:
            assert answer.status < 300, await answer.text()


@asynccontextmanager
async def second_account(
    rig: Rig, keys: SandboxKeys, *, priority: int = 200, **settings: str
) -> AsyncIterator[Second]:
    """Run the second merchant's channel, and give the demo merchant an account there."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    sandbox = sandbox_app(keys, public_url=url, pace=0.001)
    said = wechat_account(keys, f"{url}/wechat") | settings
    async with serving(sandbox, "127.0.0.1", port):
        async with rig.desk.pool.acquire() as conn:
            cipher = Cipher(rig.settings.secret_keys)
            await add_channel(conn, cipher, MERCHANT, SECOND, "wechat", said, priority=priority)
        yield Second(rig, url)


async def change(rig: Rig, account: str, **columns: object) -> None:
    """Change an account's row, as an operator's command does."""
    for column, value in columns.items():
        assert column in AccountRow.__struct_fields__
        await rig.desk.pool.execute(
            f"UPDATE channel_accounts SET {column} = $2 WHERE id = $1", account, value
        )


async def attempts(rig: Rig, order: Order) -> list[Attempt]:
    return list((await rig.read(order)).attempts)
