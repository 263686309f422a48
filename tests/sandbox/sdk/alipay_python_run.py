"""Drive the sandbox with the SDK `python-alipay-sdk`, unchanged, and print what it made of it.

Runs in the SDK's own environment, where nothing of ours is. Reads one JSON object from standard
input: `{account, sandbox_url}`, the account in public-key mode or in certificate mode.
"""

import json
import sys
import time
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from queue import Queue
from threading import Thread
from typing import ClassVar
from urllib.parse import parse_qsl, urlsplit
from urllib.request import urlopen
from zipfile import ZipFile

from alipay import AliPay, DCAliPay  # type: ignore[import-not-found]

Settings = dict[str, str]
NUMBER = f"SDKPY{int(time.time() * 1000)}"
ORDER = {"total_amount": "12.34", "subject": "一杯咖啡"}


class Receiver(BaseHTTPRequestHandler):
    """The notify URL; what arrives is handed over in `received`."""

    received: ClassVar[Queue[Settings]] = Queue()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.received.put(dict(parse_qsl(body.decode())))
        self.send_response(200)
        self.send_header("Content-Length", "7")
        self.end_headers()
        self.wfile.write(b"success")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing: what is printed is the result alone."""


class Run:
    """One SDK against one sandbox, with notes of what the SDK answered at each step."""

    def __init__(self, account: Settings, sandbox_url: str, notify_url: str) -> None:
        self.sandbox = urlsplit(sandbox_url).netloc
        self.notify_url = notify_url
        self.seen: dict[str, object] = {}
        if "alipay_public_key" in account:
            keys = {"alipay_public_key_string": account["alipay_public_key"]}
            made = AliPay(account["app_id"], notify_url, account["app_key"], **keys)
        else:
            made = DCAliPay(
                account["app_id"],
                account["app_key"],
                account["app_certificate"],
                account["alipay_certificate"],
                account["root_certificate"],
            )
        self.sdk = made
        self.sdk._gateway = account["base_url"] + "/gateway.do"

    def control(self, path: str, number: str = "", **more: str) -> None:
        connection = HTTPConnection(self.sandbox)
        about = {"number": number} if number else {}
        body = json.dumps({"channel": "alipay", **about, **more})
        connection.request("POST", f"/_control/{path}", body)
        answer = connection.getresponse()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {answer.read().decode()}")
        connection.close()

    def drive(self) -> None:
        sdk, mine = self.sdk, {"out_trade_no": NUMBER}
        order = {**ORDER, **mine, "notify_url": self.notify_url}
        self.seen["create"] = sdk.api_alipay_trade_precreate(**order)
        self.seen["query"] = sdk.api_alipay_trade_query(**mine)
        self.control("pay", NUMBER)
        words = Receiver.received.get(timeout=10)
        self.seen["notification"] = dict(words)
        self.seen["notification_holds"] = sdk.verify(words, words.pop("sign"))
        self.seen["query_paid"] = sdk.api_alipay_trade_query(**mine)
        self.seen["close_paid"] = sdk.api_alipay_trade_close(**mine)
        refund = {**mine, "out_request_no": "R1"}
        self.seen["refund"] = sdk.api_alipay_trade_refund("10.00", **refund)
        self.seen["query_refund"] = sdk.api_alipay_trade_fastpay_refund_query("R1", **mine)
        self.close_another()
        self.open_pages()
        self.fetch_bill()

    def close_another(self) -> None:
        other = {"out_trade_no": NUMBER + "C"}
        self.sdk.api_alipay_trade_precreate(**ORDER, **other)
        self.control("scan", NUMBER + "C")
        self.seen["close"] = self.sdk.api_alipay_trade_close(**other)
        self.seen["query_closed"] = self.sdk.api_alipay_trade_query(**other)

    def fetch_bill(self) -> None:
        self.control("faults", bills="at_once")
        today = (datetime.now(UTC) + timedelta(hours=8)).date()
        wanted = {"bill_type": "trade", "bill_date": today.isoformat()}
        method = "alipay.data.dataservice.bill.downloadurl.query"
        link = self.sdk.server_api(method, wanted)["bill_download_url"]
        with urlopen(link) as file, ZipFile(BytesIO(file.read())) as archive:  # noqa: S310
            files = [archive.read(name).decode("gbk") for name in archive.namelist()]
        self.seen["bill"] = files

    def open_pages(self) -> None:
        makers = {
            "W": self.sdk.api_alipay_trade_wap_pay,
            "P": self.sdk.api_alipay_trade_page_pay,
            "A": self.sdk.api_alipay_trade_app_pay,
        }
        pages: list[object] = []
        for mark, make in makers.items():
            query = make(out_trade_no=NUMBER + mark, notify_url=self.notify_url, **ORDER)
            with urlopen(f"{self.sdk._gateway}?{query}") as page:  # noqa: S310 - the sandbox's
                pages.append({"status": page.status, "text": page.read().decode()})
        self.seen["pages"] = pages


def main() -> None:
    given = json.load(sys.stdin)
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    Thread(target=server.serve_forever, daemon=True).start()
    run = Run(given["account"], given["sandbox_url"], f"http://127.0.0.1:{server.server_port}/n")
    run.drive()
    server.shutdown()
    server.server_close()
    json.dump(run.seen, sys.stdout, ensure_ascii=False)


main()
