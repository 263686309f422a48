"""Refunds over HTTP: a merchant's own, and those that two operators decide about."""

import asyncio

import pytest

from gateway.operators import add_operator, revoke_operator
from tests.rig import until
from tests.web.api import Answer, Api, another_merchant, new_order

NOTE = {"note": "the buyer called"}


async def operator(api: Api, name: str) -> Api:
    """A program that calls with an operator's token."""
    async with api.rig.desk.pool.acquire() as conn:
        _, token = await add_operator(conn, name)
    return Api(api.rig, token)


async def paid_order(api: Api) -> str:
    await api.rig.faults(refund_takes_s=0.0)
    order = await api.open_order()
    await api.pay(await api.apply(order.id))
    return order.id


async def held_refund(api: Api) -> str:
    """A surplus that a machine must not give back: the wrong amount arrived."""
    order = await api.open_order()
    attempt = await api.apply(order.id)
    await api.rig.pay(str(attempt.json["number"]), amount=99)

    async def look() -> object:
        return await api.rig.desk.pool.fetchval("SELECT id FROM refunds")

    return str(await until(look))


async def until_refund(api: Api, refund: str, state: str) -> Answer:
    async def look() -> Answer | None:
        answer = await api.get(f"/v1/refunds/{refund}")
        return answer if answer.json["state"] == state else None

    return await until(look)


async def test_a_merchant_refunds_a_part_and_reads_it(api: Api) -> None:
    order = await paid_order(api)
    body = {"amount": 30, "reason": "Out of stock", "merchant_refund_no": "R-1"}
    opened = await api.post(f"/v1/orders/{order}/refunds", body)
    assert opened.status == 201
    said = opened.json
    assert (said["object"], said["order"], said["amount"]) == ("refund", order, 30)
    assert (said["reason"], said["state"], said["merchant_refund_no"]) == (
        "merchant",
        "ready",
        "R-1",
    )
    assert said["id"] == opened.id
    assert opened.id.startswith("ref_")
    again = await api.post(f"/v1/orders/{order}/refunds", body)
    assert (again.status, again.id) == (200, opened.id)
    await until_refund(api, opened.id, "done")
    assert (await api.get(f"/v1/orders/{order}")).json["amount_refunded"] == 30


async def test_a_repeated_key_refunds_once(api: Api) -> None:
    order = await paid_order(api)
    url = f"/v1/orders/{order}/refunds"
    first, second = [await api.post(url, {"amount": 30}, key="k") for _ in range(2)]
    assert (second.replayed, second.json) == (True, first.json)
    assert (await api.post(url, {"amount": 31}, key="k")).code == "idempotency_mismatch"


async def test_what_cannot_be_refunded_is_refused_with_its_reason(api: Api) -> None:
    order = await api.open_order()
    answer = await api.post(f"/v1/orders/{order.id}/refunds", {})
    assert (answer.status, answer.code) == (409, "order_not_paid")
    paid = await paid_order(api)
    url = f"/v1/orders/{paid}/refunds"
    too_much = await api.post(url, {"amount": 101})
    assert (too_much.status, too_much.code) == (409, "refund_exceeds_captured")
    await api.post(url, {"amount": 1, "merchant_refund_no": "R-1"})
    other = await api.post(url, {"amount": 2, "merchant_refund_no": "R-1"})
    assert (other.status, other.code) == (409, "refund_conflict")
    nowhere = await api.post(f"/v1/orders/ord_{'0' * 26}/refunds", {})
    assert (nowhere.status, nowhere.code) == (404, "not_found")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"amount": 0}, "amount"),
        ({"amount": 1.5}, "amount"),
        ({"amount": "1"}, "amount"),
        ({"reason": ""}, "reason"),
        ({"reason": "x" * 81}, "reason"),
        ({"merchant_refund_no": "a\nb"}, "merchant_refund_no"),
        ({"note": "x"}, "note"),
    ],
)
async def test_a_wrong_field_is_named(api: Api, body: dict[str, object], field: str) -> None:
    order = await paid_order(api)
    answer = await api.post(f"/v1/orders/{order}/refunds", body)
    assert (answer.status, answer.code, answer.json["field"]) == (422, "invalid_request", field)
    assert (await api.get(f"/v1/orders/{order}")).json["amount_refunded"] == 0


async def test_another_merchants_refund_is_not_there(api: Api) -> None:
    order = await paid_order(api)
    refund = await api.post(f"/v1/orders/{order}/refunds", {})
    other = await another_merchant(api.rig)
    for answer in (
        await other.get(f"/v1/refunds/{refund.id}"),
        await other.post(f"/v1/orders/{order}/refunds", {}),
        await api.get(f"/v1/refunds/ref_{'0' * 26}"),
        await api.get("/v1/refunds/nonsense"),
    ):
        assert (answer.status, answer.code) == (404, "not_found")


async def test_two_operators_let_a_held_refund_go(api: Api) -> None:
    refund = await held_refund(api)
    ann, bob = await operator(api, "Ann"), await operator(api, "Bob")
    listed = await ann.get("/v1/refunds?state=held")
    assert [row["id"] for row in listed.data] == [refund]
    asked = await ann.post(f"/v1/refunds/{refund}/approve", NOTE)
    assert (asked.json["state"], asked.json["note"]) == ("held", NOTE["note"])
    assert asked.json["asked_by"]
    alone = await ann.post(f"/v1/refunds/{refund}/approve", {"note": "I am sure"})
    assert (alone.status, alone.code) == (403, "forbidden")
    both = await bob.post(f"/v1/refunds/{refund}/approve", NOTE)
    assert (both.status, both.json["state"]) == (200, "ready")


async def test_a_double_click_decides_once_and_says_so(api: Api) -> None:
    refund = await held_refund(api)
    ann = await operator(api, "Ann")
    clicks = (ann.post(f"/v1/refunds/{refund}/approve", NOTE) for _ in range(2))
    taken, refused = sorted(await asyncio.gather(*clicks), key=lambda answer: answer.status)
    assert (taken.status, taken.json["state"]) == (200, "held")
    assert (refused.status, refused.code) == (409, "duplicate_submission")
    assert "`refund`, `note`" in str(refused.json["detail"])
    assert int(refused.headers["Retry-After"]) in range(1, 11)


async def test_a_decision_that_was_refused_can_be_sent_again(api: Api) -> None:
    refund = await held_refund(api)
    ann = await operator(api, "Ann")
    for _ in range(2):
        answer = await ann.post(f"/v1/refunds/{refund}/retry", NOTE)
        assert (answer.status, answer.code) == (409, "refund_conflict")


async def test_an_operator_rejects_and_another_takes_it_up_again(api: Api) -> None:
    refund = await held_refund(api)
    ann, bob = await operator(api, "Ann"), await operator(api, "Bob")
    rejected = await ann.post(f"/v1/refunds/{refund}/reject", NOTE)
    assert rejected.json["state"] == "rejected"
    conflict = await bob.post(f"/v1/refunds/{refund}/approve", NOTE)
    assert (conflict.status, conflict.code) == (409, "refund_conflict")
    again = await bob.post(f"/v1/refunds/{refund}/retry", NOTE)
    assert again.json["state"] == "held"
    told = {**NOTE, "reference": "bank 88"}
    done = await ann.post(f"/v1/refunds/{refund}/mark-returned", told)
    assert (done.json["state"], done.json["reference"]) == ("done", "bank 88")


async def test_a_return_by_hand_needs_its_reference(api: Api) -> None:
    refund = await held_refund(api)
    ann = await operator(api, "Ann")
    answer = await ann.post(f"/v1/refunds/{refund}/mark-returned", NOTE)
    assert (answer.status, answer.json["field"]) == (422, "reference")


async def test_only_operators_decide_and_only_merchants_refund(api: Api) -> None:
    refund = await held_refund(api)
    ann = await operator(api, "Ann")
    for answer in (
        await api.get("/v1/refunds"),
        *[
            await api.post(f"/v1/refunds/{refund}/{verb}", NOTE)
            for verb in ("approve", "reject", "retry", "mark-returned")
        ],
        await ann.get(f"/v1/refunds/{refund}"),
        await ann.post("/v1/orders", new_order()),
        await Api(api.rig, "").get("/v1/refunds"),
        await Api(api.rig, "opr_guessed").get("/v1/refunds"),
    ):
        assert (answer.status, answer.code) == (401, "unauthorized")


async def test_a_revoked_token_is_dead_at_once(api: Api) -> None:
    ann = await operator(api, "Ann")
    assert (await ann.get("/v1/refunds")).status == 200
    async with api.rig.desk.pool.acquire() as conn:
        await revoke_operator(conn, await conn.fetchval("SELECT id FROM operators"))
    assert (await ann.get("/v1/refunds")).status == 401


async def test_refunds_are_paged_newest_first(api: Api) -> None:
    order = await paid_order(api)
    url = f"/v1/orders/{order}/refunds"
    opened = [(await api.post(url, {"amount": 1})).id for _ in range(3)]
    ann = await operator(api, "Ann")
    first = await ann.get("/v1/refunds?limit=2")
    rest = await ann.get(f"/v1/refunds?limit=2&cursor={first.json['next_cursor']}")
    found = [row["id"] for row in (*first.data, *rest.data)]
    assert found == sorted(opened, reverse=True)
    assert len(first.data) == 2
    assert rest.json["next_cursor"] is None


async def test_double_clicks_refund_no_more_than_there_is(api: Api) -> None:
    """F20: five clicks on a refund of more than half."""
    order = await paid_order(api)
    url = f"/v1/orders/{order}/refunds"
    answers = await asyncio.gather(*(api.post(url, {"amount": 60}) for _ in range(5)))
    assert sorted(answer.status for answer in answers) == [201, 409, 409, 409, 409]
