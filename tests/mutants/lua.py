"""Everything in a Redis script that a test could fail to miss, changed one at a time.

The scripts are a few lines of plain Lua, so that what is changed is found by its looks: each
condition, comparison, call, key, argument, option, literal and answer.
"""

import re
from collections.abc import Iterator
from typing import Final

from tests.mutants.edits import Edit

_COMMENT: Final = re.compile(r"--[^\n]*")
_CONDITION: Final = re.compile(r"(?<=if )(?P<all>.+)(?= then)")
_STATEMENT: Final = re.compile(r"(?<=\n) *(?:redis\.call|return).*(?=\n)")
_DEFAULT: Final = re.compile(r"(?P<given>redis\.call\([^()]*\)) or (?P<default>'0')")
_NUMBERED: Final = re.compile(r"\b(?P<list>KEYS|ARGV)\[(?P<number>\d)\]")
_QUOTED: Final = re.compile(r"'[^']*'")
_OPTIONS: Final = ("'NX'", "'PX'", "'0'")
_NUMBER: Final = re.compile(r"(?<![\w\['])\d+")
_OPTION: Final = re.compile(r", 'NX'|, 'PX', \w+\[\d\]")
_BODY: Final = re.compile(r"(?<='), body(?=\})")
_COMPARED: Final = {"==": ("~=",), "~=": ("==",), "<": ("<=", ">=")}
_COMPARISON: Final = re.compile(r"(?<= )(?:==|~=|<)(?= )")


def edits(script: str) -> list[Edit]:
    """Return each change of the script, in the order of its text."""
    code = _COMMENT.sub(lambda comment: " " * len(comment[0]), script)
    found = {*_conditions(code), *_calls(code), *_operands(code)}
    return sorted(found, key=lambda edit: (edit.start, edit.end, edit.instead))


def _conditions(code: str) -> Iterator[Edit]:
    for condition in _CONDITION.finditer(code):
        for instead in ("true", "false", f"not ({condition[0]})"):
            yield Edit(*condition.span(), instead)
    for comparison in _COMPARISON.finditer(code):
        for instead in _COMPARED[comparison[0]]:
            yield Edit(*comparison.span(), instead)


def _calls(code: str) -> Iterator[Edit]:
    for found in _STATEMENT.finditer(code):
        yield Edit(*found.span(), "")
    for found in _OPTION.finditer(code):
        yield Edit(*found.span(), "")
    for found in _BODY.finditer(code):
        yield Edit(*found.span(), "")


def _operands(code: str) -> Iterator[Edit]:
    for found in _DEFAULT.finditer(code):
        yield Edit(*found.span(), found["given"])
        yield Edit(*found.span(), found["default"])
    numbered = {(found["list"], found["number"]) for found in _NUMBERED.finditer(code)}
    for found in _NUMBERED.finditer(code):
        for name, number in sorted(numbered - {(found["list"], found["number"])}):
            if name == found["list"]:
                yield Edit(*found.span(), f"{name}[{number}]")
    for found in _QUOTED.finditer(code):
        if not (code.endswith("call(", 0, found.start()) or found[0] in _OPTIONS):
            yield Edit(*found.span(), "'another'")
    for found in _NUMBER.finditer(code):
        yield Edit(*found.span(), str(int(found[0]) + 1))
    for found in re.finditer(r"math\.max", code):
        yield Edit(*found.span(), "math.min")
