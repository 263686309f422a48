"""Drive the sandbox with the SDK `wechatpayv3`, unchanged, and print what it made of the answers.

Runs in the SDK's own environment, where nothing of ours is. Reads one JSON object from standard
input: `{account, sandbox_url, mode}` where mode is `public_key` or `certificate`.
"""

import asyncio
import gzip
import hashlib
import json
import sys
import time
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer
from queue import Queue
from threading import Thread
from typing import ClassVar
from urllib.parse import urlsplit

from wechatpayv3.async_ import AsyncWeChatPay, WeChatPayType  # type: ignore[import-not-found]

Settings = dict[str, str]
NUMBER = f"SDKPY{int(time.time() * 1000)}"


class Receiver(BaseHTTPRequestHandler):
    """The notify URL; what arrives is handed over in `received`."""

    received: ClassVar[Queue[tuple[dict[str, str], str]]] = Queue()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.received.put((dict(self.headers), body.decode()))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing: what is printed is the result alone."""


class Run:
    """One SDK against one sandbox, with notes of what the SDK answered at each step."""

    def __init__(self, account: Settings, sandbox_url: str, mode: str, notify_url: str) -> None:
        self.sandbox = urlsplit(sandbox_url).netloc
        self.mode = mode
        self.notify_url = notify_url
        self.seen: dict[str, object] = {}
        by_key = mode == "public_key"
        self.sdk = AsyncWeChatPay(
            wechatpay_type=WeChatPayType.NATIVE,
            mchid=account["mchid"],
            private_key=account["merchant_key"],
            cert_serial_no=account["merchant_serial"],
            apiv3_key=account["apiv3_key"],
            appid=account["appid"],
            notify_url=notify_url,
            public_key=account["public_key"] if by_key else None,
            public_key_id=account["public_key_id"] if by_key else None,
        )
        self.sdk._core._gate_way = account["base_url"]

    def control(self, path: str, **body: object) -> None:
        connection = HTTPConnection(self.sandbox)
        connection.request("POST", f"/_control/{path}", json.dumps({"channel": "wechat", **body}))
        answer = connection.getresponse()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {answer.read().decode()}")
        connection.close()

    def note(self, step: str, answer: tuple[int, str]) -> None:
        status, body = answer
        self.seen[step] = {"status": status, "body": json.loads(body) if body else None}

    def note_callback(self, step: str) -> None:
        headers, body = Receiver.received.get(timeout=10)
        self.seen[step] = self.sdk.callback(headers, body)

    async def drive(self) -> None:
        self.control("faults", callback_signer=self.mode, refund_takes_s=0)
        async with self.sdk:
            await self.pay_and_refund()
            await self.close_another()
            await self.fetch_bill()

    async def pay_and_refund(self) -> None:
        order = {"description": "一杯咖啡", "out_trade_no": NUMBER, "amount": {"total": 1234}}
        self.note("create", await self.sdk.pay(**order))
        self.note("query", await self.sdk.query(out_trade_no=NUMBER))
        self.control("pay", number=NUMBER)
        self.note_callback("paid_callback")
        self.note("query_paid", await self.sdk.query(out_trade_no=NUMBER))
        self.note("close_paid", await self.sdk.close(out_trade_no=NUMBER))
        refund = await self.sdk.refund(
            out_refund_no=NUMBER + "R",
            amount={"refund": 1000, "total": 1234, "currency": "CNY"},
            out_trade_no=NUMBER,
            notify_url=self.notify_url,
        )
        self.note("refund", refund)
        self.note_callback("refund_callback")
        self.note("query_refund", await self.sdk.query_refund(out_refund_no=NUMBER + "R"))

    async def fetch_bill(self) -> None:
        self.control("faults", bills="at_once")
        today = (datetime.now(UTC) + timedelta(hours=8)).date()
        status, link = await self.sdk.trade_bill(today.isoformat())
        self.note("bill_link", (status, link))
        _, packed = await self.sdk.download_bill(json.loads(link)["download_url"])
        text = gzip.decompress(packed)
        rows = [line.split(",`") for line in text.decode().split("\r\n")[1:-3]]
        self.seen["bill"] = {
            "sha1": hashlib.sha1(text, usedforsecurity=False).hexdigest(),
            "rows": [[row[6], row[9], row[24], row[25]] for row in rows],
        }

    async def close_another(self) -> None:
        number = NUMBER + "C"
        other = {"description": "两杯咖啡", "out_trade_no": number, "amount": {"total": 2468}}
        self.note("create_other", await self.sdk.pay(**other))
        self.note("close", await self.sdk.close(out_trade_no=number))
        self.note("query_closed", await self.sdk.query(out_trade_no=number))


def main() -> None:
    given = json.load(sys.stdin)
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    Thread(target=server.serve_forever, daemon=True).start()
    notify_url = f"http://127.0.0.1:{server.server_port}/notify"
    run = Run(given["account"], given["sandbox_url"], given["mode"], notify_url)
    asyncio.run(run.drive())
    server.shutdown()
    server.server_close()
    json.dump(run.seen, sys.stdout, ensure_ascii=False)


main()
