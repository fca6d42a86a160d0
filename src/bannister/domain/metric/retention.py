"""How long metrics are kept, how finely, and how many rows become one.

Data are kept by the second at first. Past a tier's age all rows of one group or metric in a longer stretch are merged into one, which stands at the
beginning of the stretch: counts, sums and extremes stay exact, and sketches merge into what a sketch of all samples would have been. The stretches
nest, so rolling up in several steps, or again with what came late, is the same as at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from bannister.domain.comparison import tally as tallies_of
from bannister.domain.comparison.report import GroupTally
from bannister.domain.metric import sketch as sketches
from bannister.domain.metric.aggregate import Aggregate, merge
from bannister.domain.metric.sketch import Sketch
from bannister.domain.metric.summary import Summary


@dataclass(frozen=True, slots=True)
class Tier:
    """Rows that each stand for `span_seconds`, up to an age."""

    span_seconds: int
    age_seconds_max: float


@dataclass(frozen=True, slots=True)
class Rollup:
    """Rows before a moment, a multiple of the longer span, are to stand for that span."""

    span_seconds: int
    before: float


def stretch(at: float, span_seconds: int) -> int:
    """The beginning of the stretch in which a moment lies."""
    return int(at // span_seconds) * span_seconds


def rollups(tiers: Sequence[Tier], now: float) -> list[Rollup]:
    """From the shortest span to the longest: what is past a tier belongs to the next one, by whole stretches."""
    return [
        Rollup(longer.span_seconds, stretch(now - shorter.age_seconds_max, longer.span_seconds))
        for shorter, longer in pairwise(tiers)
    ]


def served(span_seconds: int, period_seconds: float) -> bool:
    """Whether a row belongs to exactly one period of this length (AWS: the period is a multiple of the span)."""
    return period_seconds % span_seconds == 0


def period_unit(age_seconds: float, tiers: Sequence[Tier]) -> int:
    """Data of this age are read with periods that are multiples of this many seconds."""
    return next((tier.span_seconds for tier in tiers if age_seconds <= tier.age_seconds_max), tiers[-1].span_seconds)


def merged_summary(summaries: Sequence[Summary], second: int) -> Summary:
    """One for all: summaries of one group, at least one."""
    return Summary(
        summaries[0].group,
        "",
        second,
        sum(one.invocations for one in summaries),
        sum(one.errors_4xx for one in summaries),
        sum(one.errors_5xx for one in summaries),
        sum(one.model_errors for one in summaries),
        sum(one.unreachable for one in summaries),
        sum(one.abandoned for one in summaries),
        sum(one.retries for one in summaries),
        sum(one.late for one in summaries),
        sum(one.copies for one in summaries),
        sum(one.skipped for one in summaries),
        _merged(one.model_latency for one in summaries),
        _merged(one.overhead_latency for one in summaries),
        _added(one.shared_by for one in summaries),
    )


def merged_tallies(tallies: Iterable[GroupTally], second: int) -> list[GroupTally]:
    """One for each pair of groups that was compared, and one for each noise floor."""
    kinds: dict[tuple[str, str, str, bool], list[GroupTally]] = {}
    for one in tallies:
        kinds.setdefault((one.endpoint, one.group, one.production_group, one.noise), []).append(one)
    return [
        GroupTally(*kind[:3], second, noise=kind[3], tally=tallies_of.merge([one.tally for one in same]))
        for kind, same in kinds.items()
    ]


def merged_data(aggregates: Iterable[Aggregate]) -> list[Aggregate]:
    """One for each unit: a read may ask for one unit alone."""
    units: dict[str | None, list[Aggregate]] = {}
    for one in aggregates:
        units.setdefault(one.unit, []).append(one)
    return [merge(same) for same in units.values()]


def _added(counts: Iterable[Mapping[int, int]]) -> dict[int, int]:
    total: Counter[int] = Counter()
    for one in counts:
        total.update(one)
    return dict(total)


def _merged(parts: Iterable[Sketch | None]) -> Sketch | None:
    known = [part for part in parts if part is not None]
    return sketches.merge(known) if known else None
