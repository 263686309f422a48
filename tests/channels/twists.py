"""What can be done to a genuine text: by whoever stands between, or by a channel gone mad.

A text is JSON, or a form whose values stand as they are. An edit names a place by a number, which
counts round and round, so that the same edits fit every text.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from hypothesis import strategies as st

_DEEP: Final = b"[" * 20_000 + b"]" * 20_000
# What may stand in the place of a value, by what it was: near enough to be taken for one.
_NUMBERS: Final = (
    *(b"null", b"true", b"0", b"-1", b"-0.0", b"0.001", b"1.0", b"1e400", b"-1e400", b"1e30"),
    *(b"NaN", b'"1"', *(b"1" + b"0" * zeros for zeros in (12, 13, 18, 19, 30, 400, 5000))),
)
_AMOUNTS: Final = (
    *(b'"-1"', b'"0"', b'"0.00"', b'"0.001"', b'"1e400"', b'"NaN"', b'"12.340"', b'""', b"12.34"),
    *(b'"9999999999.99"', b'"99999999999.99"', b'"' + b"9" * 5000 + b'"', '"٣.٠٠"'.encode()),
)
_STATES: Final = (
    *(b'"SUCCESS"', b'"REFUND"', b'"CLOSED"', b'"PROCESSING"', b'"TRADE_SUCCESS"', b'"10000"'),
    *(b'"TRADE_CLOSED"', b'"COMPLETED"', b'"PENDING"', b'"REFUNDED"', b'"PARTIALLY_REFUNDED"'),
    *(b'"VOIDED"', b'"succeeded"', b'"processing"', b'"open"', b'"canceled"', b'"complete"'),
    *(b'"requires_action"', b'"requires_capture"', b'"expired"', b'"00"', b'"A6"', b'"34"'),
    *(b'"04"', b'"12"', b'"ZZZ"', b'"XXX"', b'"JPY"', b'"usd"', b'"156"', b'"Y"', b'"nothing"'),
)
_TIMES: Final = (
    *(b'"2026-11-22T10:00:00"', b'"0001-01-01T00:00:00+14:00"', b'"9999-12-31T23:59:59-14:00"'),
    *(b'"2026-02-30T10:00:00Z"', b'"2026-11-22"', b'"0001-01-01 00:00:00"', b"0", b"99999999999"),
)
_URLS: Final = (
    *(b'"http://["', b'"https://x:99999/"', b'"javascript:alert(1)"', b'"https://x/orders/a\\tb"'),
    *(b'"https://x/orders/' + b"9" * 3000 + b'"', b'"../.."', b'"https://x/\\u0000"', b'"//x"'),
)
_TEXTS: Final = (
    *(b'""', b'"\\u0000"', b'"a\\u0000b"', b'"\\ud800"', b'"\xff"', b'"\\n"', b'"a\\nb"'),
    *('"两杯"'.encode(), b'"' + b"9" * 5000 + b'"', b'"../.."', b'"WECHATPAY/SIGNTEST/"', b"1"),
)
_NESTS: Final = (
    b"null",
    b"[]",
    b"{}",
    b"[[]]",
    b'[{"a":1}]',
    b'""',
    _DEEP,
    b'{"a":' + _DEEP + b"}",
)
_KIN: Final = (
    (re.compile(r"-?[0-9.]{1,15}"), _AMOUNTS + _STATES),
    (re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}.*"), _TIMES),
    (re.compile(r"https?:.*"), _URLS + _TEXTS),
    (re.compile(r"[A-Za-z_]{1,32}"), _STATES),
    (re.compile(r".*", re.DOTALL), _TEXTS),
)
_ALL: Final = _NUMBERS + _AMOUNTS + _STATES + _TIMES + _URLS + _TEXTS + _NESTS
_JSON: Final = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
_WORDS: Final = st.sampled_from(_ALL) | _JSON.map(lambda value: json.dumps(value).encode())
_PLACES: Final = st.integers(0, 10**6)


Instead = Callable[[object], list[object]]


class Member(list[object]):
    """A name with its value: mutable, and not the list that JSON has."""


class Members(list[Member]):
    """An object, with its names as often as they come."""


class Edit(NamedTuple):
    """One thing done to a text at a place; `word` is what stands there then."""

    how: str  # a name of `_DONE`
    place: int
    word: bytes

    def to(self, text: bytes) -> bytes:
        return _DONE[self.how](text, self.place, self.word)


def edits_of_values() -> st.SearchStrategy[list[Edit]]:
    """What whoever can sign may say: the shape of a text, and other values in it."""
    how = st.sampled_from((*["kin"] * 6, "value", "twice", "gone", "whole"))
    edit = st.builds(Edit, how, _PLACES, _WORDS)
    return edit.map(lambda one: [one]) | st.lists(edit, min_size=2, max_size=3)


def edits_of_bytes() -> st.SearchStrategy[list[Edit]]:
    """What anybody may do to what is on the wire."""
    edit = edit_of_bytes("put", "flip", "cut", *["kin"] * 4, "value", "twice", "gone", "whole")
    return edit.map(lambda one: [one]) | st.lists(edit, max_size=3)


def edit_of_bytes(*how: str) -> st.SearchStrategy[Edit]:
    return st.builds(Edit, st.sampled_from(how), _PLACES, st.binary(max_size=30) | _WORDS)


def edited(text: bytes, edits: list[Edit]) -> bytes:
    for edit in edits:
        text = edit.to(text)
    return text


def _put(text: bytes, place: int, word: bytes) -> bytes:
    at = place % (len(text) + 1)
    return text[:at] + word + text[at:]


def _flip(text: bytes, place: int, _word: bytes) -> bytes:
    if not text:
        return text
    at = place % len(text)
    return text[:at] + bytes([text[at] ^ (1 << place % 8)]) + text[at + 1 :]


def _cut(text: bytes, place: int, _word: bytes) -> bytes:
    return text[: place % (len(text) + 1)]


def _whole(_text: bytes, _place: int, word: bytes) -> bytes:
    return word


def _value(text: bytes, place: int, word: bytes) -> bytes:
    return _replaced(text, place, lambda _old: [word])


def _kin(text: bytes, place: int, _word: bytes) -> bytes:
    """Put in the place of a value one that could be taken for it."""

    def kin_of(old: object) -> list[object]:
        words = _NESTS if isinstance(old, list) else _NUMBERS
        if isinstance(old, str):
            words = next(words for shape, words in _KIN if shape.fullmatch(old))
        return [words[place % len(words)]]

    return _replaced(text, place, kin_of)


def _twice(text: bytes, place: int, word: bytes) -> bytes:
    """Say a value once more, and another one."""
    return _replaced(text, place, lambda old: [old, word])


def _gone(text: bytes, place: int, _word: bytes) -> bytes:
    return _replaced(text, place, lambda _old: [])


_DONE: Final = {
    "put": _put,
    "flip": _flip,
    "cut": _cut,
    "whole": _whole,
    "value": _value,
    "kin": _kin,
    "twice": _twice,
    "gone": _gone,
}


def _replaced(text: bytes, place: int, instead: Instead) -> bytes:
    """Return a text with something else in the place of one value; bytes stand as they are."""
    try:
        tree = json.loads(text, object_pairs_hook=lambda pairs: Members(map(Member, pairs)))
    except (ValueError, RecursionError):
        return _replaced_in_form(text, place, instead)
    places = list(_places(tree))
    if not places:
        return text
    container, at = places[place // 97 % len(places)]
    old = container[at]
    if isinstance(old, Member):
        name, value = old
        container[at : at + 1] = [Member((name, other)) for other in instead(value)]
    else:
        container[at : at + 1] = instead(old)
    return _written(tree)


def _replaced_in_form(text: bytes, place: int, instead: Instead) -> bytes:
    parts = text.split(b"&")
    at = place // 97 % len(parts)
    name, _, value = parts[at].partition(b"=")
    others = instead(value.decode("utf-8", "replace"))
    said = (other.encode() if isinstance(other, str) else other for other in others)
    parts[at : at + 1] = [
        name + b"=" + word.strip(b'"') for word in said if isinstance(word, bytes)
    ]
    return b"&".join(parts)


def _places(node: object) -> Iterator[tuple[list[object], int]]:
    if not isinstance(node, list):
        return
    for at, inner in enumerate(node):
        yield node, at
        yield from _places(inner[1] if isinstance(inner, Member) else inner)


def _written(node: object) -> bytes:
    match node:
        case bytes():
            return node
        case Members():
            return b"{" + b",".join(map(_member, node)) + b"}"
        case list():
            return b"[" + b",".join(map(_written, node)) + b"]"
        case _:
            return json.dumps(node).encode()


def _member(member: Member) -> bytes:
    name, value = member
    return json.dumps(name).encode() + b":" + _written(value)
