"""Which elements of two lists without an order belong together.

Elements that are equal do, and those that agree within the tolerance; as many as can. That is a matching of two sides: an element whose
only partner is taken may have it if the one who took it finds another (an augmenting path).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Matching:
    """Elements by their numbers."""

    #: The old and the new one of each pair; those that found no partner are paired in their order.
    pairs: list[tuple[int, int]]
    #: Elements of the longer list that are left over.
    old: list[int]
    new: list[int]
    #: Some were not tried, and are nowhere in the above.
    untried: bool


def match(
    old_keys: Sequence[Any],
    new_keys: Sequence[Any],
    coarse: Callable[[Any], Any],
    agree: Callable[[int, int], bool | None],
) -> Matching:
    """Match elements by their keys: equal elements have equal keys.

    `coarse`: a key in which close numbers are equal, or nearly all; it says who is tried first.
    `agree`: whether an old and a new element belong together; None: nothing more is tried.
    """
    partner: dict[int, int] = {}
    taken: dict[int, int] = {}
    equal: dict[Any, list[int]] = {}
    for one in reversed(range(len(new_keys))):
        equal.setdefault(new_keys[one], []).append(one)
    for one, key in enumerate(old_keys):
        same = equal.get(key)
        if same:
            partner[one] = same.pop()
            taken[partner[one]] = one
    if len(partner) == len(old_keys) == len(new_keys):
        return Matching(sorted(partner.items()), [], [], untried=False)
    new_order = [(coarse(key), key) for key in new_keys]
    by_key = sorted(range(len(new_keys)), key=new_order.__getitem__)
    ordered = [new_order[one] for one in by_key]
    alone: list[int] = []
    waiting = sorted((one for one in range(len(old_keys)) if one not in partner), key=old_keys.__getitem__)
    tried: dict[tuple[int, int], bool | None] = {}

    def remembered(one: int, other: int) -> bool | None:
        if (one, other) not in tried:
            tried[one, other] = agree(one, other)
        return tried[one, other]

    def near(one: int) -> Iterator[int]:
        return _nearest(by_key, bisect_left(ordered, (coarse(old_keys[one]), old_keys[one])))

    untried: list[int] = []
    for root in waiting if len(taken) < len(new_keys) else []:
        found = _augment(root, partner, taken, remembered, near)
        if found is None:
            untried.append(root)
        elif not found:
            alone.append(root)
    if len(taken) == len(new_keys):
        alone, untried = [one for one in waiting if one not in partner], []
    left = [one for one in by_key if one not in taken]
    common = min(len(alone), len(left))
    return Matching(
        sorted([*partner.items(), *zip(alone, left, strict=False)]),
        alone[common:],
        [] if untried else left[common:],
        bool(untried),
    )


def _augment(
    root: int,
    partner: dict[int, int],
    taken: dict[int, int],
    agree: Callable[[int, int], bool | None],
    candidates: Callable[[int], Iterator[int]],
) -> bool | None:
    """Find a partner for an old element, moving others on where needed. None: not all could be tried."""
    reached_from: dict[int, int] = {}
    queue = [root]
    for one in queue:
        for other in candidates(one):
            found = other not in reached_from and agree(one, other)
            if found is None:
                return None
            if not found:
                continue
            reached_from[other] = one
            if other in taken:
                queue.append(taken[other])
                continue
            while True:
                mover = reached_from[other]
                before = partner.get(mover)
                partner[mover], taken[other] = other, mover
                if before is None:
                    break
                other = before
            return True
    return False


def _nearest(ordered: Sequence[int], middle: int) -> Iterator[int]:
    """All of them, from the middle outwards."""
    below, above = middle - 1, middle
    while below >= 0 or above < len(ordered):
        if above < len(ordered):
            yield ordered[above]
        if below >= 0:
            yield ordered[below]
        below, above = below - 1, above + 1
