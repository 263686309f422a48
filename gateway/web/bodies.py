"""The shapes of what merchants send: one Struct a body or query, with the rule of each field.

A rule is written once, as the field's description: the reference shows it, and so does the problem
that refuses a field. Sizes are bounded everywhere, and unknown fields are refused.
"""

from datetime import datetime
from typing import Annotated, Final

from msgspec import Meta, Struct

from gateway.model import OrderState, RefundState, Terminal
from gateway.money import MAX_AMOUNT

# `(?![\s\S])` is "the end" in Python and ECMAScript alike; Python's `$` lets a line break pass.
# Control characters are refused: PostgreSQL cannot keep a NUL, and no log should meet the others.
_END: Final = r"(?![\s\S])"
_PRINTABLE: Final = rf"^[^\x00-\x1f\x7f-\x9f]+{_END}"
_WORD: Final = rf"^[a-z][a-z0-9_]{{0,31}}{_END}"
_ID: Final = rf"_[0-9A-HJKMNP-TV-Z]{{26}}{_END}"


def _text(most: int, rule: str, pattern: str = _PRINTABLE, example: str | None = None) -> Meta:
    examples = [example] if example is not None else None
    return Meta(max_length=most, pattern=pattern, description=rule, examples=examples)


def _whole(least: int, most: int, rule: str, example: int | None = None) -> Meta:
    examples = [example] if example is not None else None
    span = f"{rule}: an integer from {least} to {most}."
    return Meta(ge=least, le=most, description=span, examples=examples)


def _url(rule: str, example: str) -> Meta:
    whole = f"{rule}: an absolute http(s) URL without credentials, up to 2048 characters."
    return _text(2048, whole, rf"^https?://[\x21-\x7e]+{_END}", example)


MerchantOrderNo = Annotated[
    str,
    _text(
        64,
        "Your own number of the order, used once: 1 to 64 printable characters.",
        example="2026-11-000417",
    ),
]
ChannelName = Annotated[
    str,
    _text(
        32,
        "The channel's name, such as `wechat`: lower-case letters, digits and `_`.",
        _WORD,
        "wechat",
    ),
]
MetadataKey = Annotated[str, _text(40, "1 to 40 printable characters.")]
MetadataValue = Annotated[
    str, _text(500, "Up to 500 characters, no NUL.", rf"^[^\x00]*{_END}", "spring-sale")
]


class Item(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One line of what is bought; it is shown, and never summed by us."""

    name: Annotated[str, _text(127, "What it is: 1 to 127 printable characters.", example="Tea")]
    quantity: Annotated[int, _whole(1, 1_000_000, "How many", 2)]
    unit_amount: (
        Annotated[int, _whole(0, MAX_AMOUNT, "The price of one, in minor units", 617)] | None
    ) = None


class NewOrderBody(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a merchant is owed, and by when."""

    merchant_order_no: MerchantOrderNo
    amount: Annotated[
        int, _whole(1, MAX_AMOUNT, "The price in minor units, so that 12.34 yuan is 1234", 1234)
    ]
    currency: Annotated[
        str,
        _text(3, "The currency: its ISO 4217 code, in capitals.", rf"^[A-Z]{{3}}{_END}", "CNY"),
    ]
    subject: Annotated[
        str,
        _text(
            127,
            "What the buyer reads beside the price: 1 to 127 printable characters.",
            example="Jasmine tea",
        ),
    ]
    buyer_id: (
        Annotated[
            str,
            _text(
                128,
                "Your own id of the buyer, no personal data: 1 to 128 printable characters.",
                example="customer-88",
            ),
        ]
        | None
    ) = None
    items: (
        Annotated[
            list[Item],
            Meta(
                max_length=100,
                description="What is bought: up to 100 objects `{name, quantity, unit_amount?}`.",
            ),
        ]
        | None
    ) = None
    expires_in: Annotated[
        int, _whole(60, 2_592_000, "After how many seconds the order closes unpaid")
    ] = 1800
    notify_url: (
        Annotated[
            str,
            _url("Where webhooks of this order go", "https://shop.example/webhooks/payonce"),
        ]
        | None
    ) = None
    return_url: (
        Annotated[str, _url("Where the buyer goes afterwards", "https://shop.example/orders/417")]
        | None
    ) = None
    metadata: (
        Annotated[
            dict[MetadataKey, MetadataValue],
            Meta(
                max_length=20,
                description="What you want back with the order: up to 20 pairs of strings, keys of "
                "1 to 40 printable characters, values of up to 500 characters.",
            ),
        ]
        | None
    ) = None
    allow_duplicate: Annotated[
        bool,
        Meta(description="`true`: yes, the same purchase again, a moment after the last one."),
    ] = False


OpenId = Annotated[
    str,
    _text(
        128,
        "The buyer's openid at WeChat, for `jsapi`: 1 to 128 visible ASCII characters.",
        rf"^[\x21-\x7e]+{_END}",
    ),
]
Address = Annotated[
    str, _text(45, "The buyer's IPv4 or IPv6 address, for `h5`.", example="203.0.113.9")
]
UserAgent = Annotated[
    str, _text(512, "The buyer's User-Agent header: 1 to 512 printable characters.")
]
DeviceToken = Annotated[
    str,
    _text(
        1024,
        "The token that the buyer's app got from FCM, APNs or JPush, to be pushed a note when the "
        "order is paid or closed. Where several of them are set up, `fcm:`, `apns:` or `jpush:` "
        "stands before it. 1 to 1024 visible ASCII characters.",
        rf"^[\x21-\x7e]+{_END}",
        "jpush:1104a89792b7f9a5e3b",
    ),
]


def _line(most: int, rule: str, example: str) -> Meta:
    return _text(most, f"{rule}: 1 to {most} printable characters.", example=example)


class BuyerAddress(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a buyer lives, as a slip names it."""

    line1: Annotated[str, _line(200, "Street and number", "Rua das Acácias, 45")]
    city: Annotated[str, _line(100, "The city", "São Paulo")]
    state: Annotated[str, _line(40, "The state; of Brazil its two letters", "SP")]
    postal_code: Annotated[str, _line(16, "The postal code; of Brazil the CEP", "01310-100")]
    country: Annotated[
        str, _text(2, "ISO 3166-1 alpha-2, in capitals.", rf"^[A-Z]{{2}}{_END}", "BR")
    ] = "BR"


class NamedBuyer(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who pays, where the channel puts it on a slip."""

    name: Annotated[str, _line(127, "The buyer's full name, for `boleto`", "Ana Souza")] | None = (
        None
    )
    email: (
        Annotated[
            str,
            _text(
                254,
                "The buyer's e-mail address, for `boleto`.",
                rf"^[^\s@\x00-\x1f\x7f-\x9f]+@[^\s@\x00-\x1f\x7f-\x9f]+\.[^\s@.\x00-\x1f\x7f-\x9f]+{_END}",
                "ana@example.com",
            ),
        ]
        | None
    ) = None
    tax_id: (
        Annotated[
            str,
            _text(
                20,
                "The buyer's CPF or CNPJ with its check digits, for `boleto`; dots, dashes and "
                "slashes may be left out.",
                rf"^[0-9A-Za-z./ -]+{_END}",
                "529.982.247-25",
            ),
        ]
        | None
    ) = None
    address: Annotated[
        BuyerAddress | None,
        Meta(
            description="Where the buyer lives, for `boleto`: an object `{line1, city, state, "
            "postal_code, country?}`."
        ),
    ] = None


class Buyer(NamedBuyer, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who pays, as far as the channel wants to know, and which app wants to hear of it."""

    openid: OpenId | None = None
    ip: Address | None = None
    user_agent: UserAgent | None = None
    device_token: DeviceToken | None = None


class ApplyBody(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the buyer wants to pay."""

    channel: ChannelName
    terminal: Annotated[
        Terminal, Meta(description="Where the buyer sits: `pc`, `wap`, `webview` or `app`.")
    ]
    product: (
        Annotated[
            str,
            _text(32, "The channel's product; left out, the terminal decides.", _WORD, "native"),
        ]
        | None
    ) = None
    buyer: Annotated[
        Buyer | None,
        Meta(
            description="Who pays: an object `{openid?, ip?, user_agent?, tax_id?, name?, email?, "
            "address?, device_token?}`."
        ),
    ] = None


class NewRefundBody(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What of a paid order is given back."""

    amount: (
        Annotated[
            int, _whole(1, MAX_AMOUNT, "How much, in minor units; left out: all that is left", 234)
        ]
        | None
    ) = None
    reason: (
        Annotated[
            str,
            _text(
                80,
                "Why, as the buyer may be told: 1 to 80 printable characters.",
                example="Out of stock",
            ),
        ]
        | None
    ) = None
    merchant_refund_no: (
        Annotated[
            str,
            _text(
                64,
                "Your own number of the refund, used once for an order: 1 to 64 printable "
                "characters.",
                example="R-417-1",
            ),
        ]
        | None
    ) = None


_Note = Annotated[
    str, _text(500, "Why you decide so: 1 to 500 printable characters.", example="Seen by phone")
]


class DecisionBody(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an operator says about a decision."""

    note: _Note


class ReturnedBody(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """By which transfer a person returned the money."""

    note: _Note
    reference: Annotated[
        str,
        _text(
            128,
            "The transfer that returned the money: 1 to 128 printable characters.",
            example="Bank transfer 2026-11-21/88",
        ),
    ]


class NothingBody(Struct, frozen=True, forbid_unknown_fields=True):
    """A call that needs no body takes none, or `{}`."""


class WaitQuery(Struct, frozen=True, forbid_unknown_fields=True):
    version: (
        Annotated[int, _whole(0, 2**63 - 1, "The version that you have; `wait` is for a newer one")]
        | None
    ) = None
    wait: Annotated[int, _whole(0, 30, "How many seconds to wait for a newer version")] = 0


_Limit = Annotated[int, _whole(1, 100, "How many at most")]
_Moment = Annotated[
    datetime,
    Meta(
        tz=True,
        description="An RFC 3339 time with its zone, such as `2026-11-01T00:00:00Z` "
        "(in a URL a `+` is written `%2B`).",
    ),
]
_Cursor = Annotated[
    str,
    _text(30, "The `next_cursor` of the page before, exactly as it was answered.", "^ord" + _ID),
]
_After = Annotated[
    str,
    _text(30, "The id of the last event that you have; left out: from the first.", "^evt" + _ID),
]


class OrdersQuery(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    merchant_order_no: MerchantOrderNo | None = None
    state: Annotated[OrderState, Meta(description="`open`, `paid` or `closed`.")] | None = None
    channel: ChannelName | None = None
    created_from: _Moment | None = None
    created_to: _Moment | None = None
    cursor: _Cursor | None = None
    limit: _Limit = 20


class RefundsQuery(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    state: (
        Annotated[
            RefundState,
            Meta(description="`held`, `ready`, `sent`, `done`, `failed` or `rejected`."),
        ]
        | None
    ) = None
    cursor: (
        Annotated[
            str,
            _text(
                30,
                "The `next_cursor` of the page before, exactly as it was answered.",
                "^ref" + _ID,
            ),
        ]
        | None
    ) = None
    limit: _Limit = 20


class EventsQuery(Struct, frozen=True, forbid_unknown_fields=True):
    after: _After | None = None
    limit: _Limit = 100


class FeedQuery(Struct, frozen=True, forbid_unknown_fields=True):
    after: _After | None = None
