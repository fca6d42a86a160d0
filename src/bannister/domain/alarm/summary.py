"""An alarm's rule in one line, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bannister.domain.alarm.alarm import AlarmRule, Comparison
from bannister.domain.alarm.expression import watched

SYMBOLS: Final[Mapping[Comparison, str]] = {
    Comparison.GREATER_OR_EQUAL: "≥",
    Comparison.GREATER: ">",
    Comparison.LESS: "<",
    Comparison.LESS_OR_EQUAL: "≤",
}


def summary(rule: AlarmRule) -> str:
    """`p99 of ModelLatency over 10 s > 100000 in 2 of 3 periods (missing data: notBreaching)`."""
    return (
        f"{subject(rule)} over {rule.period_seconds} s {SYMBOLS[rule.comparison]} {rule.threshold:g} "
        f"in {rule.datapoints_to_alarm} of {rule.evaluation_periods} periods (missing data: {rule.missing_data.value})"
    )


def subject(rule: AlarmRule) -> str:
    """`p99 of ModelLatency`, or the expression that is watched: `100 * m1 / m2 (m1: Sum of Errors, m2: Sum of Invocations)`."""
    if rule.metric is not None:
        return f"{rule.statistic} of {rule.metric.name}"
    parts = [(one.id, f"{one.statistic} of {one.metric.name}") for one in rule.queries if one.metric is not None]
    parts += [(one.id, one.expression) for one in rule.queries if one.expression is not None and not one.return_data]
    result = watched(rule.queries)
    if result.expression is None:
        return dict(parts)[result.id]
    return f"{result.expression} ({', '.join(f'{name}: {what}' for name, what in parts)})"
