"""From the shelf to the shipment, as buyers walk it: at a PC, on a phone, and without scripts.

Pictures of every step are left in test-results/walk.
"""

from collections.abc import Callable

import pytest
from playwright.async_api import Browser, Page

from tests.e2e.buyer import (
    CHINESE,
    ENGLISH,
    Words,
    buyer_at_pc,
    buyer_on_phone,
    turns_to_paid,
)
from tests.e2e.town import Order, Town

pytestmark = pytest.mark.asyncio(loop_scope="session")
LANGUAGES = [pytest.param(CHINESE, id="zh"), pytest.param(ENGLISH, id="en")]
Say = Callable[[str], None]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Print what was measured, also when the test passes."""

    def print_it(text: str) -> None:
        with capsys.disabled():
            print(f"\n    {text}", end="")  # noqa: T201 - a measurement is meant to be read

    return print_it


@pytest.mark.parametrize("words", LANGUAGES)
async def test_a_buyer_at_a_pc_scans_the_code_and_the_page_turns_by_itself(
    browser: Browser, town: Town, say: Say, words: Words
) -> None:
    async with (
        buyer_at_pc(browser, town.ready, f"pc-{words.locale}", words) as buyer,
        buyer_on_phone(browser, town.ready, f"pc-{words.locale}-phone", words) as phone,
    ):
        page = await buyer.order_something()
        url = page.url
        code = await buyer.show_code(page)
        order = await order_on(page, town)
        assert order.attempts[0].next_action is not None
        assert order.attempts[0].next_action.content == code
        await phone.scan_and_pay(code)
        seen_at = await turns_to_paid(page, within_s=5)
        assert page.url == url
        await buyer.picture(page, "paid")
        await report_latency(page, town, say, seen_at, at_most_s=1)
        await buyer.back_at_the_shop(page)  # the page goes there by itself


@pytest.mark.parametrize("words", LANGUAGES)
async def test_a_buyer_on_a_phone_goes_to_the_wallet_and_comes_back(
    browser: Browser, town: Town, words: Words
) -> None:
    album = f"phone-{words.locale}"
    async with buyer_on_phone(browser, town.ready, album, words) as buyer:
        page = await buyer.order_something()
        await buyer.open_wallet(page)
        await buyer.confirm(page)
        await page.wait_for_url("**/return/*")
        await turns_to_paid(page, within_s=5)
        await buyer.picture(page, "paid")
        await page.locator("[data-return]").click()
        await buyer.back_at_the_shop(page)


async def order_on(page: Page, town: Town) -> Order:
    """Return the order that a checkout page shows."""
    return await town.order(await page.locator(".facts dd").first.inner_text())


async def report_latency(
    page: Page, town: Town, say: Say, seen_at: float, *, at_most_s: float
) -> None:
    """Say how long after the payment, and after our commit, the page showed it."""
    order = await order_on(page, town)
    (attempt,) = order.attempts
    paid_at = (await town.ledger())[attempt.number].paid_at
    assert paid_at is not None
    assert order.paid_at is not None
    after_payment_s = seen_at - paid_at.timestamp()
    after_commit_s = seen_at - order.paid_at.timestamp()
    say(f"shown {after_payment_s:.3f} s after the payment, {after_commit_s:.3f} s after the commit")
    assert after_payment_s < at_most_s
