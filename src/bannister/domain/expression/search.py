r"""SEARCH: which metrics a search expression finds.

    SEARCH('{Namespace, Dimension, …} term', 'Average', 60)

The schema in braces, if there is one, wants exactly this namespace and exactly these dimension names. The term wants

    word                a part of a metric's name, namespace, dimension name or dimension value
    "exact text"        one of these as a whole; \" \\ \( and \) stand for the characters
    MetricName=x        the same of the metric's name alone; also Namespace=x and the name of a dimension
    a b, a AND b        both; a OR b: one at least; NOT a: not; NOT binds before AND, AND before OR

Names are cut into parts where capitals, digits and other characters begin: `CustomCount1` is custom, count and 1. One word matches a part in any
case. A word that itself has several parts matches the same parts in a row; unless something stands between its parts they must be written as in
the name (`Count1` finds CustomCount1, `count1` does not, `network/errors` finds NetworkErrors).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from bannister.domain.expression.parser import ExpressionError
from bannister.domain.expression.tree import Call, Number, Text
from bannister.domain.metric.aggregate import check_statistic
from bannister.domain.metric.identity import MetricIdentity

#: AWS's bound on the characters of a search expression.
SEARCH_CHARACTERS_MAX: Final = 1024
#: Brackets and NOTs inside each other.
DEPTH_MAX: Final = 20

_TOKEN = re.compile(r'\s*(?:(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<sign>[(){},=])|(?P<word>[^\s(){},="]+))')
_ESCAPED = re.compile(r"\\(.)")
_RUN = re.compile(r"[^\W\d_]+|\d+")
#: Names that were cut into parts lately: metrics share most of theirs.
_NAMES_REMEMBERED_MAX: Final = 10_000
_BOOLEAN: Final = ("AND", "OR", "NOT")


@dataclass(frozen=True, slots=True)
class Term:
    """One word or exact text, perhaps of one property alone."""

    text: str
    exact: bool
    #: MetricName, Namespace or the name of a dimension; None: anything.
    of: str | None = None


@dataclass(frozen=True, slots=True)
class Both:
    """All of several terms."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """One at least of several terms."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Without:
    """Not this."""

    part: Condition


Condition = Term | Both | Either | Without


@dataclass(frozen=True, slots=True)
class Search:
    """A call of SEARCH that was read."""

    namespace: str | None
    dimensions: frozenset[str]
    condition: Condition | None
    statistic: str
    #: None: that of the query.
    period_seconds: int | None


def search_of(call: Call) -> Search:
    """What a well-typed call of SEARCH asks for.

    Raises:
        ExpressionError: It cannot be read.
        Invalid: There is no such statistic.
        Unsupported: A statistic that is not supported.
    """
    text, statistic, *period = call.arguments
    if not (isinstance(text, Text) and isinstance(statistic, Text)):
        raise ExpressionError("SEARCH takes texts", call.at)
    if len(text.value) > SEARCH_CHARACTERS_MAX:
        raise ExpressionError(f"A search expression can have {SEARCH_CHARACTERS_MAX} characters", text.at)
    check_statistic(statistic.value)
    seconds = period[0].value if period and isinstance(period[0], Number) else None
    if seconds is not None and not seconds.is_integer():
        raise ExpressionError("The period of SEARCH is a whole number of seconds", call.at)
    reader = _Reader(text)
    namespace, dimensions = reader.schema()
    condition = reader.condition()
    if namespace is None and condition is None:
        raise ExpressionError("A search needs a schema in braces or a term", text.at)
    return Search(namespace, dimensions, condition, statistic.value, None if seconds is None else int(seconds))


def words_of(search: Search) -> int:
    """How many words and texts a metric is compared with, at most; at least one."""

    def count(condition: Condition | None) -> int:
        match condition:
            case Both(parts) | Either(parts):
                return sum(map(count, parts))
            case Without(part):
                return count(part)
            case _:
                return 1

    return count(search.condition)


def finds(search: Search, metric: MetricIdentity) -> bool:
    """Whether a search finds a metric."""
    names = frozenset(name for name, _ in metric.dimensions)
    if search.namespace is not None and (search.namespace, search.dimensions) != (metric.namespace, names):
        return False
    return search.condition is None or _holds(search.condition, metric)


# --- reading


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


class _Reader:
    def __init__(self, source: Text) -> None:
        self._at = source.at
        self._tokens = list(self._cut(source.value))
        self._next = 0

    def schema(self) -> tuple[str | None, frozenset[str]]:
        if not self._accept("{"):
            return None, frozenset()
        names = [self._name()]
        while self._accept(","):
            names.append(self._name())
        if not self._accept("}"):
            raise self._wrong("the schema is not closed by }")
        self._accept(",")
        return names[0], frozenset(names[1:])

    def condition(self) -> Condition | None:
        if self._peek is None:
            return None
        condition = self._either(0)
        if self._peek is not None:
            raise self._wrong(f"{self._peek.text} is not expected there")
        return condition

    def _either(self, depth: int) -> Condition:
        parts = [self._both(depth)]
        while self._accept_word("OR"):
            parts.append(self._both(depth))
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def _both(self, depth: int) -> Condition:
        parts = [self._single(depth)]
        while (token := self._peek) is not None and token.text != ")" and (token.kind, token.text) != ("word", "OR"):
            self._accept_word("AND")
            parts.append(self._single(depth))
        return parts[0] if len(parts) == 1 else Both(tuple(parts))

    def _single(self, depth: int) -> Condition:
        if depth == DEPTH_MAX:
            raise self._wrong(f"more than {DEPTH_MAX} levels are inside each other")
        if self._accept_word("NOT"):
            return Without(self._single(depth + 1))
        if self._accept("("):
            inner = self._either(depth + 1)
            if not self._accept(")"):
                raise self._wrong("a bracket is not closed")
            return inner
        token = self._value()
        if self._accept("="):
            value = self._value()
            return Term(value.text, value.kind == "quoted", token.text)
        return Term(token.text, token.kind == "quoted")

    def _name(self) -> str:
        return self._value().text

    def _value(self) -> _Token:
        token = self._peek
        if token is None or token.kind == "sign" or (token.kind == "word" and token.text in _BOOLEAN):
            raise self._wrong(f"a word is expected, not {'the end' if token is None else token.text}")
        self._next += 1
        return token

    def _cut(self, text: str) -> Iterator[_Token]:
        at, end = 0, len(text.rstrip())
        while at < end:
            match = _TOKEN.match(text, at)
            if match is None:
                raise self._wrong("a quotation mark is not closed")
            kind = match.lastgroup or ""
            value = match[kind]
            yield _Token(kind, _ESCAPED.sub(r"\1", value[1:-1]) if kind == "quoted" else value)
            at = match.end()

    @property
    def _peek(self) -> _Token | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def _accept(self, sign: str) -> bool:
        return self._took("sign", sign)

    def _accept_word(self, word: str) -> bool:
        return self._took("word", word)

    def _took(self, kind: str, text: str) -> bool:
        if self._peek != _Token(kind, text):
            return False
        self._next += 1
        return True

    def _wrong(self, reason: str) -> ExpressionError:
        return ExpressionError(f"Invalid syntax in SEARCH at character {self._at + 1}: {reason}", self._at)


# --- matching


def _holds(condition: Condition, metric: MetricIdentity) -> bool:
    match condition:
        case Term():
            return any(_matches(condition, name) for name in _names(metric, condition.of))
        case Both(parts):
            return all(_holds(part, metric) for part in parts)
        case Either(parts):
            return any(_holds(part, metric) for part in parts)
        case Without(part):
            return not _holds(part, metric)


def _names(metric: MetricIdentity, of: str | None) -> list[str]:
    if of is None:
        return [metric.name, metric.namespace, *(text for pair in metric.dimensions for text in pair)]
    if of == "MetricName":
        return [metric.name]
    if of == "Namespace":
        return [metric.namespace]
    return [value for name, value in metric.dimensions if name == of]


def _matches(term: Term, name: str) -> bool:
    if term.exact:
        return term.text == name
    wanted, parts = _parts(term.text), _parts(name)
    if not wanted:
        return False
    if len(wanted) == 1:
        return wanted[0].lower() in _words(name)
    if "".join(wanted) != term.text:
        wanted, parts = tuple(map(str.lower, wanted)), tuple(map(str.lower, parts))
    return any(parts[place : place + len(wanted)] == wanted for place in range(len(parts) - len(wanted) + 1))


@lru_cache(maxsize=_NAMES_REMEMBERED_MAX)
def _words(name: str) -> frozenset[str]:
    """What one word finds a name by: its parts, and all of them in a row."""
    parts = _parts(name)
    return frozenset([*map(str.lower, parts), "".join(parts).lower()])


@lru_cache(maxsize=_NAMES_REMEMBERED_MAX)
def _parts(name: str) -> tuple[str, ...]:
    """`SDBFailure2` is SDB, Failure and 2."""
    parts = []
    for run in _RUN.findall(name):
        begin = 0
        for place in range(1, len(run)):
            ends_capitals = run[place - 1].isupper() and run[place + 1 : place + 2].islower()
            if run[place].isupper() and (ends_capitals or not run[place - 1].isupper()):
                parts.append(run[begin:place])
                begin = place
        parts.append(run[begin:])
    return tuple(parts)
