"""What is known of one metric in one stretch of time, and the statistics that can be read from it.

Aggregates merge: the aggregate of a minute is the merge of those of its seconds, of all instances.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from bannister.domain.metric import sketch as sketches
from bannister.domain.metric.sketch import Sketch
from bannister.domain.metric.statistic import FORMS, range_statistic, value_of
from bannister.errors import Invalid

#: The statistics that need no sketch.
SIMPLE_STATISTICS = ("SampleCount", "Average", "Sum", "Minimum", "Maximum")

_PERCENTILE = re.compile(r"p(100|\d{1,2}(?:\.\d{1,10})?)")


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
    """Raises `Invalid` for a word that is no statistic of CloudWatch's."""
    if name in SIMPLE_STATISTICS or percentile_share(name) is not None or range_statistic(name) is not None:
        return
    raise Invalid(
        f"The value {name} is not a statistic: use {', '.join(SIMPLE_STATISTICS)}, a percentile from p0 to p100, or {FORMS}, "
        "the lower bound below the upper one.",
        code="InvalidParameterValueException",
    )


def statistic(aggregate: Aggregate, name: str) -> float | None:
    """A statistic by CloudWatch's name.

    None: one that needs a sketch where none is known (negative samples, or no more than a statistic set); or the mean of a range without samples.

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
            share = percentile_share(name)
            if share is not None:
                return _percentile(aggregate, share)
            asked = range_statistic(name)
            if asked is None:
                check_statistic(name)
            return value_of(asked, aggregate.sketch) if asked is not None and aggregate.sketch is not None else None


def _percentile(aggregate: Aggregate, share: float) -> float | None:
    if aggregate.minimum == aggregate.maximum and aggregate.minimum >= 0:
        return aggregate.minimum
    return aggregate.sketch.quantile(share) if aggregate.sketch is not None else None
