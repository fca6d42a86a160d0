"""Latencies of whole stretches of ten seconds, merged once.

A period that slides by a second each second is nearly the one before it, and merging sketches is what reading a percentile costs. So the sketches of an
aligned stretch are merged when it is first asked for as a whole, and the next evaluations merge a few stretches and the seconds at both ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from bannister.domain.metric.aggregate import Aggregate, merge
from bannister.domain.metric.endpoint import endpoint_metric
from bannister.domain.metric.summary import Summary

BLOCK_SECONDS: Final = 10
#: Kept at most; beyond that all are forgotten and made again as they are asked for. A block of latencies takes some KiB.
BLOCKS_MAX: Final = 20_000


class Blocks:
    """Merged latencies by group and stretch. Whoever changes what a second holds says so."""

    def __init__(self) -> None:
        #: Group, then beginning; then by metric. None: no data.
        self._merged: dict[str, dict[int, dict[str, Aggregate | None]]] = {}
        self._count = 0

    def touch(self, group: str, second: int) -> None:
        """What this second holds is another."""
        of_group = self._merged.get(group)
        if of_group:
            of_group.pop(second - second % BLOCK_SECONDS, None)

    def forget(self, before: float) -> None:
        """Seconds before this hold nothing any more."""
        for group, of_group in list(self._merged.items()):
            for begin in [begin for begin in of_group if begin < before]:
                del of_group[begin]
            if not of_group:
                del self._merged[group]
        self._count = sum(len(metrics) for of_group in self._merged.values() for metrics in of_group.values())

    def read(
        self, name: str, group: str, start: int, end: int, summaries: Callable[[int, int], Sequence[Summary]]
    ) -> Aggregate | None:
        """One latency of one group over [start, end); `summaries` reads those of a stretch."""
        first = -(-start // BLOCK_SECONDS) * BLOCK_SECONDS
        last = max(end // BLOCK_SECONDS * BLOCK_SECONDS, first)
        parts = [self._block(name, group, begin, summaries) for begin in range(first, last, BLOCK_SECONDS)]
        edges = [*summaries(start, min(first, end)), *(summaries(last, end) if last < end else ())]
        parts.append(endpoint_metric(name, edges, 1))
        found = [part for part in parts if part is not None]
        return merge(found) if found else None

    def _block(
        self, name: str, group: str, begin: int, summaries: Callable[[int, int], Sequence[Summary]]
    ) -> Aggregate | None:
        metrics = self._merged.setdefault(group, {}).setdefault(begin, {})
        if name not in metrics:
            if self._count >= BLOCKS_MAX:
                self._merged, self._count = {}, 0
                metrics = self._merged.setdefault(group, {}).setdefault(begin, {})
            metrics[name] = endpoint_metric(name, summaries(begin, begin + BLOCK_SECONDS), 1)
            self._count += 1
        return metrics[name]
