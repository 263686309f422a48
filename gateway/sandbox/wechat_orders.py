"""WeChat Pay's orders: placed, repeated, paid, closed; each verb checks and writes in one go.

No method waits for anything, so two requests about one number cannot interleave.
"""

from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from gateway.sandbox.channel import Shared
from gateway.sandbox.keys import SandboxKeys
from gateway.sandbox.ledger import Capture, Payment
from gateway.sandbox.wechat_answers import (
    UNPAID_LIFE,
    new_code_url,
    new_prepay_id,
    new_transaction_id,
    trade_state,
)
from gateway.sandbox.wechat_bodies import (
    CLOSE_FIELDS,
    ORDER_FIELDS,
    PRODUCT_FIELDS,
    CloseRequest,
    Prepay,
    read_body,
)
from gateway.sandbox.wechat_errors import WechatRefusal, field_error
from gateway.sandbox.wechat_gate import KIND
from gateway.sandbox.wechat_news import WechatNews

CODE_LIFE = timedelta(hours=2)
LEAST_LIFE = timedelta(minutes=1)
MOST_LIFE = {"native": timedelta(days=7)}
MOST_LIFE_OTHERS = timedelta(days=15)


class WechatOrders:
    """The orders of the one merchant."""

    def __init__(self, keys: SandboxKeys, shared: Shared, news: WechatNews) -> None:
        self._keys = keys
        self._ledger = shared.ledger
        self._faults = shared.faults
        self._news = news

    def place(self, product: str, body: bytes) -> Payment:
        """Place an order, or answer the same one again. Raises WechatRefusal."""
        wanted = read_body(body, (*ORDER_FIELDS, *PRODUCT_FIELDS[product]), Prepay)
        self.check_merchant(wanted.mchid)
        if wanted.appid != self._keys.appid:
            raise WechatRefusal(400, "APPID_MCHID_NOT_MATCH", "appid和mchid不匹配")
        if wanted.amount.currency != "CNY":
            currency = wanted.amount.currency
            raise field_error("货币类型不支持", "body", "/body/amount/currency", currency)
        _check_notify_url(wanted.notify_url)
        known = self._ledger.find(KIND, wanted.out_trade_no)
        if known is not None:
            return self._place_again(known, product, wanted, body)
        return self._place_new(product, wanted, body)

    def find(self, number: str) -> Payment:
        payment = self._ledger.find(KIND, number)
        if payment is None:
            raise WechatRefusal(404, "ORDER_NOT_EXIST", "订单不存在")
        return payment

    def find_paid(self, transaction_id: str) -> tuple[Payment, Capture]:
        payment = self._ledger.find_by_ref(KIND, transaction_id)
        if payment is None:
            raise WechatRefusal(404, "ORDER_NOT_EXIST", "订单不存在")
        return payment, next(one for one in payment.captures if one.ref == transaction_id)

    def close(self, number: str, body: bytes) -> None:
        """Close an unpaid order; again is fine, paid is not. Raises WechatRefusal."""
        self.check_merchant(read_body(body, CLOSE_FIELDS, CloseRequest).mchid)
        payment = self.find(number)
        if payment.captures:
            raise WechatRefusal(400, "ORDERPAID", "该订单已支付")
        if payment.closed_at is not None:
            return
        if self._faults.of(KIND).close == "refuse":
            raise WechatRefusal(403, "TRADE_ERROR", "交易错误，当前状态不允许关单")
        self._ledger.close(payment, self._now())

    def pay(self, number: str, *, amount: int | None, at: datetime | None, again: bool) -> Payment:
        """Take the buyer's money and tell the merchant. Raises NotPayable."""
        payment = self._ledger.known(KIND, number)
        now = self._now()
        capture = Capture(
            ref=new_transaction_id(now),
            amount=payment.amount if amount is None else amount,
            paid_at=at or now,
        )
        # A close can race the buyer who is typing a password: both sides are told yes.
        raced = self._faults.of(KIND).close == "paid_race"
        payment = self._ledger.pay(KIND, number, capture, though_closed=raced, though_paid=again)
        self._news.tell_paid(payment, capture)
        return payment

    def scan(self, number: str) -> Payment:
        return self._ledger.save(replace(self._ledger.known(KIND, number), scanned_at=self._now()))

    def decline(self, number: str) -> Payment:
        """A refused card ends nothing here: the order stays payable, and nobody is told."""
        payment = self._ledger.known(KIND, number)
        return self._ledger.save(replace(payment, declines=payment.declines + 1))

    def check_merchant(self, mchid: str) -> None:
        if mchid != self._keys.mchid:
            raise WechatRefusal(400, "MCH_NOT_EXISTS", "商户号不存在")

    def _place_new(self, product: str, wanted: Prepay, body: bytes) -> Payment:
        now = self._now()
        end = _read_end(wanted, product, now)
        if wanted.time_expire and end < now + LEAST_LIFE:
            raise _bad_end(wanted, "订单失效时间过短，最短失效时间间隔必须大于1分钟")
        payment = Payment(
            channel=KIND,
            number=wanted.out_trade_no,
            product=product,
            amount=wanted.amount.total,
            currency=wanted.amount.currency,
            subject=wanted.description,
            request=body.decode(),
            notify_url=wanted.notify_url,
            tokens=_new_tokens(product, now),
            created_at=now,
            payable_until=min(end, now + CODE_LIFE),
        )
        self._ledger.save(payment)
        self._news.forge_paid(payment)
        return payment

    def _place_again(self, known: Payment, product: str, wanted: Prepay, body: bytes) -> Payment:
        """A repeat of the same order gets the same order, with a fresh code if the old one ended.

        Any other use of the number is refused.
        """
        now = self._now()
        state = trade_state(known, now)
        if state in ("SUCCESS", "REFUND"):
            raise WechatRefusal(400, "ORDERPAID", "该订单已支付")
        if state == "CLOSED":
            raise WechatRefusal(400, "ORDER_CLOSED", "订单已关闭")
        if known.product != product or not _same_json(known.request, body):
            raise WechatRefusal(403, "OUT_TRADE_NO_USED", "商户订单号重复")
        if now < known.payable_until:
            return known
        end = _read_end(wanted, product, known.created_at)
        if end <= now:
            raise _bad_end(wanted, "订单已超过商户设置的最晚支付成功时间，请重新发起支付")
        renewed = replace(
            known,
            tokens=(*_new_tokens(product, now), *known.tokens),
            payable_until=min(end, now + CODE_LIFE),
        )
        return self._ledger.save(renewed)

    def _now(self) -> datetime:
        return self._faults.now(KIND)


def _new_tokens(product: str, now: datetime) -> tuple[str, ...]:
    """What the buyer's side carries: the prepay id last, before it a QR where there is one."""
    code = (new_code_url(),) if product == "native" else ()
    return (*code, new_prepay_id(now))


def _read_end(wanted: Prepay, product: str, placed_at: datetime) -> datetime:
    """When the merchant lets payment end, at the latest seven days after the order was placed."""
    unpaid_end = placed_at + UNPAID_LIFE
    if not wanted.time_expire:
        return unpaid_end
    try:
        end = datetime.fromisoformat(wanted.time_expire)
    except ValueError:
        raise _bad_end(wanted, "时间格式错误，应遵循rfc3339标准格式") from None
    if end.tzinfo is None:
        raise _bad_end(wanted, "时间格式错误，应遵循rfc3339标准格式")
    if end > placed_at + MOST_LIFE.get(product, MOST_LIFE_OTHERS):
        raise _bad_end(wanted, "订单失效时间过长")
    return min(end, unpaid_end)


def _bad_end(wanted: Prepay, issue: str) -> WechatRefusal:
    return field_error(issue, "body", "/body/time_expire", wanted.time_expire, issue)


def _check_notify_url(url: str) -> None:
    """The real one insists on https; plain http is let through for gateways on this machine."""
    if not url.startswith(("https://", "http://")) or "?" in url or "#" in url:
        issue = "通知地址必须为直接可访问的URL，不允许携带查询串"
        raise field_error(issue, "body", "/body/notify_url", url, issue)


def _same_json(kept: str, sent: bytes) -> bool:
    kind = dict[str, object]
    return msgspec.json.decode(kept, type=kind) == msgspec.json.decode(sent, type=kind)
