"""The language of a composite alarm's rule: read from text, and decided from the states of other alarms.

    expression := term | NOT expression | expression AND expression | expression OR expression | ( expression )
    term       := state(name) | AT_LEAST(share, state, (name, …)) | AT_LEAST(share, NOT state, (name, …)) | TRUE | FALSE
    state      := ALARM | OK | INSUFFICIENT_DATA
    share      := a number of alarms, or a percentage of them: 60%

NOT binds tighter than AND, AND tighter than OR. A name may be an ARN and may stand in double quotes; it must where it holds a parenthesis,
in AT_LEAST also where it holds a comma.
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
_SHARE: Final = re.compile(r"([0-9]{1,4})\s*(%?)")
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
class AtLeast:
    """So many of several alarms, or so many percent of them, are in a state, or are not."""

    count: int
    is_percent: bool
    value: AlarmValue
    negated: bool
    alarms: tuple[str, ...]


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


Expression = Constant | Is | AtLeast | Not | All | Any


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
        case AtLeast():
            yield from expression.alarms
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
        case AtLeast(count, is_percent, value, negated, alarms):
            found = sum((value_of(one) is value) != negated for one in alarms)
            return 100 * found >= count * len(alarms) if is_percent else found >= count
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
        if self._takes("AT_LEAST"):
            return self._at_least()
        value = self._state()
        self._expect("(")
        name = self._name(")")
        self._expect(")")
        return Is(value, name)

    def _state(self) -> AlarmValue:
        for value in AlarmValue:
            if self._takes(value.value):
                return value
        raise self._unsupported()

    def _at_least(self) -> Expression:
        self._expect("(")
        begin = self._skip()
        share = _SHARE.match(self._text, begin)
        if share is None:
            raise _error(f"A number of alarms, or a percentage, is missing at char {begin}")
        self._at = share.end()
        count, is_percent = int(share[1]), bool(share[2])
        self._expect(",")
        negated = self._takes("NOT")
        value = self._state()
        self._expect(",")
        self._expect("(")
        alarms = [self._name(",)")]
        while self._takes_mark(","):
            self._count()
            alarms.append(self._name(",)"))
        self._expect(")")
        self._expect(")")
        most = 100 if is_percent else len(alarms)
        if not 1 <= count <= most:
            raise _error(f"{share[0]} at char {begin} is not between 1 and {most}")
        return AtLeast(count, is_percent, value, negated, tuple(alarms))

    def _name(self, ends: str) -> str:
        """The name or ARN of an alarm, up to one of these marks."""
        begin = self._skip()
        if self._takes_mark('"'):
            end = self._text.find('"', self._at)
            if end < 0:
                raise _error(f"Quotation mark at char {begin} is not closed")
            name = self._text[self._at : end]
            self._at = end + 1
        else:
            end = min((at for mark in ends if (at := self._text.find(mark, self._at)) >= 0), default=-1)
            if end < 0:
                raise _error(f"Parenthesis of the alarm name at char {begin} is not closed")
            name = self._text[self._at : end].strip()
            self._at = end
        if not name:
            raise _error(f"Alarm name is missing at char {begin}")
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
