"""Percentiles against numpy, exact and approximate; merging in any order."""

from __future__ import annotations

import random

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bannister.domain.metric.sketch import BUCKETS_MAX, EXACT_VALUES_MAX, RELATIVE_ERROR, Sketch, merge

SHARES = (0.0, 0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1.0)
ROUNDING = 1 + 1e-9

DISTRIBUTIONS = {
    "log-normal": lambda r: int(r.lognormvariate(8, 1.0)),
    "uniform": lambda r: r.randint(0, 60_000_000),
    "two humps": lambda r: r.choice((r.randint(900, 1100), r.randint(59_000_000, 60_000_000))),
    "heavy tail": lambda r: int(1000 * r.paretovariate(0.5)),
    "mostly zero": lambda r: 0 if r.random() < 0.98 else r.randint(1, 10**9),
    "powers": lambda r: float(2 ** r.randint(-300, 300)) * r.uniform(1, 2),
    "fractions": lambda r: r.random(),
}


def nearest_rank(values: list[float], share: float) -> float:
    return float(np.quantile(np.asarray(values, dtype="f8"), share, method="inverted_cdf"))


def assert_close(sketch: Sketch, values: list[float]) -> None:
    for share in SHARES:
        exact = nearest_rank(values, share)
        assert abs(sketch.quantile(share) - exact) <= RELATIVE_ERROR * exact * ROUNDING, share


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("seed", range(3))
def test_the_error_is_bounded_for_many_values(name: str, seed: int) -> None:
    source = random.Random(f"{name} {seed}")
    values = [DISTRIBUTIONS[name](source) for _ in range(20_000)]
    whole = Sketch.of(values)
    merged = merge([Sketch.of(values[start : start + 100]) for start in range(0, len(values), 100)])
    if name != "powers":  # joined buckets: see below
        assert_close(whole, values)
        assert_close(merged, values)
    for sketch in (whole, merged):
        assert (sketch.count, sketch.minimum, sketch.maximum) == (len(values), min(values), max(values))
        assert sketch.sum == pytest.approx(sum(values))
    assert (merged.form, merged.keys, merged.weights) == (whole.form, whole.keys, whole.weights)


@given(st.lists(st.floats(min_value=0, max_value=1e15, allow_subnormal=False), min_size=1, max_size=EXACT_VALUES_MAX))
@settings(deadline=None, max_examples=200)
def test_any_few_values_are_exact(values: list[float]) -> None:
    sketch = Sketch.of(values)
    assert sketch.exact
    assert [sketch.quantile(share) for share in SHARES] == [nearest_rank(values, share) for share in SHARES]


#: From where, by what factor or step to the next, how many of them and how often each: rows of values that may lie on the edges of buckets, overlap, or lie far apart.
ROWS = st.tuples(
    st.floats(min_value=0, max_value=1e12, allow_subnormal=False),
    st.sampled_from([1.0, 1 + 1e-9, (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR), 1.02]),
    st.floats(min_value=1e-6, max_value=1e6),
    st.integers(EXACT_VALUES_MAX + 1, 1200),
    st.integers(1, 5),
)


@given(st.lists(ROWS, min_size=1, max_size=4), st.lists(st.floats(min_value=0, max_value=1e15, allow_subnormal=False)))
@settings(deadline=None, max_examples=200)
def test_any_many_values_are_within_the_bound(
    rows: list[tuple[float, float, float, int, int]], others: list[float]
) -> None:
    values = others + [
        (start * factor**index + step * index)
        for start, factor, step, count, times in rows
        for index in range(count)
        for _ in range(times)
    ]
    sketch = merge([Sketch.of(values[first : first + 700]) for first in range(0, len(values), 700)])
    assert sketch.exact is (len(set(values)) <= EXACT_VALUES_MAX)
    low = max(values) * 1e-17  # below, buckets may be joined
    for share in SHARES:
        exact = nearest_rank(values, share)
        assert exact < low or abs(sketch.quantile(share) - exact) <= RELATIVE_ERROR * exact * ROUNDING


@given(st.lists(st.integers(0, 60_000_000), min_size=1, max_size=EXACT_VALUES_MAX))
@settings(deadline=None)
def test_few_values_are_exact(values: list[int]) -> None:
    sketch = Sketch.of(values)
    assert sketch.exact
    assert sketch.sum == sum(values)
    assert [sketch.quantile(share) for share in SHARES] == [nearest_rank(values, share) for share in SHARES]


@given(
    st.lists(st.lists(st.integers(0, 5000), min_size=1, max_size=400), min_size=1, max_size=8),
    st.randoms(use_true_random=False),
)
@settings(deadline=None)
def test_order_and_grouping_do_not_matter(groups: list[list[int]], source: random.Random) -> None:
    sketches = [Sketch.of(group) for group in groups]
    at_once = Sketch.of([value for group in groups for value in group])
    source.shuffle(sketches)
    while len(sketches) > 1:
        sketches.insert(source.randrange(len(sketches)), merge([sketches.pop(), sketches.pop(0)]))
        source.shuffle(sketches)
    assert sketches == [at_once]


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(1, 50)), min_size=1, max_size=60))
@settings(deadline=None)
def test_a_count_is_so_many_samples(pairs: list[tuple[int, int]]) -> None:
    values, counts = zip(*pairs, strict=True)
    assert Sketch.of(values, counts) == Sketch.of([value for value, count in pairs for _ in range(count)])


@given(st.lists(st.lists(st.integers(0, 20), min_size=1, max_size=6), min_size=1, max_size=8))
@settings(deadline=None)
def test_the_sketch_of_few_whole_values_is_the_same_merged_and_at_once(groups: list[list[int]]) -> None:
    assert merge([Sketch.of(values) for values in groups]) == Sketch.of([value for one in groups for value in one])


@pytest.mark.parametrize(("zeros", "ones"), [(1, 1), (1, 2), (2, 1), (1000, 3)])
def test_zeros_and_ones_are_samples_like_any_other(zeros: int, ones: int) -> None:
    assert Sketch.zeros_and_ones(zeros, ones) == Sketch.of([0.0, 1.0], [zeros, ones])


def test_whole_ranks_are_not_missed_by_rounding() -> None:
    sketch = Sketch.of(range(1, 101))
    assert [sketch.quantile(percent / 100) for percent in range(1, 101)] == list(range(1, 101))
    assert Sketch.of(range(1, 101), [2.0] * 100).quantile(0.07) == 7


def test_size_is_bounded_and_the_top_stays_right() -> None:
    source = random.Random(3)
    values = [source.uniform(1, 2) * 2.0 ** source.randint(-300, 300) for _ in range(60_000)]
    sketch = merge([Sketch.of(values[start : start + 600]) for start in range(0, len(values), 600)])
    assert len(sketch.keys) // 4 == BUCKETS_MAX
    for share in (0.99, 0.999):
        assert sketch.quantile(share) == pytest.approx(nearest_rank(values, share), rel=RELATIVE_ERROR * ROUNDING)


@pytest.mark.parametrize("sketch", [Sketch.of([1, 2, 2]), Sketch.of([0.5]), Sketch.of(list(range(1000)))])
def test_it_survives_the_wire(sketch: Sketch) -> None:
    assert msgspec.json.decode(msgspec.json.encode(sketch), type=Sketch) == sketch


@pytest.mark.parametrize("values", [[], [-1.0], [float("nan")], [1.0, float("inf")]])
def test_what_is_no_sample_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        Sketch.of(values)
