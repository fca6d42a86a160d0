"""Operators and functions on numbers and slots, None being no datapoint.

A missing datapoint counts as 0 in arithmetic, comparison and logic between two series, and in SUM, AVG and DATAPOINT_COUNT over series: the result has a datapoint
wherever one of them has. A number that cannot be computed (a division by zero, an overflow, a root of a negative number) is no datapoint. Both
are CloudWatch's rules; MIN, MAX and STDDEV take the datapoints that there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

Slot = float | None
Slots = Sequence[Slot]

OPERATIONS: Final[dict[str, Callable[[float, float], float]]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": lambda left, right: left / right,
    "^": math.pow,
    "==": lambda left, right: float(left == right),
    "!=": lambda left, right: float(left != right),
    "<": lambda left, right: float(left < right),
    "<=": lambda left, right: float(left <= right),
    ">": lambda left, right: float(left > right),
    ">=": lambda left, right: float(left >= right),
    "AND": lambda left, right: float(left != 0 and right != 0),
    "OR": lambda left, right: float(left != 0 or right != 0),
}


def computed(function: Callable[..., float], *operands: float) -> Slot:
    """The value of a function; None where there is none that is finite."""
    try:
        value = float(function(*operands))
    except (ArithmeticError, ValueError):
        return None
    return value if math.isfinite(value) else None


def number_with_number(operator: str, left: Slot, right: Slot) -> Slot:
    """An operator between two numbers; one that could not be computed spoils the other."""
    return None if left is None or right is None else computed(OPERATIONS[operator], left, right)


def series_with_series(operator: str, left: Slots, right: Slots) -> list[Slot]:
    """An operator between the slots of two series."""
    operation = OPERATIONS[operator]
    return [
        None if one is None and other is None else computed(operation, one or 0.0, other or 0.0)
        for one, other in zip(left, right, strict=True)
    ]


def each(function: Callable[[float], float], slots: Slots) -> list[Slot]:
    """A function of each datapoint."""
    return [None if slot is None else computed(function, slot) for slot in slots]


EACH: Final[dict[str, Callable[[float], float]]] = {
    "ABS": abs,
    "CEIL": math.ceil,
    "FLOOR": math.floor,
    "LOG": math.log,
    "LOG10": math.log10,
}


# --- along one series


def differences(name: str, slots: Slots, period_seconds: int) -> list[Slot]:
    """DIFF, DIFF_TIME and RATE: each datapoint against the one before it, however far back; the first has none."""
    found: list[Slot] = [None] * len(slots)
    before: int | None = None
    for place, slot in enumerate(slots):
        if slot is None:
            continue
        if before is not None:
            seconds = float((place - before) * period_seconds)
            change = slot - (slots[before] or 0.0)
            found[place] = _finite({"DIFF": change, "DIFF_TIME": seconds, "RATE": change / seconds}[name])
        before = place
    return found


def running_sum(slots: Slots) -> list[Slot]:
    """Each datapoint with all before it."""
    total = 0.0
    found: list[Slot] = []
    for slot in slots:
        total += slot or 0.0
        found.append(None if slot is None else _finite(total))
    return found


def filled(slots: Slots, fillers: Slots) -> list[Slot]:
    """The datapoints, and where there is none those of the other row."""
    return [filler if slot is None else slot for slot, filler in zip(slots, fillers, strict=True)]


def repeated(slots: Slots) -> list[Slot]:
    """FILL with REPEAT: a gap has the datapoint before it. What is missing before the first stays missing."""
    latest: Slot = None
    found: list[Slot] = []
    for slot in slots:
        latest = latest if slot is None else slot
        found.append(latest)
    return found


def interpolated(slots: Slots) -> list[Slot]:
    """FILL with LINEAR: a gap has the line between the datapoints around it. What is missing before the first or after the last stays missing."""
    found = list(slots)
    before: int | None = None
    for place, slot in enumerate(slots):
        if slot is None:
            continue
        if before is not None:
            first = slots[before] or 0.0
            for gap in range(before + 1, place):
                share = (gap - before) / (place - before)
                found[gap] = first * (1 - share) + slot * share
        before = place
    return found


# --- of many


def reduced(name: str, slots: Slots) -> Slot:
    """SUM, AVG, MIN, MAX, STDDEV or DATAPOINT_COUNT of slots: of one series, or of many series at one time.

    SUM, AVG and DATAPOINT_COUNT take what is missing for 0: an average is over all slots. STDDEV is that of the population.
    """
    present = [slot for slot in slots if slot is not None]
    match name:
        case "DATAPOINT_COUNT":
            return float(len(present))
        case "SUM":
            return computed(lambda: math.fsum(present))
        case "AVG":
            return computed(lambda: math.fsum(present) / len(slots))
        case _ if not present:
            return None
        case "MIN":
            return min(present)
        case "MAX":
            return max(present)
        case _:
            return computed(lambda: _deviation(present))


def reduced_across(name: str, rows: Sequence[Slots]) -> list[Slot]:
    """The same at each time over many series; no datapoint where none has one."""
    return [
        None if all(slot is None for slot in column) else reduced(name, column) for column in zip(*rows, strict=True)
    ]


def _deviation(values: Sequence[float]) -> float:
    middle = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - middle) ** 2 for value in values) / len(values))


def _finite(value: float) -> Slot:
    return value if math.isfinite(value) else None


# --- choice and time


def chosen(condition: Slots, yes: Slots, no: Slots) -> list[Slot]:
    """IF at each time: `yes` where the condition is not 0, with 0 where it has no datapoint; `no` where the condition is 0."""
    return [
        None if test is None else (positive or 0.0) if test != 0 else negative
        for test, positive, negative in zip(condition, yes, no, strict=True)
    ]


def part_of_time(name: str, at: int) -> Slot:
    """MINUTE, HOUR, DAY (Monday is 1), DATE, MONTH, YEAR or EPOCH of a time, in UTC; None beyond the calendar."""
    if name == "EPOCH":
        return float(at)
    try:
        moment = datetime.fromtimestamp(at, UTC)
    except (ArithmeticError, ValueError):
        return None
    parts = {
        "MINUTE": moment.minute,
        "HOUR": moment.hour,
        "DAY": moment.isoweekday(),
        "DATE": moment.day,
        "MONTH": moment.month,
        "YEAR": moment.year,
    }
    return float(parts[name])
