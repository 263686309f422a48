"""Whatever Stripe, or somebody in its place, answers: only the two errors come of it."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.channels.base import CaptureRequest, RefundRequest
from gateway.errors import ChannelRefused, ChannelUnavailable
from tests.channels.bench import made, request_of
from tests.channels.stripe_benches import StubBench, stub_bench
from tests.channels.test_stripe_answers import VERBS, card_of
from tests.fakes.stripe_objects import Json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=5,
)
FIELDS = ["id", "status", "metadata", "payment_intent", "latest_charge", "expires_at", "url"]
FIELDS += ["next_action", "amount", "amount_received", "currency", "data", "has_more", "error"]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("kind", ["card", "boleto"])
async def test_whatever_is_answered_only_the_two_errors_come_of_it(verb: str, kind: str) -> None:
    async with stub_bench(kind) as bench:
        if kind == "boleto" and verb in ("capture", "refund", "query_refund"):
            verb = "query"
        number, ref = (await made(bench)).number, "cs_1" if kind == "card" else "pi_1"
        if verb == "capture":
            bench.stub.approve(number)
        whole: Json = {"id": ref, "status": "open", "metadata": {"number": number}, "data": []}

        async def answer(status: int, body: bytes) -> None:
            bench.stub.raw[verb] = (status, body)
            try:
                await act(bench, verb, number, ref)
            except (ChannelUnavailable, ChannelRefused):
                return

        @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
        @given(
            st.sampled_from([200, 200, 200, 400, 404, 500]),
            st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4),
            st.binary(max_size=40) | st.none(),
        )
        def look(status: int, changes: Json, raw: bytes | None) -> None:
            examples.append((status, raw or json.dumps({**whole, **changes}).encode()))

        examples: list[tuple[int, bytes]] = []
        look()
        for example in examples:
            await answer(*example)


async def act(bench: StubBench, verb: str, number: str, ref: str) -> None:
    """Make a call of that verb, whatever becomes of it."""
    money = request_of(bench).money
    match verb:
        case "create":
            await bench.shipped.create(request_of(bench))
        case "query":
            await bench.shipped.query(number, ref)
        case "close":
            await bench.channel.close(number)
        case "capture":
            await card_of(bench).capture(CaptureRequest(number, bench.refs[number], "C1", money))
        case "refund":
            now = datetime.now(UTC)
            await bench.shipped.refund(
                RefundRequest(f"{number}R1", number, "pi_1", money, money, "", "", now)
            )
        case _:
            await bench.shipped.query_refund("x", number, "pi_1", datetime.now(UTC))
