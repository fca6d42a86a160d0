"""What looks that are off by some say of requests that a proxy holds."""

from __future__ import annotations

import random

import pytest

from bannister.publisher.held import LOOKS_MAX, Held, is_empty


def looks_until_empty(rng: random.Random, off: float, held: int, looks: int) -> int | None:
    """How many looks it took to say that nothing is held; None: it was not said."""
    one = Held()
    for number in range(1, looks + 1):
        one.note(held + round(rng.gauss(0.0, off)))
        if one.was_empty:
            return number
    return None


def test_where_looks_agree_four_are_enough() -> None:
    assert not is_empty([])
    assert not is_empty([0, 0, 0])
    assert is_empty([0, 0, 0, 0])
    assert not is_empty([1] * LOOKS_MAX)


def test_that_the_last_one_has_gone_is_known_soon() -> None:
    assert looks_until_empty(random.Random(1), 0.0, 1, 100) is None
    one = Held()
    for _ in range(100):
        one.note(1)
    for _ in range(16):
        one.note(0)
    assert one.was_empty


@pytest.mark.parametrize("off", [0.3, 1.0, 3.0])
def test_one_that_is_held_is_hardly_ever_overlooked(off: float) -> None:
    """For as long as a plain request may be drained (75 s of looks), at up to some 4,000 requests a second."""
    overlooked = sum(looks_until_empty(random.Random(seed), off, 1, 1500) is not None for seed in range(20))
    assert overlooked <= 1


@pytest.mark.parametrize(("off", "most"), [(0.3, 32), (1.0, 80), (3.0, 600)])
def test_that_nothing_is_held_is_known_in_seconds(off: float, most: int) -> None:
    took = [looks_until_empty(random.Random(seed), off, 0, 1500) for seed in range(20)]
    assert sorted(one or 1500 for one in took)[17] <= most
