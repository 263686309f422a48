"""Whatever a Python function decides, says or passes on, changed one at a time.

Left out are docstrings, annotations, and assertions, which only say to the reader and to mypy what
the code before them has made sure.
"""

import ast
from collections.abc import Iterator, Mapping, Sequence
from enum import EnumMeta
from typing import Final

from tests.mutants.edits import Edit

_COMPARISONS: Final[Mapping[type[ast.cmpop], tuple[str, ...]]] = {
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Lt: ("<", "<=", ">="),
    ast.LtE: ("<=", "<", ">"),
    ast.Gt: (">", ">=", "<="),
    ast.GtE: (">=", ">", "<"),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}
_NAMES: Final = {"any": "all", "all": "any", "min": "max", "max": "min"}
_UNCHANGED: Final = (ast.Assert, ast.arg, ast.arguments)


class Edits:
    """The edits of one module; `namespace` is what its names stand for."""

    def __init__(self, text: str, namespace: Mapping[str, object]) -> None:
        self._text = text
        self._namespace = namespace
        self._lines = text.splitlines(keepends=True)
        self._tree = ast.parse(text)

    @property
    def names(self) -> list[str]:
        """What the module defines."""
        return [name for node in self._tree.body if (name := _named(node)) is not None]

    def of(self, name: str) -> list[Edit]:
        """Return each change of the function, the constant or the class's defaults of that name."""
        node = next(node for node in self._tree.body if _named(node) == name)
        found: set[Edit] = set()
        for part in _parts(node):
            found.update(self._edits(part))
        found -= {edit for edit in found if edit.instead == self._text[edit.start : edit.end]}
        return sorted(found, key=lambda edit: (edit.start, edit.end, edit.instead))

    def _edits(self, node: ast.AST) -> Iterator[Edit]:
        yield from self._conditions(node)
        yield from self._operators(node)
        yield from self._values(node)
        yield from self._statements(node)

    def _conditions(self, node: ast.AST) -> Iterator[Edit]:
        """Each branch always, and never."""
        match node:
            case ast.If() | ast.IfExp() | ast.While():
                yield from self._each_of(node.test, ("True", "False"))
            case ast.comprehension():
                for test in node.ifs:
                    yield from self._each_of(test, ("True", "False"))
            case ast.match_case(guard=None, pattern=pattern):
                colon = self._text.index(":", self._end(pattern))
                yield Edit(colon, colon, " if False")
            case ast.match_case(guard=ast.expr() as guard):
                yield from self._each_of(guard, ("True", "False"))
            case ast.MatchOr(patterns=patterns):
                yield from self._one_fewer(node, patterns, " | ")
            case _:
                pass

    def _operators(self, node: ast.AST) -> Iterator[Edit]:
        match node:
            case ast.Compare(left=left, ops=[operator]):
                yield from self._compared(left, operator)
            case ast.BoolOp(values=values):
                joined, other = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
                yield from self._one_fewer(node, values, f" {joined} ")
                every = f" {other} ".join(self._source(each) for each in values)
                yield self._edit(node, f"({every})")
            case ast.UnaryOp(op=ast.Not()):
                yield self._edit(node, self._source(node.operand))
            case ast.BinOp(op=ast.Add() | ast.Sub(), left=left, right=right):
                sign = "-" if isinstance(node.op, ast.Add) else "+"
                yield self._edit(node, f"{self._source(left)} {sign} {self._source(right)}")
            case _:
                pass

    def _values(self, node: ast.AST) -> Iterator[Edit]:
        match node:
            case ast.Starred(ctx=ast.Load()):
                yield self._edit(node, "*()")
            case ast.Call():
                yield from self._called(node)
            case ast.Constant(value=value):
                yield from self._each_of(node, _others(value))
            case ast.Attribute(value=value, attr=member):
                kind, members = self._source(value), self._members(value)
                others = [each for each in members if each != member and member in members]
                yield from self._each_of(node, [f"{kind}.{other}" for other in others])
            case _:
                pass

    def _statements(self, node: ast.AST) -> Iterator[Edit]:
        match node:
            case ast.Expr() | ast.Raise():
                yield self._edit(node, "pass")
            case ast.Continue():
                yield self._edit(node, "break")
            case ast.Return(value=ast.expr() as value):
                yield self._edit(value, "None")
            case _:
                pass

    def _compared(self, left: ast.expr, operator: ast.cmpop) -> Iterator[Edit]:
        sign, *others = _COMPARISONS[type(operator)]
        start = self._text.index(sign, self._end(left))
        for other in others:
            yield Edit(start, start + len(sign), other)

    def _called(self, call: ast.Call) -> Iterator[Edit]:
        if isinstance(call.func, ast.Name) and call.func.id in _NAMES:
            yield self._edit(call.func, _NAMES[call.func.id])
        for argument in call.args:
            if not isinstance(argument, ast.Starred | ast.GeneratorExp):
                yield self._edit(argument, "None")
        for keyword in call.keywords:
            end = self._end(keyword)
            end += len(self._text[end:]) - len(self._text[end:].removeprefix(","))
            yield Edit(self._start(keyword), end, "")

    def _one_fewer(
        self, node: ast.expr | ast.pattern, parts: Sequence[ast.expr | ast.pattern], between: str
    ) -> Iterator[Edit]:
        for left_out in range(len(parts)):
            kept = [self._source(each) for i, each in enumerate(parts) if i != left_out]
            yield self._edit(node, between.join(kept))

    def _members(self, value: ast.expr) -> list[str]:
        """The members of the enum that an expression names."""
        found: object = None
        match value:
            case ast.Name(id=name):
                found = self._namespace.get(name)
            case ast.Attribute(value=ast.Name(id=module), attr=name):
                found = getattr(self._namespace.get(module), name, None)
            case _:
                pass
        return [str(name) for name in found.__members__] if isinstance(found, EnumMeta) else []

    def _each_of(self, node: ast.expr, instead: Sequence[str]) -> Iterator[Edit]:
        return (self._edit(node, other) for other in instead)

    def _edit(self, node: ast.expr | ast.stmt | ast.pattern, instead: str) -> Edit:
        return Edit(self._start(node), self._end(node), instead)

    def _source(self, node: ast.expr | ast.pattern) -> str:
        return self._text[self._start(node) : self._end(node)]

    def _start(self, node: "ast.expr | ast.stmt | ast.pattern | ast.keyword") -> int:
        return self._offset(node.lineno, node.col_offset)

    def _end(self, node: "ast.expr | ast.stmt | ast.pattern | ast.keyword") -> int:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._offset(node.end_lineno, node.end_col_offset)

    def _offset(self, line: int, column: int) -> int:
        """Where a position of the syntax tree, which counts bytes, is in the text."""
        before = sum(len(each) for each in self._lines[: line - 1])
        return before + len(self._lines[line - 1].encode()[:column].decode())


def _named(node: ast.stmt) -> str | None:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return name
        case ast.AnnAssign(target=ast.Name(id=name)):
            return name
        case _:
            return None


def _parts(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what can be changed: neither docstrings nor annotations nor assertions."""
    match node:
        case ast.FunctionDef(body=body) | ast.AsyncFunctionDef(body=body) | ast.ClassDef(body=body):
            children: list[ast.AST] = list(body[1:] if ast.get_docstring(node) else body)
        case ast.AnnAssign(value=value):
            children = [value] if value else []
        case _:
            children = list(ast.iter_child_nodes(node))
    for child in children:
        if not isinstance(child, _UNCHANGED):
            yield child
            yield from _parts(child)


def _others(value: object) -> tuple[str, ...]:
    match value:
        case bool():
            return (str(not value),)
        case int():
            return (str(value + 1),)
        case str():
            return ('"another"',)
        case _:
            return ()
