"""The metric store in memory: for simulations and tests, and as the simplest statement of what a store does."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from bannister.domain.comparison.report import ComparisonReport
from bannister.domain.metric.aggregate import Aggregate
from bannister.domain.metric.identity import MetricIdentity
from bannister.domain.metric.summary import Report
from bannister.metrics.capture_counts import counted_data
from bannister.metrics.store import Additions, Datum, GroupDimensions
from bannister.metrics.window import MetricWindow, counted, in_order
from bannister.settings import Settings


class MemoryMetrics:
    """A `MetricStore` that forgets everything when its process ends."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._window = MetricWindow()
        self._recorded: dict[str, int] = {}

    async def register(self, group: GroupDimensions) -> None:
        self._window.register(group)

    async def record(self, report: Report | ComparisonReport) -> bool:
        if report.sequence <= self._recorded.get(report.run, 0):
            return False
        self._recorded[report.run] = report.sequence
        if isinstance(report, ComparisonReport):
            self._window.add_tallies(map(counted, report.tallies))
            for datum in counted_data(report):
                self._window.put(datum)
        else:
            self._window.add(report.summaries)
        return True

    async def put(self, data: Sequence[Datum]) -> None:
        for datum in data:
            self._window.put(datum)

    async def read(
        self, metric: MetricIdentity, start: float, period_seconds: float, periods: int, unit: str | None = None
    ) -> list[Aggregate | None]:
        return self._window.read(metric, start, period_seconds, periods, unit)

    def additions(self, metric: MetricIdentity) -> Additions:
        return self._window.additions(metric)

    async def metrics(self, *, since: float) -> list[MetricIdentity]:
        return in_order(self._window.metrics(since))

    async def expire(self, now: float, living: Collection[str] = ()) -> None:
        before = now - self._settings.metric_retention_seconds
        self._window.forget(before, now - self._settings.metric_data_retention_seconds)
        for group in self._window.past_groups(now, before, living):
            self._window.forget_group(group)

    async def close(self) -> None:
        """Nothing to release."""
