"""Drive the sandbox with Stripe's own package, unchanged, and print what it made of the answers.

Runs in the SDK's own environment, where nothing of ours is. Reads one JSON object from standard
input: `{account, sandbox_url}`.
"""

import json
import sys
import time
from collections.abc import Callable
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer
from queue import Queue
from threading import Thread
from typing import ClassVar
from urllib.parse import urlsplit

import stripe  # type: ignore[import-not-found]

Settings = dict[str, str]
NUMBER = f"SDK{int(time.time() * 1000)}"
BOLETO = {
    "type": "boleto",
    "boleto": {"tax_id": "000.000.000-00"},
    "billing_details": {
        "name": "Ana Souza",
        "email": "ana@example.com",
        "address": {
            "line1": "Rua Augusta 1",
            "city": "São Paulo",
            "state": "SP",
            "postal_code": "01304-000",
            "country": "BR",
        },
    },
}


class Receiver(BaseHTTPRequestHandler):
    """The webhook endpoint; what arrives is handed over in `received`."""

    received: ClassVar[Queue[tuple[str, bytes]]] = Queue()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.received.put((self.headers["Stripe-Signature"], body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing: what is printed is the result alone."""


class Run:
    """One SDK against one sandbox, with notes of what the SDK answered at each step."""

    def __init__(self, account: Settings, sandbox_url: str) -> None:
        self.sandbox = urlsplit(sandbox_url).netloc
        self.secret = account["webhook_secret"]
        self.seen: dict[str, object] = {}
        addresses = {"api": account["base_url"]}
        self.sdk = stripe.StripeClient(
            account["secret_key"], base_addresses=addresses, max_network_retries=0
        )

    def control(self, path: str, **body: object) -> None:
        connection = HTTPConnection(self.sandbox)
        connection.request("POST", f"/_control/{path}", json.dumps(body))
        answer = connection.getresponse()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {answer.read().decode()}")
        connection.close()

    def note_event(self, step: str, kind: str) -> None:
        """Wait for an event of a type; each must be signed as the SDK wants it."""
        while True:
            signature, body = Receiver.received.get(timeout=10)
            event = stripe.Webhook.construct_event(body, signature, self.secret)
            if event.type == kind:
                self.seen[step] = event.data.object.id
                return

    def note_error(self, step: str, act: Callable[[], object]) -> None:
        try:
            act()
        except stripe.StripeError as error:
            self.seen[step] = [type(error).__name__, error.http_status, error.code]

    def pay_by_card(self) -> str:
        sessions, intents = self.sdk.v1.checkout.sessions, self.sdk.v1.payment_intents
        asked = {
            "mode": "payment",
            "payment_method_types": ["card"],
            "client_reference_id": NUMBER,
            "payment_intent_data": {"capture_method": "manual", "metadata": {"number": NUMBER}},
            "line_items": [
                {
                    "quantity": 1,
                    "price_data": {
                        "currency": "usd",
                        "unit_amount": 1234,
                        "product_data": {"name": "两杯 tea"},
                    },
                }
            ],
            "success_url": "https://shop.example/back",
        }
        made = sessions.create(asked, {"idempotency_key": NUMBER})
        again = sessions.create(asked, {"idempotency_key": NUMBER})
        self.seen["same_session"] = made.id == again.id
        self.seen["replayed"] = again.last_response.headers["Idempotent-Replayed"]
        self.seen["session"] = [made.status, made.payment_intent, made.amount_total]
        other = {**asked, "client_reference_id": "another"}
        self.note_error("mismatch", lambda: sessions.create(other, {"idempotency_key": NUMBER}))
        self.control("pay", channel="card", number=NUMBER)
        self.note_event("held_event", "payment_intent.amount_capturable_updated")
        session = sessions.retrieve(made.id, {"expand": ["payment_intent.latest_charge"]})
        intent = session.payment_intent
        self.seen["held"] = [session.status, intent.status, intent.amount_capturable]
        paid = intents.capture(intent.id, {"expand": ["latest_charge"]})
        self.seen["paid"] = [paid.status, paid.amount_received, paid.latest_charge.captured]
        self.note_event("paid_event", "payment_intent.succeeded")
        self.note_error("cancel_paid", lambda: intents.cancel(intent.id))
        self.note_error("expire_paid", lambda: sessions.expire(made.id))
        return str(intent.id)

    def refund(self, intent: str) -> None:
        asked = {"payment_intent": intent, "amount": 1000, "metadata": {"number": NUMBER + "R1"}}
        refund = self.sdk.v1.refunds.create(asked, {"idempotency_key": NUMBER + "R1"})
        self.seen["refund"] = [refund.status, refund.amount, refund.payment_intent == intent]
        self.note_event("refund_event", "refund.updated")
        listed = self.sdk.v1.refunds.list({"payment_intent": intent})
        self.seen["refunds"] = [[one.id == refund.id, one.status] for one in listed.data]
        more = {"payment_intent": intent, "amount": 235}
        self.note_error("too_much", lambda: self.sdk.v1.refunds.create(more))

    def pay_by_slip(self) -> None:
        intents = self.sdk.v1.payment_intents
        asked = {
            "amount": 1000,
            "currency": "brl",
            "payment_method_types": ["boleto"],
            "payment_method_data": BOLETO,
            "payment_method_options": {"boleto": {"expires_after_days": 3}},
            "metadata": {"number": NUMBER + "B"},
            "confirm": True,
        }
        made = intents.create(asked)
        details = made.next_action.boleto_display_details
        self.seen["slip"] = [made.status, len(details.number), details.pdf.startswith("http")]
        self.control("pay", channel="boleto", number=NUMBER + "B")
        self.note_event("slip_event", "payment_intent.succeeded")
        found = intents.search({"query": f"metadata['number']:'{NUMBER}B'"})
        self.seen["found"] = [[one.id == made.id, one.status] for one in found.data]
        refund = {"payment_intent": made.id}
        self.note_error("no_refund", lambda: self.sdk.v1.refunds.create(refund))
        wrong = {**asked, "payment_method_data": {**BOLETO, "boleto": {"tax_id": "12"}}}
        self.note_error("wrong_payer", lambda: intents.create(wrong))

    def go_wrong(self) -> None:
        self.note_error("unknown", lambda: self.sdk.v1.payment_intents.retrieve("pi_nobody"))
        stranger = stripe.StripeClient(
            "sk_test_stranger", base_addresses=self.sdk._requestor._options.base_addresses
        )
        self.note_error("stranger", lambda: stranger.v1.payment_intents.retrieve("pi_nobody"))


def main() -> None:
    given = json.load(sys.stdin)
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    Thread(target=server.serve_forever, daemon=True).start()
    run = Run(given["account"], given["sandbox_url"])
    url = f"http://127.0.0.1:{server.server_port}/webhooks"
    run.control("webhooks", kind="stripe", url=url)
    run.control("faults", channel="card", refund_takes_s=0)
    run.refund(run.pay_by_card())
    run.pay_by_slip()
    run.go_wrong()
    server.shutdown()
    server.server_close()
    json.dump(run.seen, sys.stdout, ensure_ascii=False)


main()
