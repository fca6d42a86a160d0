"""The metric store in memory: for simulations and tests, and as the simplest statement of what a store does."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from bannister.domain.comparison.report import Account, ComparisonReport
from bannister.domain.metric.aggregate import Aggregate, merge
from bannister.domain.metric.identity import MetricIdentity
from bannister.domain.metric.retention import rollups, served
from bannister.domain.metric.summary import Report, SkippedAccount
from bannister.metrics.capture_counts import counted_data
from bannister.metrics.store import Additions, Datum, GroupDimensions, refuse_more_metrics, tiers_of
from bannister.metrics.window import MetricWindow, counted, in_order
from bannister.settings import Settings


class MemoryMetrics:
    """A `MetricStore` that forgets everything when its process ends."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._spans = [tier.span_seconds for tier in tiers_of(settings)]
        #: One for each tier. All know all groups.
        self._windows = [MetricWindow(sliding=span == 1) for span in self._spans]
        self._recorded: dict[str, int] = {}
        self.capture_account: Account | None = None
        self.skipped_account: SkippedAccount | None = None

    async def register(self, group: GroupDimensions) -> None:
        for window in self._windows:
            window.register(group)

    async def record(self, report: Report | ComparisonReport) -> bool:
        if report.sequence <= self._recorded.get(report.run, 0):
            return False
        self._recorded[report.run] = report.sequence
        newest = self._windows[0]
        if isinstance(report, ComparisonReport):
            newest.add_tallies(map(counted, report.tallies))
            for datum in counted_data(report):
                newest.put(datum)
            self.capture_account = report.account or self.capture_account
        else:
            newest.add(newest.shared(report).summaries)
            self.skipped_account = report.account or self.skipped_account
        return True

    async def put(self, data: Sequence[Datum]) -> None:
        known = {metric for window in self._windows for metric in window.data_metrics()}
        new = {datum.metric for datum in data} - known
        if new and len(known) + len(new) > self._settings.metrics_max:
            raise refuse_more_metrics(self._settings)
        for datum in data:
            self._windows[0].put(datum)

    async def read(
        self,
        metric: MetricIdentity,
        start: float,
        period_seconds: float,
        periods: int,
        unit: str | None = None,
        *,
        shown_to_seconds: float | None = None,
        sliding: bool = False,
        group: str | None = None,
    ) -> list[Aggregate | None]:
        shown = shown_to_seconds or period_seconds
        tiers = [
            window.read(metric, start, period_seconds, periods, unit, shown, group)
            for span, window in zip(self._spans, self._windows, strict=True)
            if served(span, shown)
        ]
        found = [[part for part in parts if part is not None] for parts in zip(*tiers, strict=True)]
        return [merge(parts) if parts else None for parts in found]

    def additions(self, metric: MetricIdentity) -> Additions:
        return self._windows[0].additions(metric)

    def judged_until(self, until: float) -> None:
        self._windows[0].judged_until(until)

    async def metrics(self, *, since: float) -> list[MetricIdentity]:
        return in_order({metric for window in self._windows for metric in window.metrics(since)})

    async def expire(self, now: float, living: Collection[str] = ()) -> None:
        for rollup, finer, coarser in zip(
            rollups(tiers_of(self._settings), now), self._windows, self._windows[1:], strict=False
        ):
            finer.roll_up(coarser, rollup)
        self._windows[-1].forget(now - self._settings.metric_hour_retention_seconds)
        past = self._windows[0].past_groups(now, now - self._settings.metric_retention_seconds, living)
        past.sort(key=lambda group: max(window.last_second(group) for window in self._windows))
        surplus = len(past) - self._settings.metric_groups_max
        for place, group in enumerate(past):
            if place < surplus or not any(window.has_data(group) for window in self._windows):
                for window in self._windows:
                    window.drop_group(group)

    async def close(self) -> None:
        """Nothing to release."""
