"""Who is at a browser inside WeChat: learnt once, kept sealed, and never brought by others."""

import time
from collections.abc import Mapping
from typing import Final

import msgspec
import pytest
from cryptography.fernet import Fernet

from gateway.model import Order
from tests.rig import Rig
from tests.web.buyer import PC
from tests.web.wallets import ALIPAY, WalletBuyer, changed, cookie_header

STRANGER: Final = Fernet(Fernet.generate_key())
UNKNOWN: Final = "?problem=payer_unknown"


def sealed(rig: Rig, value: Mapping[str, str], age_s: float = 0, by: Fernet | None = None) -> str:
    """Seal a cookie as the gateway does, or as somebody else would."""
    fernet = by or Fernet(rig.settings.secret_keys[0])
    return fernet.encrypt_at_time(msgspec.json.encode(value), int(time.time() - age_s)).decode()


def opened(rig: Rig, cookie: str) -> dict[str, str]:
    plain = Fernet(rig.settings.secret_keys[0]).decrypt(cookie.encode())
    return msgspec.json.decode(plain, type=dict[str, str])


async def payer_of(rig: Rig, order: Order) -> str:
    (attempt,) = (await rig.read(order)).attempts
    assert attempt.product == "jsapi"
    return attempt.payer


async def test_wechat_says_who_is_there_and_the_payment_is_made_for_them(rig: Rig) -> None:
    order = await rig.order()
    buyer = WalletBuyer(rig, order)
    shown = await buyer.get()
    assert shown.kind == "choose"
    assert f'href="{buyer.path}/identify"' in shown.text
    shown = await buyer.identify()
    assert "/identify" not in shown.text
    assert (await rig.read(order)).attempts == (), "being known makes nothing"
    shown = await buyer.choose(terminal="webview")
    assert shown.kind == "open"
    assert "data-jsapi" in shown.text
    assert await payer_of(rig, order) == buyer.person["sandbox_wechat_person"]
    (attempt,) = (await rig.read(order)).attempts
    await rig.pay(attempt.number)
    await rig.until_order(order, "paid")
    assert (await buyer.get(f"/return/{attempt.id}")).kind == "paid"


async def test_who_the_payer_is_can_be_read_nowhere(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    order = await rig.order()
    buyer = WalletBuyer(rig, order)
    pages = [await buyer.get(), await buyer.identify(), await buyer.choose(terminal="webview")]
    pages += [await buyer.get(path) for path in ("/status", "/fragment")]
    openid = await payer_of(rig, order)
    kept = opened(rig, buyer.cookies["payonce_payer"])
    assert kept == {"app": kept["app"], "openid": openid}
    assert openid not in "".join(capsys.readouterr())
    assert openid not in " ".join((*buyer.seen, *buyer.cookies.values()))
    for page in pages:
        assert openid not in page.text
        assert openid not in str(page.headers)


async def test_the_cookies_are_for_us_alone(rig: Rig) -> None:
    buyer = WalletBuyer(rig, await rig.order())
    lines = [(await buyer.call("GET", "/identify")).headers["Set-Cookie"]]
    lines.append((await buyer.call("GET", await buyer.leave())).headers.getall("Set-Cookie")[0])
    for line, path in zip(lines, (buyer.path, "/checkout"), strict=True):
        said = {part.strip() for part in line.split(";")[1:]}
        assert {"HttpOnly", "SameSite=Lax", f"Path={path}"} <= said
        assert any(part.startswith("Max-Age=") for part in said)


@pytest.mark.parametrize(
    ("cookie", "query"),
    [
        pytest.param(None, {"state": "0" * 32}, id="another state"),
        pytest.param(None, {"state": "é"}, id="a state that is no text of ours"),
        pytest.param({}, {}, id="another browser"),
        pytest.param({"state": "forged"}, {"state": "forged"}, id="sealed by somebody else"),
        pytest.param({"app": "wx0"}, {}, id="for another app"),
        pytest.param({"page": "/checkout/other"}, {}, id="from another order's page"),
        pytest.param({"more": "1"}, {}, id="another kind of cookie"),
        pytest.param({"age": "601"}, {}, id="too late"),
    ],
)
async def test_nobody_brings_a_buyer_with_a_code_of_somebody_else(
    rig: Rig, cookie: dict[str, str] | None, query: dict[str, str]
) -> None:
    order = await rig.order()
    buyer = WalletBuyer(rig, order)
    back = await buyer.leave()
    visit = buyer.cookies["payonce_visit"]
    if cookie is not None:
        age_s = float(cookie.pop("age", "0"))
        by = STRANGER if cookie.get("state") == "forged" else None
        said = opened(rig, visit) | cookie
        no_cookie = not cookie and not age_s
        buyer.cookies["payonce_visit"] = "" if no_cookie else sealed(rig, said, age_s, by)
    answer = await buyer.call("GET", changed(back, **query))
    assert answer.headers["Location"] == buyer.path + UNKNOWN
    assert "payonce_payer" not in buyer.cookies
    buyer.cookies["payonce_visit"] = visit
    answer = await buyer.call("GET", back)
    assert answer.headers["Location"] == f"{buyer.path}?go=1", "the code was not used up"


async def test_a_code_that_is_used_again_is_harmless(rig: Rig) -> None:
    buyer = WalletBuyer(rig, await rig.order())
    back = await buyer.leave()
    await buyer.call("GET", back)
    known = dict(buyer.cookies)
    assert "payonce_visit" not in known
    answer = await buyer.call("GET", back)
    assert answer.headers["Location"] == buyer.path
    assert buyer.cookies == known


async def test_a_look_at_where_wechat_leads_uses_up_nothing(rig: Rig) -> None:
    buyer = WalletBuyer(rig, await rig.order())
    back = await buyer.leave()
    assert (await buyer.call("HEAD", back)).headers["Location"] == buyer.path
    assert (await buyer.call("GET", back)).headers["Location"] == f"{buyer.path}?go=1"


@pytest.mark.parametrize("code", ["", "0" * 32])
async def test_an_exchange_that_fails_is_told_and_can_be_tried_again(rig: Rig, code: str) -> None:
    buyer = WalletBuyer(rig, await rig.order())
    answer = await buyer.call("GET", changed(await buyer.leave(), code=code))
    assert answer.headers["Location"] == buyer.path + UNKNOWN
    shown = await buyer.get(UNKNOWN)
    assert shown.kind == "choose"
    assert "did not tell us who is paying" in shown.text
    assert f'href="{buyer.path}/identify"' in shown.text
    assert (await buyer.identify()).kind == "choose"


@pytest.mark.parametrize(
    ("value", "age_s", "by"),
    [
        pytest.param({"app": "", "openid": "oX"}, 7201, None, id="too old"),
        pytest.param({"app": "wx0", "openid": "oX"}, 0, None, id="another app's"),
        pytest.param({"app": "", "openid": "oX"}, 0, STRANGER, id="sealed by somebody else"),
        pytest.param({"app": "", "page": "/", "state": "s"}, 0, None, id="another cookie"),
    ],
)
async def test_a_cookie_that_says_nothing_of_use_makes_no_payment(
    rig: Rig, value: dict[str, str], age_s: float, by: Fernet | None
) -> None:
    order = await rig.order()
    buyer = WalletBuyer(rig, order)
    await buyer.identify()
    app = opened(rig, buyer.cookies["payonce_payer"])["app"]
    said = value | {"app": value["app"] or app}
    buyer.cookies["payonce_payer"] = sealed(rig, said, age_s, by)
    assert "/identify" in (await buyer.get()).text
    shown = await buyer.choose(terminal="webview")
    assert shown.kind == "choose"
    assert "did not tell us who is paying" in shown.text
    wish = {"channel": "wechat", "terminal": "webview"}
    answer = await buyer.call("POST", "/attempts", json=wish)
    assert (answer.status, answer.json["field"]) == (422, "buyer.openid")
    assert (await rig.read(order)).attempts == ()


@pytest.mark.parametrize("user_agent", [PC, ALIPAY])
async def test_outside_wechat_nobody_is_sent_there(rig: Rig, user_agent: str) -> None:
    buyer = WalletBuyer(rig, await rig.order(), user_agent)
    for path in ("/identify", "/identified?code=x&state=y"):
        answer = await buyer.call("GET", path)
        assert answer.headers["Location"] == buyer.path
        assert "Set-Cookie" not in answer.headers


async def test_for_an_order_that_is_over_nobody_is_sent_to_wechat(rig: Rig) -> None:
    order = await rig.order()
    buyer = WalletBuyer(rig, order)
    async with rig.desk.pool.acquire() as conn:
        await conn.execute("UPDATE orders SET expires_at = now() WHERE id = $1", order.id)
    answer = await buyer.call("GET", "/identify")
    assert answer.headers["Location"] == buyer.path


async def test_another_person_takes_the_place_only_by_choosing(rig: Rig) -> None:
    order = await rig.order()
    first, second = WalletBuyer(rig, order), WalletBuyer(rig, order)
    await first.identify()
    await first.choose(terminal="webview")
    shown = await second.identify()
    assert shown.kind == "choose", "the payment is the first one's"
    assert "takes its place" in shown.text
    assert "data-own" not in shown.text, "so no script presses"
    assert (await second.choose(terminal="webview")).kind == "open"
    assert (await first.get()).kind == "choose"
    payers = [attempt.payer for attempt in (await rig.read(order)).attempts]
    people = [one.person["sandbox_wechat_person"] for one in (first, second)]
    assert payers == people
    assert cookie_header(first.person) != cookie_header(second.person)
