"""The settings of an account, as data: what each text must look like, and what to do if it does
not.

Every kind of account lists its own. So that whoever sets one up is told at once of all that is
wrong, the texts are judged together, before any of them is used.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from gateway.errors import ConfigurationError

ANY_TEXT: Final = r"[\s\S]+"


def _take(field: str, text: str) -> object:
    return text


class Setting(Struct, frozen=True):
    """One text that a merchant gives, and how it is judged."""

    name: str
    advice: str  # what to give; said where it is missing or malformed
    shape: str = ANY_TEXT  # a regular expression for the whole of it
    default: str | None = None  # what stands for one that is left out; None: it must be given
    secret: bool = False  # kept encrypted, and never shown
    # Reads what a regular expression cannot judge. Raises ConfigurationError that names the field.
    read: Callable[[str, str], object] = _take


def base_url(default: str, name: str = "base_url") -> Setting:
    """Return the setting that every kind has: where the channel is, or another host of its own."""
    shape = r"https?://[^\s/?#@]+(/[^\s?#]*)?"
    return Setting(name, "give a URL without user, query or fragment", shape, default)


def texts_of(
    known: Sequence[Setting], settings: Mapping[str, str], secrets: Mapping[str, str]
) -> dict[str, str]:
    """Return every known setting as it was given, or its default, or nothing.

    A field may be in either mapping: which are kept secret is the caller's to decide.
    """
    given = {name: text.strip() for name, text in {**settings, **secrets}.items()}
    return {each.name: given.get(each.name, "") or each.default or "" for each in known}


def faults_in(known: Sequence[Setting], texts: Mapping[str, str]) -> list[str]:
    """Say of each setting that cannot work what to do. The texts themselves are never quoted."""
    return [fault for each in known if (fault := _fault_of(each, texts[each.name])) is not None]


def sound_texts(
    known: Sequence[Setting],
    settings: Mapping[str, str],
    secrets: Mapping[str, str],
    faults_together: Callable[[Mapping[str, str]], list[str]] = lambda _: [],
) -> dict[str, str]:
    """Return what the texts say, or raise ConfigurationError with everything that is wrong.

    `faults_together` judges what only several settings together can get wrong.
    """
    texts = texts_of(known, settings, secrets)
    if faults := faults_in(known, texts) + faults_together(texts):
        raise ConfigurationError("\n".join(faults))
    return texts


def _fault_of(setting: Setting, text: str) -> str | None:
    if not text and setting.default is not None:
        return None
    if not re.fullmatch(setting.shape, text):
        return f"{setting.name}: {setting.advice}"
    try:
        setting.read(setting.name, text)
    except ConfigurationError as error:
        return str(error)
    return None
