"""What an alarm is: the metric it watches, its threshold, M of N, its rule for missing data, and its present state."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bannister.domain.metric.identity import MetricIdentity


class Comparison(StrEnum):
    """AWS's ComparisonOperator, for metric alarms with a static threshold."""

    GREATER_OR_EQUAL = "GreaterThanOrEqualToThreshold"
    GREATER = "GreaterThanThreshold"
    LESS = "LessThanThreshold"
    LESS_OR_EQUAL = "LessThanOrEqualToThreshold"


class MissingData(StrEnum):
    """AWS's TreatMissingData."""

    BREACHING = "breaching"
    NOT_BREACHING = "notBreaching"
    IGNORE = "ignore"
    MISSING = "missing"


class AlarmValue(StrEnum):
    """AWS's StateValue."""

    OK = "OK"
    ALARM = "ALARM"
    INSUFFICIENT_DATA = "INSUFFICIENT_DATA"


@dataclass(frozen=True, slots=True)
class AlarmRule:
    """The configuration of a metric alarm: everything an evaluation depends on."""

    metric: MetricIdentity
    #: SampleCount, Average, Sum, Minimum, Maximum, or a percentile such as `p99` or `p99.9`.
    statistic: str
    period_seconds: int
    evaluation_periods: int
    datapoints_to_alarm: int
    threshold: float
    comparison: Comparison
    missing_data: MissingData = MissingData.MISSING
    unit: str | None = None
    #: AWS: EvaluateLowSampleCountPercentile=ignore keeps the state when a percentile has too few samples.
    ignore_low_samples: bool = False


@dataclass(frozen=True, slots=True)
class AlarmState:
    """The present state and its reason, as DescribeAlarms prints them."""

    value: AlarmValue
    reason: str
    #: JSON text; None where there is none.
    reason_data: str | None
    #: When the value or the reason was last written.
    updated_at: float
    #: When the value last changed.
    transitioned_at: float


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm, whole."""

    name: str
    rule: AlarmRule
    state: AlarmState
    configured_at: float
    description: str | None = None
    actions_enabled: bool = True
    ok_actions: tuple[str, ...] = ()
    alarm_actions: tuple[str, ...] = ()
    insufficient_data_actions: tuple[str, ...] = ()
    #: (key, value) pairs, as given when the alarm was created.
    tags: tuple[tuple[str, str], ...] = ()
