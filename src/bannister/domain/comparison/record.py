"""All that is known of one shadow (or of production against itself): what is kept of its tallies when they are long gone.

Figures of pairs that were compared by different rules say nothing together. So when the rules change, a group's record is closed and kept, and the next one
begins (`begun_anew`). What has nothing to do with rules (exchanges that make no pair, and captured ones) goes along.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from bannister.domain.comparison.report import CaptureCount, Counted
from bannister.domain.comparison.rules import Rules
from bannister.domain.comparison.tally import Tally


@dataclass(frozen=True, slots=True)
class ShadowRecord:
    """Every pair of one group that was compared by the same rules, as one tally."""

    endpoint: str
    #: The shadow's; of the noise floor, production's own.
    group: str
    production_group: str
    #: Production compared with itself.
    noise: bool
    #: The first second in which a pair was compared, and the end of the last.
    since: int
    until: int
    tally: Tally = field(default_factory=Tally)
    #: "": not known (yet).
    variant: str = ""
    config_name: str = ""
    model: str = ""
    production_variant: str = ""
    production_config_name: str = ""
    production_model: str = ""
    counts: tuple[CaptureCount, ...] = ()
    #: The report that was counted last.
    run: str = ""
    sequence: int = 0
    #: None: nothing was compared, or an earlier version did not write it down.
    rules: Rules | None = None
    #: Which of the group's records it is, from 1 on.
    number: int = 1
    #: Pairs in all the records before this one.
    earlier_pairs: int = 0

    def compared_by(self, rules: Rules | None) -> bool:
        """All that is in it was compared as these rules say. Rules that are not known, as in records of earlier versions, are not told apart."""
        if rules is None or self.rules is None or not self.tally.pairs:
            return True
        return self.rules.comparing == rules.comparing

    def begun_anew(self, rules: Rules, second: int) -> ShadowRecord:
        """The record after this one, of what is compared by other rules from this second on."""
        return replace(
            self,
            since=second,
            until=second,
            tally=Tally(unpaired=self.tally.unpaired),
            rules=rules,
            number=self.number + 1,
            earlier_pairs=self.earlier_pairs + self.tally.pairs,
        )

    def closed(self) -> ShadowRecord:
        """This record, when another has begun."""
        return replace(self, tally=replace(self.tally, unpaired=()), counts=())


def record_key(group: str, *, noise: bool, closed: int | None = None) -> str:
    """The row of a group's record; of the `closed` one with that number."""
    key = f"{group}/noise" if noise else group
    return key if closed is None else f"{key}/{closed}"


def counted_together(counts: Iterable[CaptureCount]) -> tuple[CaptureCount, ...]:
    """Counts of the same thing added up."""
    summed: Counter[tuple[str, Counted, str]] = Counter()
    for one in counts:
        summed[one.group, one.what, one.reason] += one.count
    return tuple(CaptureCount(group, what, count, reason) for (group, what, reason), count in sorted(summed.items()))
