"""When no webhook comes: the shop asks after checkout, when the buyer is back, and by a scan."""

import asyncio
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import aiohttp
import msgspec
import pytest

from gateway.ports import free_port
from gateway.sandbox.shop_paying import Shop
from tests.sandbox_shop.conftest import NEVER_S, OpenAShop, OpenShop, settings_for, until
from tests.sandbox_shop.fake_payonce import FakePayOnce, Trouble

SOON_S = 0.02

SHOP_PROCESS = """
import sys
import msgspec
from aiohttp import web
from gateway.sandbox.shop import ShopSettings, shop_app
settings = msgspec.json.decode(sys.argv[1], type=ShopSettings)
web.run_app(shop_app(settings), port=int(settings.public_url.rpartition(":")[2]),
            print=lambda *lines: print("open", flush=True))
"""


async def test_a_lost_webhook_is_made_good_by_asking_after_checkout(
    payonce: FakePayOnce, open_shop: OpenAShop
) -> None:
    shop = await open_shop(ask_after_s=SOON_S)
    payonce.is_paid_at_once = True
    no = await shop.place()
    order = await shop.until(no, "awaiting_shipment")
    assert (order.paid_times, order.asks) == (1, 1)


async def test_a_lost_webhook_is_made_good_when_the_buyer_comes_back(
    payonce: FakePayOnce, shop: OpenShop
) -> None:
    no = await shop.place()
    payonce.move(no, "paid")
    async with shop.session.get(f"{shop.url}/orders/{no}") as answer:
        assert "待发货" in await answer.text()
    assert (await shop.order(no)).paid_times == 1


def let_time_pass(folder: Path) -> None:
    """Let the hour pass after which these shops ask."""
    with closing(sqlite3.connect(folder / "shop.sqlite", isolation_level=None)) as db:
        db.execute("UPDATE orders SET ask_at = ask_at - ?", (2 * NEVER_S,))


async def test_a_lost_webhook_is_made_good_by_the_scan(
    payonce: FakePayOnce, open_shop: OpenAShop, tmp_path: Path
) -> None:
    """The shop was away while its orders were paid, and came back at another address."""
    before = await open_shop()
    payonce.trouble = "lose_answer"
    numbers = [await before.place(status=202) for _ in range(25)]  # more than one batch
    for no in numbers:
        payonce.move(no, "paid")
    payonce.recover()
    let_time_pass(tmp_path)
    after = await open_shop(scan_interval_s=SOON_S)
    for no in numbers:
        assert (await after.until(no, "awaiting_shipment")).paid_times == 1


async def test_the_scan_finds_a_closed_order_too(
    payonce: FakePayOnce, open_shop: OpenAShop
) -> None:
    shop = await open_shop(ask_after_s=SOON_S, scan_interval_s=SOON_S)
    no = await shop.place()
    payonce.move(no, "closed")
    await shop.until(no, "closed")


async def test_an_order_in_its_final_state_is_not_asked_again(
    payonce: FakePayOnce, open_shop: OpenAShop
) -> None:
    shop = await open_shop(ask_after_s=SOON_S, scan_interval_s=SOON_S)
    done = await shop.place()
    payonce.move(done, "paid")
    asks = (await shop.until(done, "awaiting_shipment")).asks
    other = await shop.place()
    await until(lambda: payonce.count(f"GET /v1/orders/{payonce.orders[other].id}") >= 3)
    assert (await shop.order(done)).asks == asks


async def test_an_order_that_stays_unpaid_is_asked_ever_more_seldom(
    payonce: FakePayOnce, tmp_path: Path
) -> None:
    settings = settings_for(payonce, tmp_path, payonce.url, ask_after_s=5)
    async with aiohttp.ClientSession() as session:
        shop = Shop(settings, session)
        pauses = [shop.pause_after(asks) for asks in (1, 2, 3, 4, 5, 1000)]
    assert pauses == [10, 20, 40, 60, 60, 60]


async def test_webhook_scan_and_buyer_at_once_pay_once(
    payonce: FakePayOnce, open_shop: OpenAShop
) -> None:
    shop = await open_shop(ask_after_s=SOON_S, scan_interval_s=SOON_S)
    no = await shop.place()
    stock = await shop.stock()
    paid = payonce.move(no, "paid")
    await asyncio.gather(
        *(shop.tell(paid, f"evt_{number}") for number in range(5)),
        *(look_at(shop, no) for _ in range(5)),
    )
    assert (await shop.order(no)).paid_times == 1
    assert await shop.stock() == stock - 2


async def look_at(shop: OpenShop, no: str) -> str:
    """Open the order's page."""
    async with shop.session.get(f"{shop.url}/orders/{no}") as answer:
        assert answer.status == 200
        return await answer.text()


async def test_an_answer_for_other_money_releases_no_goods(
    payonce: FakePayOnce, shop: OpenShop
) -> None:
    no = await shop.place()
    payonce.orders[no] = msgspec.structs.replace(payonce.move(no, "paid"), amount=1)
    assert "待付款" in await look_at(shop, no)
    assert (await shop.order(no)).state == "unpaid"


@pytest.mark.parametrize("trouble", ["lose_request", "lose_answer", "error", "garbage", "stall"])
async def test_a_gateway_in_trouble_costs_no_order(
    payonce: FakePayOnce, open_shop: OpenAShop, trouble: Trouble
) -> None:
    shop = await open_shop(ask_after_s=SOON_S, scan_interval_s=SOON_S)
    no = await shop.place()
    asked = payonce.count("GET")
    payonce.trouble = trouble
    await until(lambda: payonce.count("GET") > asked)
    assert (await shop.order(no)).state == "unpaid"
    payonce.recover()
    payonce.move(no, "paid")
    await shop.until(no, "awaiting_shipment")


async def test_what_was_acknowledged_survives_a_kill(
    payonce: FakePayOnce, tmp_path: Path, open_shop: OpenAShop
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    settings = msgspec.json.encode(settings_for(payonce, tmp_path, url)).decode()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SHOP_PROCESS, settings, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"open\n"
        async with aiohttp.ClientSession() as session:
            doomed = OpenShop(url, session)
            stock = await doomed.stock()
            paid_no, unpaid_no = await doomed.place(), await doomed.place()
            paid = payonce.move(paid_no, "paid")
            assert await doomed.tell(paid) == 200
    finally:
        process.kill()
        await process.wait()
    shop = await open_shop()
    assert await shop.tell(paid) == 200
    assert [delivery.effect for delivery in await shop.received()] == ["repeated"]
    assert (await shop.order(paid_no)).paid_times == 1
    assert (await shop.order(unpaid_no)).state == "unpaid"
    assert await shop.stock() == stock - 2
