"""The stub's bill: a file as UnionPay's documents show it, its lines written by hand.

Nothing here is taken from the sandbox or the adapter. Each piece of a line is a column, with the
space behind it.
"""

import zlib
from base64 import b64encode
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from zipfile import ZIP_STORED, ZipFile

TEXT_DAY, TEXT_EVE = "0916", "0915"  # as the lines say it; the stub puts others in their place

BUYER = "88022900    00049993    "
PAID = (
    "S56 " + BUYER + "193121 0915230000 622609******0048    000000010000 4899 07 "
    "202609152300001931218 01 01K5AAAAAAAAAAAAAAAAAAAAAA       01                   "
    "D000000000060 C000000009940 0001                 01 07 000000 01      "
    "                                 0                       777290058110048 0 "
    "                                                                          "
    "C000000009940 01080209                                  "
    "C000000000000 C000000000000 000000000000 00 7\r\n"
)
PAID_AT_NOON = (
    "S56 " + BUYER + "190624 0916120000 622609******0048    000000000001 4899 07 "
    "202609161200001906248 01 01K5BBBBBBBBBBBBBBBBBBBBBB       01                   "
    "D000000000000 C000000000001 0001                 01 01 000201 01      "
    "                                 0                       777290058110048 0 茶铺\r\n"
)
GIVEN_BACK = (
    "S30 " + BUYER + "193140 0916225959 622609******0048    000000003050 4899 07 "
    "202609162259591931405 01 01K5AAAAAAAAAAAAAAAAAAAAAAR1     01 193121 0915230000 "
    "C000000000018 D000000003032 0001                 04 00 000201 01      "
    "                                 0 202609152300001931218 777290058110048 0 \r\n"
)
BY_ANOTHER_SYSTEM = (
    "S20 " + BUYER + "193150 0916130000 622609******0048    000000000500 4899 07 "
    "202609161300001931509 01 PRE00000001                      01                   "
    "D000000000003 C000000000497 0001                 03 00 000201 01      "
    "                                 0                       777290058110048 0 \r\n"
)


@dataclass
class Bills:
    """What the stub has to say about bills: one settlement day's, and of other days nothing."""

    day: date = field(
        default_factory=lambda: (datetime.now(UTC) + timedelta(hours=9)).date() - timedelta(days=3)
    )
    late: bool = False
    spoil: str = ""

    def content(self, settle_date: str) -> str:
        """What the answer carries; nothing when there is no file of that day."""
        if self.late or settle_date != f"{self.day:%m%d}":
            return ""
        eve = self.day - timedelta(days=1)
        text = PAID + PAID_AT_NOON + GIVEN_BACK + BY_ANOTHER_SYSTEM
        for year_and_day, day in ((TEXT_DAY, self.day), (TEXT_EVE, eve)):
            text = text.replace(f"2026{year_and_day}", f"{day:%Y%m%d}")
            text = text.replace(f" {year_and_day}", f" {day:%m%d}")
        if self.spoil == "altered":
            text = text.replace("S30 ", "S30")
        packed = zlib.compress(archive_of({"ZM": text, "ZME": "whatever\r\n"}))
        if self.spoil == "truncated":
            packed = packed[: len(packed) // 2]
        return b64encode(packed).decode()


def archive_of(files: dict[str, str]) -> bytes:
    packed = BytesIO()
    with ZipFile(packed, "w", ZIP_STORED) as archive:
        for name, text in files.items():
            archive.writestr(f"INN26091688{name}_777290058110048", text.encode("gbk"))
    return packed.getvalue()
