"""A minute of chaos in every `make test`, and the control: without its guards the product fails."""

from typing import Final

import pytest

from tests.chaos.run import Plan, run_chaos
from tests.telling import Say

SEED: Final = 20261111
A_MINUTE: Final = Plan(
    seed=SEED,
    load_s=60,
    at_most_s=120,
    least_orders=1000,
    least_surplus=50,
    least_of_each_fault=3,
)
WITHOUT_GUARDS: Final = Plan(
    seed=SEED,
    load_s=8,
    at_most_s=20,
    least_orders=100,
    drain_within_s=2,
    faults=False,
    guarded=False,
)


@pytest.mark.timeout(420)
async def test_a_minute_of_chaos_pays_no_order_twice_and_loses_no_money(say: Say) -> None:
    report = await run_chaos(A_MINUTE)
    assert not report.wrong, report.text()
    assert report.counts.orders >= A_MINUTE.least_orders, report.text()
    assert report.counts.surplus >= A_MINUTE.least_surplus, report.text()
    assert report.counts.surplus_refunded == report.counts.surplus
    assert all(share.payments for share in report.counts.channels.values()), report.text()
    assert min(report.faults.values()) >= A_MINUTE.least_of_each_fault, report.text()
    say(report.text())


@pytest.mark.timeout(120)
async def test_without_its_guards_the_same_load_pays_orders_twice(say: Say) -> None:
    """The control: the oracle sees what it is there to see, and no fault is even needed."""
    report = await run_chaos(WITHOUT_GUARDS)
    found = "\n".join(report.violations)
    assert "is paid 2 times over" in found, report.text()
    assert "gave a way to pay" in found, report.text()
    assert "was to be debited after the order had ended" in found, report.text()
    say(f"{len(report.wrong)} violations in {report.counts.orders} orders")
