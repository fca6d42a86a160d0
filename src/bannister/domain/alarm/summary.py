"""An alarm's rule in one line, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bannister.domain.alarm.alarm import AlarmRule, Comparison

SYMBOLS: Final[Mapping[Comparison, str]] = {
    Comparison.GREATER_OR_EQUAL: "≥",
    Comparison.GREATER: ">",
    Comparison.LESS: "<",
    Comparison.LESS_OR_EQUAL: "≤",
}


def summary(rule: AlarmRule) -> str:
    """`p99 of ModelLatency over 10 s > 100000 in 2 of 3 periods (missing data: notBreaching)`."""
    return (
        f"{rule.statistic} of {rule.metric.name} over {rule.period_seconds} s {SYMBOLS[rule.comparison]} {rule.threshold:g} "
        f"in {rule.datapoints_to_alarm} of {rule.evaluation_periods} periods (missing data: {rule.missing_data.value})"
    )
