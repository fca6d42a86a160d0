"""What is stored of requests, against what telemetry said of them: nothing twice, and nothing less but what telemetry took with it when it ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from bannister.domain.fleet import Group
from bannister.domain.metric.endpoint import group_metric
from bannister.domain.metric.identity import MetricIdentity
from bannister.domain.metric.summary import Report

if TYPE_CHECKING:
    from tests.simulation.world import Violation, World

T = TypeVar("T")

#: Metrics by their names on AWS, in the order in which requests and errors are counted here.
METRICS = ("Invocations", "Invocation5XXErrors")


class CountRules:
    """Part of the checker."""

    def __init__(self, world: World) -> None:
        self._world = world

    def stored(self, report: Report) -> None:
        """A report was taken, for the first time or again: of none of its seconds more is stored than was ever sent."""
        for one in report.summaries:
            sent = self._world.telemetry.sent[one.group, one.second]
            found = self._world.metrics.counted(one.group, one.second)
            if found[0] > sent[0] or found[1] > sent[1]:
                raise self._wrong(one.group, one.second, found)

    def settled(self) -> None:
        """At the end, nothing is missing either that was not lost, and what alarms and people read adds up to it."""
        telemetry, metrics = self._world.telemetry, self._world.metrics
        by_group: dict[str, list[int]] = {}
        for (group, second), sent in telemetry.sent.items():
            lost, found = telemetry.lost.get((group, second), (0, 0)), metrics.counted(group, second)
            if not all(one - less <= has <= one for one, less, has in zip(sent, lost, found, strict=True)):
                raise self._wrong(group, second, found)
            totals = by_group.setdefault(group, [0, 0])
            totals[0] += found[0]
            totals[1] += found[1]
        told: Counter[MetricIdentity] = Counter()
        for one in self._groups():
            for name, count in zip(METRICS, by_group.get(one.id, (0, 0)), strict=True):
                told[group_metric(name, one)] += count
        seconds = [second for _, second in telemetry.sent]
        start = min(seconds, default=0)
        span = max(seconds, default=0) + 1 - start
        for metric, count in told.items():
            (read,) = _at_once(metrics.read(metric, start, span, 1))
            if (read.sum if read is not None else 0) != count:
                raise self._world.violated("19: a request counts once", f"{metric} is {read}, and {count} are stored.")

    def _wrong(self, group: str, second: int, found: tuple[int, int]) -> Violation:
        telemetry = self._world.telemetry
        sent, lost = telemetry.sent[group, second], telemetry.lost.get((group, second), (0, 0))
        return self._world.violated(
            "19: a request counts once",
            f"Of {group} in second {second} (requests, errors) {found} are stored; telemetry sent {sent}, of which {lost} may be lost.",
        )

    def _groups(self) -> list[Group]:
        fleets = [
            fleet
            for one in self._world.checker.watched.values()
            for fleet in (one.deployment.blue, one.deployment.green)
        ]
        return [*{group.id: group for fleet in fleets if fleet is not None for group in fleet.groups}.values()]


def _at_once(answer: Coroutine[Any, Any, T]) -> T:
    """What a store in memory answers; it never waits."""
    try:
        answer.send(None)
    except StopIteration as stop:
        found: T = stop.value
        return found
    raise AssertionError("It waits.")
