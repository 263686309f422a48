"""Not ordering twice: the merchant's number first, then the fingerprint of the purchase."""

import asyncio

import pytest
from msgspec.structs import replace

from gateway.errors import DuplicateSubmission, OrderConflict
from gateway.model import NewOrder
from gateway.payments.ordering import open_order
from tests.rig import MERCHANT, Rig, StartRig

TEA = NewOrder("no-1", 100, "CNY", "tea", 1800, buyer_id="b1", items='[{"sku": "tea"}]')


async def test_the_same_number_with_the_same_fields_is_the_same_order(rig: Rig) -> None:
    first, opened = await open_order(rig.desk, MERCHANT, TEA)
    again, opened_again = await open_order(rig.desk, MERCHANT, TEA)
    assert (opened, opened_again) == (True, False)
    assert first == again


@pytest.mark.parametrize(
    "change", [{"amount": 101}, {"currency": "USD"}, {"subject": "pot"}, {"items": None}]
)
async def test_the_same_number_with_other_fields_is_a_conflict(
    rig: Rig, change: dict[str, object]
) -> None:
    await open_order(rig.desk, MERCHANT, TEA)
    with pytest.raises(OrderConflict, match="no-1"):
        await open_order(rig.desk, MERCHANT, replace(TEA, **change))


async def test_ten_posts_of_one_number_open_one_order(rig: Rig) -> None:
    opened = await asyncio.gather(*(open_order(rig.desk, MERCHANT, TEA) for _ in range(10)))
    assert len({order.id for order, _ in opened}) == 1
    assert sum(fresh for _, fresh in opened) == 1


async def test_the_same_purchase_under_another_number_is_refused_and_names_the_first(
    rig: Rig,
) -> None:
    first, _ = await open_order(rig.desk, MERCHANT, TEA)
    with pytest.raises(DuplicateSubmission) as refused:
        await open_order(rig.desk, MERCHANT, replace(TEA, merchant_order_no="no-2"))
    assert refused.value.members["order"] == first.id
    assert first.token in refused.value.members["checkout_url"]


async def test_ten_purchases_at_once_open_one_order(rig: Rig) -> None:
    answers = await asyncio.gather(
        *(
            open_order(rig.desk, MERCHANT, replace(TEA, merchant_order_no=f"no-{number}"))
            for number in range(10)
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(answer, DuplicateSubmission) for answer in answers) == 9


async def test_without_the_window_ten_purchases_at_once_open_ten_orders(
    start_rig: StartRig,
) -> None:
    """The control of the test above."""
    rig = await start_rig(duplicate_window_s=0)
    numbers = [replace(TEA, merchant_order_no=f"no-{number}") for number in range(10)]
    opened = await asyncio.gather(*(open_order(rig.desk, MERCHANT, new) for new in numbers))
    assert len({order.id for order, _ in opened}) == 10


@pytest.mark.parametrize(
    "change",
    [
        {"allow_duplicate": True},
        {"buyer_id": "b2"},
        {"buyer_id": None},
        {"items": '[{"sku": "x"}]'},
    ],
)
async def test_what_is_not_the_same_purchase_is_let_through(
    rig: Rig, change: dict[str, object]
) -> None:
    await open_order(rig.desk, MERCHANT, TEA)
    _, opened = await open_order(
        rig.desk, MERCHANT, replace(TEA, merchant_order_no="no-2", **change)
    )
    assert opened


async def test_after_the_window_the_same_purchase_is_a_new_one(rig: Rig) -> None:
    await open_order(rig.desk, MERCHANT, TEA)
    await rig.desk.pool.execute("UPDATE orders SET created_at = now() - interval '11 seconds'")
    _, opened = await open_order(rig.desk, MERCHANT, replace(TEA, merchant_order_no="no-2"))
    assert opened
