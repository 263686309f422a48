"""What stands on a Boleto: a bar code of 44 digits, and the line of 47 that a person types.

The layout is that of the Brazilian banks' association: bank, currency, check digit, days until it
is due, amount, and what the bank is free to use.
"""

import secrets
from datetime import date, datetime, timedelta, timezone

SAO_PAULO = timezone(timedelta(hours=-3))
"""Brazil has had no summer time since 2019."""
_BANK = "0019"
_DAY_ONE = date(2025, 2, 22)
_FIRST_FACTOR = 1000
"""The count of days had reached its end in 2025, and began again on that day with that number."""


def voucher_end(now: datetime, days: int) -> datetime:
    """23:59 in São Paulo, so many days ahead."""
    there = now.astimezone(SAO_PAULO) + timedelta(days=days)
    return there.replace(hour=23, minute=59, second=0, microsecond=0)


def new_barcode(amount: int, due: datetime) -> str:
    """44 digits, for an amount of centavos."""
    factor = _FIRST_FACTOR + (due.astimezone(SAO_PAULO).date() - _DAY_ONE).days
    free = "".join(secrets.choice("0123456789") for _ in range(25))
    rest = f"{factor % 10_000:04}{amount:010}{free}"
    return f"{_BANK}{_modulo_11(_BANK + rest)}{rest}"


def typed_line(barcode: str) -> str:
    """The 47 digits that a person types in the place of the bar code."""
    fields = (barcode[:4] + barcode[19:24], barcode[24:34], barcode[34:44])
    checked = "".join(field + _modulo_10(field) for field in fields)
    return checked + barcode[4] + barcode[5:19]


def shown_line(line: str) -> str:
    """The 47 digits as people read them."""
    fields = (line[:10], line[10:21], line[21:32])
    shown = " ".join(f"{field[:5]}.{field[5:]}" for field in fields)
    return f"{shown} {line[32]} {line[33:]}"


def stripes(barcode: str) -> list[tuple[int, int]]:
    """Interleaved 2 of 5: each black stripe's place and width, in the width of the thinnest."""
    wide = dict(zip("0123456789", _WIDE, strict=True))
    widths = [1, 1, 1, 1]
    for black, white in zip(barcode[::2], barcode[1::2], strict=True):
        for one, other in zip(wide[black], wide[white], strict=True):
            widths += [3 if one == "w" else 1, 3 if other == "w" else 1]
    widths += [3, 1, 1]
    places = [sum(widths[:index]) for index in range(len(widths))]
    return [(place, width) for place, width in zip(places, widths, strict=True)][::2]


_WIDE = ("nnwwn", "wnnnw", "nwnnw", "wwnnn", "nnwnw", "wnwnn", "nwwnn", "nnnww", "wnnwn", "nwnwn")


def _modulo_10(digits: str) -> str:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        product = int(digit) * (2 if place % 2 == 0 else 1)
        total += product // 10 + product % 10
    return str(-total % 10)


def _modulo_11(digits: str) -> str:
    total = sum(int(digit) * (2 + place % 8) for place, digit in enumerate(reversed(digits)))
    check = 11 - total % 11
    return "1" if check in (0, 10, 11) else str(check)


def pdf_of(lines: list[str]) -> bytes:
    """A page of text as a PDF, of one font and with nothing that runs."""
    said = "".join(
        f"BT /F1 11 Tf 56 {780 - 22 * row} Td ({_escaped(line)}) Tj ET\n"
        for row, line in enumerate(lines)
    ).encode("latin-1", "replace")
    font = b"<< /Type /Font /Subtype /Type1 /BaseFont /Courier /Encoding /WinAnsiEncoding >>"
    shape = b"/MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >>"
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R %s >>" % shape,
        b"<< /Length %d >>\nstream\n%sendstream" % (len(said), said),
        font,
    )
    out = bytearray(b"%PDF-1.4\n")
    starts = []
    for number, body in enumerate(objects, start=1):
        starts.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % start for start in starts)
    trailer = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
    return bytes(out) + trailer % (len(objects) + 1, table)


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
