"""UnionPay's bills: 文件传输, whose answer has the archive of a settlement day in itself.

A line of the ZM file has 42 fixed columns with a space between two; numbers are filled up with
zeros on the left, texts with spaces on the right. C credits the merchant, D debits.
"""

import zlib
from base64 import b64encode
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from io import BytesIO
from urllib.parse import parse_qsl
from zipfile import ZIP_DEFLATED, ZipFile

from gateway.sandbox.bills import Moved, is_made, moves, spoilt
from gateway.sandbox.channel import Shared
from gateway.sandbox.ledger import RefundState
from gateway.sandbox.unionpay_gate import KIND, Sent, UnionPayGate, UnionPayRefusal, in_beijing
from gateway.sandbox.unionpay_numbers import kept_of
from gateway.sandbox.unionpay_refunds import settlement_day

FILE_FIELDS = ("settleDate", "fileType")


class UnionPayBills:
    """Makes bills from the ledger."""

    def __init__(self, shared: Shared, gate: UnionPayGate) -> None:
        self._shared = shared
        self._mer_id = gate.mer_id

    def make(self, sent: Sent) -> dict[str, str]:
        """Make the archive that is asked for. Raises UnionPayRefusal."""
        if (sent["txnType"], sent["txnSubType"], sent["fileType"]) != ("76", "01", "00"):
            raise UnionPayRefusal("10", "fileType")
        day = self._day(sent["settleDate"])
        moved = [one for one in self._settled() if settlement_day(one.at) == day]
        if not moved or not is_made(self._shared, KIND, day):
            raise UnionPayRefusal("98")
        lines = [self._line(one) for one in sorted(moved, key=lambda one: one.at)]
        archive = spoilt(self._shared, KIND, self._archive(day, lines))
        return {
            "respCode": "00",
            "respMsg": "成功[0000000]",
            "fileName": f"{self._mer_id}_{day:%Y%m%d}.zip",
            "fileContent": b64encode(zlib.compress(archive)).decode(),
        }

    def _day(self, text: str) -> date:
        """The last day that is written so. Raises UnionPayRefusal."""
        today = settlement_day(self._shared.faults.now(KIND))
        for ago in range(366):
            day = today - timedelta(days=ago)
            if f"{day:%m%d}" == text:
                return day
        raise UnionPayRefusal("10", "settleDate")

    def _settled(self) -> list[Moved]:
        """Payments, and refunds from when they had ended well."""
        settled = []
        for one in moves(self._shared, KIND):
            if one.refund is None:
                settled.append(one)
            elif one.refund.state is RefundState.DONE and one.refund.ended_at is not None:
                settled.append(Moved(one.payment, one.capture, one.refund, one.refund.ended_at))
        return settled

    def _archive(self, day: date, lines: Sequence[str]) -> bytes:
        packed = BytesIO()
        name = f"INN{day:%y%m%d}88{{}}_{self._mer_id}"
        with ZipFile(packed, "w", ZIP_DEFLATED) as archive:
            archive.writestr(name.format("ZM"), "".join(lines).encode("gbk"))
            archive.writestr(name.format("ZME"), b"")
        return packed.getvalue()

    def _line(self, moved: Moved) -> str:
        capture, refund = moved.capture, moved.refund
        sent = dict(parse_qsl(moved.payment.request))
        of_refund = refund is not None
        order = moved.payment.number if refund is None else refund.number
        ref = capture.ref if refund is None else refund.ref
        credit, debit = ("D", "C") if of_refund else ("C", "D")
        settled = f"{credit}{moved.amount - moved.fee:012d}"
        sub_type = "00" if of_refund else sent["txnSubType"]
        columns = (
            ("S30" if of_refund else "S56").ljust(3),
            "88022900".ljust(11),
            "00049993".ljust(11),
            ref[-6:],
            _month_to_second(moved.at),
            "622609******0048".ljust(19),
            f"{moved.amount:012d}",
            "4899",
            "07",
            ref.ljust(21),
            "01",
            order.partition("@")[0].ljust(32),
            "01",
            capture.ref[-6:] if of_refund else " " * 6,
            _month_to_second(capture.paid_at) if of_refund else " " * 10,
            f"{debit}{moved.fee:012d}",
            settled,
            "0001",
            " " * 15,
            "01" if refund is None else kept_of(refund).txn_type,
            sub_type,
            "000201",
            "01",
            " " * 4,
            " " * 32,
            "0",
            (capture.ref if of_refund else "").ljust(21),
            self._mer_id,
        )
        return " ".join((*columns, *_unread(settled))) + "\r\n"


def _unread(settled: str) -> Iterable[str]:
    """The last fourteen columns: of sub-merchants, discounts and instalments."""
    nothing = f"C{0:012d}"
    yield from ("0", " " * 15, " " * 32, nothing, settled, "01080209", " " * 32)
    yield from (nothing, nothing, f"{0:012d}", "00", "7", " " * 32, " " * 98)


def _month_to_second(moment: datetime) -> str:
    return in_beijing(moment)[4:]
