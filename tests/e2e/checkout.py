"""What a checkout page shows, held against what the channel and the gateway know."""

from typing import Final

from playwright.async_api import Page, expect

from tests.e2e.town import Town

# Notes when the page turns to paid, by the clock that the ledger goes by too.
WATCH: Final = """
new MutationObserver(() => {
  if (window.paidAt || !document.querySelector('#checkout[data-kind="paid"]')) return;
  window.paidAt = Date.now() / 1000;
}).observe(document, { subtree: true, childList: true });
"""


async def turns(page: Page, kind: str, within_s: float = 5) -> None:
    """Wait until the page has this face."""
    await expect(page.locator("#checkout")).to_have_attribute(
        "data-kind", kind, timeout=within_s * 1000
    )


async def order_no_on(page: Page) -> str:
    """Return the merchant's number of the order that the page shows."""
    return await page.locator(".facts dd").first.inner_text()


async def shown_after_s(page: Page, town: Town) -> float:
    """Return how long after the buyer paid the page said so: callback, commit and push."""
    shown_at = await page.evaluate("window.paidAt")
    assert isinstance(shown_at, float)
    attempt = await town.attempt(await order_no_on(page))
    paid_at = (await town.ledger())[attempt.number].paid_at
    assert paid_at is not None
    return shown_at - paid_at.timestamp()
