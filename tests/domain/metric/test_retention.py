"""Rolling up: whatever the samples are, and in whatever order and steps they are merged, what is read from them stays right."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings, target
from hypothesis import strategies as st

from bannister.domain.metric.aggregate import Aggregate, of_values, statistic
from bannister.domain.metric.retention import merged_data, merged_summary, stretch
from bannister.domain.metric.sketch import EXACT_VALUES_MAX, RELATIVE_ERROR, Sketch
from bannister.domain.metric.summary import Summary

SHARES = (0.0, 0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)
SPANS = (60, 300, 3600)

DISTRIBUTIONS: dict[str, Callable[[random.Random], float]] = {
    "log-normal": lambda r: r.lognormvariate(9, 2),
    "whole log-normal": lambda r: float(int(r.lognormvariate(9, 1))),
    "pareto": lambda r: min(r.paretovariate(0.3), 1e15),
    "bimodal": lambda r: r.gauss(1000, 1) if r.random() < 0.5 else r.gauss(1e7, 1),
    "constant": lambda r: 7.25,
    "twelve orders": lambda r: 10 ** r.uniform(-6, 6),
    "zeros": lambda r: 0.0 if r.random() < 0.9 else r.uniform(0, 100),
    "negative": lambda r: r.gauss(0, 100),
    "edges of buckets": lambda r: (
        ((1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)) ** r.randrange(-1000, 2000) * (1 + r.choice((-1, 0, 1)) * 1e-12)
    ),
    "neighbours": lambda r: 1 + r.random() * 1e-9,
}


def pieces(source: random.Random, values: list[float]) -> Iterator[tuple[int, list[float]]]:
    """The samples in any order, by seconds of an hour, of some of which several parts come."""
    source.shuffle(values)
    at = 0
    while at < len(values):
        count = source.choice((1, 3, 50, 700))
        yield source.randrange(3600), values[at : at + count]
        at += count


@given(
    st.lists(st.sampled_from(sorted(DISTRIBUTIONS)), min_size=1, max_size=2),
    st.integers(0, 2**32),
    st.sampled_from((3, 300, 2500)),
)
@settings(deadline=None, max_examples=60)
def test_any_samples_rolled_up_in_any_steps(names: list[str], seed: int, count: int) -> None:
    source = random.Random(seed)
    values = [DISTRIBUTIONS[source.choice(names)](source) for _ in range(count)]
    rows = [(second, of_values(part)) for second, part in pieces(source, values)]
    summaries = [
        Summary("g", "", second, len(part), model_latency=Sketch.of(part))
        for second, part in pieces(source, values)
        if min(values) >= 0
    ]
    for span in source.choice((SPANS, SPANS[1:], SPANS[2:])):
        source.shuffle(rows)
        stretches: dict[int, list[Aggregate]] = {}
        for second, one in rows:
            stretches.setdefault(stretch(second, span), []).append(one)
        rows = [(begin, one) for begin, found in stretches.items() for one in merged_data(found)]
        by_stretch: dict[int, list[Summary]] = {}
        for each in summaries:
            by_stretch.setdefault(stretch(each.second, span), []).append(each)
        summaries = [merged_summary(found, begin) for begin, found in by_stretch.items()]
    [(begin, whole)] = rows
    assert begin == 0
    assert_right(whole, values)
    for each in summaries:
        assert each.invocations == count
        assert each.model_latency is not None
        assert (each.model_latency.form, each.model_latency.keys, each.model_latency.weights) == (
            (whole.sketch.form, whole.sketch.keys, whole.sketch.weights) if whole.sketch is not None else None
        )


def assert_right(whole: Aggregate, values: list[float]) -> None:
    assert (whole.count, whole.minimum, whole.maximum) == (len(values), min(values), max(values))
    size = math.fsum(map(abs, values))
    assert abs(whole.sum - math.fsum(values)) <= 1e-12 * size
    if min(values) < 0:
        assert statistic(whole, "p90") is None
        return
    ordered = sorted(values)
    bound = 0.0 if len(set(values)) <= EXACT_VALUES_MAX else RELATIVE_ERROR
    errors = []
    for share in SHARES:
        exact = ordered[max(math.ceil(share * len(values) * (1 - 1e-12)) - 1, 0)]
        found = statistic(whole, f"p{share * 100:g}")
        assert found is not None
        errors.append(abs(found - exact) / exact if exact else abs(found))
    target(max(errors))  # look where it is largest
    assert max(errors) <= bound * (1 + 1e-6)


def test_what_comes_late_joins_what_is_rolled_up() -> None:
    early = merged_data([of_values([1.0, 2.0]), of_values([3.0])])
    assert merged_data([*early, of_values([4.0])]) == [of_values([1.0, 2.0, 3.0, 4.0])]


def test_units_stay_apart() -> None:
    merged = merged_data([of_values([1.0], unit="A"), of_values([2.0], unit="B"), of_values([3.0], unit="A")])
    assert {one.unit: one.sum for one in merged} == {"A": 4.0, "B": 2.0}
    assert [statistic(one, "p50") for one in merged if one.unit == "B"] == [pytest.approx(2.0)]
