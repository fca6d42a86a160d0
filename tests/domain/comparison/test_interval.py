"""The confidence sequence against closed forms, and against what it promises."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bannister.domain.comparison.interval import interval, log_wealth


def test_the_wealth_is_the_published_one() -> None:
    """Ten of ten against one half, uniform weight: 1024 / 11."""
    assert math.exp(log_wealth(10, 10, 0.5, 1, 1)) == pytest.approx(1024 / 11)
    assert math.exp(log_wealth(1, 1, 0.5, 1, 1)) == pytest.approx(1.0)
    #: B(2.5, 1.5) / B(0.5, 0.5) = (Γ(2.5) Γ(1.5) / Γ(4)) / π = 1/16, over (1/4)^2 · (3/4).
    assert math.exp(log_wealth(2, 3, 0.25)) == pytest.approx((1 / 16) / (1 / 16 * 3 / 4))


@pytest.mark.parametrize("count", [1, 2, 10, 400, 100_000])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_all_agreeing_has_a_closed_form(count: int, confidence: float) -> None:
    """Uniform weight: 1 / ((n + 1) p^n) = 1 / α."""
    found = interval(count, count, confidence, 1, 1)
    assert found.lower == pytest.approx(((1 - confidence) / (count + 1)) ** (1 / count), rel=1e-12)
    assert found.upper == 1.0
    mirrored = interval(0, count, confidence, 1, 1)
    assert mirrored.upper == pytest.approx(1 - found.lower, abs=1e-12)


def test_all_agreeing_with_jeffreys_weight() -> None:
    """Γ(n + 1/2) / (√π · n! · p^n) = 1 / α; for n = 2 that is (3/8) / p² = 20."""
    assert interval(2, 2).lower == pytest.approx(math.sqrt(3 / 8 / 20), rel=1e-12)


def test_of_nothing_seen_it_is_everything() -> None:
    found = interval(0, 0)
    assert (found.lower, found.upper) == (0.0, 1.0)


@given(st.integers(0, 10**7), st.integers(0, 10**7))
def test_it_holds_what_was_seen_and_is_symmetric(hits: int, misses: int) -> None:
    found, mirrored = interval(hits, hits + misses), interval(misses, hits + misses)
    if hits + misses:
        assert 0 <= found.lower <= hits / (hits + misses) <= found.upper <= 1
    assert found.lower == pytest.approx(1 - mirrored.upper, abs=1e-9)


@given(st.integers(1, 1000), st.integers(1, 1000))
def test_more_pairs_make_it_narrower(hits: int, misses: int) -> None:
    narrow, wide = interval(10 * hits, 10 * (hits + misses)), interval(hits, hits + misses)
    assert narrow.upper - narrow.lower < wide.upper - wide.lower


def test_whoever_looks_after_every_pair_is_misled_as_seldom_as_promised() -> None:
    """A true share of 0.9, looked at after each of 300 pairs, 400 times: an ordinary 95 % interval misses in about a third of the runs."""
    draws = random.Random(7)
    missed = naive = 0
    for _ in range(400):
        hits = 0
        out = naive_out = False
        for count in range(1, 301):
            hits += draws.random() < 0.9
            # p is out exactly when the wealth against it has reached 1/α; finding the interval's ends takes longer.
            out = out or log_wealth(hits, count, 0.9) >= math.log(20)
            seen = hits / count
            naive_out = naive_out or (
                count >= 20 and abs(seen - 0.9) > 1.96 * math.sqrt(max(seen * (1 - seen), 1e-9) / count)
            )
        missed, naive = missed + out, naive + naive_out
    assert missed <= 20
    assert naive > 80


@pytest.mark.parametrize(("hits", "count"), [(333, 412), (9, 10), (0, 7), (250_000, 250_001)])
def test_its_ends_are_where_the_wealth_reaches_its_bound(hits: int, count: int) -> None:
    found = interval(hits, count)
    for end in (found.lower, found.upper):
        if 0 < end < 1:
            assert log_wealth(hits, count, end) == pytest.approx(math.log(20), rel=1e-6)
