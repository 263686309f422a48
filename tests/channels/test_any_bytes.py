"""Whatever bytes come from outside, a verb ends with its result or with a typed error, and in time.

Every channel is a row (`replays.py`). What it said once is said again with things done to it
(`twists.py`): on the way, where nothing that it signs can become news of money; and by itself, with
its own signature over whatever nonsense, which must never become a report that cannot be kept.

    pytest tests/channels/test_any_bytes.py                 the same bytes each time
    FUZZ=5000 pytest tests/channels/test_any_bytes.py       so many of each kind, others each time
"""

import asyncio
import os
import re
from base64 import encodebytes
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import aiohttp
import msgspec
import pytest
import segno
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gateway.channels import signing
from gateway.channels.actions import QrAction, RedirectAction
from gateway.channels.alipay_certificates import Trust, key_of_new_certificate
from gateway.channels.base import Callback, CallbackRead, CloseResult, Created
from gateway.channels.bills import Bill
from gateway.channels.chains import common_name_of, leads_to_a_root
from gateway.errors import (
    BadCallback,
    ChannelRefused,
    ChannelUnavailable,
    ConfigurationError,
)
from gateway.model import ChannelReport, Outcome, RefundReport, RefundState
from gateway.money import MAX_AMOUNT
from tests.channels.mouth import Headers, Mouth, Said, speaking
from tests.channels.replays import ROWS, Notes, Replay, Row, noted
from tests.channels.twists import Edit, edit_of_bytes, edited, edits_of_bytes, edits_of_values
from tests.fakes import paypal_crypto

_SAID: Final = os.environ.get("FUZZ")
FUZZ: Final = settings(
    max_examples=int(_SAID or 150),
    derandomize=_SAID is None,
    database=None,
    deadline=None,
    phases=(Phase.generate, Phase.shrink),
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
IN_TIME_S: Final = 60.0  # an adapter's own deadlines are shorter, and this machine may be busy

STATUSES: Final = st.sampled_from(
    [
        *([0] * 12),
        *(99, 100, 101, 200, 201, 202, 204, 206, 301, 304, 400, 401, 402, 403, 404),
        *(408, 409, 413, 422, 425, 429, 500, 502, 503, 504, 599, 600, 999),
    ]
)
_VALUES: Final = st.binary(max_size=40).map(
    lambda raw: raw.translate(None, bytes(range(32)) + b"\x7f")
)
_NUL: Final = re.compile(rb"(?<!\\)(\\\\)*\\u0000")  # PostgreSQL keeps all texts but those with it
HEADERS: Final = st.lists(
    st.sampled_from(
        [
            (b"Content-Encoding", b"gzip"),
            (b"Content-Encoding", b"br"),
            (b"Content-Encoding", b"zstd"),
            (b"Content-Length", b"-1"),
            (b"Content-Length", b"1" * 30),
            (b"Content-Length", b"1"),
            (b"Transfer-Encoding", b"chunked"),
            (b"Content-Type", b"application/json; charset=utf-7"),
            (b"Location", b"http://["),
            (b"Set-Cookie", b"\xff=\xff; expires=never; path=\xff"),
            (b"Idempotent-Replayed", b"true"),
            (b"not a header", b"x"),
        ]
    )
    | st.tuples(
        st.sampled_from(
            [
                b"Wechatpay-Timestamp",
                b"Wechatpay-Nonce",
                b"Wechatpay-Serial",
                b"Wechatpay-Signature",
                b"Wechatpay-Signature-Type",
                b"Content-Type",
                b"Content-Encoding",
                b"Transfer-Encoding",
                b"Content-Length",
                b"Set-Cookie",
            ]
        ),
        _VALUES | st.sampled_from(["٣".encode(), b"1e400", b"9" * 400, b"WECHATPAY/SIGNTEST/"]),
    ),
    max_size=2,
).map(tuple)


@dataclass(frozen=True)
class Twist:
    """What is done to one of the answers of a replay: status 0 leaves the one that it had."""

    replay: int
    call: int
    status: int
    headers: Headers
    edits: list[Edit]

    def to(self, said: Said) -> Said:
        return Said(
            self.status or said.status, said.headers + self.headers, edited(said.body, self.edits)
        )


_DEEP: Final = b"[" * 5000 + b"]" * 5000 + b"}"
# What was said, what was said instead of that, signed where the channel signs, and taken for an
# answer or for no error of ours.
FOUND: Final[dict[str, list[tuple[str, bytes, bytes]]]] = {
    "wechat": [
        ("create", rb'"code_url": ?"[^"]*"', rb'"code_url":"\u0000"'),
        ("query what is paid", rb'"total": ?[0-9]+', b'"total":0'),
        ("payer", rb"}$", b',"more":' + _DEEP),
    ],
    "alipay": [("query what is paid", rb'"total_amount":"[^"]*"', b'"total_amount":"0.00"')],
    "unionpay": [("query what is paid", rb"txnAmt=[0-9]+", b"txnAmt=0")],
    "paypal": [
        ("create", rb"}$", b',"create_time":"2026-11-22T10:00:00"}'),
        ("create", rb'"href": ?"[^"]*"', b'"href":"javascript:alert(1)"'),
        ("learn", rb'"expires_in":[0-9]+', b'"expires_in":1' + b"0" * 30),
        ("query what is paid", rb'"value": ?"[^"]*"', b'"value":"0.00"'),
    ],
    "card": [
        ("query", rb"}$", b',"more":' + _DEEP),
        ("query what is paid", rb'"amount_received": ?[0-9]+', b'"amount_received":0'),
        ("create", rb'"url": ?"[^"]*"', b'"url":"javascript:alert(1)"'),
    ],
    "boleto": [("create", rb'"pdf": ?"[^"]*"', rb'"pdf":"https://x/\u0000"')],
}
ON_THE_WAY: Final = st.builds(
    Twist, st.integers(0, 20), st.integers(0, 5), STATUSES, HEADERS, edits_of_bytes()
)
BY_ITSELF: Final = st.builds(
    Twist, st.integers(0, 20), st.integers(0, 5), st.just(0), st.just(()), edits_of_values()
)


class Place:
    """An adapter's row, beside a mouth that says its answers again."""

    def __init__(
        self,
        name: str,
        row: Row,
        notes: Notes,
        mouth: Mouth,
        url: str,
        http: aiohttp.ClientSession,
    ) -> None:
        self.name = name
        self.row = row
        self.notes = notes
        self._mouth = mouth
        self._url = url
        self._http = http

    def replayed(self, twist: Twist) -> tuple[Replay, str, Said]:
        """Return what is replayed, and the call in it that is answered otherwise."""
        replay = self.notes.replays[twist.replay % len(self.notes.replays)]
        key, said = replay.calls[twist.call % len(replay.calls)]
        signs = self.row.signs
        return replay, key, signs.again(said, signs.plain(said))  # signed now, not long ago

    async def hears(self, replay: Replay, key: str, said: Said) -> object:
        """Return what an adapter makes of it; None: it was a typed error."""
        self._mouth.says = {**dict(replay.calls), key: said}
        self._mouth.otherwise = said
        try:
            async with asyncio.timeout(IN_TIME_S):
                return await replay.act(self.row.adapter(self._url, self._http))
        except (ChannelUnavailable, ChannelRefused, BadCallback):
            return None


@asynccontextmanager
async def opened(name: str) -> AsyncIterator[Place]:
    mouth, row = Mouth(), ROWS[name]()
    async with (
        speaking(mouth) as url,
        aiohttp.ClientSession() as http,
        noted(row, url, http) as notes,
    ):
        yield Place(name, row, notes, mouth, url, http)


@pytest.fixture(scope="module")
def turning() -> Iterator[asyncio.Runner]:
    """Hypothesis knows no loops, so this one turns only while an example is tried."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        yield runner


@pytest.fixture(scope="module", params=list(ROWS))
def place(request: pytest.FixtureRequest, turning: asyncio.Runner) -> Iterator[Place]:
    opening = opened(request.param)
    yield turning.run(opening.__aenter__())
    turning.run(opening.__aexit__(None, None, None))


def test_what_was_written_down_is_heard_again(place: Place, turning: asyncio.Runner) -> None:
    for replay in place.notes.replays:
        for key, said in replay.calls:
            again = turning.run(place.hears(replay, key, said))
            assert type(again) is type(replay.result) or replay.result is None, replay.name
            signed = place.row.signs.again(said, place.row.signs.plain(said))
            again = turning.run(place.hears(replay, key, signed))
            assert again is not None, replay.name
            assert_sound(again)
    for callback in place.notes.told:
        plain = place.row.signs.told(callback)
        read = place.notes.reader.read(place.row.signs.tell(callback, plain))
        assert read.report == place.notes.reader.read(callback).report


def test_what_was_believed_once_or_broke_something_does_not_again(
    place: Place, turning: asyncio.Runner
) -> None:
    signs = place.row.signs
    for name, old, new in FOUND.get(place.name, ()):
        replay = next(each for each in place.notes.replays if each.name == name)
        # The last that says it: a token may have been asked for before.
        key, said = [(key, said) for key, said in replay.calls if re.search(old, said.body)][-1]
        plain = re.sub(old, new.replace(b"\\", b"\\\\"), signs.plain(said))
        heard = turning.run(place.hears(replay, key, signs.again(said, plain)))
        assert heard is None, (name, new[:40])


def test_a_header_that_is_no_text_is_a_callback_refused(place: Place) -> None:
    """As aiohttp hands out bytes that are no UTF-8."""
    for genuine in place.notes.told:
        for header in genuine.headers.keys() - {"content-type"}:
            changed = {**genuine.headers, header: f"{genuine.headers[header]},v1=\udcff"}
            if header == "stripe-signature":
                changed[header] = "t=1,v1=\udcff"
            spoilt = Callback(changed, genuine.body, genuine.received_at)
            assert read_or_none(place, spoilt) is None or header == "wechatpay-signature-type"


@pytest.mark.filterwarnings("ignore")  # it warns of certificates that it reads all the same
def test_any_bytes_as_a_certificate_lead_nowhere() -> None:
    side = paypal_crypto.stub_side()
    now, roots = datetime.now(UTC), (side.root.certificate,)
    made = [one.certificate.public_bytes(Encoding.DER) for one in (side.paypal, side.middle)]
    trust = Trust("", "", roots, (side.middle.certificate,), paypal_crypto.PAYPALS_NAME)

    @settings(FUZZ, max_examples=FUZZ.max_examples * 5)
    @given(st.integers(0, 1), st.lists(edit_of_bytes("flip", "put", "cut"), min_size=1, max_size=2))
    def look(which: int, edits: list[Edit]) -> None:
        der = edited(made[which], edits)
        try:
            [read] = signing.read_certificates("certificate", pem_of(der))
        except ConfigurationError:
            return
        common_name_of(read)
        if der == made[which]:
            return
        assert not leads_to_a_root(read, (side.middle.certificate,), roots, now)
        leads_to_a_root(side.paypal.certificate, (read,), roots, now)
        with pytest.raises(ConfigurationError):
            key_of_new_certificate(pem_of(der), "f" * 32, trust, now)

    look()


def pem_of(der: bytes) -> str:
    text = encodebytes(der).decode()
    return f"-----BEGIN CERTIFICATE-----\n{text}-----END CERTIFICATE-----\n"


@pytest.mark.timeout(0 if _SAID else 120)
def test_no_answer_that_was_changed_on_the_way_breaks_anything_or_is_believed(
    place: Place, turning: asyncio.Runner
) -> None:
    @FUZZ
    @given(ON_THE_WAY)
    def hear(twist: Twist) -> None:
        replay, key, said = place.replayed(twist)
        heard = turning.run(place.hears(replay, key, twist.to(said)))
        assert_sound(heard)
        if place.row.signs_answers and is_of_money(heard):
            assert heard == replay.result

    hear()


@pytest.mark.timeout(0 if _SAID else 120)
def test_no_answer_of_the_channels_own_breaks_anything(
    place: Place, turning: asyncio.Runner
) -> None:
    if not place.row.signs_answers:
        return  # whoever is on the way can say all that these channels can

    @FUZZ
    @given(BY_ITSELF)
    def hear(twist: Twist) -> None:
        replay, key, said = place.replayed(twist)
        plain = edited(place.row.signs.plain(said), twist.edits)
        assert_sound(turning.run(place.hears(replay, key, place.row.signs.again(said, plain))))

    hear()


@pytest.mark.timeout(0 if _SAID else 120)
def test_no_callback_that_was_changed_on_the_way_breaks_anything_or_is_believed(
    place: Place,
) -> None:
    headers = st.dictionaries(
        st.integers(0, 9), _VALUES.map(as_aiohttp) | st.text(max_size=20), max_size=2
    )

    @FUZZ
    @given(st.integers(0, 5), headers, edits_of_bytes())
    def read(which: int, changes: dict[int, str], edits: list[Edit]) -> None:
        genuine = place.notes.told[which % len(place.notes.told)]
        names = sorted(genuine.headers)
        changed = {names[at % len(names)]: value for at, value in changes.items()}
        callback = Callback(
            {**genuine.headers, **changed}, edited(genuine.body, edits), genuine.received_at
        )
        found = read_or_none(place, callback)
        if found is not None:
            assert found.report == place.notes.reader.read(genuine).report

    read()


@pytest.mark.timeout(0 if _SAID else 120)
def test_no_callback_of_the_channels_own_breaks_anything(place: Place) -> None:
    @FUZZ
    @given(st.integers(0, 5), edits_of_values())
    def read(which: int, edits: list[Edit]) -> None:
        genuine = place.notes.told[which % len(place.notes.told)]
        plain = edited(place.row.signs.told(genuine), edits)
        found = read_or_none(place, place.row.signs.tell(genuine, plain))
        assert_sound(found)

    read()


def read_or_none(place: Place, callback: Callback) -> CallbackRead | None:
    try:
        return place.notes.reader.read(callback)
    except BadCallback:
        return None


def as_aiohttp(raw: bytes) -> str:
    """Return a header's value as aiohttp hands it out."""
    return raw.decode("utf-8", "surrogateescape")


def is_of_money(heard: object) -> bool:
    """Would the gateway move money, or let go of it, for this?"""
    match heard:
        case ChannelReport(outcome=outcome):
            return outcome in (Outcome.PAID, Outcome.CLOSED)
        case RefundReport(state=state):
            return state in (RefundState.DONE, RefundState.FAILED)
        case CloseResult():
            return heard is CloseResult.CLOSED
        case Bill():
            return bool(heard.lines)
        case _:
            return False


def assert_sound(heard: object) -> None:
    """Whatever a verb answers can be kept in the database, told to a merchant and shown."""
    assert not _NUL.search(msgspec.json.encode(heard))
    match heard:
        case ChannelReport():
            assert_sound_report(heard)
        case CallbackRead(notification_id=identity, report=report):
            assert 0 < len(identity) <= 255
            assert_sound(report)
        case RefundReport(number=number, money=money):
            assert 0 < len(number) <= 255
            assert money is None or 0 <= money.amount <= MAX_AMOUNT
        case Created(next_action=QrAction(content=content), usable_until=until):
            assert until.tzinfo is not None
            segno.make(content, micro=False)
        case Created(next_action=RedirectAction(url=url)):
            assert url.startswith(("http://", "https://"))
        case Bill(lines=lines):
            assert all(abs(line.money.amount) <= MAX_AMOUNT for line in lines)
        case _:
            pass


def assert_sound_report(report: ChannelReport) -> None:
    """Money and reference are there when, and only when, it says paid."""
    paid = report.outcome is Outcome.PAID
    assert (report.money is not None) == paid
    assert bool(report.payment_ref) == paid
    assert len(report.channel_ref) <= 255
    if report.money is not None:
        assert 0 < report.money.amount <= MAX_AMOUNT
        assert len(report.money.currency) == 3
        assert report.money.currency.isascii()
        assert report.money.currency.isupper()
    assert report.refunded is None or 0 <= report.refunded <= MAX_AMOUNT
