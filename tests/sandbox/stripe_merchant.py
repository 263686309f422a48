"""A merchant of Stripe who calls the sandbox by its own code."""

from collections.abc import Mapping
from urllib.parse import urlencode

import aiohttp

from gateway.sandbox.keys import SandboxKeys, stripe_account
from tests.sandbox.merchant import Answer, Json, Receiver

SESSION = {
    "mode": "payment",
    "payment_method_types[0]": "card",
    "payment_intent_data[capture_method]": "manual",
    "line_items[0][quantity]": "1",
    "line_items[0][price_data][currency]": "usd",
    "line_items[0][price_data][unit_amount]": "1234",
    "line_items[0][price_data][product_data][name]": "两杯 tea",
    "success_url": "https://shop.example/back",
    "cancel_url": "https://shop.example/cart",
}
SLIP = {
    "amount": "1234",
    "currency": "brl",
    "confirm": "true",
    "payment_method_types[0]": "boleto",
    "payment_method_data[type]": "boleto",
    "payment_method_data[boleto][tax_id]": "000.000.000-00",
    "payment_method_data[billing_details][name]": "Ana Souza",
    "payment_method_data[billing_details][email]": "ana@example.com",
    "payment_method_data[billing_details][address][line1]": "Rua Augusta 1",
    "payment_method_data[billing_details][address][city]": "São Paulo",
    "payment_method_data[billing_details][address][state]": "SP",
    "payment_method_data[billing_details][address][postal_code]": "01304-000",
    "payment_method_data[billing_details][address][country]": "BR",
}
SESSIONS, INTENTS = "/v1/checkout/sessions", "/v1/payment_intents"


class StripeMerchant:
    """Calls one sandbox, as the one merchant that it has."""

    def __init__(
        self, session: aiohttp.ClientSession, keys: SandboxKeys, url: str, receiver: Receiver
    ) -> None:
        self.session = session
        self.url = url
        self.receiver = receiver
        self.account = stripe_account(keys, url + "/stripe")

    async def call(
        self,
        method: str,
        path: str,
        fields: Mapping[str, str] | None = None,
        key: str | None = None,
        **headers: str,
    ) -> Answer:
        sent = {"Authorization": f"Bearer {self.account['secret_key']}", **headers}
        if key is not None:
            sent["Idempotency-Key"] = key
        said = urlencode(fields or {})
        url = self.account["base_url"] + path + (f"?{said}" if said and method == "GET" else "")
        data = said if method == "POST" else None
        sent["Content-Type"] = "application/x-www-form-urlencoded"
        async with self.session.request(method, url, data=data, headers=sent) as answer:
            return Answer(answer.status, dict(answer.headers), await answer.read())

    async def make_session(self, number: str, key: str | None = None, **more: str) -> Answer:
        metadata = {"payment_intent_data[metadata][number]": number}
        return await self.call("POST", SESSIONS, {**SESSION, **metadata, **more}, key)

    async def make_slip(self, number: str, key: str | None = None, **more: str) -> Answer:
        return await self.call("POST", INTENTS, {**SLIP, "metadata[number]": number, **more}, key)

    async def control(self, call: str, **body: object) -> Answer:
        async with self.session.post(f"{self.url}/_control/{call}", json=body) as answer:
            return Answer(answer.status, dict(answer.headers), await answer.read())

    async def entry(self, number: str) -> Json:
        async with self.session.get(f"{self.url}/_control/ledger") as answer:
            data = (await answer.json())["data"]
        (found,) = [one for one in data if one["number"] == number]
        return dict(found)

    async def hear(self) -> None:
        """Have news sent to the receiver."""
        answer = await self.control("webhooks", kind="stripe", url=self.receiver.url)
        assert answer.status == 200


def error_of(answer: Answer) -> Json:
    error = answer.json["error"]
    assert isinstance(error, dict)
    return error
