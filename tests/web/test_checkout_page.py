"""The buyer's page over HTTP, as a browser without scripts meets it."""

import re

import pytest

from gateway.ids import new_attempt_id, new_checkout_token
from tests.rig import Rig, until
from tests.web.buyer import PC, PHONE, WECHAT, Buyer


async def test_a_buyer_without_scripts_pays(rig: Rig) -> None:
    order = await rig.order()
    buyer = Buyer(rig, order)
    assert (await buyer.get()).kind == "choose"
    shown = await buyer.choose()
    assert shown.kind == "scan"
    assert 'role="img"' in shown.text
    (attempt,) = (await rig.read(order)).attempts
    await rig.pay(attempt.number)
    await rig.until_order(order, "paid")
    shown = await buyer.get()
    assert shown.kind == "paid"
    assert "Payment received" in shown.text


async def test_looking_makes_no_attempt(rig: Rig) -> None:
    order = await rig.order()
    for user_agent in (PC, PHONE, WECHAT):
        buyer = Buyer(rig, order, user_agent)
        for path in ("", "/fragment", "/status", "?problem=channel_refused"):
            assert (await buyer.get(path)).status == 200
    assert (await rig.read(order)).attempts == ()
    assert await rig.ledger() == []


async def test_pressing_the_button_again_is_the_same_attempt(rig: Rig) -> None:
    order = await rig.order()
    buyer = Buyer(rig, order)
    first, again = await buyer.choose(), await buyer.choose()
    assert first.version == again.version
    assert len((await rig.read(order)).attempts) == 1


async def test_a_phone_is_given_a_link_that_opens_the_wallet(rig: Rig) -> None:
    order = await rig.order()
    shown = await Buyer(rig, order, PHONE).choose(terminal="wap")
    assert shown.kind == "open"
    (link,) = re.findall(r'<a class="button" href="([^"]+)"', shown.text)
    (attempt,) = (await rig.read(order)).attempts
    assert attempt.product == "h5"
    assert link.startswith(rig.sandbox_url)
    assert attempt.id in link, "the way back leads to the attempt's return page"


async def test_a_phone_may_show_a_code_to_another_phone(rig: Rig) -> None:
    order = await rig.order()
    shown = await Buyer(rig, order, PHONE).choose(terminal="pc")
    assert shown.kind == "scan"
    assert "Pay on this phone" in shown.text


async def test_no_answer_of_the_channel_is_said_and_repeated_with_the_same_number(rig: Rig) -> None:
    order = await rig.order()
    buyer = Buyer(rig, order)
    await rig.faults(error={"verb": "create", "status": 500, "after_executing": True})
    shown = await buyer.choose()
    assert shown.kind == "unanswered"
    assert "never a second one made" in shown.text
    assert (await buyer.choose()).kind == "scan"
    (attempt,) = (await rig.read(order)).attempts
    assert await rig.calls("create") == {attempt.number: 2}


async def test_a_channel_that_is_not_there_is_said_on_the_page(rig: Rig) -> None:
    shown = await Buyer(rig, await rig.order()).choose(channel="alipay")
    assert shown.kind == "choose"
    assert "not available for this order" in shown.text


async def test_pressing_the_button_of_a_paid_order_shows_that_it_is_paid(rig: Rig) -> None:
    order = await rig.order()
    buyer = Buyer(rig, order)
    await buyer.choose()
    await rig.pay((await rig.read(order)).attempts[0].number)
    await rig.until_order(order, "paid")
    assert (await buyer.choose()).kind == "paid"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_another_sites_page_can_press_nothing(rig: Rig, headers: dict[str, str]) -> None:
    order = await rig.order()
    buyer = Buyer(rig, order)
    form = {"channel": "wechat", "terminal": "pc"}
    answer = await buyer.call("POST", "/attempts", form=form, headers=headers)
    assert answer.status == 403
    assert "another site" in answer.text
    answer = await buyer.call("POST", "/attempts", json=form, headers=headers)
    assert (answer.status, answer.json["code"]) == (403, "forbidden")
    assert (await rig.read(order)).attempts == ()


async def test_our_own_page_can(rig: Rig) -> None:
    buyer = Buyer(rig, await rig.order())
    headers = {"Origin": rig.url, "Sec-Fetch-Site": "same-origin"}
    answer = await buyer.call("POST", "/attempts", json={"channel": "wechat"}, headers=headers)
    assert answer.status == 201


async def test_a_script_applies_as_a_merchant_does(rig: Rig) -> None:
    buyer = Buyer(rig, await rig.order(), PHONE)
    first = await buyer.call("POST", "/attempts", json={"channel": "wechat"})
    assert (first.status, first.json["terminal"]) == (201, "wap"), "the User-Agent decides"
    again = await buyer.call("POST", "/attempts", json={"channel": "wechat"})
    assert (again.status, again.headers["Idempotent-Replayed"]) == (200, "true")
    assert again.json["id"] == first.json["id"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "channel"),
        ({"channel": "wechat", "terminal": "tv"}, "terminal"),
        ({"channel": "wechat", "amount": 1}, "amount"),
        ({"channel": 7}, "channel"),
        ([], "body"),
    ],
)
async def test_a_wrong_choice_is_refused_by_name(rig: Rig, body: object, field: str) -> None:
    buyer = Buyer(rig, await rig.order())
    answer = await buyer.call("POST", "/attempts", json=body)
    assert (answer.status, answer.json["field"]) == (422, field)


@pytest.mark.parametrize(
    ("form", "charset", "status"),
    [
        (b"terminal=pc", "utf-8", 422),
        (b"channel=\xff", "utf-8", 422),
        (b"channel=%00", "nobodys", 422),
        (b"buyer.name=%00", "utf-8", 422),
    ],
)
async def test_a_wrong_form_is_a_page_that_says_so(
    rig: Rig, form: bytes, charset: str, status: int
) -> None:
    buyer = Buyer(rig, await rig.order())
    headers = {"Content-Type": f"application/x-www-form-urlencoded; charset={charset}"}
    answer = await buyer.call("POST", "/attempts", form=form, headers=headers)
    assert answer.status == status
    assert "Something went wrong" in answer.text


async def test_who_comes_back_from_the_wallet_finds_it_paid_though_no_callback_came(
    rig: Rig,
) -> None:
    order = await rig.order()
    buyer = Buyer(rig, order, PHONE)
    await buyer.choose(terminal="wap")
    await rig.faults(drop_callbacks=1)
    (attempt,) = (await rig.read(order)).attempts
    await rig.pay(attempt.number)
    assert (await buyer.call("HEAD", f"/return/{attempt.id}")).status == 200
    assert (await buyer.get()).kind == "open", "neither a look nor a HEAD asks the channel"
    assert (await buyer.get(f"/return/{attempt.id}")).kind == "paid"


async def test_a_slow_channel_does_not_hold_up_who_comes_back(rig: Rig) -> None:
    order = await rig.order()
    buyer = Buyer(rig, order, PHONE)
    await buyer.choose(terminal="wap")
    await rig.faults(drop_callbacks=1, latency_s=2.5)
    (attempt,) = (await rig.read(order)).attempts
    await rig.pay(attempt.number)
    assert (await buyer.get(f"/return/{attempt.id}")).kind == "open"
    await rig.until_order(order, "paid")


async def test_nobody_returns_to_an_attempt_of_another_order(rig: Rig) -> None:
    order, other = await rig.order(), await rig.order(200)
    applied = await rig.apply(other)
    for attempt in (applied.attempt, new_attempt_id(), "nonsense"):
        answer = await Buyer(rig, order).get(f"/return/{attempt}")
        assert answer.status == 404
        assert "There is no such order" in answer.text


async def test_an_expired_order_shows_nothing_to_pay_with(rig: Rig) -> None:
    order = await rig.order()
    buyer = Buyer(rig, order)
    await buyer.choose()
    async with rig.desk.pool.acquire() as conn:
        await conn.execute("UPDATE orders SET expires_at = now() WHERE id = $1", order.id)
    shown = await buyer.get()
    assert shown.kind == "expired"
    assert 'role="img"' not in shown.text


async def test_an_old_code_is_replaced_by_a_new_one_of_the_same_payment(rig: Rig) -> None:
    order = await rig.order()
    buyer = Buyer(rig, order)
    await buyer.choose()
    await rig.desk.redis.flushdb()  # the cached answer is younger than any code that expires
    async with rig.desk.pool.acquire() as conn:
        await conn.execute("UPDATE attempts SET next_action_until = now() - interval '1 second'")
    assert (await buyer.get()).kind == "renew"
    assert (await buyer.choose()).kind == "scan"
    assert len((await rig.read(order)).attempts) == 1


async def test_money_that_does_not_fit_is_said_to_go_back(rig: Rig) -> None:
    order = await rig.order()
    buyer = Buyer(rig, order)
    await buyer.choose()
    await rig.pay((await rig.read(order)).attempts[0].number, amount=99)

    async def told() -> bool:
        return "does not match this order" in (await buyer.get()).text

    await until(told)


async def test_a_page_says_how_browsers_must_treat_it(rig: Rig) -> None:
    headers = (await Buyer(rig, await rig.order()).get()).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "style-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "strict-origin"
    assert headers["X-Content-Type-Options"] == "nosniff"


async def test_files_are_kept_by_browsers_because_their_urls_change_with_them(rig: Rig) -> None:
    shown = await Buyer(rig, await rig.order()).get()
    urls = set(re.findall(r'"(/static/[^"]+)"', shown.text))
    assert len(urls) >= 4
    for url in urls:
        async with rig.http.get(rig.url + url) as answer:
            assert answer.status == 200
            assert "immutable" in answer.headers["Cache-Control"]
    for path in ("/static/nothing.css", "/static/../pyproject.toml", "/static/%2e%2e/README.md"):
        async with rig.http.get(rig.url + path) as answer:
            assert answer.status == 404


@pytest.mark.parametrize(
    ("query", "headers", "language"),
    [
        ("", {"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8"}, "zh-CN"),
        ("", {"Accept-Language": "en-GB,en;q=0.9"}, "en"),
        ("", {"Accept-Language": "fr-FR,en;q=0.5,zh;q=0.7"}, "zh-CN"),
        ("", {"Accept-Language": "fr"}, "zh-CN"),
        ("", {"Accept-Language": ";;q=x,,"}, "zh-CN"),
        ("?lang=en", {"Accept-Language": "zh-CN"}, "en"),
        ("?lang=zh-CN", {"Accept-Language": "en"}, "zh-CN"),
        ("?lang=xx", {"Accept-Language": "en"}, "en"),
        ("", {"Accept-Language": "zh", "Cookie": "payonce_language=en"}, "en"),
    ],
)
async def test_the_page_speaks_the_readers_language(
    rig: Rig, query: str, headers: dict[str, str], language: str
) -> None:
    shown = await Buyer(rig, await rig.order()).get(query, headers)
    assert f'<html lang="{language}">' in shown.text


async def test_a_chosen_language_is_remembered(rig: Rig) -> None:
    shown = await Buyer(rig, await rig.order()).get("?lang=zh")
    assert "payonce_language=zh_CN" in shown.headers["Set-Cookie"]


@pytest.mark.parametrize("token", ["A" * 32, "nonsense", "a" * 200, "%00", "é"])
@pytest.mark.parametrize("path", ["", "/return/att_01M80D39VYZG5WN5VPWMNR7NBB"])
async def test_a_token_that_is_not_one_is_told_so_on_a_page(
    rig: Rig, token: str, path: str
) -> None:
    async with rig.http.get(f"{rig.url}/checkout/{token}{path}") as answer:
        assert answer.status == 404
        assert answer.content_type == "text/html"
        assert "没有找到该订单" in await answer.text()


@pytest.mark.parametrize("path", ["status", "fragment", "ws"])
async def test_a_script_with_such_a_token_is_told_so_in_json(rig: Rig, path: str) -> None:
    async with rig.http.get(f"{rig.url}/checkout/{new_checkout_token()}/{path}") as answer:
        assert answer.status == 404
        assert (await answer.json(content_type=None))["code"] == "not_found"


async def test_without_a_database_the_page_asks_for_patience(rig: Rig) -> None:
    order = await rig.order()
    await rig.desk.pool.close()
    shown = await Buyer(rig, order).get()
    assert shown.status == 503
    assert "tries again by itself" in shown.text
    assert '<meta http-equiv="refresh"' in shown.text


async def test_the_one_code_for_all_leads_to_the_page(rig: Rig) -> None:
    order = await rig.order()
    async with rig.http.get(f"{rig.url}/q/{order.token}", allow_redirects=False) as answer:
        assert answer.status == 303
        assert answer.headers["Location"] == f"/checkout/{order.token}"


async def test_a_fragment_that_is_still_the_same_is_not_sent_again(rig: Rig) -> None:
    order = await rig.order()
    buyer = Buyer(rig, order)
    first = await buyer.get("/fragment")
    again = await buyer.get("/fragment", {"If-None-Match": first.headers["ETag"]})
    assert (again.status, again.text) == (304, "")
    await buyer.choose()
    changed = await buyer.get("/fragment", {"If-None-Match": first.headers["ETag"]})
    assert (changed.status, changed.kind) == (200, "scan")


async def test_a_problem_in_the_url_is_only_ever_one_of_ours(rig: Rig) -> None:
    buyer = Buyer(rig, await rig.order())
    plain = await buyer.get()
    assert "notice-bad" in (await buyer.get("?problem=rate_limited")).text
    for said in ("nonsense", "<script>", "Call+this+number"):
        shown = await buyer.get(f"?problem={said}")
        assert shown.text.count("notice") == plain.text.count("notice")
        assert said not in shown.text
