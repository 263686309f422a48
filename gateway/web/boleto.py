"""A boleto as it is drawn: its number as people type it, and the bars that a bank's machine reads.

FEBRABAN's layout: the line of 47 digits that is typed has check digits among its fields; the bar
code has 44 of them in another order, as Interleaved 2 of 5.
"""

import re
from datetime import date, datetime
from typing import Final
from zoneinfo import ZoneInfo

from markupsafe import Markup

_LINE: Final = re.compile(r"[0-9]{47}")
_PUNCTUATION: Final = re.compile(r"[ .]")
_FIELDS: Final = re.compile(r"(.{5})(.{5})(.{5})(.{6})(.{5})(.{6})(.)(.{14})")
_BANKS_ARE_IN: Final = ZoneInfo("America/Sao_Paulo")
# Of the five bars, or spaces, of a digit two are wide.
_WIDE: Final = (
    "00110",
    "10001",
    "01001",
    "11000",
    "00101",
    "10100",
    "01100",
    "00011",
    "10010",
    "01010",
)
_START, _STOP = "0000", "100"
_WIDTHS: Final = {"0": 1, "1": 3}
_QUIET: Final = 10  # narrow bars of white on each side
_HEIGHT: Final = 54


def last_day(ends: datetime) -> date:
    """Return the last day on which banks take it."""
    return ends.astimezone(_BANKS_ARE_IN).date()


def digits(number: str) -> str:
    """Return the line's 47 digits, however they are punctuated; another number as it is."""
    plain = _PUNCTUATION.sub("", number)
    return plain if _LINE.fullmatch(plain) else number


def grouped(number: str) -> str:
    """Return the digits as slips print them; a number that is no line as it is."""
    if not _LINE.fullmatch(number):
        return number
    return _FIELDS.sub(r"\1.\2 \3.\4 \5.\6 \7 \8", number)


def bars(number: str) -> Markup | None:
    """Draw the bar code of a line as inline SVG; None: there is none for such a number."""
    if not _LINE.fullmatch(number):
        return None
    path, at = [], _QUIET
    for position, wide in enumerate(elements(code_of(number))):
        if position % 2 == 0:
            path.append(f"M{at} 0h{_WIDTHS[wide]}v{_HEIGHT}h-{_WIDTHS[wide]}z")
        at += _WIDTHS[wide]
    size = f"0 0 {at + _QUIET} {_HEIGHT}"
    drawn = f'<svg viewBox="{size}" preserveAspectRatio="none"><path d="{"".join(path)}"/></svg>'
    return Markup(drawn)  # noqa: S704 - numbers of ours


def code_of(line: str) -> str:
    """Return the bar code's 44 digits: in its order, without the check digits of the fields."""
    bank, check, due_and_amount = line[:4], line[32], line[33:]
    return bank + check + due_and_amount + line[4:9] + line[10:20] + line[21:31]


def elements(code: str) -> str:
    """Return bars and spaces in turn, 1 for a wide one: of each two digits the first is in the
    bars, the second in the spaces between them.
    """
    pairs = zip(code[::2], code[1::2], strict=True)
    woven = (
        bar + space
        for first, second in pairs
        for bar, space in zip(_WIDE[int(first)], _WIDE[int(second)], strict=True)
    )
    return _START + "".join(woven) + _STOP
