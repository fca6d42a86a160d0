"""Statistics of ranges against a plain computation, and their names; adversarial distributions within the stated error."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bannister.domain.metric.aggregate import check_statistic, of_statistics, of_values, statistic
from bannister.domain.metric.sketch import EXACT_VALUES_MAX, RELATIVE_ERROR, Sketch, merge
from bannister.domain.metric.statistic import range_statistic, value_of
from bannister.errors import Invalid

GOOD = [
    "tm90", "tm99.9", "tc0.005", "ts100", "wm98", "IQM", "TM(2%:98%)", "TM(150:1000)", "TM(:95%)", "TC(0.005:0.030)",
    "TS(80%:)", "WM(10%:90%)", "WM(:7)", "PR(:300)", "PR(100:2000)", "PR(5:)", "TM(99.9999999999%:)", "TM(10%:100%)",
]  # fmt: skip
BAD = [
    "tm", "tm101", "TM90", "tm(10%:90%)", "TM(:)", "TM(10:90%)", "TM(90%:10%)", "TM(5:5)", "PR(10%:90%)", "pr90",
    "PR()", "PR(-1:5)", "IQM50", "iqm", "TM(10%:101%)", "TM(1.00000000001:2)", "TM(10%;90%)", "WM(1e3:)",
]  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_names_of_statistics(name: str) -> None:
    check_statistic(name)


@pytest.mark.parametrize("name", BAD)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(Invalid, match="not a statistic"):
        check_statistic(name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tm50", 1.5), ("tc50", 2), ("ts50", 3), ("wm50", 1.75), ("tm60", 1.75), ("tc60", 2.4),
        ("TM(25%:75%)", 2.5), ("IQM", 2.5), ("TS(50%:)", 103), ("TC(2:100)", 2), ("TM(2:3)", 3), ("PR(1:3)", 50),
        ("PR(:3)", 75), ("TM(3:99)", None), ("TC(3:99)", 0), ("TS(3:99)", 0), ("WM(2:3)", 2.5), ("WM(25%:75%)", 2.25),
    ],
)  # fmt: skip
def test_values(name: str, expected: float | None) -> None:
    assert statistic(of_values([100, 2, 1, 3]), name) == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("name", ["tm90", "IQM", "PR(:5)", "TC(:5)", "wm90"])
def test_where_no_sample_is_known_there_is_no_value(name: str) -> None:
    assert statistic(of_values([-1, 2]), name) is None
    assert statistic(of_statistics(4, 10, 1, 4), name) is None
    assert statistic(of_statistics(4, 8, 2, 2), name) is not None


# --- any distribution, against all samples


def _cut(values: list[float], low: float, high: float) -> float:
    """The sum of the samples between two ranks, of one at a bound only the part inside."""
    return math.fsum(
        value * max(0.0, min(place + 1, high) - max(place, low)) for place, value in enumerate(sorted(values))
    )


_SCALES = st.sampled_from([1e-9, 1.0, 1e3, 1e12])
#: Seeds of large distributions: (kind, scale, spread, zeros among them).
DISTRIBUTIONS = st.tuples(
    st.sampled_from(["heavy tail", "two clusters", "whole", "constant", "many near", "steps"]),
    _SCALES,
    st.integers(1, 2**30),
    st.sampled_from([0.0, 0.4, 0.99]),
)


def _samples(kind: str, scale: float, seed: int, zeros: float, count: int = 1600) -> list[float]:
    import numpy as np

    source = np.random.default_rng(seed)
    match kind:
        case "heavy tail":
            values = np.minimum(source.pareto(0.3, count) + 1, 1e12)
        case "two clusters":
            values = np.where(source.random(count) < 0.5, 1 + source.random(count), 1e6 + source.random(count))
        case "whole":
            values = source.integers(0, 10**7, count).astype("f8")
        case "constant":
            values = np.full(count, 7.25)
        case "many near":
            values = 1 + source.random(count) * 1e-6
        case _:
            values = 1.01 ** source.integers(0, 2000, count)
    return [float(value) for value in np.where(source.random(count) < zeros, 0.0, values * scale)]


@given(DISTRIBUTIONS, st.floats(0, 1), st.lists(st.integers(1, 400), max_size=12), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=100)
def test_percentiles_and_trimmed_means_stay_within_the_error(shape, share, cuts, source) -> None:  # type: ignore[no-untyped-def]
    values = _samples(*shape)
    parts, rest = [], values
    for cut in cuts:
        parts.append(Sketch.of(rest[:cut])) if rest[:cut] else None
        rest = rest[cut:]
    parts += [Sketch.of(rest)] if rest else []
    while len(parts) > 1:  # in any order and tree
        source.shuffle(parts)
        parts.append(merge([parts.pop() for _ in range(min(len(parts), source.randint(2, 4)))]))
    [sketch] = parts
    error = 0.0 if len(set(values)) <= EXACT_VALUES_MAX else RELATIVE_ERROR
    ordered = sorted(values)
    exact = ordered[min(max(math.ceil(share * len(values) * (1 - 1e-12)) - 1, 0), len(values) - 1)]
    assert sketch.exact is (error == 0)
    assert abs(sketch.quantile(share) - exact) <= error * exact * (1 + 1e-9)
    upper = max(round(share * 100, 4), 1)
    total = value_of(range_statistic(f"ts{upper}"), sketch)  # type: ignore[arg-type]
    count = value_of(range_statistic(f"tc{upper}"), sketch)  # type: ignore[arg-type]
    wanted = _cut(values, 0, upper / 100 * len(values))
    assert count == pytest.approx(upper / 100 * len(values))
    assert total == pytest.approx(wanted, rel=error * (1 + 1e-6) + 1e-9)
    assert sketch.sum == pytest.approx(math.fsum(values))


@given(st.integers(0, 2**30), st.integers(520, 900), st.floats(0, 1))
@settings(deadline=None, max_examples=40)
def test_huge_counts(seed: int, size: int, share: float) -> None:
    source = random.Random(seed)
    pairs = [(10 ** source.uniform(-6, 9), int(10 ** source.uniform(0, 12))) for _ in range(size)]
    values, counts = zip(*pairs, strict=True)
    sketch = merge([Sketch.of(values[:300], counts[:300]), Sketch.of(values[300:], counts[300:])])
    assert sketch.count == sum(counts)
    rank, seen, lower, upper = share * sum(counts), 0, None, None
    for value, count in sorted(pairs):
        seen += count
        if lower is None and seen >= rank * (1 - 1e-9):
            lower = value
        if upper is None and seen >= rank * (1 + 1e-9):
            upper = value
    found = sketch.quantile(share)
    lower, upper = lower or 0.0, upper or max(values)
    assert lower * (1 - RELATIVE_ERROR) * (1 - 1e-9) <= found <= upper * (1 + RELATIVE_ERROR) * (1 + 1e-9)
