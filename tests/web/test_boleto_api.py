"""A slip through the merchant's API: who is named, what comes back, and what never does."""

import pytest

from tests.payments.bank import LINE, SLIP, Bank, open_account
from tests.rig import Rig
from tests.web.api import Api
from tests.web.test_boleto_page import SAID

WISH = {"channel": SLIP, "terminal": "app", "buyer": SAID}


@pytest.fixture
async def bank(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Bank:
    return await open_account(rig, monkeypatch)


async def test_a_slip_is_answered_with_all_that_paying_it_takes(api: Api, bank: Bank) -> None:
    order = await api.open_order()
    made = await api.apply(order.id, WISH)
    assert made.status == 201
    (slip,) = bank.slips.values()
    assert made.json["next_action"] == {
        "type": "voucher",
        "number": LINE,
        "url": f"https://bank.example/{slip.request.number}",
        "pdf": f"https://bank.example/{slip.request.number}.pdf",
        "expires_at": slip.request.pay_by.isoformat().replace("+00:00", "Z"),
    }
    after = await api.get(f"/v1/orders/{order.id}")
    assert after.json["expires_at"] == slip.request.pay_by.isoformat().replace("+00:00", "Z")
    again = await api.apply(order.id, WISH)
    assert (again.status, again.replayed, again.id) == (200, True, made.id)


@pytest.mark.parametrize("wrong", ["52998224726", "111.444.777-36"])
async def test_a_problem_names_the_field_and_not_what_was_in_it(
    api: Api, bank: Bank, wrong: str
) -> None:
    order = await api.open_order()
    wish = WISH | {"buyer": SAID | {"tax_id": wrong}}
    refused = await api.apply(order.id, wish)
    assert (refused.status, refused.json["field"]) == (422, "buyer.tax_id")
    assert wrong.encode() not in refused.body
    assert bank.slips == {}


async def test_a_paid_slip_is_not_refunded(api: Api, bank: Bank) -> None:
    order = await api.open_order()
    await api.apply(order.id, WISH)
    (number,) = bank.slips
    await api.rig.desk.settle(bank.pay(number))
    refused = await api.post(f"/v1/orders/{order.id}/refunds", {})
    assert (refused.status, refused.code) == (422, "refund_not_supported")
