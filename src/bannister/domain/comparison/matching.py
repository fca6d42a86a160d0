"""Which elements of two lists without an order belong together.

Elements that are equal do, and those that agree within the tolerance; as many as can. That is a matching of two sides: an element whose
only partner is taken may have it if the one who took it finds another (an augmenting path).

Trying every element with every other is what must not happen. So elements are first divided into classes, of which no two have elements
that agree: by all that must be equal (names, texts, lengths), then by each number, because numbers that are farther apart than the
tolerance, and have none in between that links them, are never of one pair. In each class, both sides are gone through in order once, and
only for what is left over then is an augmenting path searched. All of it is paid from one `Effort`; when that is spent, the rest is paired
in order.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

#: Classes of so many possible pairs are not divided by numbers: to try them costs no more.
_UNDIVIDED_PAIRS: Final = 64
#: Numbers of an element by which classes are divided.
_DIVIDING_NUMBERS: Final = 64


@dataclass(slots=True)
class Effort:
    """What may still be done to find out who belongs together. A step of a search costs one; what a trial costs is its caller's business."""

    left: int


@dataclass(frozen=True, slots=True)
class Keys:
    """What a matching knows of keys. Equal elements have equal keys, and keys can be sorted."""

    #: In it close numbers are equal, or nearly all; it says who is tried first.
    coarse: Callable[[Any], Any]
    #: What must be equal in two elements that agree, and the numbers besides, in places that correspond.
    shape: Callable[[Any], tuple[Hashable, Sequence[int | float]]]
    #: Between which numbers, both included, all are that agree with an old one.
    reach: Callable[[float], tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Matching:
    """Elements by their numbers."""

    #: The old and the new one of each pair; those that found no partner are paired in their order.
    pairs: list[tuple[int, int]]
    #: Elements of the longer list that are left over.
    old: list[int]
    new: list[int]
    #: Old ones of pairs that are in order only, and might have found others.
    doubtful: frozenset[int] = frozenset()


class _Order(dict[int, tuple[Any, Any]]):
    """By what elements are put in order; worked out for those that are asked for."""

    def __init__(self, of: Sequence[Any], coarse: Callable[[Any], Any]) -> None:
        self._of = of
        self._coarse = coarse

    def __missing__(self, one: int) -> tuple[Any, Any]:
        key = self._of[one]
        self[one] = found = self._coarse(key), key
        return found

    def sorted(self, elements: Iterable[int]) -> list[int]:
        return sorted(elements, key=self.__getitem__)


def match(
    old_keys: Sequence[Any],
    new_keys: Sequence[Any],
    keys: Keys,
    agree: Callable[[int, int], bool | None],
    effort: Effort,
) -> Matching:
    """Match elements by their keys.

    `agree`: whether an old and a new element belong together; it is paid from the effort; None: that is spent.
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
    order = _Order(old_keys, keys.coarse), _Order(new_keys, keys.coarse)
    doubtful: list[tuple[int, int]] = []
    if len(partner) < len(old_keys) and len(taken) < len(new_keys):
        for olds, news in _classes(old_keys, new_keys, keys, partner, taken):
            if not _match_class(olds, news, order, partner, taken, agree, effort):
                alone = order[0].sorted(one for one in olds if one not in partner)
                left = order[1].sorted(one for one in news if one not in taken)
                doubtful += zip(alone, left, strict=False)
    pairs = partner | dict(doubtful)
    used = set(pairs.values())
    alone = order[0].sorted(one for one in range(len(old_keys)) if one not in pairs)
    left = order[1].sorted(one for one in range(len(new_keys)) if one not in used)
    common = min(len(alone), len(left))
    return Matching(
        sorted([*pairs.items(), *zip(alone, left, strict=False)]),
        alone[common:],
        left[common:],
        frozenset(one for one, _ in doubtful),
    )


# --- classes

Class = tuple[list[int], list[int]]


def _classes(
    old_keys: Sequence[Any], new_keys: Sequence[Any], keys: Keys, partner: dict[int, int], taken: dict[int, int]
) -> Iterator[Class]:
    """Old and new elements that may belong together; only where both sides have some without a partner."""
    numbers: tuple[list[Sequence[int | float]], list[Sequence[int | float]]] = ([], [])
    shapes: dict[Hashable, Class] = {}
    for side, side_keys in enumerate((old_keys, new_keys)):
        for one, key in enumerate(side_keys):
            shape, found = keys.shape(key)
            numbers[side].append(found)
            shapes.setdefault(shape, ([], []))[side].append(one)
    for whole in shapes.values():
        parts = [whole] if _open(whole, partner, taken) else []
        if parts and len(whole[0]) * len(whole[1]) > _UNDIVIDED_PAIRS:
            for number in range(min(len(numbers[0][whole[0][0]]), _DIVIDING_NUMBERS)):
                parts = [
                    part
                    for before in parts
                    for part in _divided(before, ([one[number] for one in side] for side in _of(before, numbers)), keys)
                    if _open(part, partner, taken)
                ]
        yield from parts


def _of(
    elements: Class, numbers: tuple[list[Sequence[int | float]], list[Sequence[int | float]]]
) -> Iterator[list[Sequence[int | float]]]:
    return ([numbers[side][one] for one in elements[side]] for side in (0, 1))


def _open(elements: Class, partner: dict[int, int], taken: dict[int, int]) -> bool:
    return any(one not in partner for one in elements[0]) and any(one not in taken for one in elements[1])


def _divided(elements: Class, numbers: Iterable[list[int | float]], keys: Keys) -> list[Class]:
    """Classes by one number: what an old one reaches is in its class, and where two of these overlap they are one."""
    if len(elements[0]) * len(elements[1]) <= _UNDIVIDED_PAIRS:
        return [elements]
    olds, news = numbers
    exact = all(type(one) is int for side in (olds, news) for one in side)
    lows: list[float] = []
    highs: list[float] = []
    for low, high in sorted((one, one) if exact else keys.reach(one) for one in set(olds)):
        if highs and low <= highs[-1]:
            highs[-1] = max(highs[-1], high)
        else:
            lows.append(low)
            highs.append(high)
    found: list[Class] = [([], []) for _ in lows]
    for one, old in zip(elements[0], olds, strict=True):
        found[bisect_right(lows, old) - 1][0].append(one)
    for one, new in zip(elements[1], news, strict=True):
        at = bisect_right(lows, new) - 1
        if at >= 0 and new <= highs[at]:
            found[at][1].append(one)
    return found


# --- one class


def _match_class(
    olds: list[int],
    news: list[int],
    order: tuple[_Order, _Order],
    partner: dict[int, int],
    taken: dict[int, int],
    agree: Callable[[int, int], bool | None],
    effort: Effort,
) -> bool:
    """Find partners in a class; whether that came to its end."""
    tried: dict[tuple[int, int], bool] = {}

    def remembered(one: int, other: int) -> bool | None:
        effort.left -= 1
        if effort.left < 0:
            return None
        known = tried.get((one, other))
        if known is None:
            known = agree(one, other)
            if known is not None:
                tried[one, other] = known
        return known

    if effort.left <= 0:
        return False
    order_old, order_new = order
    waiting = order_old.sorted(one for one in olds if one not in partner)
    by_key = order_new.sorted(news)
    free = [one for one in by_key if one not in taken]
    at = to = 0
    while at < len(waiting) and to < len(free):
        one, other = waiting[at], free[to]
        found = remembered(one, other)
        if found is None:
            return False
        if found:
            partner[one], taken[other] = other, one
        at += found or order_old[one] <= order_new[other]
        to += found or order_old[one] >= order_new[other]
    ordered = [order_new[one] for one in by_key]

    def near(one: int) -> Iterator[int]:
        return _nearest(by_key, bisect_left(ordered, order_old[one]))

    waiting = [one for one in waiting if one not in partner]
    places = sum(one not in taken for one in free)
    return _move_on(waiting, places, lambda root: _augment(root, partner, taken, remembered, near))


def _move_on(waiting: list[int], places: int, search: Callable[[int], bool | None]) -> bool:
    for root in waiting:
        if not places:
            break
        found = search(root)
        if found is None:
            return False
        places -= found
    return True


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
            found = agree(one, other)
            if found is None:
                return None
            if not found or other in reached_from:
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
