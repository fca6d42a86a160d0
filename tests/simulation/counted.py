"""What is stored of requests, against what telemetry said of them: nothing twice, and nothing less but what telemetry took with it when it ended."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from bannister.domain.fleet import Group
from bannister.domain.metric.endpoint import group_metric
from bannister.domain.metric.identity import MetricIdentity
from bannister.domain.metric.summary import Report

if TYPE_CHECKING:
    from tests.simulation.world import World

T = TypeVar("T")

#: By the name that a metric has on AWS: what it counts.
METRICS = {"Invocations": "requests", "Invocation5XXErrors": "errors"}


class CountRules:
    """Part of the checker."""

    def __init__(self, world: World) -> None:
        self._world = world

    def stored(self, report: Report) -> None:
        """A report was taken, for the first time or again: of none of its seconds more is stored than was ever sent."""
        for one in report.summaries:
            self._check(one.group, one.second, is_over=False)

    def settled(self) -> None:
        """At the end, nothing is missing either that was not lost."""
        for group, second in self._world.telemetry.sent:
            self._check(group, second, is_over=True)
        self._check_metrics()

    def _check(self, group: str, second: int, *, is_over: bool) -> None:
        telemetry = self._world.telemetry
        sent, lost = telemetry.sent[group, second], telemetry.lost.get((group, second), Counter())
        found = self._world.metrics.counted(group, second)
        for what, count in sent.items():
            if not (count - lost[what] if is_over else 0) <= found[what] <= count:
                raise self._world.violated(
                    "19: a request counts once",
                    f"{group} has {found[what]} {what} in second {second}; telemetry sent {count}, of which {lost[what]} may be lost.",
                )

    def _check_metrics(self) -> None:
        """What alarms and people read adds up to what is stored."""
        world = self._world
        by_group: dict[str, Counter[str]] = defaultdict(Counter)
        for group, second in world.telemetry.sent:
            by_group[group] += world.metrics.counted(group, second)
        told: Counter[MetricIdentity] = Counter()
        for one in self._groups():
            for name, what in METRICS.items():
                told[group_metric(name, one)] += by_group[one.id][what]
        seconds = [second for _, second in world.telemetry.sent]
        start = min(seconds, default=0)
        span = max(seconds, default=0) + 1 - start
        for metric, count in told.items():
            (found,) = _at_once(world.metrics.read(metric, start, span, 1))
            if (found.sum if found is not None else 0) != count:
                raise world.violated("19: a request counts once", f"{metric} is {found}, and {count} are stored.")

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
