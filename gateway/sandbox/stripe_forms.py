"""Stripe's way to write structures as a form: `a[b][0]=c`, and `a[]=c` for the next of a list."""

import re
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl

from gateway.sandbox.stripe_errors import StripeRefusal

MOST_FIELDS = 500
DEEPEST = 8
_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)\Z")
_PART = re.compile(r"\[([^\[\]]*)\]")

Form = Mapping[str, object]
"""A structure: texts and further structures by name; a list is one by position."""


def read_form(text: str) -> dict[str, object]:
    """Read a form or a query. Raises StripeRefusal where its brackets make no structure."""
    pairs = parse_qsl(text, keep_blank_values=True)
    if len(pairs) > MOST_FIELDS:
        raise StripeRefusal("too many parameters")
    form: dict[str, object] = {}
    for name, value in pairs:
        _put(form, name, value)
    return form


def text_in(form: Form, *path: str) -> str:
    """The text at a path, or nothing."""
    found: object = form
    for name in path:
        found = found.get(name, "") if isinstance(found, Mapping) else ""
    return found if isinstance(found, str) else ""


def texts_in(form: Form, *path: str) -> list[str]:
    """The texts of the list at a path, in the order of their positions."""
    found = form_in(form, *path)
    return [value for value in found.values() if isinstance(value, str)]


def form_in(form: Form, *path: str) -> dict[str, object]:
    """The structure at a path, or an empty one."""
    found: object = form
    for name in path:
        found = found.get(name, {}) if isinstance(found, Mapping) else {}
    return dict(found) if isinstance(found, Mapping) else {}


def refuse_unknown(form: Form, known: Iterable[str]) -> None:
    """Stripe takes no parameter that it does not know. Raises StripeRefusal."""
    for name in form:
        if name not in known:
            raise StripeRefusal(
                f"Received unknown parameter: {name}", code="parameter_unknown", param=name
            )


def need(form: Form, *path: str) -> str:
    """The text at a path, which must be there. Raises StripeRefusal."""
    found = text_in(form, *path)
    if not found:
        name = path[0] + "".join(f"[{part}]" for part in path[1:])
        raise StripeRefusal(
            f"Missing required param: {name}.", code="parameter_missing", param=name
        )
    return found


def need_int(form: Form, *path: str) -> int:
    """The whole number at a path, which must be there. Raises StripeRefusal."""
    text = need(form, *path)
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        name = path[0] + "".join(f"[{part}]" for part in path[1:])
        raise StripeRefusal(
            f"Invalid integer: {text}", code="parameter_invalid_integer", param=name
        )
    return int(text)


def _put(form: dict[str, object], name: str, value: str) -> None:
    parsed = _NAME.match(name)
    if parsed is None:
        raise StripeRefusal(f"Invalid parameter name: {name}", param=name)
    path = [parsed.group(1), *_PART.findall(parsed.group(2))]
    if len(path) > DEEPEST:
        raise StripeRefusal(f"Too deep: {name}", param=name)
    place = form
    for part in path[:-1]:
        inner = place.setdefault(part or str(len(place)), {})
        if not isinstance(inner, dict):
            raise StripeRefusal(f"Invalid parameter: {name}", param=name)
        place = inner
    last = path[-1] or str(len(place))
    if last in place:
        raise StripeRefusal(f"Parameter given twice: {name}", param=name)
    place[last] = value
