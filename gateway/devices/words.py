"""Which news a note brings, and its words: short, true whoever reads them, and without figures."""

from enum import StrEnum
from typing import Final

from gateway.devices.base import Note
from gateway.model import Order, OrderState
from gateway.objects import surplus_of


class News(StrEnum):
    PAID = "paid"
    CLOSED = "closed"
    RETURNING = "returning"  # money arrived that was not needed, and is owed back
    RETURNED = "returned"


_ENGLISH: Final = {
    News.PAID: ("Payment received", "Your order has been paid."),
    News.CLOSED: ("Order closed", "Your order was closed without being paid."),
    News.RETURNING: (
        "A payment goes back to you",
        "A payment for your order was not needed, and goes back to you.",
    ),
    News.RETURNED: (
        "A payment was returned",
        "A payment for your order was not needed, and has been returned to you.",
    ),
}
_CHINESE: Final = {
    News.PAID: ("付款成功", "您的订单已支付。"),
    News.CLOSED: ("订单已关闭", "您的订单未支付，已关闭。"),
    News.RETURNING: ("多付的款项将退回", "您的订单收到一笔多余的付款，将退回给您。"),
    News.RETURNED: ("多付的款项已退回", "您的订单收到的一笔多余付款，已退回给您。"),
}
_WORDS: Final = {"en": _ENGLISH, "zh_CN": _CHINESE}


def news_of(order: Order) -> News | None:
    """Return what a buyer should know of the order now; None: there is nothing to tell."""
    match surplus_of(order):
        case "returned":
            return News.RETURNED
        case "returning" | "held":
            return News.RETURNING
        case "none":
            pass
    match order.state:
        case OrderState.PAID:
            return News.PAID
        case OrderState.CLOSED:
            return News.CLOSED
        case OrderState.OPEN:
            return None


def note_of(order: Order, news: News, language: str) -> Note:
    """Put the news into words; in English where the language is not one of ours."""
    title, body = _WORDS.get(language, _ENGLISH)[news]
    return Note(order.id, order.version, order.state, surplus_of(order), title, body)
