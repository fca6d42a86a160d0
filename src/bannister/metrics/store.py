"""What the metric store promises.

It keeps the one-second summaries of instances and tallies of compared answers, from which all endpoint and shadow metrics are derived when read, and
the datapoints that users put.

Every store passes `tests/metrics/test_conformance.py`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from bannister.domain.comparison.report import ComparisonReport
from bannister.domain.metric.aggregate import Aggregate
from bannister.domain.metric.identity import MetricIdentity
from bannister.domain.metric.summary import Report


@dataclass(frozen=True, slots=True)
class GroupDimensions:
    """What a group's summaries stand for in CloudWatch's dimensions."""

    group: str
    endpoint: str
    variant: str
    config_name: str
    #: For InvocationsPerInstance.
    instance_count: int


@dataclass(frozen=True, slots=True)
class Datum:
    """What PutMetricData gives for one metric at one time, already reduced to an aggregate."""

    metric: MetricIdentity
    at: float
    aggregate: Aggregate


class Additions(NamedTuple):
    """What was added to a metric, or to what it is derived from."""

    times: int
    #: The newest time that any of it bears.
    newest_at: float


NOTHING_ADDED: Final = Additions(0, -math.inf)


class MetricStore(Protocol):
    """Stores and reads. For one event loop."""

    async def register(self, group: GroupDimensions) -> None:
        """Make a group's summaries readable under its dimensions; idempotent, kept as long as its data."""
        ...

    async def record(self, report: Report | ComparisonReport) -> bool:
        """Store a report's summaries or tallies. False: this run and sequence were stored before, and nothing changed."""
        ...

    async def put(self, data: Sequence[Datum]) -> None:
        """Store what a user put."""
        ...

    async def read(
        self, metric: MetricIdentity, start: float, period_seconds: float, periods: int, unit: str | None = None
    ) -> list[Aggregate | None]:
        """One aggregate for each of `periods` stretches from `start` on: [start + i·period, start + (i+1)·period).

        A datapoint belongs to a stretch by its time; a one-second summary or tally by the beginning of its second. None: no data.
        """
        ...

    def additions(self, metric: MetricIdentity) -> Additions:
        """What was added to a metric since start: while this stays the same, nothing was."""
        ...

    async def metrics(self, *, since: float) -> list[MetricIdentity]:
        """Every metric with data since then, the derived ones included, in the order of namespace, name, dimensions."""
        ...

    async def expire(self, now: float, living: Collection[str] = ()) -> None:
        """Forget what is past its retention; and the dimensions of groups that have no data left, unless they are `living`.

        A group is kept for the retention of summaries after it was first seen here: what it answered may still be under way.
        """
        ...

    async def close(self) -> None:
        """Release files and locks."""
        ...
