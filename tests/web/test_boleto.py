"""The slip as it is drawn: read again by a reader of bar codes that is not ours."""

import re
from datetime import UTC, date, datetime
from typing import Final

import zxingcpp
from PIL import Image, ImageDraw

from gateway.web.boleto import bars, code_of, digits, elements, grouped, last_day

# The example of Banco do Brasil's layout: what is typed, and what the bars say.
LINE: Final = "00190500954014481606906809350314337370000000100"
BARS: Final = "00193373700000001000500940144816060680935031"


def test_the_bars_say_the_line_without_its_check_digits() -> None:
    assert code_of(LINE) == BARS


def test_two_digits_are_woven() -> None:
    """Of 38 the 3 is in the bars, and the 8 in the spaces."""
    assert elements("38") == "0000" + "11" + "10" + "00" + "01" + "00" + "100"


def test_another_reader_reads_the_bars() -> None:
    svg = bars(LINE)
    assert svg is not None
    image = Image.new("L", (1300, 200), 255)
    drawing = ImageDraw.Draw(image)
    for at, width in re.findall(r"M(\d+) 0h(\d)", svg):
        left = int(at) * 3
        drawing.rectangle((left, 20, left + int(width) * 3 - 1, 180), fill=0)
    (read,) = zxingcpp.read_barcodes(image)
    assert (read.text, read.format) == (BARS, zxingcpp.BarcodeFormat.ITF)


def test_the_number_is_grouped_as_slips_print_it() -> None:
    assert grouped(LINE) == "00190.50095 40144.816069 06809.350314 3 37370000000100"


def test_a_line_that_comes_punctuated_is_the_same_line() -> None:
    assert digits(grouped(LINE)) == digits(LINE) == LINE
    assert digits("ref. 12 34") == "ref. 12 34"


def test_another_kind_of_number_is_shown_as_it_is() -> None:
    assert grouped("1234") == "1234"
    assert bars("1234") is None
    assert bars("x" * 47) is None


def test_the_last_day_is_the_banks() -> None:
    assert last_day(datetime(2026, 11, 26, 2, 59, 59, tzinfo=UTC)) == date(2026, 11, 25)
