"""The page's colours can be read: contrast at WCAG 2.2 level AA, in both colour schemes."""

import re
from typing import Final

import pytest

from gateway.web.pages import static_folder

AA: Final = 4.5
CSS: Final = (static_folder() / "checkout.css").read_text()
PAIRS: Final = [
    ("ink", "card"),
    ("ink", "side"),
    ("ink", "ground"),
    ("ink", "mild-ground"),
    ("soft", "card"),
    ("soft", "side"),
    ("soft", "ground"),
    ("brand", "card"),
    ("on-brand", "brand"),
    ("on-brand", "brand-hover"),
    ("good", "good-ground"),
    ("warn", "warn-ground"),
    ("bad", "bad-ground"),
    ("soft", "mild-ground"),
]


def palette(scheme: str) -> dict[str, str]:
    light, dark = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    found = re.findall(r"--([a-z-]+): (#[0-9a-f]{3,6});", light if scheme == "light" else dark)
    return dict(found)


def luminance(colour: str) -> float:
    digits = colour.removeprefix("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    parts = [int(digits[start : start + 2], 16) / 255 for start in (0, 2, 4)]
    red, green, blue = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), PAIRS)
def test_text_stands_out_from_its_ground(scheme: str, text: str, ground: str) -> None:
    colours = palette(scheme)
    darker, lighter = sorted((luminance(colours[text]), luminance(colours[ground])))
    assert (lighter + 0.05) / (darker + 0.05) >= AA


def test_who_wants_no_motion_gets_none() -> None:
    assert "@media (prefers-reduced-motion: reduce)" in CSS
