"""All that is known of one shadow (or of production against itself): what is kept of its tallies when they are long gone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from bannister.domain.comparison.report import CaptureCount, Counted
from bannister.domain.comparison.tally import Tally


@dataclass(frozen=True, slots=True)
class ShadowRecord:
    """Every pair of one group, as one tally."""

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


def record_key(group: str, *, noise: bool) -> str:
    """The row of a group's record."""
    return f"{group}/noise" if noise else group


def counted_together(counts: Iterable[CaptureCount]) -> tuple[CaptureCount, ...]:
    """Counts of the same thing added up."""
    summed: Counter[tuple[str, Counted, str]] = Counter()
    for one in counts:
        summed[one.group, one.what, one.reason] += one.count
    return tuple(CaptureCount(group, what, count, reason) for (group, what, reason), count in sorted(summed.items()))
