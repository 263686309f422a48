"""What the page shows in every state, as a table, drawn in every language."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Final

import msgspec
import pytest
import segno
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po
from msgspec import Struct
from msgspec.structs import replace

import gateway.web
from gateway.channels.actions import (
    AppAction,
    FormAction,
    JsapiAction,
    NextAction,
    QrAction,
    RedirectAction,
)
from gateway.errors import Forbidden, InternalError, NotFound, Problem, ServiceUnavailable
from gateway.model import Attempt, AttemptState, Order, OrderState, RefundState, Terminal
from gateway.objects import encode, snapshot
from gateway.web.pages import LANGUAGES
from gateway.web.scene import Device, Kind, Scene, Ways, device_of, scene_of
from gateway.web.scenery import draw_checkout, draw_fragment, draw_problem
from tests.factories import NOW, an_attempt, an_order

CODE: Final = "weixin://wxpay/bizpayurl?pr=NwY5Mz9&groupid=00"
H5_URL: Final = "https://wx.tenpay.com/cgi-bin/mmpayweb-bin/checkmweb?prepay_id=wx1&package=2"
LATER: Final = NOW + timedelta(minutes=5)
EARLIER: Final = NOW - timedelta(seconds=1)
LOCALES: Final = Path(gateway.web.__file__).parent / "locale"


def live(terminal: Terminal, action: NextAction, product: str = "native") -> Attempt:
    return replace(
        an_attempt(),
        terminal=terminal,
        product=product,
        next_action=encode(action).decode(),
        next_action_until=LATER,
    )


CODE_SHOWN: Final = live(Terminal.PC, QrAction(CODE, LATER))
H5_SHOWN: Final = live(Terminal.WAP, RedirectAction(H5_URL), "h5")
APPROVED: Final = replace(
    live(Terminal.PC, RedirectAction("https://bank.example/pay"), "redirect"),
    channel="paypal",
    capture_claimed_at=EARLIER,
)
APP_SHOWN: Final = live(Terminal.APP, AppAction({}), "app")
FORM_SHOWN: Final = live(
    Terminal.PC, FormAction("https://bank.example/pay", {"orderId": "1", "what": '"a" & <b>'}), "pc"
)
WAP_SHOWN: Final = replace(
    live(Terminal.WEBVIEW, RedirectAction("https://openapi.alipay.com/gateway.do?sign=1"), "wap"),
    channel="alipay",
)
JSAPI: Final = JsapiAction({"appId": "wx1", "package": "prepay_id=wx1", "paySign": "'\"<b>"})
JSAPI_SHOWN: Final = replace(live(Terminal.WEBVIEW, JSAPI, "jsapi"), payer="openid-of-the-payer")
ONE_CODE: Final = "https://pay.example/q/token"
CREATED: Final = replace(an_attempt(), state=AttemptState.CREATED)
CAPTURED: Final = an_attempt("1", AttemptState.CAPTURED)
SURPLUS: Final = an_attempt("2", AttemptState.SURPLUS)


class Case(Struct, frozen=True):
    order: Order
    kind: Kind
    device: Device = Device.PC
    here: tuple[str, ...] = ("wechat",)
    problem: str | None = None
    payer: str | None = None
    shared: tuple[str, ...] = ()

    def scene(self) -> Scene:
        return scene_of(
            self.order,
            snapshot(self.order, NOW, frozenset({"wechat"})),
            self.device,
            merchant="Hillside",
            ways=Ways(
                self.here,
                by_code=() if self.device is Device.PC else ("wechat",),
                one_code=ONE_CODE if self.shared else "",
                shared=self.shared,
            ),
            payer=self.payer,
            problem=self.problem,
        )


def surplus(state: RefundState | None, *more: Attempt, order: OrderState) -> Order:
    waits = state is RefundState.HELD
    attempt = replace(SURPLUS, refund_state=state, refund_waits=waits)
    return an_order(attempt, *more, state=order)


EXPIRED: Final = replace(an_order(CODE_SHOWN), expires_at=EARLIER)
PAID: Final = an_order(CAPTURED, state=OrderState.PAID)
CASES: Final = {
    "nothing yet": Case(an_order(), Kind.CHOOSE),
    "nothing yet, phone": Case(an_order(), Kind.CHOOSE, Device.PHONE),
    "several channels": Case(an_order(), Kind.CHOOSE, here=("wechat", "card")),
    "refused": Case(an_order(), Kind.CHOOSE, problem="channel_refused"),
    "inside a wallet": Case(an_order(), Kind.LEAVE, Device.WECHAT, here=()),
    "inside a wallet, its own way": Case(an_order(), Kind.CHOOSE, Device.WECHAT, payer="me"),
    "inside a wallet, who is it": Case(an_order(), Kind.CHOOSE, Device.WECHAT, payer=""),
    "inside a wallet, nobody was told": Case(
        an_order(), Kind.CHOOSE, Device.WECHAT, payer="", problem="payer_unknown"
    ),
    "one code": Case(
        an_order(), Kind.CHOOSE, here=("wechat", "alipay", "card"), shared=("wechat", "alipay")
    ),
    "one code, scanned": Case(
        an_order(WAP_SHOWN),
        Kind.CHOOSE,
        here=("wechat", "alipay"),
        shared=("wechat", "alipay"),
    ),
    "inside wechat": Case(
        an_order(JSAPI_SHOWN), Kind.OPEN, Device.WECHAT, payer="openid-of-the-payer"
    ),
    "inside wechat, another person": Case(
        an_order(JSAPI_SHOWN), Kind.CHOOSE, Device.WECHAT, payer="somebody-else"
    ),
    "inside wechat, not yet known": Case(
        an_order(JSAPI_SHOWN), Kind.CHOOSE, Device.WECHAT, payer=""
    ),
    "inside wechat, seen on a PC": Case(an_order(JSAPI_SHOWN), Kind.CHOOSE),
    "inside alipay": Case(an_order(WAP_SHOWN), Kind.OPEN, Device.ALIPAY, here=("alipay",)),
    "inside alipay, seen on the same phone": Case(
        an_order(WAP_SHOWN), Kind.OPEN, Device.PHONE, here=("wechat", "alipay")
    ),
    "inside alipay, seen in wechat": Case(an_order(WAP_SHOWN), Kind.CHOOSE, Device.WECHAT),
    "no channel": Case(an_order(), Kind.NOTHING, here=()),
    "phone, no channel but codes": Case(an_order(), Kind.CHOOSE, Device.PHONE, here=()),
    "being called": Case(an_order(replace(CREATED, calling_until=LATER)), Kind.PREPARING),
    "being called, phone": Case(
        an_order(replace(CREATED, calling_until=LATER, terminal=Terminal.WAP)),
        Kind.PREPARING,
        Device.PHONE,
    ),
    "answer lost": Case(an_order(CREATED), Kind.UNANSWERED, problem="channel_unavailable"),
    "caller died": Case(an_order(replace(CREATED, calling_until=EARLIER)), Kind.UNANSWERED),
    "answer lost, phone": Case(
        an_order(replace(CREATED, terminal=Terminal.WAP)), Kind.UNANSWERED, Device.PHONE
    ),
    "code": Case(an_order(CODE_SHOWN), Kind.SCAN),
    "code on a phone": Case(an_order(CODE_SHOWN), Kind.SCAN, Device.PHONE),
    "code inside a wallet": Case(an_order(CODE_SHOWN), Kind.SCAN, Device.WECHAT, here=()),
    "code, seen inside a wallet that can pay": Case(
        an_order(CODE_SHOWN), Kind.CHOOSE, Device.ALIPAY, here=("alipay",)
    ),
    "old code": Case(an_order(replace(CODE_SHOWN, next_action_until=EARLIER)), Kind.RENEW),
    "link": Case(an_order(H5_SHOWN), Kind.OPEN, Device.PHONE),
    "link, several channels": Case(
        an_order(H5_SHOWN), Kind.OPEN, Device.PHONE, here=("wechat", "card")
    ),
    "old link": Case(
        an_order(replace(H5_SHOWN, next_action_until=EARLIER)), Kind.RENEW, Device.PHONE
    ),
    "link of a phone, seen on a PC": Case(an_order(H5_SHOWN), Kind.CHOOSE),
    "approved": Case(an_order(APPROVED), Kind.COMPLETING, here=("paypal",)),
    "approved on a phone, seen on a PC": Case(
        an_order(replace(APPROVED, terminal=Terminal.WAP)), Kind.COMPLETING
    ),
    "approved, too late": Case(
        replace(an_order(APPROVED), expires_at=EARLIER), Kind.EXPIRED, here=("paypal",)
    ),
    "not approved yet": Case(
        an_order(replace(APPROVED, capture_claimed_at=None)), Kind.OPEN, here=("paypal",)
    ),
    "declined there": Case(
        an_order(replace(APPROVED, capture_claimed_at=None, captures=1)),
        Kind.OPEN,
        here=("paypal", "card"),
    ),
    "in the merchant's app": Case(an_order(APP_SHOWN), Kind.CHOOSE),
    "a form": Case(an_order(FORM_SHOWN), Kind.OPEN),
    "replaced, may still be paid": Case(
        an_order(replace(H5_SHOWN, superseded=True), CODE_SHOWN), Kind.SCAN
    ),
    "paid": Case(PAID, Kind.PAID),
    "paid, with a way back": Case(replace(PAID, return_url="https://shop.example/1"), Kind.PAID),
    "paid twice, going back": Case(
        surplus(RefundState.SENT, CAPTURED, order=OrderState.PAID), Kind.PAID
    ),
    "paid twice, gone back": Case(
        surplus(RefundState.DONE, CAPTURED, order=OrderState.PAID), Kind.PAID
    ),
    "paid twice, held": Case(surplus(RefundState.HELD, CAPTURED, order=OrderState.PAID), Kind.PAID),
    "wrong amount": Case(surplus(RefundState.HELD, order=OrderState.OPEN), Kind.CHOOSE),
    "expired": Case(EXPIRED, Kind.EXPIRED),
    "expired, phone": Case(EXPIRED, Kind.EXPIRED, Device.PHONE),
    "closed": Case(an_order(state=OrderState.CLOSED), Kind.CLOSED),
    "closed by the shop": Case(
        replace(an_order(state=OrderState.CLOSED), close_reason="merchant"), Kind.CLOSED
    ),
    "paid after it closed": Case(surplus(RefundState.SENT, order=OrderState.CLOSED), Kind.CLOSED),
}
EVERY_CASE: Final = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
EVERY_LANGUAGE: Final = pytest.mark.parametrize("language", LANGUAGES.values())


@EVERY_CASE
def test_a_state_has_its_face(case: Case) -> None:
    assert case.scene().kind is case.kind


@EVERY_LANGUAGE
@EVERY_CASE
def test_a_face_is_drawn_whole(case: Case, language: str) -> None:
    drawn = draw_checkout(case.scene(), "/checkout/token", language)
    assert drawn.count('id="checkout"') == 1
    assert drawn.count("<h1") == 1
    assert drawn.count("<h2") == 1
    assert "{{" not in drawn
    assert "%(" not in drawn


@EVERY_CASE
def test_no_page_holds_a_script_a_style_or_anything_from_elsewhere(case: Case) -> None:
    drawn = draw_checkout(case.scene(), "/checkout/token", "en")
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", drawn)
    assert all(re.search(r'src="/static/\S+\?v=', script) for script in tags(drawn, "script"))
    loaded = [tag for name in ("script", "link", "img") for tag in tags(drawn, name)]
    assert all(re.search(r'(?:src|href)="/static/', tag) for tag in loaded)


@EVERY_CASE
def test_what_can_be_paid_with_is_there_only_while_it_can(case: Case) -> None:
    drawn = draw_checkout(case.scene(), "/checkout/token", "en")
    assert ('role="img"' in drawn) == (case.kind is Kind.SCAN or bool(case.shared))
    opens = re.search(r"tenpay|bank\.example/pay|gateway\.do|prepay_id", drawn)
    assert bool(opens) == (case.kind is Kind.OPEN)
    if case.kind in (Kind.PAID, Kind.CLOSED, Kind.EXPIRED):
        assert "<form" not in drawn


def test_a_form_says_to_the_channel_exactly_what_was_signed() -> None:
    drawn = draw_fragment(CASES["a form"].scene(), "/checkout/token", "en")
    assert '<form method="post" action="https://bank.example/pay" accept-charset="utf-8">' in drawn
    assert '<input type="hidden" name="orderId" value="1">' in drawn
    assert '<input type="hidden" name="what" value="&#34;a&#34; &amp; &lt;b&gt;">' in drawn


@pytest.mark.parametrize(("channel", "around"), [("wechat", True), ("card", False)])
def test_the_place_of_a_code_is_kept_for_channels_that_have_one(
    channel: str, *, around: bool
) -> None:
    begun = replace(CREATED, calling_until=LATER, channel=channel)
    assert Case(an_order(begun), Kind.PREPARING, here=(channel,)).scene().around_code == around


def test_who_was_declined_at_the_channel_is_told_that_nothing_was_charged() -> None:
    told = {
        name: "nothing was charged" in draw_fragment(CASES[name].scene(), "/checkout/token", "en")
        for name in ("not approved yet", "declined there")
    }
    assert told == {"not approved yet": False, "declined there": True}


@pytest.mark.parametrize("name", ["link", "old link", "answer lost, phone"])
def test_who_cannot_pay_this_way_finds_another(name: str) -> None:
    scene = replace(CASES[name], here=("wechat", "alipay")).scene()
    assert scene.others == ("alipay",)
    assert 'value="alipay"' in draw_fragment(scene, "/checkout/token", "en")


@EVERY_CASE
def test_a_page_without_scripts_looks_again_unless_all_is_over(case: Case) -> None:
    drawn = draw_checkout(case.scene(), "/checkout/token", "en")
    looks_again = re.search(
        r'<noscript><meta http-equiv="refresh" content="\d+; url=/checkout/token">', drawn
    )
    assert bool(looks_again) != case.kind.final


def test_the_code_is_the_channels_to_the_letter() -> None:
    drawn = draw_fragment(CASES["code"].scene(), "/checkout/token", "en")
    (path,) = re.findall(r'class="qrline"[^>]* d="([^"]*)"', drawn)
    assert f'd="{path}"' in segno.make_qr(CODE, error="m").svg_inline(omitsize=True)
    (box,) = re.findall(r'role="img".*?viewBox="0 0 (\d+) \d+"', drawn)
    modules = segno.make_qr(CODE, error="m").symbol_size(border=0)[0]
    assert int(box) == modules + 2 * 4, "four modules of quiet on each side"


def test_the_countdown_ends_with_what_can_be_paid_with() -> None:
    assert CASES["code"].scene().until == LATER
    assert CASES["nothing yet"].scene().until == an_order().expires_at
    soon = NOW + timedelta(seconds=30)
    assert Case(replace(an_order(CODE_SHOWN), expires_at=soon), Kind.SCAN).scene().until == soon


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("paid twice, going back", "A second payment arrived"),
        ("paid twice, going back", "is being returned"),
        ("paid twice, gone back", "has been returned"),
        ("paid twice, held", "once the shop has checked it"),
        ("wrong amount", "does not match this order"),
        ("paid after it closed", "after this order was closed"),
        ("replaced, may still be paid", "do not pay again"),
        ("in the merchant&#39;s app", "on another device"),
        ("refused", "refused by the channel"),
        ("inside a wallet", "Open in browser"),
        ("inside a wallet", "long press"),
        ("code inside a wallet", "long press"),
        ("code on a phone", "Scan with another phone"),
        ("one code", "Open one of these apps"),
        ("one code, scanned", "finish paying there"),
        ("inside wechat", "asks for your password here"),
        ("inside wechat", "This needs JavaScript"),
        ("inside wechat, another person", "Paying here takes its place"),
        ("inside a wallet, nobody was told", "did not tell us who is paying"),
        ("inside a wallet, its own way", "open this page in your browser"),
    ],
)
def test_the_buyer_is_told(name: str, text: str) -> None:
    case = CASES[name.replace("&#39;", "'")]
    assert text in draw_fragment(case.scene(), "/checkout/token", "en")


def test_a_payment_in_flight_that_nobody_can_return_is_said_to_be_one() -> None:
    order = an_order(replace(H5_SHOWN, superseded=True), CODE_SHOWN)
    shown = snapshot(order, NOW, refundable=frozenset())
    scene = scene_of(order, shown, Device.PC, merchant="H", ways=Ways(("wechat",)))
    assert "only the shop could return" in draw_fragment(scene, "/checkout/token", "en")


def test_the_one_code_comes_first_and_every_single_way_is_one_click() -> None:
    drawn = draw_fragment(CASES["one code"].scene(), "/checkout/token", "en")
    (path,) = re.findall(r'class="qrline"[^>]* d="([^"]*)"', drawn)
    assert f'd="{path}"' in segno.make_qr(ONE_CODE, error="m").svg_inline(omitsize=True)
    assert re.findall(r'name="channel" value="(\w+)"', drawn) == ["wechat", "alipay", "card"]
    assert "<details" not in drawn


@pytest.mark.parametrize(
    ("name", "pressed"),
    [
        ("inside a wallet, its own way", '<button class="channel" name="channel" value="wechat"'),
        ("inside a wallet, who is it", '<a class="channel" href="/checkout/token/identify"'),
        ("inside wechat", '<button class="button" type="button" data-jsapi='),
        ("inside alipay", '<a class="button" href="https://openapi.alipay.com/gateway.do?sign=1"'),
        ("inside wechat, another person", ""),
        ("code, seen inside a wallet that can pay", ""),
        ("inside alipay, seen on the same phone", ""),
        ("link", ""),
        ("one code", ""),
        ("paid", ""),
    ],
)
def test_a_script_presses_the_wallets_own_button_unless_somebody_else_is_paying(
    name: str, pressed: str
) -> None:
    drawn = draw_fragment(CASES[name].scene(), "/checkout/token", "en")
    assert drawn.count(" data-own") == bool(pressed)
    assert not pressed or re.search(rf"{re.escape(pressed)}[^>]* data-own", drawn)


def test_what_wechat_is_given_stays_inside_its_attribute() -> None:
    drawn = draw_fragment(CASES["inside wechat"].scene(), "/checkout/token", "en")
    (given,) = re.findall(r"data-jsapi='([^']*)'", drawn)
    assert msgspec.json.decode(given, type=dict[str, str]) == JSAPI.parameters
    assert "<b>" not in given


@EVERY_CASE
def test_who_the_payer_is_stands_on_no_page(case: Case) -> None:
    drawn = draw_checkout(case.scene(), "/checkout/token", "en")
    assert "openid-of-the-payer" not in drawn


def test_text_of_the_merchant_stays_text() -> None:
    order = replace(an_order(), subject="<script>alert(1)</script>", merchant_order_no='"><b>')
    drawn = draw_checkout(Case(order, Kind.CHOOSE).scene(), "/checkout/token", "en")
    assert "<script>alert" not in drawn
    assert '"><b>' not in drawn


@EVERY_LANGUAGE
@pytest.mark.parametrize(
    "problem", [NotFound(), Forbidden(), ServiceUnavailable(), InternalError()]
)
def test_a_problem_is_a_page_too(problem: Problem, language: str) -> None:
    drawn = draw_problem(problem, language, "req_1")
    assert drawn.count("<h1") == 1
    assert "req_1" in drawn


@pytest.mark.parametrize(
    ("user_agent", "device"),
    [
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/130.0 Safari/537.36", Device.PC),
        ("", Device.PC),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Mobile/15E148", Device.PHONE),
        ("Mozilla/5.0 (Linux; Android 14; Pixel 8) Chrome/130.0 Mobile", Device.PHONE),
        ("Mozilla/5.0 (iPhone) Mobile/15E148 MicroMessenger/8.0.49", Device.WECHAT),
        ("Mozilla/5.0 (Windows NT 10.0) MicroMessenger/7.0.20.1781 WindowsWechat", Device.WECHAT),
        ("Mozilla/5.0 (Linux; Android 14) AlipayClient/10.5.60", Device.ALIPAY),
        ("Mozilla/5.0 (iPhone) Mobile/15E148 UnionPay/1.0 CloudPay", Device.UNIONPAY),
    ],
)
def test_the_device_is_read_from_the_user_agent(user_agent: str, device: Device) -> None:
    assert device_of(user_agent) is device


@EVERY_LANGUAGE
def test_every_text_is_translated(language: str) -> None:
    said = {
        message
        for _file, _line, message, _comments, _context in extract_from_dir(
            LOCALES.parent,
            method_map=[("templates/**.html", "jinja2")],
            options_map={"templates/**.html": {"trimmed": "true"}},
        )
    }
    with (LOCALES / language / "LC_MESSAGES" / "messages.po").open("rb") as file:
        catalogue: Catalog = read_po(file, locale=language)
    translated = {entry.id for entry in catalogue if entry.id and entry.string and not entry.fuzzy}
    assert said == translated
    assert [error for _message, errors in catalogue.check() for error in errors] == []


def tags(html: str, name: str) -> list[str]:
    return re.findall(rf"<{name}\s[^>]*>", html)
