"""Pairs in, one tally for each shadow and second out, counted in the second in which they were compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from bannister.capture.spool import GivenUp
from bannister.domain.capture.instructions import CapturedGroup, ComparedGroups
from bannister.domain.comparison.report import (
    CaptureCount,
    Compared,
    ComparisonReport,
    Counted,
    GroupTally,
    Unpaired,
    compared_of,
)
from bannister.domain.comparison.tally import Tally, merge

#: Tallies of single pairs that are merged together.
_AT_ONCE = 100


class TallyFold:
    """Merges tallies until their second is final. `seconds_max` open seconds; beyond, the oldest are given out as they are: tallies add up."""

    def __init__(self, seconds_max: int) -> None:
        self._seconds_max = seconds_max
        self._open: dict[int, dict[ComparedGroups, list[Tally]]] = {}
        #: All seconds before this one were final when last taken.
        self._final_before = 0

    def add(self, compared: ComparedGroups, second: int, tally: Tally) -> None:
        tallies = self._open.setdefault(second, {}).setdefault(compared, [])
        tallies.append(tally)
        if len(tallies) > _AT_ONCE:
            tallies[:] = [merge(tallies)]

    def pending(self) -> Counter[Compared]:
        """What is in seconds that are still open: pairs, and what made none."""
        found: Counter[Compared] = Counter()
        for of_second in self._open.values():
            for compared, tallies in of_second.items():
                found[compared_of(compared)] += sum(map(counted_in, tallies))
        return found

    def take_all(self) -> list[GroupTally]:
        """Tallies of all seconds, also of those that are not over."""
        return self._take(sorted(self._open))

    def take(self, watermark: float | None) -> list[GroupTally]:
        """Tallies of the seconds that are over at the watermark, the oldest first; all, where it goes back because the clock was set back."""
        seconds = sorted(self._open)
        surplus = seconds[: max(len(seconds) - self._seconds_max, 0)]
        if watermark is not None:
            surplus = seconds if int(watermark) < self._final_before else surplus
            self._final_before = int(watermark)
        return self._take(second for second in seconds if second < self._final_before or second in surplus)

    def _take(self, due: Iterable[int]) -> list[GroupTally]:
        return [
            GroupTally(one.endpoint, one.shadow, one.production, second, one.noise, merge(tallies), one.rules)
            for second in due
            for one, tallies in self._open.pop(second).items()
        ]


def counted_in(tally: Tally) -> int:
    """Copied requests that a tally tells of."""
    return tally.pairs + tally.unpaired_count


def unpaired_tallies(
    alone: Mapping[tuple[ComparedGroups, Unpaired], int],
) -> list[tuple[ComparedGroups, Tally]]:
    """One tally for each shadow, of exchanges that made no pair."""
    by_shadow: dict[ComparedGroups, dict[str, int]] = {}
    for (compared, reason), count in alone.items():
        by_shadow.setdefault(compared, {})[reason.value] = count
    return [(compared, Tally.of_unpaired(counts)) for compared, counts in by_shadow.items()]


def absorb(dropped: ComparisonReport, following: ComparisonReport) -> ComparisonReport:
    """The report after one that is dropped, with all that was counted in that: of what was compared only how much it was, which is little however much is dropped."""
    unreported: Counter[Compared] = Counter()
    seconds: dict[Compared, int] = {}
    for one in dropped.tallies:
        compared = Compared(one.endpoint, one.group, one.production_group, one.noise)
        unreported[compared] += counted_in(one.tally)
        seconds[compared] = max(one.second, seconds.get(compared, one.second))
    tallies = [
        GroupTally(
            one.endpoint,
            one.group,
            one.production_group,
            seconds[one],
            one.noise,
            Tally.of_unpaired({Unpaired.UNREPORTED.value: count}),
        )
        for one, count in unreported.items()
    ]
    return replace(
        following,
        tallies=(*tallies, *following.tallies),
        counts=_added(dropped.counts, following.counts),
        account=following.account or dropped.account,
    )


def _added(earlier: Iterable[CaptureCount], later: Iterable[CaptureCount]) -> tuple[CaptureCount, ...]:
    """Each of what was counted once, at the later second."""
    found: dict[CaptureCount, CaptureCount] = {}
    for one in (*earlier, *later):
        key = replace(one, count=0, second=0)
        before = found.get(key)
        found[key] = one if before is None else replace(one, count=before.count + one.count)
    return tuple(found.values())


class Counts:
    """What became of captured exchanges, by group, since it was last taken."""

    def __init__(self) -> None:
        self._counts: Counter[CaptureCount] = Counter()

    def add(self, group: CapturedGroup | None, what: Counted, reason: str = "", count: int = 1) -> None:
        """`group` None: nobody knows of which group they were."""
        named = (group.group, group.endpoint, group.variant) if group is not None else ("", "", "")
        self._counts[CaptureCount(named[0], what, 0, reason, named[1], named[2])] += count

    def add_given_up(self, given_up: GivenUp, records: int) -> None:
        """Records that were written once, also of endpoints that are gone."""
        key = CaptureCount("", Counted.DROPPED, 0, given_up.reason, given_up.endpoint, given_up.variant)
        self._counts[key] += records

    def take(self, second: int) -> list[CaptureCount]:
        taken, self._counts = self._counts, Counter()
        return [replace(one, count=count, second=second) for one, count in taken.items()]
