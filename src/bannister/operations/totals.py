"""What each group was asked and answered since this process started, as numbers that only grow: what a Prometheus server reads rates from.

It listens to the reports on their way to the evaluator and adds each once. The metric store keeps minutes to hours and answers for windows; a counter needs neither.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from bannister.domain.metric.sketch import Sketch
from bannister.domain.metric.summary import Report, Summary

#: Upper bounds of the latency histogram, in seconds; then infinity.
BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
#: Of more groups, those that were heard of longest ago are forgotten.
GROUPS_MAX: Final = 5000
#: Of more series, those that were shown longest ago are forgotten, and would begin at zero.
SERIES_MAX: Final = 5000

#: Endpoint, variant, configuration: what a series is called by.
Labels = tuple[str, str, str]


@dataclass(slots=True)
class Latency:
    """Samples by bucket (the last: above all bounds), and their sum in seconds."""

    buckets: list[float] = field(default_factory=lambda: [0.0] * (len(BUCKETS) + 1))
    sum_seconds: float = 0.0

    def add(self, sketch: Sketch) -> None:
        import numpy as np

        keys, weights = sketch.samples()
        indices = np.searchsorted(np.array(BUCKETS) * 1e6, keys, side="left")
        for index, count in enumerate(np.bincount(indices, weights, len(self.buckets))):
            self.buckets[index] += float(count)
        self.sum_seconds += sketch.sum / 1e6

    def add_all(self, other: Latency) -> None:
        self.buckets = [own + more for own, more in zip(self.buckets, other.buckets, strict=True)]
        self.sum_seconds += other.sum_seconds


@dataclass(slots=True)
class Total:
    """Of one group."""

    invocations: int = 0
    errors_4xx: int = 0
    errors_5xx: int = 0
    model_errors: int = 0
    retries: int = 0
    late: int = 0
    skipped: int = 0
    model: Latency = field(default_factory=Latency)
    overhead: Latency = field(default_factory=Latency)

    def add(self, one: Summary) -> None:
        self.invocations += one.invocations
        self.errors_4xx += one.errors_4xx
        self.errors_5xx += one.errors_5xx
        self.model_errors += one.model_errors
        self.retries += one.retries
        self.late += one.late
        self.skipped += one.skipped
        if one.model_latency is not None:
            self.model.add(one.model_latency)
        if one.overhead_latency is not None:
            self.overhead.add(one.overhead_latency)

    def add_all(self, other: Total) -> None:
        self.invocations += other.invocations
        self.errors_4xx += other.errors_4xx
        self.errors_5xx += other.errors_5xx
        self.model_errors += other.model_errors
        self.retries += other.retries
        self.late += other.late
        self.skipped += other.skipped
        self.model.add_all(other.model)
        self.overhead.add_all(other.overhead)


class Reports(Protocol):
    """Where reports come from, as the evaluator sees it."""

    def __aiter__(self) -> AsyncIterator[Report]: ...

    async def acknowledge(self, report: Report) -> None: ...


class Totals:
    """A feed of reports that counts what passes."""

    def __init__(self, feed: Reports) -> None:
        self._feed = feed
        self._last: tuple[str, int] = ("", 0)
        self._groups: OrderedDict[str, Total] = OrderedDict()

    async def __aiter__(self) -> AsyncIterator[Report]:
        async for report in self._feed:
            self._count(report)
            yield report

    async def acknowledge(self, report: Report) -> None:
        await self._feed.acknowledge(report)

    def of(self, group: str) -> Total:
        return self._groups.get(group) or Total()

    def give_up(self, group: str) -> None:
        """Whoever asked for this group has what it counted; what still comes begins at zero."""
        self._groups.pop(group, None)

    def _count(self, report: Report) -> None:
        run, sequence = self._last
        if report.run == run and report.sequence <= sequence:
            return  # sent again
        self._last = (report.run, report.sequence)
        for one in report.summaries:
            self._groups.setdefault(one.group, Total()).add(one)
            self._groups.move_to_end(one.group)
        while len(self._groups) > GROUPS_MAX:
            self._groups.popitem(last=False)


@dataclass(slots=True)
class _Series:
    #: The groups that count on.
    members: dict[str, Total] = field(default_factory=dict)
    #: What others counted that had the same labels.
    past: Total = field(default_factory=Total)


class Counters:
    """Totals by labels. Groups come and go under the same labels (a configuration deployed anew), and the sum never falls."""

    def __init__(self, totals: Totals) -> None:
        self._totals = totals
        self._series: OrderedDict[Labels, _Series] = OrderedDict()

    def look(self, groups: Mapping[Labels, Collection[str]]) -> dict[Labels, list[Total]]:
        """What is to be summed for each, of the groups that there are now and all that were seen before."""
        for labels, series in self._series.items():
            for gone in series.members.keys() - groups.get(labels, ()):
                series.past.add_all(series.members.pop(gone))
                self._totals.give_up(gone)
        for labels, present in groups.items():
            series = self._series.setdefault(labels, _Series())
            self._series.move_to_end(labels)
            for group in present:
                known, found = series.members.get(group), self._totals.of(group)
                if known is not None and known is not found:
                    series.past.add_all(known)  # it was forgotten, and began anew
                series.members[group] = found
        while len(self._series) > max(SERIES_MAX, len(groups)):
            self._series.popitem(last=False)
        return {labels: [self._series[labels].past, *self._series[labels].members.values()] for labels in groups}
