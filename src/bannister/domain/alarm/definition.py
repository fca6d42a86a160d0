"""What PutMetricAlarm asks for, and what it must satisfy to become a rule.

botocore's model bounds single values; how they must fit together AWS states in prose only, so clients do not check it. `rule_of` does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, TypeVar

from bannister.domain.alarm.alarm import AlarmQuery, AlarmRule, Comparison, MissingData
from bannister.domain.alarm.expression import queries_of
from bannister.domain.alarm.judgement import range_periods
from bannister.domain.expression.queries import check_alarm_slots
from bannister.domain.metric.aggregate import SIMPLE_STATISTICS, check_statistic
from bannister.domain.metric.identity import MetricIdentity
from bannister.errors import Invalid, Unsupported

T = TypeVar("T")

#: Seconds; and multiples of 60.
SHORT_PERIODS: Final = (10, 20, 30)
#: Period times EvaluationPeriods, with periods under an hour and from an hour on.
RANGE_SECONDS_MAX: Final = 86_400
LONG_RANGE_SECONDS_MAX: Final = 604_800

#: CloudWatch's code for values that do not fit together.
VALIDATION: Final = "ValidationException"
_COMBINATION: Final = "InvalidParameterCombinationException"
_MISSING: Final = "MissingRequiredParameterException"


@dataclass(frozen=True, slots=True)
class Definition:
    """A metric alarm as it was asked for; None: left out."""

    metric: MetricIdentity | None
    #: `Metrics`.
    queries: tuple[AlarmQuery, ...] = ()
    statistic: str | None = None
    extended_statistic: str | None = None
    period_seconds: int | None = None
    evaluation_periods: int | None = None
    datapoints_to_alarm: int | None = None
    threshold: float | None = None
    comparison: str | None = None
    missing_data: str | None = None
    #: `evaluate` or `ignore`.
    low_samples: str | None = None
    unit: str | None = None


def rule_of(asked: Definition) -> AlarmRule:
    """The rule that was asked for.

    Raises:
        Invalid: Values are missing, wrong, or do not fit together; `code` is CloudWatch's.
        Unsupported: CloudWatch can do this and Bannister cannot.
    """
    if asked.queries:
        return _rule_of_queries(asked)
    if asked.metric is None:
        raise Invalid("MetricName and Namespace must be specified.", code=_MISSING)
    periods = _given(asked.evaluation_periods, "EvaluationPeriods")
    return AlarmRule(
        metric=asked.metric,
        statistic=_statistic(asked),
        period_seconds=_period(_given(asked.period_seconds, "Period"), periods),
        evaluation_periods=periods,
        datapoints_to_alarm=_datapoints_to_alarm(asked.datapoints_to_alarm, periods),
        threshold=_threshold(asked),
        comparison=_comparison(_given(asked.comparison, "ComparisonOperator")),
        missing_data=_missing_data(asked.missing_data),
        unit=asked.unit,
        ignore_low_samples=_ignore_low_samples(asked),
    )


def _rule_of_queries(asked: Definition) -> AlarmRule:
    """The rule of an alarm on `Metrics`: one period for all, and exactly one result."""
    single = (asked.metric, asked.statistic, asked.extended_statistic, asked.period_seconds, asked.unit)
    if any(one is not None for one in single):
        raise Invalid(
            "With Metrics, none of MetricName, Namespace, Dimensions, Period, Unit, Statistic and ExtendedStatistic may be "
            "specified.",
            code=_COMBINATION,
        )
    if asked.low_samples is not None:
        raise Invalid("EvaluateLowSampleCountPercentile is for alarms on a percentile.", code=_COMBINATION)
    for query in asked.queries:
        if (query.metric is None) == (query.expression is None):
            raise Invalid(
                f"The element {query.id} of Metrics must have exactly one of MetricStat and Expression.",
                code=_COMBINATION,
            )
        if query.metric is not None:
            _check_statistic(query.statistic)
    queries = queries_of(asked.queries)
    periods = _given(asked.evaluation_periods, "EvaluationPeriods")
    period = next(query.period_seconds for query in asked.queries if query.metric is not None)
    rule = AlarmRule(
        metric=None,
        statistic="",
        period_seconds=_period(_given(period, "Period"), periods),
        evaluation_periods=periods,
        datapoints_to_alarm=_datapoints_to_alarm(asked.datapoints_to_alarm, periods),
        threshold=_threshold(asked),
        comparison=_comparison(_given(asked.comparison, "ComparisonOperator")),
        missing_data=_missing_data(asked.missing_data),
        queries=asked.queries,
    )
    check_alarm_slots(queries, range_periods(rule))
    return rule


def _threshold(asked: Definition) -> float:
    threshold = _given(asked.threshold, "Threshold")
    if not math.isfinite(threshold):
        raise Invalid("Threshold must be a finite number.", code=VALIDATION)
    return threshold


def _check_statistic(name: str) -> None:
    try:
        check_statistic(name)
    except Invalid as error:
        raise Invalid(str(error), code=VALIDATION) from None


def _given(value: T | None, name: str) -> T:
    if value is None:
        raise Invalid(f"The parameter {name} must be specified.", code=_MISSING)
    return value


def _statistic(asked: Definition) -> str:
    if (asked.statistic is None) == (asked.extended_statistic is None):
        raise Invalid("Exactly one of Statistic and ExtendedStatistic must be specified.", code=_COMBINATION)
    if asked.extended_statistic is None:
        return _given(asked.statistic, "Statistic")
    if asked.extended_statistic in SIMPLE_STATISTICS:
        raise Invalid(
            f"{asked.extended_statistic} is a Statistic, not an ExtendedStatistic; percentiles are written as p99 or p99.9.",
            code=VALIDATION,
        )
    _check_statistic(asked.extended_statistic)
    return asked.extended_statistic


def _period(period: int, periods: int) -> int:
    if period not in SHORT_PERIODS and (period < 60 or period % 60):
        raise Invalid(f"Period must be 10, 20, 30 or a multiple of 60 seconds, not {period}.", code=VALIDATION)
    limit = RANGE_SECONDS_MAX if period < 3600 else LONG_RANGE_SECONDS_MAX
    if period * periods > limit:
        raise Invalid(
            f"Period ({period}) times EvaluationPeriods ({periods}) is {period * periods} seconds; "
            f"with this period it may be at most {limit} seconds.",
            code=VALIDATION,
        )
    return period


def _datapoints_to_alarm(asked: int | None, periods: int) -> int:
    if asked is None:
        return periods
    if asked > periods:
        raise Invalid(
            f"DatapointsToAlarm ({asked}) must not be greater than EvaluationPeriods ({periods}).", code=VALIDATION
        )
    return asked


def _comparison(asked: str) -> Comparison:
    try:
        return Comparison(asked)
    except ValueError:
        raise Unsupported(
            f"ComparisonOperator {asked} belongs to anomaly detection, which is not supported; "
            f"use one of {', '.join(Comparison)} with a Threshold."
        ) from None


def _missing_data(asked: str | None) -> MissingData:
    try:
        return MissingData.MISSING if asked is None else MissingData(asked)
    except ValueError:
        raise Invalid(
            f"TreatMissingData must be one of {', '.join(MissingData)}, not {asked}.", code=VALIDATION
        ) from None


def _ignore_low_samples(asked: Definition) -> bool:
    if asked.low_samples is None:
        return False
    if asked.low_samples not in ("evaluate", "ignore"):
        raise Invalid(
            f"EvaluateLowSampleCountPercentile must be evaluate or ignore, not {asked.low_samples}.", code=VALIDATION
        )
    if asked.extended_statistic is None:
        raise Invalid("EvaluateLowSampleCountPercentile is for alarms on a percentile.", code=_COMBINATION)
    return asked.low_samples == "ignore"
