"""UnionPay's notifications, and whom we believe: what is sent along proves nothing by itself."""

from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from gateway.channels.base import Callback, CallbackRead
from gateway.channels.unionpay import UnionPay, unionpay
from gateway.errors import BadCallback, ChannelUnavailable
from gateway.model import ChannelReport, Outcome, RefundReport, RefundState, Source
from gateway.money import Money
from tests.channels.bench import made, reason_of
from tests.channels.unionpay_benches import FORM, StubBench, received, stub_bench
from tests.fakes.keys import Certified
from tests.fakes.unionpay_crypto import (
    MERCHANTS_NAME,
    TEST_NAME,
    UNIONPAYS_NAME,
    certified,
    hash_of,
    signed,
)

NUMBER = "01KACB3V9D6H2M4XQ7R8S5T0WZ"
CNY = Money(1234, "CNY")


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[StubBench]:
    async with stub_bench() as bench:
        yield bench


def read(bench: StubBench, **changes: str) -> CallbackRead:
    return bench.shipped.read(bench.genuine({**bench.paid_notice(NUMBER), **changes}))


def signed_by(bench: StubBench, signer: Certified) -> Callback:
    return received(signed(signer, bench.paid_notice(NUMBER)))


async def test_a_success_is_a_payment_with_its_money(bench: StubBench) -> None:
    assert read(bench) == CallbackRead(
        "202611221034560000001.00",
        ChannelReport(
            "acct_1",
            NUMBER,
            Outcome.PAID,
            Source.CALLBACK,
            payment_ref="202611221034560000001",
            money=CNY,
        ),
    )
    assert read(bench, respCode="A6").report == read(bench).report


@pytest.mark.parametrize("txn_type", ["04", "31"])
@pytest.mark.parametrize(
    ("code", "state"),
    [("00", RefundState.DONE), ("A6", RefundState.DONE), ("61", RefundState.FAILED)],
)
async def test_a_refund_and_a_void_are_told_however_they_ended(
    bench: StubBench, txn_type: str, code: str, state: RefundState
) -> None:
    told = read(bench, txnType=txn_type, orderId=NUMBER + "R1", respCode=code).report
    assert told == RefundReport(
        "acct_1",
        NUMBER + "R1",
        state,
        Source.CALLBACK,
        refund_ref="202611221034560000001",
        money=CNY,
    )


@pytest.mark.parametrize(
    "changes", [{"respCode": "01"}, {"respCode": "03"}, {"txnType": "76"}, {"txnType": ""}]
)
async def test_what_moves_no_money_is_noted_and_no_more(
    bench: StubBench, changes: dict[str, str]
) -> None:
    assert read(bench, **changes).report is None


@pytest.mark.parametrize(
    "changes",
    [
        {"orderId": "short"},
        {"orderId": "with-a-dash-in-it"},
        {"queryId": ""},
        {"txnAmt": "12.34"},
        {"txnAmt": "1234567890123"},
        {"currencyCode": "840"},
        {"respCode": ""},
    ],
)
async def test_a_genuine_callback_that_makes_no_sense_is_refused(
    bench: StubBench, changes: dict[str, str]
) -> None:
    callback = bench.genuine({**bench.paid_notice(NUMBER), **changes})
    assert reason_of(bench, callback) == "format"


async def test_a_field_that_comes_twice_is_refused(bench: StubBench) -> None:
    callback = bench.genuine(bench.paid_notice(NUMBER))
    twice = Callback(FORM, callback.body + b"&txnAmt=1", callback.received_at)
    assert reason_of(bench, twice) == "signature"


async def test_a_certificate_of_the_same_authority_but_another_name_is_refused(
    bench: StubBench,
) -> None:
    """The authority certifies every merchant, so that the name is all that tells them apart."""
    assert reason_of(bench, signed_by(bench, bench.side.merchant)) == "signature"
    names = [
        "中国银联股份有限公司",
        f"041@{UNIONPAYS_NAME.split('@')[2]}@Z2017-11-9@1",
        "041@Z2017-11-9@中国银联股份有限公司分公司@1",
    ]
    for name in names:
        other = certified(name, issuer=bench.side.middle)
        assert reason_of(bench, signed_by(bench, other)) == "signature"


async def test_a_certificate_with_the_right_name_from_nobody_we_know_is_refused(
    bench: StubBench,
) -> None:
    alone = certified(UNIONPAYS_NAME)
    assert reason_of(bench, signed_by(bench, alone)) == "signature"
    other_root = certified("CFCA ACS CA", issues=True)
    other = certified(UNIONPAYS_NAME, issuer=other_root)
    assert reason_of(bench, signed_by(bench, other)) == "signature"
    by_merchant = certified(UNIONPAYS_NAME, issuer=bench.side.merchant)
    assert reason_of(bench, signed_by(bench, by_merchant)) == "signature"


@pytest.mark.parametrize(
    ("part", "instead"),
    [
        (bytes.fromhex("a003020102"), bytes.fromhex("a003020105")),  # a version that there is not
        (bytes.fromhex("2a864886f70d010101"), bytes.fromhex("2a864886f70d010199")),  # of the key
        (b"CN", b"C\xff"),
        (bytes.fromhex("0603550403"), bytes.fromhex("0603550406")),  # the name is the country
    ],
)
async def test_a_certificate_that_cannot_be_read_is_refused_like_any_other(
    bench: StubBench, part: bytes, instead: bytes
) -> None:
    fields = signed(bench.side.unionpay, bench.paid_notice(NUMBER))
    genuine = b64decode("".join(fields["signPubKeyCert"].splitlines()[1:-1]))
    odd = genuine.replace(part, instead)
    assert odd != genuine
    pem = f"-----BEGIN CERTIFICATE-----\n{b64encode(odd).decode()}\n-----END CERTIFICATE-----"
    said = {**bench.paid_notice(NUMBER), "signPubKeyCert": pem}
    signature = bench.side.unionpay.key.sign(hash_of(said).encode(), PKCS1v15(), SHA256())
    told = {**said, "signature": b64encode(signature).decode()}
    assert reason_of(bench, received(told)) == "signature"


@pytest.mark.parametrize(("since", "days"), [(400, -1), (-1, 365)])
async def test_a_certificate_that_is_not_in_force_is_refused(
    bench: StubBench, since: int, days: int
) -> None:
    expired = certified(UNIONPAYS_NAME, issuer=bench.side.middle, since=since, days=days)
    assert reason_of(bench, signed_by(bench, expired)) == "signature"


async def test_a_new_certificate_of_unionpays_needs_nobody_to_do_anything(
    bench: StubBench,
) -> None:
    request = await made(bench)
    for name in (UNIONPAYS_NAME, TEST_NAME):
        new = certified(name, issuer=bench.side.middle)
        assert bench.shipped.read(signed_by(bench, new)).report is not None
        bench.stub.signer = new
        assert (await bench.shipped.query(request.number)).outcome is Outcome.UNPAID


async def test_a_certificate_that_was_believed_is_not_believed_for_ever(
    bench: StubBench,
) -> None:
    now = datetime.now(UTC)
    settings = bench.side.settings("http://127.0.0.1:1")
    adapter = unionpay("acct_1", settings, {}, bench.http, clock=lambda: now)
    callback = bench.genuine(bench.paid_notice(NUMBER))
    assert adapter.read(callback).report is not None
    now += timedelta(days=366)
    with pytest.raises(BadCallback, match="not in force"):
        adapter.read(callback)


async def test_an_answer_with_another_merchants_certificate_tells_nothing(
    bench: StubBench,
) -> None:
    request = await made(bench)
    bench.stub.signer = certified(MERCHANTS_NAME, issuer=bench.side.middle)
    with pytest.raises(ChannelUnavailable, match="another name"):
        await bench.shipped.query(request.number)


async def test_only_200_is_an_acknowledgement(bench: StubBench) -> None:
    adapter: UnionPay = bench.shipped
    assert adapter.acknowledgement()[0] == 200
    assert adapter.rejection("no")[0] != 200
    await adapter.refresh_keys()
