"""Many comparisons, counted: what is known of a shadow's answers in one second, or in all of a run.

A tally merges with any other, in any order and grouping, with the same result. So everything in it is a sum, a sketch, or *the first so many by
a fixed order*: whatever is among the first of the whole is among the first of every part it is in, so nothing that is kept was ever
dropped and counted as "other" on the way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import nsmallest
from typing import Final

from bannister.domain.capture.exchange import Exchange, Message
from bannister.domain.comparison.compare import Comparison, Label
from bannister.domain.comparison.reading import Unreadable, media_type, read
from bannister.domain.comparison.rules import Rules
from bannister.domain.comparison.walk import SHOWN_MAX
from bannister.domain.metric import sketch as sketches
from bannister.domain.metric.sketch import Sketch

#: Disagreements that are kept to be looked at.
WORST_MAX: Final = 10
#: Bytes of a body that are kept with one.
EXCERPT_BYTES_MAX: Final = 2048
#: Places whose labels are counted.
PLACES_MAX: Final = 32
#: Different rows of the table of labels at one place.
LABELS_MAX: Final = 32
#: In place of values that are not kept.
_A_VALUE: Final = "a value"
_ANOTHER: Final = "another"
#: Different reasons for making no pair.
REASONS_MAX: Final = 32


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The beginning of a body, as text."""

    text: str
    #: Of the whole body, in bytes.
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
    #: The largest difference of two numbers; None: no numbers were compared.
    difference: float | None = None
    path: str | None = None
    production: str | None = None
    shadow: str | None = None
    #: None: the rules keep no bodies, or there was none.
    request_body: Excerpt | None = None
    production_body: Excerpt | None = None
    shadow_body: Excerpt | None = None

    @property
    def shows_bodies(self) -> bool:
        """Something of what was asked or answered is in here."""
        shown = (self.production, self.shadow, self.request_body, self.production_body, self.shadow_body)
        return any(one is not None for one in shown)

    @property
    def order(self) -> tuple[bool, float, str, float, str, tuple[str, ...]]:
        """The worst first: in structure before in value, then by size; equal ones in the random order of their request ids."""
        bodies = (self.request_body, self.production_body, self.shadow_body)
        texts = tuple(one.text for one in bodies if one is not None)
        return not self.structural, -(self.difference or 0.0), self.request_id, self.at, self.why, texts


@dataclass(frozen=True, slots=True)
class Reason:
    """Why, and how often."""

    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class LabelSums:
    """All labels at one place, whether they have a row or not."""

    path: str
    unchanged: int
    changed: int


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
    #: Label-like values, unchanged ones too; at each place the changed ones, and among those the shortest, are kept first.
    labels: tuple[Label, ...] = ()
    #: Changed labels that are in no row of `labels`.
    other_labels: int = 0
    worst: tuple[Disagreement, ...] = ()
    #: Exchanges that make no pair, by reason.
    unpaired: tuple[Reason, ...] = ()
    #: The labels at each place, those with the shortest paths first. Empty in a tally that was stored before there were sums: ask `sums`.
    label_sums: tuple[LabelSums, ...] = ()
    #: Labels at places that have no sums.
    elsewhere_unchanged: int = 0
    elsewhere_changed: int = 0
    #: Pairs that were compared up to a bound only; what was compared decides whether they agree.
    partial: int = 0

    @staticmethod
    def of(production: Exchange, shadow: Exchange, comparison: Comparison, rules: Rules) -> Tally:
        """The tally of one pair."""
        timed = production.response is not None and shadow.response is not None
        later = shadow.latency_us - production.latency_us
        table = _table(comparison.labels, [])
        return Tally(
            pairs=1,
            agreeing=int(comparison.agrees),
            structural=int(comparison.structural is not None),
            invalid=int(comparison.invalid),
            numeric=_one(comparison.numeric_difference),
            signed_sum=comparison.mean_difference or 0.0,
            production_latency=_one(max(production.latency_us, 0)) if timed else None,
            shadow_latency=_one(max(shadow.latency_us, 0)) if timed else None,
            slower=_one(later) if timed and later >= 0 else None,
            faster=_one(-later) if timed and later < 0 else None,
            labels=table.rows,
            other_labels=table.other,
            worst=() if comparison.agrees else (_disagreement(production, shadow, comparison, rules),),
            label_sums=table.sums,
            elsewhere_unchanged=table.elsewhere_unchanged,
            elsewhere_changed=table.elsewhere_changed,
            partial=int(comparison.partial),
        )

    @staticmethod
    def of_unpaired(counts: Mapping[str, int]) -> Tally:
        """The tally of exchanges that make no pair, by reason."""
        return Tally(unpaired=_reasons(counts.items()))

    @property
    def disagreeing(self) -> int:
        return self.pairs - self.agreeing

    @property
    def unpaired_count(self) -> int:
        return sum(one.count for one in self.unpaired)

    @property
    def sums(self) -> tuple[LabelSums, ...]:
        """The labels at each place; of a tally that was stored without them, as far as its rows tell."""
        return self.label_sums or _summed(LabelSums(*_sides(one)) for one in self.labels)


def merge(tallies: Sequence[Tally]) -> Tally:
    """The tally of all that is in any of these."""
    if len(tallies) == 1:
        return tallies[0]
    table = _table((label for one in tallies for label in one.labels), [each for one in tallies for each in one.sums])
    return Tally(
        pairs=sum(one.pairs for one in tallies),
        agreeing=sum(one.agreeing for one in tallies),
        structural=sum(one.structural for one in tallies),
        invalid=sum(one.invalid for one in tallies),
        numeric=_joined(one.numeric for one in tallies),
        signed_sum=sum(one.signed_sum for one in tallies),
        production_latency=_joined(one.production_latency for one in tallies),
        shadow_latency=_joined(one.shadow_latency for one in tallies),
        slower=_joined(one.slower for one in tallies),
        faster=_joined(one.faster for one in tallies),
        labels=table.rows,
        other_labels=table.other + sum(one.other_labels for one in tallies),
        worst=tuple(nsmallest(WORST_MAX, (each for one in tallies for each in one.worst), key=lambda one: one.order)),
        unpaired=_reasons((each.reason, each.count) for one in tallies for each in one.unpaired),
        label_sums=table.sums,
        elsewhere_unchanged=table.elsewhere_unchanged + sum(one.elsewhere_unchanged for one in tallies),
        elsewhere_changed=table.elsewhere_changed + sum(one.elsewhere_changed for one in tallies),
        partial=sum(one.partial for one in tallies),
    )


def without_bodies(tally: Tally) -> Tally:
    """Where bodies are not kept any more, those that were are to go too."""
    if not any(one.shows_bodies for one in tally.worst):
        return tally
    return replace(tally, worst=tuple(_bare(one) for one in tally.worst))


def _bare(one: Disagreement) -> Disagreement:
    return replace(
        one,
        why=one.why if one.structural else _why(one.path, _A_VALUE, _ANOTHER),
        production=None,
        shadow=None,
        request_body=None,
        production_body=None,
        shadow_body=None,
    )


def excerpt(message: Message | None) -> Excerpt | None:
    """What is kept of a body; of NPY its values rather than its bytes."""
    if message is None:
        return None
    body, media = message.body, media_type(message.content_type)
    text = body[:EXCERPT_BYTES_MAX].decode("utf-8", "backslashreplace")
    if media == "application/x-npy":
        try:
            array = read(body, media)
            text = f"{array.dtype}{array.shape}: {array.ravel()[:32].tolist()}"[:EXCERPT_BYTES_MAX]
        except Unreadable:
            pass
    return Excerpt(text, len(body), media[:SHOWN_MAX] if media is not None else None)


def _disagreement(production: Exchange, shadow: Exchange, comparison: Comparison, rules: Rules) -> Disagreement:
    keeps = rules.keeps_bodies
    why = comparison.structural
    if why is None:
        was, became = (comparison.production, comparison.shadow) if keeps else (_A_VALUE, _ANOTHER)
        why = _why(comparison.path, was, became)
    return Disagreement(
        request_id=shadow.request_id,
        at=shadow.ended_at,
        why=why,
        structural=comparison.structural is not None,
        difference=comparison.numeric_difference,
        path=comparison.path,
        production=comparison.production if keeps else None,
        shadow=comparison.shadow if keeps else None,
        request_body=excerpt(production.request) if keeps else None,
        production_body=excerpt(production.response) if keeps else None,
        shadow_body=excerpt(shadow.response) if keeps else None,
    )


def _why(path: str | None, was: str | None, became: str | None) -> str:
    return f"{path}: {was} became {became}"


def _one(value: float | None) -> Sketch | None:
    return None if value is None else Sketch.constant(value, 1)


def _joined(parts: Iterable[Sketch | None]) -> Sketch | None:
    found = [one for one in parts if one is not None]
    return sketches.merge(found) if found else None


@dataclass(frozen=True, slots=True)
class _Table:
    """What is kept of labels, and how many are in what is not."""

    rows: tuple[Label, ...]
    #: Changed labels in rows that are not kept.
    other: int
    sums: tuple[LabelSums, ...]
    #: Labels in sums that are not kept.
    elsewhere_unchanged: int
    elsewhere_changed: int


def _table(labels: Iterable[Label], sums: Sequence[LabelSums]) -> _Table:
    """The first places, and the first rows of each. `sums`: of these labels and of those that lost their row before; none: of these alone.

    The bound on rows is each place's own. With one for all together, the rows that are kept of a place would depend on which other
    places a part has seen, and merging in another order would keep others.
    """
    counts: Counter[tuple[str, str, str]] = Counter()
    for one in labels:
        counts[one.path, one.old, one.new] += one.count
    ordered = [Label(*key, count) for key, count in sorted(counts.items(), key=lambda item: _label_order(item[0]))]
    places = _summed(sums or (LabelSums(*_sides(one)) for one in ordered))
    room = {one.path: LABELS_MAX for one in places[:PLACES_MAX]}
    rows: list[Label] = []
    other = 0
    for one in ordered:
        if room.get(one.path, 0) > 0:
            room[one.path] -= 1
            rows.append(one)
        elif one.changed:
            other += one.count
    left_out = places[PLACES_MAX:]
    return _Table(
        tuple(rows),
        other,
        places[:PLACES_MAX],
        sum(one.unchanged for one in left_out),
        sum(one.changed for one in left_out),
    )


def _summed(sums: Iterable[LabelSums]) -> tuple[LabelSums, ...]:
    """One for each place, in the order in which they are kept."""
    unchanged: Counter[str] = Counter()
    changed: Counter[str] = Counter()
    for one in sums:
        unchanged[one.path] += one.unchanged
        changed[one.path] += one.changed
    return tuple(
        LabelSums(path, unchanged[path], changed[path])
        for path in sorted(unchanged, key=lambda path: (len(path), path))
    )


def _sides(label: Label) -> tuple[str, int, int]:
    return label.path, 0 if label.changed else label.count, label.count if label.changed else 0


def _label_order(key: tuple[str, str, str]) -> tuple[bool, int, tuple[str, str, str]]:
    path, old, new = key
    return old == new, len(path) + len(old) + len(new), key


def _reasons(counts: Iterable[tuple[str, int]]) -> tuple[Reason, ...]:
    summed: Counter[str] = Counter()
    for reason, count in counts:
        summed[reason] += count
    named = sorted((reason, count) for reason, count in summed.items() if count > 0)
    return tuple(Reason(reason, count) for reason, count in named[:REASONS_MAX])
