"""A second Stripe, small and obstinate, written from the protocol's description alone.

The sandbox is the first. An adapter that satisfies both has not been written around the mistakes of
one; so nothing here is taken from the sandbox or the adapter. It runs in the test's own process and
is driven by method calls. Faults are given per verb and hit the next calls of that verb.

Unlike the sandbox it makes a session's PaymentIntent at once, as older versions of the API do.
"""

import asyncio
import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

from aiohttp import web

from tests.fakes.stripe_objects import (
    KEY,
    Fault,
    Fields,
    Intent,
    Json,
    Known,
    Refund,
    Refused,
    Session,
)

SAO_PAULO_TO_UTC = timedelta(hours=3)


@dataclass
class StripeStub:
    """The channel."""

    intents: dict[str, Intent] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)
    refunds: dict[str, Refund] = field(default_factory=dict)
    keys: dict[str, tuple[str, int, bytes]] = field(default_factory=dict)
    seen: list[tuple[str, str, Fields]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    raw: dict[str, tuple[int, bytes]] = field(default_factory=dict)  # given as it is
    stored_error: set[str] = field(default_factory=set)  # verbs that end in an error that is kept
    spoilt: int = 0  # how many answers are cut in the middle
    refunds_fail: bool = False

    def __post_init__(self) -> None:
        self.gate = asyncio.Event()  # answers wait for it
        self.gate.set()

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/v1/{rest:.*}", self._serve)
        return app

    # What the buyer and the banks do.

    def approve(self, number: str) -> None:
        intent = self.of(number)
        assert intent.session is not None
        session = self.sessions[intent.session]
        assert session.status == "open"
        assert int(session.fields["expires_at"]) > time.time()
        session.status, intent.status = "complete", "requires_capture"

    def pay(self, number: str, amount: int | None = None) -> None:
        """A bank took the slip, or somebody captured what was held."""
        intent = self.of(number)
        assert intent.status in ("requires_action", "requires_capture")
        intent.status = "succeeded"
        intent.received = intent.amount if amount is None else amount

    def decline(self, number: str) -> None:
        assert self.of(number).status != "succeeded"

    def end_refund(self, number: str) -> None:
        self.refund_of(number).status = "failed" if self.refunds_fail else "succeeded"

    def of(self, number: str) -> Intent:
        return next(one for one in self.intents.values() if one.number == number)

    def refund_of(self, number: str) -> Refund:
        return next(one for one in self.refunds.values() if one.metadata["number"] == number)

    # What it tells of its own accord.

    def event(self, kind: str, about: Json, **more: object) -> Json:
        return {
            "id": f"evt_{hashlib.sha256(json.dumps(about).encode()).hexdigest()[:24]}",
            "object": "event",
            "api_version": "2026-10-28.endive",
            "created": int(time.time()),
            "data": {"object": about, "previous_attributes": {"status": "x"}},
            "livemode": False,
            "pending_webhooks": 3,
            "request": {"id": "req_x", "idempotency_key": "k"},
            "type": kind,
            **more,
        }

    def paid_event(self, number: str, **more: object) -> Json:
        return self.event("payment_intent.succeeded", self._intent(self.of(number), ()), **more)

    def approved_event(self, number: str) -> Json:
        about = self._intent(self.of(number), ())
        return self.event("payment_intent.amount_capturable_updated", about)

    def refund_event(self, number: str) -> Json:
        refund = self.refund_of(number)
        kind = "refund.failed" if refund.status == "failed" else "refund.updated"
        return self.event(kind, self._refund(refund))

    # The calls.

    def _act(self, method: str, path: list[str], said: Fields) -> Json:  # noqa: PLR0911
        match [method, *path]:
            case ["POST", "checkout", "sessions"]:
                return self._make_session(said)
            case ["POST", "payment_intents"]:
                return self._make_slip(said)
            case ["GET", "checkout", "sessions", session]:
                return self._session(self._known(self.sessions, session), said)
            case ["POST", "checkout", "sessions", session, "expire"]:
                return self._expire(self._known(self.sessions, session))
            case ["GET", "payment_intents", "search"]:
                return self._search(said)
            case ["GET", "payment_intents", intent]:
                return self._intent(self._known(self.intents, intent), said.values())
            case ["POST", "payment_intents", intent, "capture" | "cancel"]:
                return self._move(self._known(self.intents, intent), path[-1], said)
            case ["POST", "refunds"]:
                return self._make_refund(said)
            case ["GET", "refunds"]:
                self._known(self.intents, said["payment_intent"])
                mine = [r for r in self.refunds.values() if r.intent == said["payment_intent"]]
                data = [self._refund(one) for one in mine]
                return {"object": "list", "data": data, "has_more": False}
            case _:
                raise AssertionError(f"no {method} {path}")

    def _make_session(self, said: Fields) -> Json:
        assert said["mode"] == "payment"
        assert said["payment_intent_data[capture_method]"] == "manual"
        assert said["payment_method_types[0]"] == "card"
        assert said["success_url"].startswith("http")
        left_s = int(said["expires_at"]) - time.time()
        if not 1800 - 5 <= left_s <= 86_400:
            raise Refused(400, {"type": "invalid_request_error", "param": "expires_at"})
        line = "line_items[0]"
        amount = int(said[f"{line}[price_data][unit_amount]"]) * int(said[f"{line}[quantity]"])
        number = said["payment_intent_data[metadata][number]"]
        assert said["metadata[number]"] == said["client_reference_id"] == number
        currency = said[f"{line}[price_data][currency]"]
        intent = Intent(f"pi_3Stub{len(self.intents):04}", amount, currency, {"number": number})
        session = Session(f"cs_live_Stub{len(self.sessions):04}", said, intent.id)
        intent.session = session.id
        self.intents[intent.id], self.sessions[session.id] = intent, session
        return self._session(session, {})

    def _make_slip(self, said: Fields) -> Json:
        assert said["confirm"] == "true"
        assert said["payment_method_types[0]"] == said["payment_method_data[type]"] == "boleto"
        tax_id = said["payment_method_data[boleto][tax_id]"]
        if len(tax_id.replace(".", "").replace("-", "").replace("/", "")) not in (11, 14):
            param = "payment_method_data[boleto][tax_id]"
            message = f"The tax ID {tax_id} of the buyer is wrong"
            raise Refused(
                400, {"type": "invalid_request_error", "param": param, "message": message}
            )
        assert said["payment_method_data[billing_details][address][country]"] == "BR"
        assert said["currency"] == "brl"
        days = int(said["payment_method_options[boleto][expires_after_days]"])
        day = (datetime.now(UTC) - SAO_PAULO_TO_UTC + timedelta(days=days)).replace(
            hour=23, minute=59, second=0, microsecond=0
        )
        intent = Intent(
            f"pi_3Stub{len(self.intents):04}",
            int(said["amount"]),
            "brl",
            {"number": said["metadata[number]"]},
            boleto=said,
            status="requires_action",
            until=int((day + SAO_PAULO_TO_UTC).timestamp()),
        )
        self.intents[intent.id] = intent
        return self._intent(intent, ())

    def _expire(self, session: Session) -> Json:
        if session.status != "open":
            raise Refused(400, {"type": "invalid_request_error", "message": "is not open"})
        session.status = "expired"
        self.intents[session.intent].status = "canceled"
        return self._session(session, {})

    def _move(self, intent: Intent, verb: str, said: Fields) -> Json:
        allowed = (
            ("requires_capture",) if verb == "capture" else ("requires_capture", "requires_action")
        )
        if intent.status not in allowed:
            raise Refused(
                400,
                {
                    "type": "invalid_request_error",
                    "code": "payment_intent_unexpected_state",
                    "message": f"You cannot {verb} it: {intent.status}",
                    "payment_intent": self._intent(intent, ()),
                },
            )
        if verb == "capture":
            intent.received = int(said.get("amount_to_capture", intent.amount))
        intent.status = "succeeded" if verb == "capture" else "canceled"
        return self._intent(intent, said.values())

    def _search(self, said: Fields) -> Json:
        wanted = said["query"].removeprefix("metadata['number']:'").removesuffix("'")
        assert wanted != said["query"]
        expand = ("latest_charge",) if said.get("expand[0]") == "data.latest_charge" else ()
        # A session's PaymentIntent that nobody tried is not in the index yet.
        found = [
            self._intent(one, expand)
            for one in self.intents.values()
            if one.number == wanted and one.status != "requires_payment_method"
        ]
        return {"object": "search_result", "data": found, "has_more": False, "next_page": None}

    def _make_refund(self, said: Fields) -> Json:
        intent = self._known(self.intents, said["payment_intent"])
        gone = sum(
            one.amount
            for one in self.refunds.values()
            if one.intent == intent.id and one.status != "failed"
        )
        if intent.received == gone:
            code = "charge_already_refunded"
            raise Refused(400, {"type": "invalid_request_error", "code": code})
        amount = int(said["amount"])
        if amount > intent.received - gone:
            raise Refused(
                400,
                {
                    "type": "invalid_request_error",
                    "param": "amount",
                    "message": "greater than unrefunded amount on charge",
                },
            )
        metadata = {"number": said["metadata[number]"]}
        refund = Refund(f"re_3Stub{len(self.refunds):04}", intent.id, amount, metadata)
        self.refunds[refund.id] = refund
        return self._refund(refund)

    # The objects.

    def _intent(self, intent: Intent, expand: Iterable[str]) -> Json:
        wanted = set(expand)
        charged = intent.status in ("succeeded", "requires_capture")
        charge: object = "ch_3Stub" if charged else None
        if charged and "latest_charge" in wanted:
            gone = [r for r in self.refunds.values() if r.intent == intent.id]
            refunded = sum(one.amount for one in gone if one.status != "failed")
            charge = {"id": "ch_3Stub", "object": "charge", "amount_refunded": refunded}
        arrived = intent.received or intent.amount
        slip = None
        if intent.status == "requires_action":
            details = {
                "expires_at": intent.until,
                "hosted_voucher_url": "https://payments.stripe.example/boleto/voucher/x",
                "number": "01010101010101010101010101010101010101010101010",
                "pdf": "https://payments.stripe.example/boleto/voucher/x/pdf",
            }
            slip = {"type": "boleto_display_details", "boleto_display_details": details}
        return {
            "id": intent.id,
            "object": "payment_intent",
            "amount": intent.amount,
            "amount_received": intent.received if intent.status != "succeeded" else arrived,
            "currency": intent.currency,
            "latest_charge": charge,
            "metadata": intent.metadata,
            "next_action": slip,
            "status": intent.status,
            "payment_details": {"new": ["field"]},
        }

    def _session(self, session: Session, said: Fields) -> Json:
        whole = said.get("expand[0]") == "payment_intent.latest_charge"
        intent = self.intents[session.intent]
        return {
            "id": session.id,
            "object": "checkout.session",
            "status": session.status,
            "expires_at": int(session.fields["expires_at"]),
            "metadata": {"number": session.fields["metadata[number]"]},
            "url": f"https://checkout.stripe.example/c/pay/{session.id}#fid",
            "payment_intent": self._intent(intent, ("latest_charge",)) if whole else intent.id,
        }

    def _refund(self, refund: Refund) -> Json:
        intent = self.intents[refund.intent]
        return {
            "id": refund.id,
            "object": "refund",
            "amount": refund.amount,
            "currency": intent.currency,
            "metadata": refund.metadata,
            "payment_intent": refund.intent,
            "status": refund.status,
        }

    # The wire.

    async def _serve(self, request: web.Request) -> web.Response:
        path = request.match_info["rest"].split("/")
        text = await request.text() if request.method == "POST" else request.query_string
        said = dict(parse_qsl(text, strict_parsing=bool(text)))
        verb = verb_of(request.method, path)
        self.calls[verb] += 1
        self.seen.append((request.method, request.path, said))
        self.headers.append(request.headers)
        await self.gate.wait()
        if verb in self.raw:
            status, body = self.raw.pop(verb)
            return web.Response(status=status, body=body)
        faults = self.faults.get(verb)
        fault = faults.pop() if faults else None
        answer = web.Response()
        if fault is None or fault.executes:
            answer = self._answered(request, verb, path, said)
        if fault is None:
            return answer
        if fault.said is not None:
            return web.Response(status=fault.said, text="<html>upstream</html>")
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    def _answered(
        self, request: web.Request, verb: str, path: list[str], said: Fields
    ) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return _json(401, {"error": {"type": "invalid_request_error", "message": "No key"}})
        assert request.headers["Stripe-Version"] == "2026-10-28.endive"
        key = request.headers.get("Idempotency-Key")
        spoken = f"{request.path} {sorted(said.items())}"
        if key in self.keys:
            first, status, body = self.keys[key]
            if first != spoken:
                error = {"type": "idempotency_error", "message": "other parameters"}
                return _json(400, {"error": error})
            headers = {"Idempotent-Replayed": "true"}
            return web.Response(status=status, body=body, headers=headers)
        try:
            status, answer = 200, self._act(request.method, path, said)
        except Refused as refusal:
            return _json(refusal.status, {"error": refusal.error})
        if verb in self.stored_error:
            status, answer = 500, {"error": {"type": "api_error", "message": "Sorry"}}
        body = json.dumps(answer, indent=1).encode()
        if key is not None:
            self.keys[key] = (spoken, status, body)
        if self.spoilt:
            self.spoilt -= 1
            body = body[:-20]
        return web.Response(status=status, body=body, content_type="application/json")

    def _known(self, things: dict[str, Known], thing_id: str) -> Known:
        if thing_id not in things:
            code = "resource_missing"
            raise Refused(404, {"type": "invalid_request_error", "code": code, "param": "id"})
        return things[thing_id]


def verb_of(method: str, path: list[str]) -> str:
    if path[0] == "refunds":
        return "refund" if method == "POST" else "query_refund"
    if method == "GET":
        return "query"
    return {"expire": "close", "cancel": "close", "capture": "capture"}.get(path[-1], "create")


def _json(status: int, answer: Json) -> web.Response:
    return web.Response(status=status, text=json.dumps(answer), content_type="application/json")
