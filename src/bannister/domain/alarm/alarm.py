"""What an alarm is: a metric with a threshold, M of N and a rule for missing data, or a rule over other alarms; and its present state.

A composite alarm is an `Alarm` like any other: it has a state, actions and transitions, and only its evaluation asks which kind it is. Alarms and the composites
over them name each other, so that whoever changes an alarm knows at once whom it concerns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

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
class AlarmQuery:
    """One element of an alarm's `Metrics`: a statistic of a metric, or an expression over others."""

    id: str
    #: None: it is an expression.
    metric: MetricIdentity | None = None
    statistic: str = ""
    unit: str | None = None
    expression: str | None = None
    #: Of the metric, or as it was given with the expression.
    period_seconds: int | None = None
    label: str | None = None
    #: The alarm watches this one.
    return_data: bool = True
    #: As it was given: the only one there is.
    account_id: str | None = None


@dataclass(frozen=True, slots=True)
class AlarmRule:
    """The configuration of a metric alarm: everything an evaluation depends on."""

    #: None: the alarm watches the result of `queries`.
    metric: MetricIdentity | None
    #: SampleCount, Average, Sum, Minimum, Maximum, or a percentile such as `p99` or `p99.9`; empty with `queries`.
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
    #: Exactly one of them returns data; empty: a single metric is watched.
    queries: tuple[AlarmQuery, ...] = ()

    @property
    def metrics(self) -> tuple[MetricIdentity, ...]:
        """All metrics that the alarm looks at."""
        if not self.queries:
            return () if self.metric is None else (self.metric,)
        named = (self.metric, *(query.metric for query in self.queries))
        return tuple(metric for metric in named if metric is not None)


@dataclass(frozen=True, slots=True)
class CompositeRule:
    """The configuration of a composite alarm."""

    #: As it was given; `alarm_rule.parse` reads it.
    text: str
    #: The names of the alarms in it, each once.
    children: tuple[str, ...] = ()
    #: The name of the alarm that keeps actions from being run while it is in ALARM.
    suppressor: str | None = None
    #: For how long actions wait for the suppressor to go to ALARM, and after it has left ALARM.
    wait_seconds: int = 0
    extension_seconds: int = 0
    #: The suppressor as it was given: a name or an ARN.
    suppressor_reference: str | None = None


class SuppressedBy(StrEnum):
    """AWS's ActionsSuppressedBy."""

    ALARM = "Alarm"
    WAIT = "WaitPeriod"
    EXTENSION = "ExtensionPeriod"


@dataclass(frozen=True, slots=True)
class Suppression:
    """Actions of a composite alarm are held back."""

    by: SuppressedBy
    #: When it ends; None: when the suppressor leaves ALARM.
    until: float | None = None
    #: The alarm has gone to another state in the meantime, whose actions are run at the end.
    pending: bool = False


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
    #: Decided early: ALARM stands until the evaluation at this second, which is certain to confirm it. None: it was not.
    confirmed_at: int | None = None


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm, whole."""

    name: str
    #: None: it is a composite alarm.
    rule: AlarmRule | None
    state: AlarmState
    configured_at: float
    description: str | None = None
    actions_enabled: bool = True
    ok_actions: tuple[str, ...] = ()
    alarm_actions: tuple[str, ...] = ()
    insufficient_data_actions: tuple[str, ...] = ()
    #: (key, value) pairs, as given when the alarm was created.
    tags: tuple[tuple[str, str], ...] = ()
    composite: CompositeRule | None = None
    suppression: Suppression | None = None
    #: The composite alarms that have this one in their rules, and those whose actions it suppresses.
    parents: tuple[str, ...] = ()
    suppresses: tuple[str, ...] = ()
    #: What else the client gave, which changes nothing here: described as it came, and never looked into.
    as_given: dict[str, Any] = field(default_factory=dict)

    @property
    def dependents(self) -> tuple[str, ...]:
        """The composite alarms that a transition of this one concerns."""
        return self.parents + self.suppresses

    @property
    def actions(self) -> tuple[str, ...]:
        """What is to be done for the present state; nothing while actions are switched off."""
        if not self.actions_enabled:
            return ()
        match self.state.value:
            case AlarmValue.OK:
                return self.ok_actions
            case AlarmValue.ALARM:
                return self.alarm_actions
            case AlarmValue.INSUFFICIENT_DATA:
                return self.insufficient_data_actions
