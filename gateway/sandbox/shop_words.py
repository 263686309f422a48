"""What the shop says, in Chinese first and in English."""

import msgspec

from gateway.sandbox.shop_orders import OrderState


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """Every sentence of the pages; a language that misses one does not load."""

    lang: str
    shop: str
    motto: str
    orders: str
    other_language: str
    footer: str
    comma: str
    add: str
    sold_out: str
    cart: str
    cart_empty: str
    fewer: str
    more: str
    total: str
    check_out: str
    check_out_note: str
    to_cart: str
    order: str
    order_no: str
    placed_at: str
    paid_at: str
    pay: str
    pay_again: str
    unreachable: str
    waiting: str
    no_orders: str
    keep_shopping: str
    not_found: str
    not_found_note: str
    bad_form: str
    bad_form_note: str
    sold_out_note: str
    duplicate: str
    duplicate_note: str
    pay_first: str
    buy_again: str
    states: dict[OrderState, str]
    state_notes: dict[OrderState, str]


ZH = Words(
    lang="zh-CN",
    shop="山间茶铺",
    motto="一杯好茶，慢慢来。",
    orders="我的订单",
    other_language="English",
    footer="演示商店：这里的商品不会真的发货。",
    comma="，",
    add="加入购物车",
    sold_out="已售罄",
    cart="购物车",
    cart_empty="还没有选商品。",
    fewer="减少一件",
    more="增加一件",
    total="合计",
    check_out="去结算",
    check_out_note="下一步选择支付方式",
    to_cart="查看购物车",
    order="订单",
    order_no="订单号",
    placed_at="下单时间",
    paid_at="付款时间",
    pay="去付款",
    pay_again="重新发起付款",
    unreachable="收银台暂时没有应答。订单已保留，请稍后再试，不会重复扣款。",
    waiting="付款后本页会自动更新。",
    no_orders="还没有订单。",
    keep_shopping="继续逛逛",
    not_found="没有找到这个订单",
    not_found_note="请检查订单号是否完整。",
    bad_form="这个请求无法处理",
    bad_form_note="请回到商店，重新提交。",
    sold_out_note="库存不足，请减少数量后再结算：",
    duplicate="刚刚已经提交过相同的订单",
    duplicate_note="为避免重复付款，没有再次下单。可以继续支付之前的订单；确实想再买一份，也可以再次下单。",
    pay_first="支付之前的订单",
    buy_again="再买一份",
    states={
        OrderState.UNPAID: "待付款",
        OrderState.AWAITING_SHIPMENT: "待发货",
        OrderState.CLOSED: "已关闭",
    },
    state_notes={
        OrderState.UNPAID: "商品已为您留好，请完成付款。",
        OrderState.AWAITING_SHIPMENT: "已收到付款，我们正在打包。",
        OrderState.CLOSED: "订单已关闭，没有扣款；如果之后仍有款项到账，会原路退回。",
    },
)

EN = Words(
    lang="en",
    shop="Hillside Tea",
    motto="A good cup takes its time.",
    orders="My orders",
    other_language="中文",
    footer="A demo shop: nothing sold here is ever shipped.",
    comma=",",
    add="Add to cart",
    sold_out="Sold out",
    cart="Cart",
    cart_empty="Nothing in it yet.",
    fewer="One fewer",
    more="One more",
    total="Total",
    check_out="Check out",
    check_out_note="You choose how to pay in the next step",
    to_cart="View cart",
    order="Order",
    order_no="Order number",
    placed_at="Placed",
    paid_at="Paid",
    pay="Pay now",
    pay_again="Try to pay again",
    unreachable="The checkout does not answer right now. Your order is kept; try again shortly. "
    "You will not be charged twice.",
    waiting="This page updates by itself once you have paid.",
    no_orders="No orders yet.",
    keep_shopping="Keep shopping",
    not_found="There is no such order",
    not_found_note="Please check that the order number is complete.",
    bad_form="This request cannot be handled",
    bad_form_note="Please go back to the shop and submit it again.",
    sold_out_note="There is not enough in stock. Please take fewer:",
    duplicate="You placed this very order a moment ago",
    duplicate_note="So that you do not pay twice, it was not placed again. You can pay the first "
    "order, or place another one if you really want it twice.",
    pay_first="Pay the first order",
    buy_again="Buy it again",
    states={
        OrderState.UNPAID: "Awaiting payment",
        OrderState.AWAITING_SHIPMENT: "Awaiting shipment",
        OrderState.CLOSED: "Closed",
    },
    state_notes={
        OrderState.UNPAID: "We keep your goods; please complete the payment.",
        OrderState.AWAITING_SHIPMENT: "Your payment has arrived and we are packing.",
        OrderState.CLOSED: "The order is closed and nothing was charged; money that still arrives "
        "is sent back.",
    },
)


def choose(query: str | None, cookie: str | None, accepted: str) -> Words:
    """Pick the language: asked for in the URL, chosen before, the browser's wish, Chinese."""
    for wish in (query, cookie, *accepted.split(",")):
        match (wish or "").strip()[:2].lower():
            case "zh":
                return ZH
            case "en":
                return EN
            case _:
                continue
    return ZH
