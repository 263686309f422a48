"""Forms as channels sign them: fields that stay bytes until the signature over them is checked."""

from collections.abc import Iterable, Mapping
from typing import Final, TypeVar
from urllib.parse import unquote_to_bytes

import msgspec

Body = TypeVar("Body")

_MOST_FIELDS: Final = 200


def read_fields(fields: Mapping[bytes, bytes], kind: type[Body]) -> Body | None:
    """Return a form's fields that are not empty as `kind`, or None when they are anything else."""
    try:
        texts = {name.decode(): value.decode() for name, value in fields.items() if value}
        return msgspec.convert(texts, kind)
    except (msgspec.ValidationError, UnicodeDecodeError):
        return None


def read_form(body: bytes) -> dict[bytes, bytes] | None:
    """Return the fields of a form, unquoted and otherwise untouched; None when one comes twice.

    They stay bytes, because the signature is over bytes: nothing is lost before it is checked.
    """
    parts = [part for part in body.split(b"&") if part]
    if len(parts) > _MOST_FIELDS:
        return None
    pairs = [part.replace(b"+", b" ").partition(b"=") for part in parts]
    fields = {unquote_to_bytes(name): unquote_to_bytes(value) for name, _, value in pairs}
    return fields if len(fields) == len(pairs) else None


def text_to_sign(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return `k=v&k=v`, sorted by name, values as they are: what signatures are made over."""
    return b"&".join(name + b"=" + value for name, value in sorted(fields))
