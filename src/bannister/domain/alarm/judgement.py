"""The rule of an alarm: what the datapoints of its evaluation range amount to.

CloudWatch looks at more periods than an alarm's N, so that a few missing datapoints do not blind it; how many more is not published. The one
known example (N = 3 looks at 5) and the tables of "Configuring how CloudWatch alarms treat missing data" fit N + 2. Of the datapoints found there
the newest N decide (M of them must breach), and the rule for missing data matters only where fewer than N were found:

* breaching, notBreaching: what is missing counts as such a datapoint.
* missing: without any datapoint the state is INSUFFICIENT_DATA.
* ignore: without any datapoint the state stays as it is.
* With missing and ignore, a range in which every datapoint breaches and the oldest has waited for M periods is not given the benefit of the
  doubt: `missing` goes to ALARM at once, `ignore` keeps the state. (AWS: "premature alarm transitions".)

Missing is what was looked for and not there. What nobody looked for (telemetry was away) is *unseen*, and no rule for missing data may stand in
for it: then only what the datapoints decide whatever the unseen ones are is decided, and else the state stays.

The rule reproduces all 40 cells of AWS's two tables (`tests/domain/alarm/test_judgement.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bannister.domain.alarm.alarm import AlarmRule, AlarmValue, Comparison, MissingData
from bannister.domain.metric.aggregate import percentile_share

#: Periods that an evaluation looks at beyond N.
EXTRA_PERIODS: Final = 2

_COMPARE: Final[Mapping[Comparison, Callable[[float, float], bool]]] = {
    Comparison.GREATER_OR_EQUAL: lambda value, threshold: value >= threshold,
    Comparison.GREATER: lambda value, threshold: value > threshold,
    Comparison.LESS: lambda value, threshold: value < threshold,
    Comparison.LESS_OR_EQUAL: lambda value, threshold: value <= threshold,
}


@dataclass(frozen=True, slots=True)
class Datapoint:
    """The statistic of one period that has data."""

    #: Where the period begins.
    start_at: float
    value: float
    #: How many samples the statistic was taken from.
    samples: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the datapoints amount to, and which of them decided."""

    #: None: the state stays as it is.
    value: AlarmValue | None
    #: The datapoints that decided, at most N, newest first.
    breaching: tuple[Datapoint, ...] = ()
    within: tuple[Datapoint, ...] = ()
    #: Missing datapoints that the rule for missing data stood in for.
    filled: int = 0
    #: ALARM with fewer than M breaching datapoints, because the range holds no other.
    premature: bool = False

    @property
    def recent(self) -> tuple[Datapoint, ...]:
        """All datapoints that decided, newest first."""
        return tuple(sorted(self.breaching + self.within, key=lambda point: point.start_at, reverse=True))


def range_periods(rule: AlarmRule) -> int:
    """How many periods an evaluation looks at."""
    return rule.evaluation_periods + EXTRA_PERIODS


def breaches(rule: AlarmRule, value: float) -> bool:
    """Whether a value is on the wrong side of the threshold."""
    return _COMPARE[rule.comparison](value, rule.threshold)


def judge(rule: AlarmRule, slots: Sequence[Datapoint | None], *, unseen: bool = False) -> Judgement:
    """Apply the rule.

    Args:
        rule: The alarm's configuration.
        slots: The periods of the evaluation range, oldest first; None: no data.
        unseen: Some of the newest N periods may be without data only because nobody looked.
    """
    found = [slot for slot in reversed(slots) if slot is not None]
    recent = found[: rule.evaluation_periods]
    if _too_few_samples(rule, recent):
        return Judgement(None)
    breaching = tuple(point for point in recent if breaches(rule, point.value))
    within = tuple(point for point in recent if not breaches(rule, point.value))
    missing = rule.evaluation_periods - len(recent)
    if not missing:
        return Judgement(_alarm_if(len(breaching) >= rule.datapoints_to_alarm), breaching, within)
    if unseen:
        return Judgement(_certain(rule, breaching, within), breaching, within)
    if rule.missing_data in (MissingData.MISSING, MissingData.IGNORE):
        return _judge_unfilled(rule, slots, breaching, within)
    breached = len(breaching) + (missing if rule.missing_data is MissingData.BREACHING else 0)
    return Judgement(_alarm_if(breached >= rule.datapoints_to_alarm), breaching, within, filled=missing)


def _judge_unfilled(
    rule: AlarmRule, slots: Sequence[Datapoint | None], breaching: tuple[Datapoint, ...], within: tuple[Datapoint, ...]
) -> Judgement:
    keeps = rule.missing_data is MissingData.IGNORE
    if not breaching and not within:
        return Judgement(None if keeps else AlarmValue.INSUFFICIENT_DATA)
    if len(breaching) >= rule.datapoints_to_alarm:
        return Judgement(AlarmValue.ALARM, breaching, within)
    oldest_age = next(len(slots) - index for index, slot in enumerate(slots) if slot is not None)
    if not within and oldest_age >= rule.datapoints_to_alarm:
        return Judgement(None if keeps else AlarmValue.ALARM, breaching, within, premature=True)
    return Judgement(AlarmValue.OK, breaching, within)


def _certain(rule: AlarmRule, breaching: Sequence[Datapoint], within: Sequence[Datapoint]) -> AlarmValue | None:
    """What is decided whatever the other datapoints of the N are; None: nothing is."""
    if len(breaching) >= rule.datapoints_to_alarm:
        return AlarmValue.ALARM
    enough = len(within) > rule.evaluation_periods - rule.datapoints_to_alarm
    return AlarmValue.OK if enough else None


def _alarm_if(breached: bool) -> AlarmValue:
    return AlarmValue.ALARM if breached else AlarmValue.OK


def _too_few_samples(rule: AlarmRule, recent: Sequence[Datapoint]) -> bool:
    """EvaluateLowSampleCountPercentile=ignore: a percentile of too few samples decides nothing."""
    if not rule.ignore_low_samples:
        return False
    needed = samples_needed(rule.statistic)
    return any(point.samples < needed for point in recent)


def samples_needed(statistic: str) -> float:
    """How many samples make a percentile meaningful (AWS: 10/(1-p) from the median up, 10/p below); 0 for other statistics."""
    share = percentile_share(statistic)
    if share is None:
        return 0.0
    tail = min(share, 1 - share)
    # Rounded, because 1 - 0.99 is a little more than 0.01 and must not ask for 999.9999 samples.
    return math.inf if tail == 0 else round(10 / tail, 6)
