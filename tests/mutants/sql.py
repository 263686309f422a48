"""Whatever a statement asks, writes or leaves alone, changed one at a time.

Each change keeps the statement valid where it can: a parameter that is no longer written must keep
its type, or the statement would fail for that alone.
"""

import re
from collections.abc import Iterator
from typing import Final

from sqlfluff.core import Linter
from sqlfluff.core.parser import BaseSegment

from tests.mutants.edits import Edit

_LINTER: Final = Linter(dialect="postgres")
_UPDATED: Final = re.compile(r"UPDATE (?P<table>\w+)(?: (?!SET)(?P<alias>\w+))?")


def edits(statement: str) -> list[Edit]:
    """Return each change of the statement, in the order of its text."""
    tree = _LINTER.parse_string(statement).tree
    assert tree is not None
    found = {
        edit
        for kind, changes in (
            ("where_clause", _conditions),
            ("update_statement", _updates),
            ("conflict_action", _conflicts),
            ("select_statement", _selects),
            ("when_clause", _cases),
            ("function", _functions),
        )
        for segment in tree.recursive_crawl(kind)
        for edit in changes(segment)
    }
    found -= {edit for edit in found if _only_writes_a_parameter(edit, statement)}
    for literal in tree.recursive_crawl("quoted_literal", "numeric_literal"):
        found.add(_instead(literal, _another(literal.raw)))
    return sorted(found, key=lambda edit: (edit.start, edit.end, edit.instead))


def _only_writes_a_parameter(edit: Edit, statement: str) -> bool:
    """Such values are changed where Python passes them, which leaves the statement its types."""
    value = statement[edit.start : edit.end]
    return (
        re.fullmatch(r"\$\d+", value) is not None
        and len(re.findall(rf"\{value}\b", statement)) == 1
    )


def _conditions(where: BaseSegment) -> Iterator[Edit]:
    """Each condition left out, turned round, and never met."""
    (asked,) = where.get_children("expression")
    ends = [each for each in asked.segments if each.raw == "AND"]
    starts = [_start(asked), *(_end(each) for each in ends)]
    for start, end in zip(starts, [*(_start(each) for each in ends), _end(asked)], strict=True):
        condition = asked.raw[start - _start(asked) : end - _start(asked)].strip()
        if condition == "true":
            continue  # it is there for the grammar
        for instead in (
            f" ({condition} OR true) ",
            f" ({condition} AND false) ",
            f" NOT ({condition}) ",
        ):
            yield Edit(start, end, instead)


def _updates(update: BaseSegment) -> Iterator[Edit]:
    """Each column left as it was."""
    updated = _UPDATED.match(update.raw)
    assert updated
    for clause in update.recursive_crawl("set_clause"):
        column, _, value = clause.raw.partition(" = ")
        had = f"{updated['alias'] or updated['table']}.{column}"
        yield _instead(clause, f"{column} = CASE WHEN true THEN {had} ELSE {value} END")


def _conflicts(action: BaseSegment) -> Iterator[Edit]:
    """Each column left as it was; what is in the way is always a callback here."""
    for column in action.get_children("column_reference"):
        (value,) = (
            each
            for each in action.get_children("expression")
            if 0 <= _start(each) - _end(column) <= len(" = ")
        )
        yield Edit(_start(value), _end(value), f"callbacks.{column.raw}")


def _selects(select: BaseSegment) -> Iterator[Edit]:
    """Each value missing; and what is read from `moved` alone, though nothing was moved."""
    for element in select.recursive_crawl("select_clause_element", recurse_into=False):
        if element.get_child("alias_expression") is None:
            column = re.fullmatch(r"(?:\w+\.)?([a-z_]+)", element.raw)
            keeps_name = f" AS {column[1]}" if column else ""
            yield _instead(element, f"CASE WHEN false THEN {element.raw} END{keeps_name}")
    source = select.get_child("from_clause")
    if source is not None and source.raw == "FROM moved" and "moved." not in select.raw:
        yield _instead(source, "FROM (SELECT 0 AS version) AS nothing")


def _cases(when: BaseSegment) -> Iterator[Edit]:
    """Each case with nothing to say, and each condition left out and never met."""
    asked, said = when.get_children("expression")
    yield _instead(said, f"CASE WHEN false THEN {said.raw} END")
    if asked.raw.startswith("'"):
        return
    yield _instead(asked, f"({asked.raw} OR true)")
    yield _instead(asked, f"({asked.raw} AND false)")


def _functions(function: BaseSegment) -> Iterator[Edit]:
    """Each of several choices alone."""
    if function.raw.startswith("coalesce("):
        for choice in function.recursive_crawl("expression"):
            yield _instead(function, choice.raw)


def _another(literal: str) -> str:
    if any(digit.isdigit() for digit in literal):
        return re.sub(r"\d+", lambda number: str(int(number[0]) + 1), literal)
    return "'another'"


def _instead(segment: BaseSegment, instead: str) -> Edit:
    return Edit(_start(segment), _end(segment), instead)


def _start(segment: BaseSegment) -> int:
    assert segment.pos_marker is not None
    position: int = segment.pos_marker.source_slice.start
    return position


def _end(segment: BaseSegment) -> int:
    assert segment.pos_marker is not None
    position: int = segment.pos_marker.source_slice.stop
    return position
