"""What is known of one metric in one stretch of time, and the statistics that can be read from it.

Aggregates merge: the aggregate of a minute is the merge of those of its seconds, of all instances.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from bannister.domain.metric import sketch as sketches
from bannister.domain.metric.sketch import Sketch
from bannister.errors import Invalid, Unsupported

#: The statistics that need no sketch.
SIMPLE_STATISTICS = ("SampleCount", "Average", "Sum", "Minimum", "Maximum")

_PERCENTILE = re.compile(r"p(100|\d{1,2}(?:\.\d{1,10})?)")
_OTHER_EXTENDED = re.compile(r"(tm|tc|ts|wm)\d{1,3}(\.\d+)?|IQM|(PR|TM|TC|TS|WM)\(.*\)")


@dataclass(frozen=True, slots=True)
class Aggregate:
    """Samples of one metric in one stretch of time. `count` is above zero: no samples is no aggregate (None)."""

    count: float
    sum: float
    minimum: float
    maximum: float
    #: For percentiles; None where only a statistic set is known (then a percentile has no value unless minimum == maximum).
    sketch: Sketch | None = None
    unit: str | None = None


def of_values(values: Sequence[float], counts: Sequence[float] | None = None, unit: str | None = None) -> Aggregate:
    """The aggregate of raw samples; `counts` says how often each occurred. Negative samples have no percentiles (AWS).

    Raises:
        ValueError: There is no value.
    """
    if not values:
        raise ValueError("An aggregate needs at least one sample.")
    if min(values) >= 0:
        return of_sketch(Sketch.of(values, counts), unit)
    weights = [1.0] * len(values) if counts is None else counts
    total = sum(value * weight for value, weight in zip(values, weights, strict=True))
    return Aggregate(sum(weights), total, min(values), max(values), unit=unit)


def of_statistics(count: float, total: float, minimum: float, maximum: float, unit: str | None = None) -> Aggregate:
    """The aggregate of a statistic set. It has percentiles only where all its samples must be equal (AWS)."""
    equal = minimum == maximum and minimum >= 0
    return Aggregate(count, total, minimum, maximum, Sketch.constant(minimum, count) if equal else None, unit)


def of_sketch(sketch: Sketch, unit: str | None = None) -> Aggregate:
    return Aggregate(sketch.count, sketch.sum, sketch.minimum, sketch.maximum, sketch, unit)


def merge(aggregates: Sequence[Aggregate]) -> Aggregate:
    """The aggregate of all samples of at least one aggregate.

    It has percentiles if every part has, and a unit if all have the same.
    """
    if len(aggregates) == 1:
        return aggregates[0]
    parts = [one.sketch for one in aggregates if one.sketch is not None]
    units = {one.unit for one in aggregates}
    return Aggregate(
        sum(one.count for one in aggregates),
        sum(one.sum for one in aggregates),
        min(one.minimum for one in aggregates),
        max(one.maximum for one in aggregates),
        sketches.merge(parts) if len(parts) == len(aggregates) else None,
        units.pop() if len(units) == 1 else None,
    )


def percentile_share(name: str) -> float | None:
    """The share in [0, 1] that a percentile's name asks for (`p99.9`: 0.999), or None if it names no percentile."""
    match = _PERCENTILE.fullmatch(name)
    return float(match[1]) / 100 if match is not None else None


def check_statistic(name: str) -> None:
    """Raises `Unsupported` for a statistic that CloudWatch has and we have not, `Invalid` for a word that is none."""
    if name in SIMPLE_STATISTICS or percentile_share(name) is not None:
        return
    if _OTHER_EXTENDED.fullmatch(name) is not None:
        raise Unsupported(
            f"The statistic {name} is not supported; use {', '.join(SIMPLE_STATISTICS)}, or a percentile such as p99."
        )
    raise Invalid(
        f"The value {name} is not a statistic: use {', '.join(SIMPLE_STATISTICS)}, or a percentile from p0 to p100."
    )


def statistic(aggregate: Aggregate, name: str) -> float | None:
    """A statistic by CloudWatch's name. None: a percentile of which no more than a statistic set is known.

    Raises:
        Invalid: There is no such statistic (see `check_statistic`).
    """
    match name:
        case "SampleCount":
            return aggregate.count
        case "Average":
            return aggregate.sum / aggregate.count
        case "Sum":
            return aggregate.sum
        case "Minimum":
            return aggregate.minimum
        case "Maximum":
            return aggregate.maximum
        case _:
            check_statistic(name)
            return _percentile(aggregate, percentile_share(name) or 0.0)


def _percentile(aggregate: Aggregate, share: float) -> float | None:
    if aggregate.minimum == aggregate.maximum and aggregate.minimum >= 0:
        return aggregate.minimum
    return aggregate.sketch.quantile(share) if aggregate.sketch is not None else None
