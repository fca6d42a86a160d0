"""Reading what an alarm looks at: the periods before one second, as datapoints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import takewhile

from bannister.domain.alarm.alarm import AlarmQuery, AlarmRule
from bannister.domain.alarm.certainty import (
    Foreseen,
    can_be_certain,
    counts_what_happened,
    foreseen,
    is_certain,
    may_be_foreseen,
    seconds_needed,
)
from bannister.domain.alarm.expression import values
from bannister.domain.alarm.judgement import Datapoint, range_periods
from bannister.domain.metric.aggregate import Aggregate, statistic
from bannister.domain.metric.identity import MetricIdentity
from bannister.evaluator.horizon import Gap
from bannister.evaluator.readings import Readings, Series, series_of
from bannister.metrics.published import MINUTE, is_published_by_minute, read_published
from bannister.metrics.store import MetricStore
from bannister.settings import Timing


class Windows:
    """The evaluation ranges that end at one second; each distinct one is read once, however many alarms share it."""

    def __init__(
        self,
        metrics: MetricStore,
        readings: Readings,
        end: int,
        covered_since: float | None,
        timing: Timing = Timing.BANNISTER,
        gaps: Sequence[Gap] = (),
    ) -> None:
        """`gaps`: times in which not everything was seen, those that ended last first."""
        self._timing = timing
        self._readings = readings
        self._metrics = metrics
        self.covered_since = covered_since
        self._gaps = gaps
        #: The second at which every range ends, exclusive.
        self.end = end
        #: By metric, period, number of periods and unit. All of one timing, so that is not in the key.
        self._read: dict[tuple[MetricIdentity, int, int, str | None], list[Aggregate | None]] = {}
        self._slots: dict[Series, list[Datapoint | None]] = {}
        #: By queries, period and number of periods.
        self._results: dict[tuple[tuple[AlarmQuery, ...], int, int], list[Datapoint | None]] = {}

    async def slots(self, rule: AlarmRule) -> list[Datapoint | None]:
        """The periods of a rule's evaluation range, oldest first; the newest ends at `end`."""
        if rule.metric is None:
            return await self._result_slots(rule)
        (series,) = series_of(rule)
        slots = await self._metric_slots(series)
        if not self._gaps or not counts_what_happened(rule):
            return slots
        begin = self.end - len(slots) * rule.period_seconds
        gaps = list(takewhile(lambda gap: gap.reaches_into(begin, math.inf), self._gaps))
        return [None if one is not None and _is_part(rule, one, gaps) else one for one in slots] if gaps else slots

    async def _metric_slots(self, series: Series) -> list[Datapoint | None]:
        """A statistic of a metric in the periods up to `end`, whether an alarm is on the metric itself or on an expression over it."""
        slots = self._slots.get(series)
        if slots is None:
            slots = self._slots[series] = await self._slots_of(series)
        return slots

    async def _slots_of(self, series: Series) -> list[Datapoint | None]:
        reading = None if self._sees_minutes(series) else self._readings.of(series)
        if reading is None:
            return await self._read_newest(series, series.periods)
        reading.trust(self._metrics.additions(series.metric).late)
        period = series.period_seconds
        starts = range(self.end - series.periods * period, self.end, period)
        oldest = next((start for start in starts if not reading.knows(start)), self.end)
        unknown = range(oldest, self.end, period)
        if unknown:
            for start, slot in zip(unknown, await self._read_newest(series, len(unknown)), strict=True):
                reading.put(start, slot)
        return [reading.get(start) for start in starts]

    async def _read_newest(self, series: Series, periods: int) -> list[Datapoint | None]:
        """The newest periods of a series, from the store."""
        key = (series.metric, series.period_seconds, periods, series.unit)
        start = self.end - periods * series.period_seconds
        if key not in self._read:
            if self._sees_minutes(series):
                read = read_published(
                    self._metrics,
                    self._timing,
                    series.metric,
                    start,
                    series.period_seconds,
                    periods,
                    series.unit,
                    self.end,
                    sliding=True,
                )
            else:
                read = self._metrics.read(
                    series.metric, start, series.period_seconds, periods, series.unit, sliding=True
                )
            self._read[key] = await read
        return [
            _datapoint(series.statistic, start + index * series.period_seconds, aggregate)
            for index, aggregate in enumerate(self._read[key])
        ]

    def _sees_minutes(self, series: Series) -> bool:
        """Its periods are shorter than what is published; one of minutes is evaluated when a minute has ended."""
        return series.period_seconds % MINUTE != 0 and is_published_by_minute(series.metric, self._timing)

    async def _result_slots(self, rule: AlarmRule) -> list[Datapoint | None]:
        """The result of the alarm's expressions, as if it were a metric's."""
        periods = range_periods(rule)
        start = self.end - periods * rule.period_seconds
        key = (rule.queries, rule.period_seconds, periods)
        if key not in self._results:
            ids = [query.id for query in rule.queries if query.metric is not None]
            found = {name: await self._metric_slots(series) for name, series in zip(ids, series_of(rule), strict=True)}
            given = {name: [None if one is None else one.value for one in slots] for name, slots in found.items()}
            results = values(rule.queries, given, start, rule.period_seconds)
            inputs = list(zip(*found.values(), strict=True))
            begins = range(start, self.end, rule.period_seconds)
            self._results[key] = [
                self._result(at, value, slots) for at, value, slots in zip(begins, results, inputs, strict=True)
            ]
        return self._results[key]

    def _result(self, start: int, value: float | None, inputs: Sequence[Datapoint | None]) -> Datapoint | None:
        """FILL must not speak for a metric that nobody looked at: what rests on that is no data."""
        found = [one.samples for one in inputs if one is not None]
        uncovered = self.covered_since is not None and start < self.covered_since
        if value is None or (uncovered and len(found) < len(inputs)):
            return None
        return Datapoint(start, value, min(found, default=0.0))

    async def foreseen(self, rule: AlarmRule) -> Foreseen | None:
        """The evaluation after `end` that is certain to say ALARM, by all that is stored."""
        if rule.metric is None or not can_be_certain(rule):
            return None
        period = rule.period_seconds
        (around,) = await self._metrics.read(
            rule.metric, self.end - period, 2 * period, 1, rule.unit, shown_to_seconds=period, sliding=True
        )
        if not may_be_foreseen(rule, around):
            return None
        start, seconds = seconds_needed(rule, self.end)
        read = await self._metrics.read(rule.metric, start, 1, seconds, rule.unit, shown_to_seconds=period)
        return foreseen(rule, read, self.end)

    def unseen(self, configured_at: float, rule: AlarmRule, slots: Sequence[Datapoint | None]) -> bool:
        """Whether one of an alarm's newest N periods has no data and reaches into a time that telemetry did not cover.

        What came before the alarm was put is not asked for: it is missing, as in CloudWatch.
        """
        if self.covered_since is None or configured_at >= self.covered_since:
            return False
        newest = reversed(slots[-rule.evaluation_periods :])
        for age, slot in enumerate(newest, start=1):
            start = self.end - age * rule.period_seconds
            end = start + rule.period_seconds
            if slot is None and start < self.covered_since and end > configured_at:
                return True
        return False


def _is_part(rule: AlarmRule, slot: Datapoint, gaps: Sequence[Gap]) -> bool:
    """Of a period that reaches into a gap a count is a part, and no datapoint; unless the rest of it changes nothing."""
    end = slot.start_at + rule.period_seconds
    return any(gap.reaches_into(slot.start_at, end) for gap in gaps) and not is_certain(rule, slot.value)


def _datapoint(name: str, start: int, aggregate: Aggregate | None) -> Datapoint | None:
    value = None if aggregate is None else statistic(aggregate, name)
    if aggregate is None or value is None:
        return None
    return Datapoint(start, value, aggregate.count)
