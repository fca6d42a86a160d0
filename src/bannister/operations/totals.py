"""What each group was asked and answered since this process started, as numbers that only grow: what a Prometheus server reads rates from.

It listens to the reports on their way to the evaluator and adds each once. The metric store keeps minutes to hours and answers for windows; a counter needs neither.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final, Protocol

from bannister.domain.metric.sketch import Sketch
from bannister.domain.metric.summary import Report, Summary

#: Upper bounds of the latency histogram, in seconds; then infinity.
BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
#: Of more groups, those that were heard of longest ago are forgotten.
GROUPS_MAX: Final = 5000


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
