"""What periods were found to hold, so that each is read once while it moves through an alarm's range.

An evaluation at second E looks at the periods that end at E, E - P, E - 2P and so on. All but the newest were looked at before, at E - P: what they hold is known, unless something was
added to them since (`Additions.late`). So an evaluation reads one period, however many are in its range. What is kept of a period is its statistic, not what that is made of.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from bannister.domain.alarm.alarm import AlarmRule
from bannister.domain.alarm.judgement import Datapoint, range_periods
from bannister.domain.metric.identity import MetricIdentity

#: Longer ranges are read anew every time.
RANGE_SECONDS_MAX: Final = 600
#: What is kept takes so much for each second of a range; where all together would take more than the bound, other series are read anew.
_SECOND_BYTES: Final = 24
READINGS_BYTES_MAX: Final = 64 * 1024 * 1024
#: In place of the number of samples: the period holds no data.
_NO_DATA: Final = -1.0


@dataclass(frozen=True, slots=True)
class Series:
    """One statistic of one metric in so many periods before any second."""

    metric: MetricIdentity
    unit: str | None
    statistic: str
    period_seconds: int
    periods: int


class Reading:
    """The periods of one series by the second in which they begin; those of the newest range are held."""

    def __init__(self, series: Series) -> None:
        self._size = series.period_seconds * series.periods
        self._starts = array("q", [-1]) * self._size
        self._values = array("d", [0.0]) * self._size
        self._samples = array("d", [0.0]) * self._size
        self._late = 0

    def trust(self, late: int) -> None:
        """Nothing was added to past periods since a moment: one with another number ends what is known."""
        if late != self._late:
            self._starts = array("q", [-1]) * self._size
            self._late = late

    def knows(self, start: int) -> bool:
        return self._starts[start % self._size] == start

    def get(self, start: int) -> Datapoint | None:
        """A period that is known; None: it holds no data."""
        at = start % self._size
        samples = self._samples[at]
        return None if samples == _NO_DATA else Datapoint(start, self._values[at], samples)

    def put(self, start: int, slot: Datapoint | None) -> None:
        at = start % self._size
        self._starts[at] = start
        self._values[at], self._samples[at] = (0.0, _NO_DATA) if slot is None else (slot.value, slot.samples)


class Readings:
    """Of all alarms. Whoever changes what alarms there are says which series are still looked at."""

    def __init__(self) -> None:
        self._readings: dict[Series, Reading] = {}
        self._bytes = 0

    def of(self, series: Series) -> Reading | None:
        """None: its range is too long, or there is no room."""
        found = self._readings.get(series)
        if found is not None:
            return found
        seconds, size = series.period_seconds * series.periods, _bytes(series)
        if seconds > RANGE_SECONDS_MAX or self._bytes + size > READINGS_BYTES_MAX:
            return None
        self._bytes += size
        found = self._readings[series] = Reading(series)
        return found

    def keep(self, rules: Iterable[AlarmRule]) -> None:
        """Forget what none of these looks at."""
        wanted = {one for rule in rules for one in series_of(rule)}
        for series in [series for series in self._readings if series not in wanted]:
            del self._readings[series]
            self._bytes -= _bytes(series)

    def __len__(self) -> int:
        return len(self._readings)


def _bytes(series: Series) -> int:
    return series.period_seconds * series.periods * _SECOND_BYTES


def series_of(rule: AlarmRule) -> Sequence[Series]:
    """What a rule reads: its own metric, or those of its expressions."""
    periods = range_periods(rule)
    if rule.metric is not None:
        return (Series(rule.metric, rule.unit, rule.statistic, rule.period_seconds, periods),)
    return tuple(
        Series(one.metric, one.unit, one.statistic, rule.period_seconds, periods)
        for one in rule.queries
        if one.metric is not None
    )
