"""Metric data: put, read as statistics, list."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bannister.clock import Clock
from bannister.domain.metric.aggregate import (
    SIMPLE_STATISTICS,
    Aggregate,
    check_statistic,
    of_statistics,
    of_values,
    statistic,
)
from bannister.domain.metric.identity import MetricIdentity
from bannister.domain.metric.retention import period_unit, served
from bannister.errors import Invalid
from bannister.metrics.published import FUTURE_SECONDS_MAX, read_published
from bannister.metrics.store import Datum, tiers_of
from bannister.operations.context import Context
from bannister.operations.continuation import continued
from bannister.operations.listing import Page
from bannister.settings import Settings

#: AWS: timestamps of data put, before and after now.
PUT_PAST_SECONDS_MAX: Final = 14 * 86_400.0
PUT_METRICS_MAX: Final = 1000
#: Namespaces that begin so hold what is measured, on AWS by AWS, and here by Bannister.
RESERVED_NAMESPACES: Final = ("AWS/", "/bannister/")
PUT_VALUES_MAX: Final = 150
#: Other requests and alarms get their turn after so many metrics.
_METRICS_PER_TURN: Final = 20
#: AWS: the unit of what is put without one; asking for it finds that.
NO_UNIT: Final = "None"
_OF_TIME: Final = ("Seconds", "Microseconds", "Milliseconds")
_OF_AMOUNT: Final = tuple(
    f"{prefix}{suffix}"
    for one in ("bytes", "bits")
    for prefix, suffix in zip(("", "Kilo", "Mega", "Giga", "Tera"), (one.capitalize(), *4 * (one,)), strict=True)
)
#: AWS: every unit that there is (`StandardUnit`).
UNITS: Final = (
    *_OF_TIME,
    *_OF_AMOUNT,
    "Percent",
    "Count",
    *(f"{one}/Second" for one in (*_OF_AMOUNT, "Count")),
    NO_UNIT,
)
#: AWS: values beyond are refused, in either direction.
VALUE_MAX: Final = 2.0**360

DATAPOINTS_MAX: Final = 1440
SHORT_PERIODS: Final = (1, 5, 10, 20, 30)

METRICS_PER_PAGE: Final = 500
#: AWS: a metric without data for two weeks is no longer listed; RecentlyActive shortens that to three hours.
LISTED_SECONDS: Final = 14 * 86_400.0
RECENTLY_ACTIVE_SECONDS: Final = 3 * 3600.0

_VALUE: Final = "InvalidParameterValueException"
_COMBINATION: Final = "InvalidParameterCombinationException"
_MISSING: Final = "MissingRequiredParameterException"


# --- put


@dataclass(frozen=True, slots=True)
class StatisticSet:
    """Samples of which only this is known."""

    count: float
    sum: float
    minimum: float
    maximum: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One datum as it was asked for: exactly one of `value`, `values` and `statistics`."""

    metric: MetricIdentity
    #: None: now.
    at: float | None = None
    value: float | None = None
    values: Sequence[float] | None = None
    #: How often each of `values` occurred; None: once.
    counts: Sequence[float] | None = None
    statistics: StatisticSet | None = None
    unit: str | None = None
    #: 1 or 60: readable with periods from so many seconds on.
    resolution_seconds: int = 60


async def put_metric_data(context: Context, samples: Sequence[Sample]) -> None:
    """Store data of any metrics; all of it or, if anything is wrong, none.

    Raises:
        Invalid: The first sample that is wrong, by its place in the request.
    """
    if not samples:
        raise Invalid("The parameter MetricData must be specified.", code=_MISSING)
    if len(samples) > PUT_METRICS_MAX:
        raise Invalid(f"The collection MetricData must not have a size greater than {PUT_METRICS_MAX}.", code=_VALUE)
    for sample in samples:
        _check_namespace(sample.metric.namespace)
    data = []
    for place, sample in enumerate(samples, start=1):
        data.append(_datum(sample, context.clock, f"MetricData.member.{place}"))
        if place % _METRICS_PER_TURN == 0:
            await asyncio.sleep(0)
    await context.metrics.put(data)


def _check_namespace(namespace: str) -> None:
    """What is measured here is nobody else's to add to: alarms rest on it, and some are decided on its never being negative."""
    for reserved in RESERVED_NAMESPACES:
        if namespace.startswith(reserved):
            raise Invalid(
                f"The value {reserved} for parameter Namespace is invalid: it is reserved for what is measured; use a namespace of your own.",
                code=_VALUE,
            )


def _datum(sample: Sample, clock: Clock, where: str) -> Datum:
    now = clock.now()
    at = now if sample.at is None else sample.at
    if not now - PUT_PAST_SECONDS_MAX <= at <= now + FUTURE_SECONDS_MAX:
        raise Invalid(
            f"The parameter {where}.Timestamp must specify a time no earlier than two weeks ago and no later than two hours "
            "from now.",
            code=_VALUE,
        )
    if sample.resolution_seconds not in (1, 60):
        raise Invalid(f"The parameter {where}.StorageResolution must be 1 or 60.", code=_VALUE)
    return Datum(sample.metric, at, _aggregate(sample, where), sample.resolution_seconds)


def _aggregate(sample: Sample, where: str) -> Aggregate:
    forms = {"Value": sample.value, "Values": sample.values, "StatisticValues": sample.statistics}
    given = [name for name, form in forms.items() if form is not None]
    if not given:
        raise Invalid(
            f"The parameter {where}.Value, {where}.Values or {where}.StatisticValues is required.", code=_MISSING
        )
    if len(given) > 1:
        raise Invalid(
            f"The parameters {where}.{given[0]} and {where}.{given[1]} are mutually exclusive and you have specified both.",
            code=_COMBINATION,
        )
    if sample.counts is not None and sample.values is None:
        raise Invalid(f"The parameter {where}.Counts needs {where}.Values.", code=_COMBINATION)
    unit = sample.unit or NO_UNIT
    if sample.statistics is not None:
        return _of_set(sample.statistics, unit, where)
    if sample.value is not None:
        _check_value(sample.value, f"{where}.Value")
        return of_values([sample.value], unit=unit)
    return _of_many(sample.values or (), sample.counts, unit, where)


def _of_many(values: Sequence[float], counts: Sequence[float] | None, unit: str | None, where: str) -> Aggregate:
    if not 1 <= len(values) <= PUT_VALUES_MAX:
        raise Invalid(f"The collection {where}.Values must have 1 to {PUT_VALUES_MAX} members.", code=_VALUE)
    if counts is not None and len(counts) != len(values):
        raise Invalid(f"The collections {where}.Values and {where}.Counts must be of the same size.", code=_VALUE)
    for place, value in enumerate(values, start=1):
        _check_value(value, f"{where}.Values.member.{place}")
    for place, count in enumerate(counts or (), start=1):
        _check_value(count, f"{where}.Counts.member.{place}")
        if count <= 0:
            raise Invalid(f"The parameter {where}.Counts.member.{place} must be greater than 0.", code=_VALUE)
    return of_values(values, counts, unit)


def _of_set(given: StatisticSet, unit: str | None, where: str) -> Aggregate:
    prefix = f"{where}.StatisticValues"
    for name, value in (
        ("SampleCount", given.count),
        ("Sum", given.sum),
        ("Minimum", given.minimum),
        ("Maximum", given.maximum),
    ):
        _check_value(value, f"{prefix}.{name}")
    if given.count <= 0:
        raise Invalid(f"The parameter {prefix}.SampleCount must be greater than 0.", code=_VALUE)
    if given.minimum > given.maximum:
        raise Invalid(f"The parameter {prefix}.Minimum must not be greater than {prefix}.Maximum.", code=_VALUE)
    return of_statistics(given.count, given.sum, given.minimum, given.maximum, unit)


def _check_value(value: float, where: str) -> None:
    if not math.isfinite(value):
        raise Invalid(f"The parameter {where} must be a number: NaN and infinity are not supported.", code=_VALUE)
    if abs(value) > VALUE_MAX:
        raise Invalid(f"The parameter {where} must be between -2^360 and 2^360.", code=_VALUE)


# --- read


@dataclass(frozen=True, slots=True)
class StatisticsRequest:
    """Which statistics of one metric, over which time: `start` is inclusive, `end` exclusive."""

    metric: MetricIdentity
    start: float
    end: float
    period_seconds: int
    statistics: Sequence[str] = ()
    percentiles: Sequence[str] = ()
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class StatisticsPoint:
    """The statistics of one period that has data."""

    at: float
    unit: str | None
    statistics: Mapping[str, float]
    percentiles: Mapping[str, float]


async def get_metric_statistics(context: Context, request: StatisticsRequest) -> list[StatisticsPoint]:
    """The periods that have data, oldest first (AWS promises no order).

    A period to which data came with several units has a datapoint for each of them, unless the request names one (AWS).

    Data older than 3 hours, 15 and 63 days are found only with periods that are multiples of 60, 300 and 3,600 seconds (AWS).

    Raises:
        Invalid: The period, the time range or a statistic is wrong.
    """
    period = request.period_seconds
    _check_request(request)
    start = floored_start(request.start, period, context.clock.now())
    periods = math.ceil((request.end - start) / period)
    now, timing = context.clock.now(), context.settings.timing

    async def read(unit: str | None) -> list[Aggregate | None]:
        found = await read_published(context.metrics, timing, request.metric, start, period, periods, unit, now)
        return shown_at_their_age(found, start, period, now, context.settings)

    merged = await read(request.unit)
    mixed = any(one is not None and one.unit is None for one in merged)
    by_unit = [await read(unit) for unit in UNITS] if mixed else []
    points = []
    for index, whole in enumerate(merged):
        of_units = [column[index] for column in by_unit if column[index] is not None]
        parts = of_units or [whole]  # the oldest data have no unit at all
        points += [_point(start + index * period, one, request) for one in parts if one is not None]
    return [point for point in points if point.statistics or point.percentiles]


def shown_at_their_age(
    found: Sequence[Aggregate | None], start: float, period: int, now: float, settings: Settings
) -> list[Aggregate | None]:
    """Without what is so old that only longer periods show it (AWS), whether or not it is already kept less finely."""
    tiers = tiers_of(settings)
    return [
        aggregate if served(period_unit(now - start - index * period, tiers), period) else None
        for index, aggregate in enumerate(found)
    ]


def _check_request(request: StatisticsRequest) -> None:
    period = request.period_seconds
    if period not in SHORT_PERIODS and (period < 60 or period % 60):
        raise Invalid(f"The parameter Period must be 1, 5, 10, 20, 30 or a multiple of 60, not {period}.", code=_VALUE)
    if request.start >= request.end:
        raise Invalid("The parameter StartTime must be less than the parameter EndTime.", code=_COMBINATION)
    if bool(request.statistics) == bool(request.percentiles):
        raise Invalid("Exactly one of Statistics and ExtendedStatistics must be specified.", code=_COMBINATION)
    datapoints = math.ceil((request.end - request.start) / period)
    if datapoints > DATAPOINTS_MAX:
        raise Invalid(
            f"You have requested up to {datapoints:,} datapoints, which exceeds the limit of {DATAPOINTS_MAX:,}. You may reduce the "
            "datapoints requested by increasing Period, or decreasing the time range.",
            code=_COMBINATION,
        )
    for name in (*request.statistics, *request.percentiles):
        check_statistic(name)
    simple = [name for name in request.percentiles if name in SIMPLE_STATISTICS]
    if simple:
        raise Invalid(f"The value {simple[0]} belongs into Statistics, not into ExtendedStatistics.", code=_VALUE)


def floored_start(start: float, period: int, now: float) -> float:
    """AWS: down to the minute (5 minutes beyond 15 days, the hour beyond 63), and for periods under a minute to the period."""
    age_days = (now - start) / 86_400
    unit = period if period < 60 else 60 if age_days <= 15 else 300 if age_days <= 63 else 3600
    return float(start // unit * unit)


def _point(at: float, aggregate: Aggregate, request: StatisticsRequest) -> StatisticsPoint:
    return StatisticsPoint(
        at, aggregate.unit, _values(aggregate, request.statistics), _values(aggregate, request.percentiles)
    )


def _values(aggregate: Aggregate, names: Sequence[str]) -> dict[str, float]:
    values = {name: statistic(aggregate, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


# --- list


@dataclass(frozen=True, slots=True)
class MetricSelection:
    """Which metrics to list; None: any."""

    namespace: str | None = None
    name: str | None = None
    #: Each must be among a metric's dimensions: by name, or by name and value.
    dimensions: Sequence[tuple[str, str | None]] = ()
    recently_active: bool = False


async def list_metrics(
    context: Context, selection: MetricSelection, *, token: str | None = None
) -> Page[MetricIdentity]:
    """Metrics that have had data lately, by namespace, name and dimensions."""
    window = RECENTLY_ACTIVE_SECONDS if selection.recently_active else LISTED_SECONDS
    found = await context.metrics.metrics(since=context.clock.now() - window)
    selected = [metric for metric in found if _selected(metric, selection)]
    return continued(selected, _sort_key, METRICS_PER_PAGE, token)


def _selected(metric: MetricIdentity, selection: MetricSelection) -> bool:
    dimensions = dict(metric.dimensions)
    return (
        selection.namespace in (None, metric.namespace)
        and selection.name in (None, metric.name)
        and all(name in dimensions and value in (None, dimensions[name]) for name, value in selection.dimensions)
    )


def _sort_key(metric: MetricIdentity) -> str:
    """Sorts as the parts would, one after the other: no name contains the separator."""
    return "\0".join([metric.namespace, metric.name, *(part for pair in metric.dimensions for part in pair)])
