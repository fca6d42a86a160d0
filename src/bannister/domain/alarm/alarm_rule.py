"""The language of a composite alarm's rule: read from text, and decided from the states of other alarms.

    expression := term | NOT expression | expression AND expression | expression OR expression | ( expression )
    term       := ALARM(name) | OK(name) | INSUFFICIENT_DATA(name) | TRUE | FALSE

NOT binds tighter than AND, AND tighter than OR. A name may be an ARN and may stand in double quotes; it must where it holds a parenthesis.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from bannister.domain.alarm.alarm import AlarmValue
from bannister.errors import Invalid

#: AWS's bounds: characters, different alarms, and elements (alarms, TRUE, FALSE and parentheses).
RULE_CHARACTERS_MAX: Final = 10_240
RULE_CHILDREN_MAX: Final = 100
RULE_ELEMENTS_MAX: Final = 500
#: Parentheses and NOTs inside each other.
RULE_DEPTH_MAX: Final = 100
#: Rules that are kept read; one is read again at every evaluation.
_RULES_KEPT: Final = 1024

_ARN: Final = re.compile(r"arn:[^:]*:cloudwatch:[^:]*:[^:]*:alarm:(.+)", re.DOTALL)
_WORD: Final = re.compile(r"[A-Za-z_]+")
_SPACE: Final = re.compile(r"\s*")


@dataclass(frozen=True, slots=True)
class Constant:
    """TRUE or FALSE."""

    value: bool


@dataclass(frozen=True, slots=True)
class Is:
    """An alarm is in a state."""

    value: AlarmValue
    alarm: str


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite."""

    operand: Expression


@dataclass(frozen=True, slots=True)
class All:
    """Several joined by AND."""

    operands: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Any:
    """Several joined by OR."""

    operands: tuple[Expression, ...]


Expression = Constant | Is | Not | All | Any


def name_of(reference: str) -> str:
    """The name of an alarm that is given by its name or by its ARN."""
    found = _ARN.fullmatch(reference)
    return reference if found is None else found.group(1)


@lru_cache(_RULES_KEPT)
def parse(text: str) -> Expression:
    """Read a rule.

    Raises:
        Invalid: It is not one, or exceeds a bound; the message says where.
    """
    if len(text) > RULE_CHARACTERS_MAX:
        raise _error(f"The rule has {len(text)} characters, at most {RULE_CHARACTERS_MAX} are allowed")
    expression = _Reader(text).whole()
    count = len(children(expression))
    if count > RULE_CHILDREN_MAX:
        raise _error(f"The rule names {count} alarms, at most {RULE_CHILDREN_MAX} are allowed")
    return expression


def children(expression: Expression) -> tuple[str, ...]:
    """The alarms that a rule names, each once, in the order of their first mention."""
    return tuple(dict.fromkeys(_mentioned(expression)))


def _mentioned(expression: Expression) -> Iterator[str]:
    match expression:
        case Is(_, alarm):
            yield alarm
        case Not(operand):
            yield from _mentioned(operand)
        case All(operands) | Any(operands):
            for one in operands:
                yield from _mentioned(one)
        case Constant():
            pass


def holds(expression: Expression, value_of: Callable[[str], AlarmValue | None]) -> bool:
    """Whether a rule is true.

    Args:
        expression: The rule.
        value_of: The state of an alarm; None: it does not exist, and is in no state.
    """
    match expression:
        case Constant(value):
            return value
        case Is(value, alarm):
            return value_of(alarm) is value
        case Not(operand):
            return not holds(operand, value_of)
        case All(operands):
            return all(holds(one, value_of) for one in operands)
        case Any(operands):
            return any(holds(one, value_of) for one in operands)


def _error(what: str) -> Invalid:
    return Invalid(f"Error in AlarmRule [{what}]", code="ValidationException")


class _Reader:
    """Reads one text from left to right. Positions in messages count from 0, as AWS's."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self._elements = 0

    def whole(self) -> Expression:
        expression = self._either()
        if not self._ended():
            raise self._unsupported()
        return expression

    def _either(self) -> Expression:
        operands = [self._both()]
        while self._takes("OR"):
            operands.append(self._both())
        return operands[0] if len(operands) == 1 else Any(tuple(operands))

    def _both(self) -> Expression:
        operands = [self._single()]
        while self._takes("AND"):
            operands.append(self._single())
        return operands[0] if len(operands) == 1 else All(tuple(operands))

    def _single(self) -> Expression:
        if self._takes("NOT"):
            self._descend()
            negated = Not(self._single())
            self._depth -= 1
            return negated
        if self._takes_mark("("):
            self._descend()
            self._count()
            inner = self._either()
            self._expect(")")
            self._count()
            self._depth -= 1
            return inner
        self._count()
        for word in ("TRUE", "FALSE"):
            if self._takes(word):
                return Constant(word == "TRUE")
        for value in AlarmValue:
            if self._takes(value.value):
                return Is(value, self._reference())
        raise self._unsupported()

    def _reference(self) -> str:
        self._expect("(")
        begin = self._skip()
        if self._takes_mark('"'):
            end = self._text.find('"', self._at)
            if end < 0:
                raise _error(f"Quotation mark at char {begin} is not closed")
            name = self._text[self._at : end]
            self._at = end + 1
        else:
            end = self._text.find(")", self._at)
            if end < 0:
                raise _error(f"Parenthesis of the alarm name at char {begin} is not closed")
            name = self._text[self._at : end].strip()
            self._at = end
        if not name:
            raise _error(f"Alarm name is missing at char {begin}")
        self._expect(")")
        return name_of(name)

    # --- the text

    def _skip(self) -> int:
        found = _SPACE.match(self._text, self._at)
        self._at = found.end() if found is not None else self._at
        return self._at

    def _ended(self) -> bool:
        return self._skip() == len(self._text)

    def _word(self) -> str:
        found = _WORD.match(self._text, self._skip())
        return "" if found is None else found.group()

    def _takes(self, keyword: str) -> bool:
        word = self._word()
        if word.upper() != keyword:
            return False
        self._at += len(word)
        return True

    def _takes_mark(self, mark: str) -> bool:
        if not self._text.startswith(mark, self._skip()):
            return False
        self._at += 1
        return True

    def _expect(self, mark: str) -> None:
        if not self._takes_mark(mark):
            raise self._unsupported()

    def _descend(self) -> None:
        self._depth += 1
        if self._depth > RULE_DEPTH_MAX:
            raise _error(f"More than {RULE_DEPTH_MAX} levels inside each other at char {self._at}")

    def _count(self) -> None:
        self._elements += 1
        if self._elements > RULE_ELEMENTS_MAX:
            raise _error(f"More than {RULE_ELEMENTS_MAX} elements at char {self._at}")

    def _unsupported(self) -> Invalid:
        if self._ended():
            return _error(f"Unexpected end at char {self._at}")
        token = self._word() or self._text[self._at]
        return _error(f"Unsupported token '{token}' at char {self._at}")
