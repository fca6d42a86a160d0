"""Reading what an alarm looks at: the periods before one second, as datapoints."""

from __future__ import annotations

from bannister.domain.alarm.alarm import AlarmRule
from bannister.domain.alarm.judgement import Datapoint, range_periods
from bannister.domain.metric.aggregate import Aggregate, statistic
from bannister.domain.metric.identity import MetricIdentity
from bannister.metrics.store import MetricStore


class Windows:
    """The evaluation ranges that end at one second; each distinct one is read once, however many alarms share it."""

    def __init__(self, metrics: MetricStore, end: int) -> None:
        self._metrics = metrics
        #: The second at which every range ends, exclusive.
        self.end = end
        self._read: dict[tuple[MetricIdentity, int, int, str | None], list[Aggregate | None]] = {}

    async def slots(self, rule: AlarmRule) -> list[Datapoint | None]:
        """The periods of a rule's evaluation range, oldest first; the newest ends at `end`."""
        periods = range_periods(rule)
        start = self.end - periods * rule.period_seconds
        key = (rule.metric, rule.period_seconds, periods, rule.unit)
        if key not in self._read:
            self._read[key] = await self._metrics.read(rule.metric, start, rule.period_seconds, periods, rule.unit)
        return [
            _datapoint(rule, start + index * rule.period_seconds, aggregate)
            for index, aggregate in enumerate(self._read[key])
        ]


def _datapoint(rule: AlarmRule, start: int, aggregate: Aggregate | None) -> Datapoint | None:
    value = None if aggregate is None else statistic(aggregate, rule.statistic)
    if aggregate is None or value is None:
        return None
    return Datapoint(start, value, aggregate.count)
