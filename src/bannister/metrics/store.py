"""What the metric store promises.

It keeps the one-second summaries of instances and tallies of compared answers, from which all endpoint and shadow metrics are derived when read, and
the datapoints that users put.

Every store passes `tests/metrics/test_conformance.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from bannister.domain.comparison.report import Account, ComparisonReport
from bannister.domain.metric.aggregate import Aggregate
from bannister.domain.metric.identity import MetricIdentity
from bannister.domain.metric.retention import Tier
from bannister.domain.metric.summary import Report, SkippedAccount
from bannister.errors import Invalid
from bannister.settings import Settings


@dataclass(frozen=True, slots=True)
class GroupDimensions:
    """What a group's summaries stand for in CloudWatch's dimensions."""

    group: str
    endpoint: str
    variant: str
    config_name: str
    #: For InvocationsPerInstance: of what is recorded from now on.
    instance_count: int


@dataclass(frozen=True, slots=True)
class Datum:
    """What PutMetricData gives for one metric at one time, already reduced to an aggregate."""

    metric: MetricIdentity
    at: float
    aggregate: Aggregate
    #: It is readable with periods that are multiples of so many seconds: 1 or 60 when put, and longer once it is old.
    span_seconds: int = 1


def tiers_of(settings: Settings) -> tuple[Tier, ...]:
    """How finely data are kept, and up to which age."""
    return (
        Tier(1, settings.metric_retention_seconds),
        Tier(60, settings.metric_minute_retention_seconds),
        Tier(300, settings.metric_five_minute_retention_seconds),
        Tier(3600, settings.metric_hour_retention_seconds),
    )


def refuse_more_metrics(settings: Settings) -> Invalid:
    """What is said to a new metric beyond `metrics_max`."""
    return Invalid(
        f"There are {settings.metrics_max:,} metrics already (metrics_max): leave out dimensions with many values, such as request ids, or raise "
        "the setting.",
        code="LimitExceededException",
    )


class Additions(NamedTuple):
    """What was added to a metric, or to what it is derived from."""

    #: The number of the newest addition, among all to any metric; 0: none is known.
    number: int
    #: Nothing that was added bears a later time.
    newest_at: float
    #: The number of the newest addition to a time that was judged before (`MetricStore.judged_until`): while it stays the same, what was read of those times holds.
    late: int


class MetricStore(Protocol):
    """Stores and reads. For one event loop."""

    async def register(self, group: GroupDimensions) -> None:
        """Make a group's summaries readable under its dimensions; idempotent, kept as long as its data."""
        ...

    async def record(self, report: Report | ComparisonReport) -> bool:
        """Store a report's summaries, or its tallies and counts, and its account, all or nothing. False: this run and sequence were stored before, and nothing changed."""
        ...

    @property
    def capture_account(self) -> Account | None:
        """The newest that came with a stored report, in whatever process that was; None: none did."""
        ...

    @property
    def skipped_account(self) -> SkippedAccount | None:
        """The same of telemetry's reports."""
        ...

    async def put(self, data: Sequence[Datum]) -> None:
        """Store what a user put.

        Raises:
            Invalid: There are `metrics_max` metrics of users, and one of these is new; nothing was stored.
        """
        ...

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
        """One aggregate for each of `periods` stretches from `start` on: [start + i·period, start + (i+1)·period).

        A datapoint belongs to a stretch by its time; a one-second summary or tally by the beginning of its second, and what is kept less finely
        (see `expire`) by the beginning of its stretch, if the period is a multiple of that. None: no data.
        `shown_to_seconds` is another period that decides what is shown: whoever looks into periods sees the seconds of what they are made of.
        `sliding`: the same is asked again soon, some seconds later; a store may keep what makes that cheap.
        `group`: of a derived metric only what this group of instances contributed: another one may serve the same configuration.
        """
        ...

    def additions(self, metric: MetricIdentity) -> Additions:
        """What was added to a metric: while this stays the same, nothing was. It may become another without that."""
        ...

    def judged_until(self, until: float) -> None:
        """Alarms are judged on everything before this: what is added to earlier times from now on is late. Less than before: judging has begun anew."""
        ...

    async def metrics(self, *, since: float) -> list[MetricIdentity]:
        """Every metric with data since then, the derived ones included, in the order of namespace, name, dimensions."""
        ...

    async def expire(self, now: float, living: Collection[str] = ()) -> None:
        """Keep what is past a tier of `tiers_of` less finely, and forget what is past the last one; and the dimensions of groups that have no data left, unless they are `living`.

        A group is kept for the retention of one-second summaries after it was first seen here: what it answered may still be under way.
        """
        ...

    async def close(self) -> None:
        """Release files and locks."""
        ...
