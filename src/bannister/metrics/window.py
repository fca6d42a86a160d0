"""Metrics of a stretch of time, in memory: where both stores answer from.

`MemoryMetrics` keeps all its data in one; `SqliteMetrics` keeps the newest minutes in one, because every alarm reads its window again each
second, and fills another for a question about older data.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from operator import or_
from typing import Final, TypeAlias, TypeVar

from bannister.domain.comparison.metrics import compared_variant_of, shadow_identities, shadow_metric
from bannister.domain.comparison.report import GroupTally
from bannister.domain.metric.aggregate import Aggregate, merge
from bannister.domain.metric.endpoint import (
    ENDPOINT_METRICS,
    LATENCIES,
    SHADOW_METRICS,
    endpoint_identities,
    endpoint_metric,
    endpoint_of,
)
from bannister.domain.metric.identity import MetricIdentity
from bannister.domain.metric.retention import Rollup, merged_data, merged_summary, merged_tallies, served, stretch
from bannister.domain.metric.summary import Report, Summary
from bannister.metrics.blocks import Blocks
from bannister.metrics.store import Additions, Datum, GroupDimensions

_T = TypeVar("_T")
#: Endpoint, variant and configuration (None: all).
_Source: TypeAlias = tuple[str, str, str | None]

#: It is known of so many groups and metrics when something was added to them; of more, those are forgotten to which nothing was for longest.
ADDITIONS_MAX: Final = 50_000

#: Those that exist for every invocation; the latencies exist only for answered ones.
_COUNTED = tuple(name for name in ENDPOINT_METRICS if not name.endswith("Latency"))


@dataclass(slots=True)
class _Series:
    """What users put for one metric, by time."""

    #: (time, order of arrival, aggregate, span in seconds): equal times are never compared further.
    points: list[tuple[float, int, Aggregate, int]] = field(default_factory=list)

    def between(self, start: float, end: float, period: float) -> list[Aggregate]:
        first = bisect_left(self.points, (start,))
        last = bisect_left(self.points, (end,), first)
        return [point[2] for point in self.points[first:last] if served(point[3], period)]


class MetricWindow:
    """Summaries and datapoints, readable as metrics. Synchronous; holds whatever it is given."""

    def __init__(self, *, sliding: bool = True) -> None:
        """`sliding`: periods are read again a second later, so that it pays to merge latencies ahead (`Blocks`)."""
        self._sliding = sliding
        self._groups: dict[str, GroupDimensions] = {}
        #: By group: when it was first seen to be registered.
        self._known_since: dict[str, float] = {}
        self._by_variant: dict[tuple[str, str], dict[str, GroupDimensions]] = {}
        #: Group, then second; several summaries of one second are several instances, or late additions.
        self._summaries: dict[str, dict[int, list[Summary]]] = {}
        #: Group, then second, as summaries.
        self._tallies: dict[str, dict[int, list[GroupTally]]] = {}
        self._series: dict[MetricIdentity, _Series] = {}
        self._arrivals = 0
        self._blocks = Blocks()
        #: By group and by metric, what was added last at the end.
        self._additions: OrderedDict[str | MetricIdentity, Additions] = OrderedDict()
        self._additions_count = 0
        #: By metric, until something is added to it or to a group of its variant: thousands of silent alarms ask every second.
        self._known_additions: dict[MetricIdentity, Additions] = {}
        #: The metrics in that, by the variant that they are derived from.
        self._asked: dict[tuple[str, str], set[MetricIdentity]] = {}
        #: What was added to others than those bears no later time than this, and came late no later than this.
        self._forgotten_newest_at = -math.inf
        self._forgotten_late = 0
        self._judged_until = -math.inf

    def register(self, group: GroupDimensions) -> None:
        if self._groups.get(group.group) != group:
            self.note(group.group, -math.inf)  # what it has already is readable from now on
        self._groups[group.group] = group
        self._forget_known(group)
        self._by_variant.setdefault((group.endpoint, group.variant), {})[group.group] = group

    def past_groups(self, now: float, before: float, living: Collection[str]) -> list[str]:
        """Groups that are not `living`, have no data here, and were first asked about before a time."""
        for name in self._groups:
            self._known_since.setdefault(name, now)
        return [
            name
            for name, since in self._known_since.items()
            if since < before and name not in living and not self.has_data(name)
        ]

    def forget_group(self, name: str) -> None:
        """Its data, if there are any, are readable no more."""
        group = self._groups.pop(name)
        self._additions.pop(name, None)
        self._known_since.pop(name, None)
        self._forget_known(group)
        same = self._by_variant[group.endpoint, group.variant]
        del same[name]
        if not same:
            del self._by_variant[group.endpoint, group.variant]

    def groups(self) -> list[GroupDimensions]:
        return list(self._groups.values())

    def groups_of(self, metric: MetricIdentity) -> list[GroupDimensions]:
        """The registered groups whose summaries or tallies make up a derived metric; for any other metric none."""
        source = _source_of(metric)
        return [] if source is None else self._groups_of(source)

    def _groups_of(self, source: _Source) -> list[GroupDimensions]:
        endpoint, variant, config_name = source
        return [
            group
            for group in self._by_variant.get((endpoint, variant), {}).values()
            if config_name is None or group.config_name == config_name
        ]

    def shared(self, report: Report) -> Report:
        """The report with the number of instances that share its invocations now: they may be more or fewer when it is read."""
        return replace(report, summaries=tuple([self._shared(one) for one in report.summaries]))

    def _shared(self, one: Summary) -> Summary:
        group = self._groups.get(one.group)
        return one if group is None else replace(one, shared_by={group.instance_count: one.invocations})

    def add(self, summaries: Iterable[Summary]) -> None:
        for summary in summaries:
            seconds = self._summaries.setdefault(summary.group, {})
            seconds.setdefault(summary.second, []).append(summary)
            self._blocks.touch(summary.group, summary.second)
            self.note(summary.group, summary.second)

    def add_tallies(self, tallies: Iterable[GroupTally]) -> None:
        for one in tallies:
            self._tallies.setdefault(one.group, {}).setdefault(one.second, []).append(one)
            self.note(one.group, one.second)

    def put(self, datum: Datum) -> None:
        self._arrivals += 1
        self.note(datum.metric, datum.at)
        series = self._series.setdefault(datum.metric, _Series())
        insort(series.points, (datum.at, self._arrivals, datum.aggregate, datum.span_seconds))

    def read(
        self,
        metric: MetricIdentity,
        start: float,
        period_seconds: float,
        periods: int,
        unit: str | None,
        shown_to_seconds: float,
        group: str | None = None,
    ) -> list[Aggregate | None]:
        """As `MetricStore.read`."""
        series = self._series.get(metric) if group is None else None
        if series is None and not self._summaries and not self._tallies:
            return [None] * periods
        groups = [one for one in self.groups_of(metric) if group in (None, one.group)]
        compared = compared_variant_of(metric) is not None
        found: list[Aggregate | None] = []
        for index in range(periods):
            begin, end = start + index * period_seconds, start + (index + 1) * period_seconds
            derived = self._shadow_parts if compared else self._endpoint_parts
            parts = list(derived(metric.name, groups, begin, end))
            if series is not None:
                parts += series.between(begin, end, shown_to_seconds)
            parts = [part for part in parts if unit is None or part.unit == unit]
            found.append(merge(parts) if parts else None)
        return found

    def note(self, added_to: str | MetricIdentity, at: float) -> None:
        """Something of this time was added to a group or a metric, whether it is held here or not."""
        self._additions_count += 1
        before = self._added(added_to)
        late = self._additions_count if at < self._judged_until else before.late
        self._additions[added_to] = Additions(self._additions_count, max(before.newest_at, at), late)
        self._additions.move_to_end(added_to)
        if isinstance(added_to, MetricIdentity):
            self._known_additions.pop(added_to, None)
        elif (group := self._groups.get(added_to)) is not None:
            self._forget_known(group)
        if len(self._additions) > ADDITIONS_MAX:
            _, forgotten = self._additions.popitem(last=False)
            self._forgotten_late = max(self._forgotten_late, forgotten.late)
            self.doubt(forgotten.newest_at)

    def doubt(self, newest_at: float) -> None:
        """Anything may have been added of times up to this."""
        self._forgotten_newest_at = max(self._forgotten_newest_at, newest_at)
        self._known_additions.clear()
        self._asked.clear()

    def _forget_known(self, group: GroupDimensions) -> None:
        """Something about a group is other than before."""
        for metric in self._asked.pop((group.endpoint, group.variant), ()):
            self._known_additions.pop(metric, None)

    def additions(self, metric: MetricIdentity) -> Additions:
        """As `MetricStore.additions`."""
        known = self._known_additions.get(metric)
        if known is not None:
            return known
        if len(self._known_additions) >= ADDITIONS_MAX:
            self._known_additions.clear()
            self._asked.clear()
        found, source = self._added(metric), _source_of(metric)
        if source is not None:
            found = _newest([found, *(self._added(group.group) for group in self._groups_of(source))])
            self._asked.setdefault(source[:2], set()).add(metric)
        self._known_additions[metric] = found
        return found

    def judged_until(self, until: float) -> None:
        """As `MetricStore.judged_until`."""
        self._judged_until = until

    def _added(self, added_to: str | MetricIdentity) -> Additions:
        return self._additions.get(added_to) or Additions(0, self._forgotten_newest_at, self._forgotten_late)

    def metrics(self, since: float) -> set[MetricIdentity]:
        """Every metric with data since then."""
        found = {metric for metric, series in self._series.items() if series.points and series.points[-1][0] >= since}
        for group, seconds in self._summaries.items():
            dimensions = self._groups.get(group)
            recent = [one for second, ones in seconds.items() if second >= since for one in ones]
            if dimensions is not None and recent:
                found.update(metrics_of(dimensions, {kinds_of(one) for one in recent}))
        for group, by_second in self._tallies.items():
            dimensions = self._groups.get(group)
            tallies = [one for second, ones in by_second.items() if second >= since for one in ones]
            if dimensions is not None and tallies:
                found.update(
                    shadow_identities(dimensions.endpoint, dimensions.variant, dimensions.config_name, tallies)
                )
        return found

    def forget(self, before: float) -> None:
        """Drop what is older."""
        _forget(self._summaries, before)
        _forget(self._tallies, before)
        self._blocks.forget(before)
        for metric, series in list(self._series.items()):
            del series.points[: bisect_left(series.points, (before,))]
            if not series.points:
                del self._series[metric]

    def roll_up(self, into: MetricWindow, rollup: Rollup) -> None:
        """Move what is before a moment to another window, one for each stretch there."""
        span = rollup.span_seconds
        for group, second, found in _taken(self._summaries, into._summaries, rollup):
            into._summaries.setdefault(group, {})[second] = [merged_summary(found, second)]
        for group, second, tallied in _taken(self._tallies, into._tallies, rollup):
            into._tallies.setdefault(group, {})[second] = merged_tallies(tallied, second)
        self._blocks.forget(rollup.before)
        for metric, series in list(self._series.items()):
            old = series.points[: bisect_left(series.points, (rollup.before,))]
            if not old:
                continue
            del series.points[: len(old)]
            if not series.points:
                del self._series[metric]
            target = into._series.setdefault(metric, _Series())
            stretches: dict[int, list[Aggregate]] = {}
            for point in old:
                stretches.setdefault(stretch(point[0], span), []).append(point[2])
            for second, aggregates in stretches.items():
                first = bisect_left(target.points, (second,))
                last = bisect_left(target.points, (second + span,), first)
                aggregates += [point[2] for point in target.points[first:last]]
                del target.points[first:last]
                for aggregate in merged_data(aggregates):
                    into.put(Datum(metric, second, aggregate, span))

    def has_data(self, group: str) -> bool:
        return group in self._summaries or group in self._tallies

    def last_second(self, group: str) -> int:
        """The newest second of a group with data; 0: none."""
        return max([*self._summaries.get(group, {}), *self._tallies.get(group, {})], default=0)

    def drop_group(self, group: str) -> None:
        """Forget a group with all its data."""
        self._summaries.pop(group, None)
        self._tallies.pop(group, None)
        self.forget_group(group)

    def data_metrics(self) -> Iterable[MetricIdentity]:
        """Those that have data of their own."""
        return self._series.keys()

    def _endpoint_parts(
        self, name: str, groups: list[GroupDimensions], start: float, end: float
    ) -> Iterator[Aggregate]:
        for group in groups:
            seconds = self._summaries.get(group.group)
            if not seconds:
                continue
            if self._sliding and name in LATENCIES:
                read = partial(_between, seconds)
                part = self._blocks.read(name, group.group, math.ceil(start), math.ceil(end), read)
            else:
                part = endpoint_metric(name, _between(seconds, start, end), group.instance_count)
            if part is not None:
                yield part

    def _shadow_parts(self, name: str, groups: list[GroupDimensions], start: float, end: float) -> Iterator[Aggregate]:
        for group in groups:
            tallies = _between(self._tallies.get(group.group, {}), start, end)
            if (part := shadow_metric(name, tallies)) is not None:
                yield part


def _source_of(metric: MetricIdentity) -> _Source | None:
    """The variant whose groups a derived metric is made of; None: it is not derived."""
    return endpoint_of(metric) or compared_variant_of(metric)


def _newest(added: Sequence[Additions]) -> Additions:
    return Additions(*map(max, zip(*added, strict=True)))


def _between(seconds: dict[int, list[_T]], start: float, end: float) -> list[_T]:
    """Everything of the seconds that begin in [start, end)."""
    span = range(math.ceil(start), math.ceil(end))
    inside = span if len(span) <= len(seconds) else [second for second in seconds if second in span]
    return [one for second in inside for one in seconds.get(second, ())]


def _taken(
    source: dict[str, dict[int, list[_T]]], target: dict[str, dict[int, list[_T]]], rollup: Rollup
) -> list[tuple[str, int, list[_T]]]:
    """Everything before a moment, taken from the source, by group and stretch; with what the target has there."""
    found: dict[tuple[str, int], list[_T]] = {}
    for group, seconds in list(source.items()):
        for second in [second for second in seconds if second < rollup.before]:
            found.setdefault((group, stretch(second, rollup.span_seconds)), []).extend(seconds.pop(second))
        if not seconds:
            del source[group]
    return [(group, second, target.get(group, {}).get(second, []) + rows) for (group, second), rows in found.items()]


def _forget(by_group: dict[str, dict[int, list[_T]]], before: float) -> None:
    for group, seconds in list(by_group.items()):
        for second in [second for second in seconds if second < before]:
            del seconds[second]
        if not seconds:
            del by_group[group]


def counted(one: GroupTally) -> GroupTally:
    """What metrics need of a tally: without the answers and labels that it shows to people, and without its rules."""
    return replace(one, tally=replace(one.tally, labels=(), worst=()), rules=None)


#: Kinds of data that a summary has, as bits of one number.
ANSWERED, COPIED = 1, 2


def kinds_of(summary: Summary) -> int:
    """Whether an instance answered, and whether there were copies to be made."""
    answered = ANSWERED if summary.model_latency is not None else 0
    return answered | (COPIED if summary.copies or summary.skipped else 0)


def metrics_of(group: GroupDimensions, kinds: Iterable[int]) -> list[MetricIdentity]:
    """The metrics that a group with data of these kinds has: latencies only where an instance answered, a shadow's only where there were copies."""
    all_kinds = reduce(or_, kinds, 0)
    names = tuple(ENDPOINT_METRICS) if all_kinds & ANSWERED else _COUNTED
    if all_kinds & COPIED:
        names += tuple(SHADOW_METRICS)
    return endpoint_identities(group.endpoint, group.variant, group.config_name, names=names)


def in_order(metrics: Iterable[MetricIdentity]) -> list[MetricIdentity]:
    """In the order of namespace, name, dimensions."""
    return sorted(metrics, key=lambda metric: (metric.namespace, metric.name, metric.dimensions))
