"""A slip in a real Chromium, in Portuguese: chosen, filled in, copied, and paid at a bank."""

import io
from typing import Final

import pytest
import pytest_asyncio
import zxingcpp
from PIL import Image
from playwright.async_api import Browser, Page, Request, expect

from gateway.web.boleto import code_of
from tests.payments.bank import BY_SLIP, LINE, Bank, open_account
from tests.rig import Rig, until
from tests.web.test_checkout_browser import DESK_SIZE, PHONE_SIZE, Tab, rig, tab

__all__ = ["rig"]

pytestmark = pytest.mark.asyncio(loop_scope="session")

TYPED: Final = {
    "Nome completo": "Ana Souza",
    "E-mail": "ana@example.com",
    "CPF ou CNPJ": "529.982.247-25",
    "CEP": "01310-100",
    "Rua e número": "Rua das Acácias, 45",
    "Cidade": "São Paulo",
}


@pytest_asyncio.fixture(loop_scope="session")
async def bank(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Bank:
    return await open_account(rig, monkeypatch)


async def fill_in(page: Page) -> None:
    for label, text in TYPED.items():
        await page.get_by_label(label).fill(text)
    await page.get_by_label("Estado").select_option("SP")


async def pay_at_the_bank(shop: Tab, bank: Bank) -> None:
    (number,) = bank.slips
    await shop.rig.desk.settle(bank.pay(number))


async def must_fit(page: Page, phone: bool) -> None:
    width: int = await page.evaluate("document.documentElement.scrollWidth")
    assert width <= (PHONE_SIZE if phone else DESK_SIZE)["width"]


@pytest.mark.parametrize("phone", [False, True], ids=["PC", "phone"])
async def test_a_slip_is_chosen_filled_in_and_paid(
    browser: Browser, rig: Rig, bank: Bank, *, phone: bool
) -> None:
    async with tab(browser, rig, phone=phone, locale="pt-BR") as shop:
        page = shop.page
        await shop.open()
        await page.get_by_role("link", name="Boleto").click()
        await shop.shows("Quem paga o boleto?")
        await fill_in(page)
        await page.get_by_label("CPF ou CNPJ").fill("529.982.247-26")
        await page.get_by_role("button", name="Gerar o boleto").click()
        await expect(page.get_by_text("os dígitos verificadores não conferem")).to_be_visible()
        await expect(page.get_by_label("Nome completo")).to_have_value("Ana Souza")
        await must_fit(page, phone)
        await page.get_by_label("CPF ou CNPJ").fill("529.982.247-25")
        await page.get_by_role("button", name="Gerar o boleto").click()
        await shop.shows("Pague o boleto até")
        await must_fit(page, phone)
        await pay_at_the_bank(shop, bank)
        await shop.shows("Pagamento recebido")


async def test_the_number_is_copied_and_a_machine_reads_the_bars(
    browser: Browser, rig: Rig, bank: Bank
) -> None:
    async with tab(browser, rig, locale="pt-BR") as shop:
        page = shop.page
        await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        await shop.open()
        await page.get_by_role("link", name="Boleto").click()
        await fill_in(page)
        await page.get_by_role("button", name="Gerar o boleto").click()
        await page.get_by_role("button", name="Copiar o número").click()
        await expect(page.get_by_role("button", name="Copiado")).to_be_visible()
        assert await page.evaluate("navigator.clipboard.readText()") == LINE
        picture = await page.locator(".bars").screenshot()
        (read,) = zxingcpp.read_barcodes(Image.open(io.BytesIO(picture)))
        assert read.text == code_of(LINE)


async def test_a_page_with_a_slip_waits_on_no_connection(
    browser: Browser, rig: Rig, bank: Bank
) -> None:
    """Without sockets other pages wait on the status all the time; here days may pass."""
    asked: list[str] = []

    def note(request: Request) -> None:
        if "/status" in request.url:
            asked.append(request.url)

    async with tab(browser, rig, locale="pt-BR") as shop:
        page = shop.page
        await page.route_web_socket("**/ws", lambda socket: socket.close(code=1011))
        await shop.rig.apply(shop.order, BY_SLIP)
        page.on("request", note)
        await shop.open()
        await until(lambda: len(asked) > 1)
        await pay_at_the_bank(shop, bank)
        await page.evaluate("window.dispatchEvent(new Event('online'))")
        await shop.shows("Pagamento recebido")
    assert all("wait=0" in url for url in asked)
