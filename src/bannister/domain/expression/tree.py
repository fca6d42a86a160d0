"""The tree of an expression: immutable, and free of Python's limits because its height is bounded by the parser.

What is left-associative is one node for the whole row (`Row`): a sum of five hundred metrics is flat. `show` writes a tree so that parsing gives the
same tree again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

#: Operators that bind equally, weakest first. Beyond these: unary minus, then `^`, which alone groups to the right.
LEVELS: tuple[tuple[str, ...], ...] = (
    ("OR",),
    ("AND",),
    ("==", "!=", "<", "<=", ">", ">="),
    ("+", "-"),
    ("*", "/"),
)
LEVEL_OF = {operator: level for level, operators in enumerate(LEVELS) for operator in operators}
#: Operators of which the result is 0 or 1.
TRUTH_OPERATORS = frozenset(operator for operators in LEVELS[:3] for operator in operators)

_MINUS_LEVEL = len(LEVELS)
_POWER_LEVEL = _MINUS_LEVEL + 1
_ATOM_LEVEL = _POWER_LEVEL + 1


@dataclass(frozen=True, slots=True)
class _Node:
    #: The character where it begins, from 0; two trees that differ in it alone are equal.
    at: int = field(default=0, compare=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Number(_Node):
    """Finite and not negative: a sign is a `Minus`."""

    value: float


@dataclass(frozen=True, slots=True)
class Text(_Node):
    """What stands in quotation marks: the argument of METRICS and SEARCH."""

    value: str


@dataclass(frozen=True, slots=True)
class Word(_Node):
    """A word in capitals that is not called: REPEAT, LINEAR, ASC, DESC, or the function SORT sorts by."""

    name: str


@dataclass(frozen=True, slots=True)
class Reference(_Node):
    """The id of another query."""

    id: str


@dataclass(frozen=True, slots=True)
class Array(_Node):
    """`[m1, m2]`: at least one item."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Call(_Node):
    """A function and its arguments."""

    function: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Minus(_Node):
    """The unary one."""

    operand: Node


@dataclass(frozen=True, slots=True)
class Power(_Node):
    """`base ^ exponent`."""

    base: Node
    exponent: Node


@dataclass(frozen=True, slots=True)
class Row(_Node):
    """Operators of one level, from left to right: at least one."""

    first: Node
    rest: tuple[tuple[str, Node], ...]


Node = Number | Text | Word | Reference | Array | Call | Minus | Power | Row


def children(node: Node) -> tuple[Node, ...]:
    """What a node is made of, from left to right."""
    match node:
        case Array(items):
            return items
        case Call(_, arguments):
            return arguments
        case Minus(operand):
            return (operand,)
        case Power(base, exponent):
            return base, exponent
        case Row(first, rest):
            return first, *(operand for _, operand in rest)
        case _:
            return ()


def nodes(tree: Node) -> Iterator[Node]:
    """Every node of a tree, each before what it is made of."""
    yield tree
    for child in children(tree):
        yield from nodes(child)


def references(tree: Node) -> frozenset[str]:
    """The ids that an expression names. METRICS() names none, and uses all metrics."""
    return frozenset(node.id for node in nodes(tree) if isinstance(node, Reference))


def show(tree: Node) -> str:
    """An expression that parses to this tree."""
    match tree:
        case Number(value):
            return str(int(value)) if value.is_integer() and value < 1e15 else repr(value)
        case Text(value):
            mark = "'" if '"' in value else '"'
            return f"{mark}{value}{mark}"
        case Word(name):
            return name
        case Reference(name):
            return name
        case Array(items):
            return f"[{', '.join(map(show, items))}]"
        case Call(function, arguments):
            return f"{function}({', '.join(map(show, arguments))})"
        case Minus(operand):
            return f"-{_within(operand, _MINUS_LEVEL)}"
        case Power(base, exponent):
            return f"{_within(base, _ATOM_LEVEL)}^{_within(exponent, _MINUS_LEVEL)}"
        case Row(first, rest):
            level = _level(tree) + 1
            return " ".join([_within(first, level), *(f"{sign} {_within(operand, level)}" for sign, operand in rest)])


def _within(node: Node, level_min: int) -> str:
    return show(node) if _level(node) >= level_min else f"({show(node)})"


def _level(node: Node) -> int:
    match node:
        case Row(_, rest):
            return LEVEL_OF[rest[0][0]]
        case Minus():
            return _MINUS_LEVEL
        case Power():
            return _POWER_LEVEL
        case _:
            return _ATOM_LEVEL
