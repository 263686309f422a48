"""Which code is mutated, which tests judge it, and how a mutant is put in its place.

A mutant replaces what a function does, not the function: whoever imported it before, calls the
mutant. So the tests and their servers stay where they are, and a mutant takes as long as the test
that misses it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Final

from msgspec import Struct

from gateway.db import capture_moves, moves
from gateway.payments import capturing, settle
from tests.mutants import sql
from tests.mutants.edits import Edit
from tests.mutants.python import Edits

DECIDING: Final = ("tests/payments/test_decide.py",)
SETTLING: Final = (
    "tests/payments/test_settle.py",
    "tests/payments/test_evidence.py",
    "tests/payments/test_settling.py",
)
CLAIMING: Final = ("tests/payments/test_capture_claims.py",)
CAPTURING: Final = (
    "tests/payments/test_capturing.py",
    "tests/payments/test_lasting_approvals.py",
)
# The rules are judged by their own test alone, which needs no database.
RULES: Final = ("Verdict", "decide", "_decide_paid", "_refund_of", "_releasable")
WRITING: Final = ("settle", "keep", "keep_unknown", "evidence_fields", "_refund")
STATEMENTS: Final[Mapping[ModuleType, tuple[str, ...]]] = {
    moves: ("_SETTLE", "_KEEP", "_KEEP_UNKNOWN"),
    capture_moves: ("_CLAIM", "_DROP"),
}


class Mutant(Struct, frozen=True):
    """One edit of what a module names, and the tests of which one has to fail on it."""

    module: ModuleType
    name: str
    judges: tuple[str, ...]
    text: str
    edit: Edit

    @property
    def is_sql(self) -> bool:
        return self.name in STATEMENTS.get(self.module, ())

    @property
    def where(self) -> str:
        return f"{self.module.__name__.removeprefix('gateway.')}.{self.name}"

    @property
    def shown(self) -> tuple[str, str]:
        return self.edit.shown_in(self.text)


def mutants() -> list[Mutant]:
    """Return every mutant, in the order of the code."""
    return [
        *_of_settle(),
        *_of_python(moves, WRITING, SETTLING),
        *_of_sql(moves, SETTLING),
        *_of_python(capturing, _names(capturing), CAPTURING),
        *_of_python(capture_moves, ("claim", "drop"), CLAIMING),
        *_of_sql(capture_moves, CLAIMING),
    ]


def _of_settle() -> Iterator[Mutant]:
    """All that settle.py defines."""
    for name in _names(settle):
        yield from _of_python(settle, (name,), DECIDING if name in RULES else SETTLING)


def _of_python(
    module: ModuleType, names: tuple[str, ...], judges: tuple[str, ...]
) -> Iterator[Mutant]:
    text = _text(module)
    edits = Edits(text, vars(module))
    for name in names:
        for edit in edits.of(name):
            yield Mutant(module, name, judges, text, edit)


def _of_sql(module: ModuleType, judges: tuple[str, ...]) -> Iterator[Mutant]:
    for name in STATEMENTS[module]:
        text = getattr(module, name)
        for edit in sql.edits(text):
            yield Mutant(module, name, judges, text, edit)


@contextmanager
def in_place(mutant: Mutant) -> Iterator[None]:
    """Let the mutant stand where the code does."""
    original, made = getattr(mutant.module, mutant.name), _made(mutant)
    place: object = mutant.module
    name: str = mutant.name
    if isinstance(original, FunctionType) and isinstance(made, FunctionType):
        place, name, made = original, "__code__", made.__code__
    had = getattr(place, name)
    setattr(place, name, _with_its_defaults(original, made))
    try:
        yield
    finally:
        setattr(place, name, had)


def _made(mutant: Mutant) -> object:
    changed = mutant.edit.made_in(mutant.text)
    if mutant.is_sql:
        return changed
    scratch: dict[str, object] = {"__name__": mutant.module.__name__}
    exec(compile(changed, "<mutant>", "exec"), scratch)  # noqa: S102 - our own code, edited
    return scratch[mutant.name]


def _with_its_defaults(original: object, made: object) -> object:
    """Of a class the original with the mutant's defaults: the tests compare what they know."""
    if not (isinstance(original, type) and isinstance(made, type) and issubclass(made, Struct)):
        return made
    fields = made.__struct_fields__[-len(made.__struct_defaults__) :]
    return partial(original, **dict(zip(fields, made.__struct_defaults__, strict=True)))


def _names(module: ModuleType) -> tuple[str, ...]:
    """Name all that the module defines."""
    return tuple(Edits(_text(module), vars(module)).names)


def _text(module: ModuleType) -> str:
    assert module.__file__ is not None
    return Path(module.__file__).read_text()
