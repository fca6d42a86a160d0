"""Labels of results, and the dynamic values in them: `${MAX}`, `${LAST_TIME}`, `${PROP('Dim.VariantName')}`.

CloudWatch documents the names and not how a value is written. Here a number has up to six significant digits, a time is ISO 8601 in the time zone asked for, a
length of time is written as `1h 30m`, and what there is not as `--`. A name that is none of these stays as it is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from bannister.domain.expression.functions import computed
from bannister.domain.expression.series import Series
from bannister.errors import Invalid

#: AWS's bound on the dynamic values of one label.
DYNAMIC_VALUES_MAX: Final = 6
LABEL_CHARACTERS_MAX: Final = 1024

_DYNAMIC = re.compile(r"\$\{(?:(?P<name>[A-Z_]+)|PROP\('(?P<property>[^']*)'\))\}")
_ZONE = re.compile(r"([+-])(\d{2})(\d{2})", re.ASCII)
_NOTHING = "--"

Point = tuple[int, float]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What labels can say that is not in the data."""

    now: float
    region: str
    account_id: str
    zone: timezone = UTC


def check_label(label: str) -> None:
    """Raises `Invalid` for a label that is too long or has too many dynamic values."""
    if len(label) > LABEL_CHARACTERS_MAX:
        raise Invalid(f"A Label can have {LABEL_CHARACTERS_MAX} characters.", code="ValidationException")
    found = _DYNAMIC.findall(label)
    if len(found) > DYNAMIC_VALUES_MAX:
        raise Invalid(
            f"The Label '{label}' has {len(found)} dynamic values; {DYNAMIC_VALUES_MAX} are allowed.",
            code="ValidationException",
        )
    if label.count("${LABEL}") > 1:
        raise Invalid(f"The Label '{label}' has ${{LABEL}} more than once.", code="ValidationException")


def zone_of(offset: str) -> timezone:
    """The time zone that `+0130` names.

    Raises:
        Invalid: It names none.
    """
    match = _ZONE.fullmatch(offset)
    if match is None or int(match[2]) > 23 or int(match[3]) > 59:
        raise Invalid(
            f"The Timezone '{offset}' must be a sign and four digits, hours and minutes, such as +0130.",
            code="ValidationException",
        )
    ahead = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return timezone(-ahead if match[1] == "-" else ahead)


def is_dynamic(label: str) -> bool:
    """Whether a label has dynamic values."""
    return _DYNAMIC.search(label) is not None


def labelled(label: str, series: Series, default: str, around: Surroundings) -> str:
    """A label with its dynamic values, which are those of a series.

    Args:
        label: As it was asked for.
        series: With all datapoints of the time asked for.
        default: What `${LABEL}` stands for.
        around: Time and place.
    """
    points = series.points()

    def value(match: re.Match[str]) -> str:
        if match["property"] is not None:
            return _property(match["property"], series, around)
        if match["name"] == "LABEL":
            return default
        return _value(match["name"], points, around) or match[0]

    return _DYNAMIC.sub(value, label)


def _property(name: str, series: Series, around: Surroundings) -> str:
    source = series.source
    if name == "AccountId":
        return around.account_id
    if name == "Region":
        return around.region
    if source is None:
        return _NOTHING
    if name.startswith("Dim."):
        return dict(source.metric.dimensions).get(name.removeprefix("Dim."), _NOTHING)
    properties = {
        "MetricName": source.metric.name,
        "Namespace": source.metric.namespace,
        "Period": str(source.period_seconds),
        "Stat": source.statistic,
    }
    return properties.get(name, _NOTHING)


def _value(name: str, points: list[Point], around: Surroundings) -> str | None:
    """A dynamic value; None: it has no such name."""
    if name == "DATAPOINT_COUNT":
        return str(len(points))
    if name not in _NAMES:
        return None
    if not points:
        return _NOTHING
    lowest = min(points, key=lambda point: point[1])
    highest = max(points, key=lambda point: point[1])
    marked = {"FIRST": points[0], "LAST": points[-1], "MIN": lowest, "MAX": highest}
    numbers: dict[str, Callable[[], float]] = {
        "AVG": lambda: math.fsum(value for _, value in points) / len(points),
        "SUM": lambda: math.fsum(value for _, value in points),
        "FIRST_LAST_RANGE": lambda: points[-1][1] - points[0][1],
        "MIN_MAX_RANGE": lambda: highest[1] - lowest[1],
    }
    if name in marked:
        return _number(marked[name][1])
    if name in numbers:
        number = computed(numbers[name])
        return _NOTHING if number is None else _number(number)
    if name == "FIRST_LAST_TIME_RANGE":
        return _length(points[-1][0] - points[0][0])
    if name == "MIN_MAX_TIME_RANGE":
        return _length(highest[0] - lowest[0])
    mark, _, relative = name.partition("_TIME")
    at = marked[mark][0]
    return _length(around.now - at) if relative else datetime.fromtimestamp(at, around.zone).isoformat()


_NAMES: Final = frozenset(
    {"AVG", "SUM", "FIRST_LAST_RANGE", "MIN_MAX_RANGE", "FIRST_LAST_TIME_RANGE", "MIN_MAX_TIME_RANGE"}
    | {mark + what for mark in ("FIRST", "LAST", "MIN", "MAX") for what in ("", "_TIME", "_TIME_RELATIVE")}
)


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.6g}"


def _length(seconds: float) -> str:
    minutes, rest = divmod(round(abs(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [f"{count}{unit}" for count, unit in ((days, "d"), (hours, "h"), (minutes, "m"), (rest, "s")) if count]
    return " ".join(parts) or "0s"
