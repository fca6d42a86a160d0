"""From an expression's text to its tree.

    expression = any of the rows below, weakest first, each from left to right
        OR ||
        AND &&
        == != < <= > >=
        + -
        * /
    then        -x, which binds weaker than ^: -m1^2 is -(m1^2)
    then        x ^ y, from right to left: 2^3^2 is 2^9; y may have a sign
    then        a number, an id, FUNCTION(…), [a, b], (…), "text", 'text'

CloudWatch documents the operators and not how they bind; this is the usual order of mathematics. It has no NOT: `x == 0` says it. Functions are
written in capitals, and an id begins with a lowercase letter, so the two never collide. CloudWatch's error for all that cannot be read is
`Invalid syntax`; here the place and the reason follow.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

from bannister.domain.expression.tree import (
    LEVELS,
    Array,
    Call,
    Minus,
    Node,
    Number,
    Power,
    Reference,
    Row,
    Text,
    Word,
)
from bannister.errors import Invalid

#: AWS's bound on the characters of an expression.
EXPRESSION_CHARACTERS_MAX: Final = 2048
#: Brackets, calls, signs and powers inside each other.
DEPTH_MAX: Final = 40

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
      | (?P<id>[a-z][a-zA-Z0-9_]*)
      | (?P<word>[A-Z][A-Z0-9_]*)
      | "(?P<double>[^"]*)" | '(?P<single>[^']*)'
      | (?P<sign>==|!=|<=|>=|&&|\|\||[-+*/^<>()\[\],])
    )""",
    re.VERBOSE | re.ASCII,
)
_SPACE = re.compile(r"\s*", re.ASCII)
_SPELLINGS = {"&&": "AND", "||": "OR"}
_END = "the end"


class ExpressionError(Invalid):
    """An expression cannot be read, or cannot be evaluated; `position` is the character where, from 0."""

    def __init__(self, message: str, position: int = 0) -> None:
        super().__init__(message, code="ValidationException")
        self.position = position


def parse(text: str) -> Node:
    """The tree of an expression.

    Raises:
        ExpressionError: It is too long or too deep, or no expression.
    """
    if len(text) > EXPRESSION_CHARACTERS_MAX:
        raise ExpressionError(
            f"It has {len(text)} characters; {EXPRESSION_CHARACTERS_MAX} are allowed", EXPRESSION_CHARACTERS_MAX
        )
    parser = _Parser(_tokens(text))
    tree = parser.row(0, 0)
    parser.expect_end()
    return tree


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


def _syntax(reason: str, at: int) -> ExpressionError:
    return ExpressionError(f"Invalid syntax at character {at + 1}: {reason}", at)


def _tokens(text: str) -> list[_Token]:
    tokens = []
    at = 0
    end = len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        begin = _skipped(text, at)
        if match is None:
            raise _syntax(_unreadable(text[begin]), begin)
        kind = match.lastgroup or ""
        value = match[kind]
        if kind in ("double", "single"):
            kind = "text"
        elif value in ("AND", "OR"):
            kind = "sign"
        tokens.append(_Token(kind, _SPELLINGS.get(value, value) if kind == "sign" else value, begin))
        at = match.end()
    tokens.append(_Token("end", _END, end))
    return tokens


def _skipped(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match is not None else at


def _unreadable(character: str) -> str:
    if character in "\"'":
        return f"the quotation mark {character} is not closed"
    if character == "=":
        return "equality is written =="
    return f"{character!r} is not part of an expression"


class _Parser:
    """One walk over the tokens; `depth` counts what is open around the place."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._next = 0

    def row(self, level: int, depth: int) -> Node:
        if level == len(LEVELS):
            return self._signed(depth)
        first = self.row(level + 1, depth)
        rest = []
        while self._peek.kind == "sign" and self._peek.text in LEVELS[level]:
            operator = self._take().text
            rest.append((operator, self.row(level + 1, depth)))
        return Row(first, tuple(rest), at=first.at) if rest else first

    def expect_end(self) -> None:
        if self._peek.kind != "end":
            raise self._unexpected("an operator or the end")

    def _signed(self, depth: int) -> Node:
        at = self._peek.at
        if self._accept("-"):
            return Minus(self._signed(self._deeper(depth)), at=at)
        base = self._atom(depth)
        if not self._accept("^"):
            return base
        return Power(base, self._signed(self._deeper(depth)), at=at)

    def _atom(self, depth: int) -> Node:
        token = self._peek
        match token.kind:
            case "number":
                return self._number()
            case "id":
                return Reference(self._take().text, at=token.at)
            case "text":
                return Text(self._take().text, at=token.at)
            case "word":
                return self._word(depth)
            case _:
                return self._bracketed(depth)

    def _number(self) -> Node:
        token = self._take()
        value = float(token.text)
        if not math.isfinite(value):
            raise _syntax(f"the number {token.text} is too large", token.at)
        return Number(value, at=token.at)

    def _word(self, depth: int) -> Node:
        token = self._take()
        if token.text == "NOT":
            raise _syntax("there is no NOT; write x == 0", token.at)
        if not self._accept("("):
            return Word(token.text, at=token.at)
        return Call(token.text, self._items(")", depth), at=token.at)

    def _bracketed(self, depth: int) -> Node:
        at = self._peek.at
        if self._accept("("):
            inner = self.row(0, self._deeper(depth))
            self._close(")")
            return inner
        if self._accept("["):
            items = self._items("]", depth)
            if not items:
                raise _syntax("an array needs at least one item", at)
            return Array(items, at=at)
        raise self._unexpected("a number, an id, a function or a bracket")

    def _items(self, closing: str, depth: int) -> tuple[Node, ...]:
        inner = self._deeper(depth)
        if self._accept(closing):
            return ()
        items = [self.row(0, inner)]
        while self._accept(","):
            items.append(self.row(0, inner))
        self._close(closing)
        return tuple(items)

    def _deeper(self, depth: int) -> int:
        if depth == DEPTH_MAX:
            raise _syntax(f"more than {DEPTH_MAX} levels are inside each other", self._peek.at)
        return depth + 1

    @property
    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._peek
        self._next += 1
        return token

    def _accept(self, sign: str) -> bool:
        if self._peek.kind == "sign" and self._peek.text == sign:
            self._next += 1
            return True
        return False

    def _close(self, closing: str) -> None:
        if not self._accept(closing):
            raise self._unexpected(f"'{closing}', a comma or an operator")

    def _unexpected(self, expected: str) -> ExpressionError:
        token = self._peek
        found = _END if token.kind == "end" else f"'{token.text}'"
        return _syntax(f"{expected} is expected, not {found}", token.at)
