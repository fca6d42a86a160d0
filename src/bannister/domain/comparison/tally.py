"""Many comparisons, counted: what is known of a shadow's answers in one second, or in all of a run.

A tally merges with any other, in any order and grouping, with the same result. So everything in it is a sum, a sketch, or *the first so many by
a fixed order*: whatever is among the first of the whole is among the first of every part it is in, so nothing that is kept was ever
dropped and counted as "other" on the way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bannister.domain.capture.exchange import Exchange
from bannister.domain.comparison.compare import Comparison, Label
from bannister.domain.comparison.rules import Rules
from bannister.domain.metric.sketch import Sketch


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The beginning of a body, as text."""

    text: str
    #: Of the whole body.
    size: int
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One pair that does not agree, to be looked at."""

    request_id: str
    #: When the shadow's answer had ended.
    at: float
    why: str
    structural: bool
    difference: float | None = None
    path: str | None = None
    production: str | None = None
    shadow: str | None = None
    #: None: the rules keep no bodies, or there was none.
    request_body: Excerpt | None = None
    production_body: Excerpt | None = None
    shadow_body: Excerpt | None = None


@dataclass(frozen=True, slots=True)
class Reason:
    """How often, and why."""

    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class Tally:
    """Immutable. `Tally()` is the tally of nothing."""

    pairs: int = 0
    agreeing: int = 0
    structural: int = 0
    invalid: int = 0
    #: The largest absolute difference of numbers in each pair that has numbers.
    numeric: Sketch | None = None
    #: The sum over those pairs of their signed mean difference, shadow minus production.
    signed_sum: float = 0.0
    #: Microseconds of both sides of each pair that both answered.
    production_latency: Sketch | None = None
    shadow_latency: Sketch | None = None
    #: Microseconds by which the shadow was slower (zero: as fast), and by which it was faster, in each such pair.
    slower: Sketch | None = None
    faster: Sketch | None = None
    labels: tuple[Label, ...] = ()
    #: Changed labels that are in no row of `labels`.
    other_labels: int = 0
    worst: tuple[Disagreement, ...] = ()
    #: Exchanges that make no pair, by reason.
    unpaired: tuple[Reason, ...] = ()

    @staticmethod
    def of(production: Exchange, shadow: Exchange, comparison: Comparison, rules: Rules) -> Tally:
        """The tally of one pair."""
        del production, shadow, rules
        return Tally(pairs=1, agreeing=int(comparison.agrees))

    @staticmethod
    def of_unpaired(counts: Mapping[str, int]) -> Tally:
        """The tally of exchanges that make no pair, by reason."""
        return Tally(unpaired=tuple(Reason(reason, count) for reason, count in sorted(counts.items()) if count > 0))

    @property
    def disagreeing(self) -> int:
        return self.pairs - self.agreeing


def merge(tallies: Sequence[Tally]) -> Tally:
    """The tally of all that is in any of these."""
    return Tally(pairs=sum(one.pairs for one in tallies), agreeing=sum(one.agreeing for one in tallies))
