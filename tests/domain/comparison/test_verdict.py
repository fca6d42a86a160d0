"""What a tally says in words, and quantiles of what has a sign."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.domain.comparison.flights import records

from bannister.domain.comparison.quantiles import signed_quantile
from bannister.domain.comparison.record import counted_together
from bannister.domain.comparison.report import CaptureCount, Counted
from bannister.domain.comparison.tally import Tally
from bannister.domain.comparison.verdict import percent, verdict
from bannister.domain.metric.sketch import Sketch

SHADOW, NOISE = records(1000)


def said(noise: Tally | None = None, **counts: int) -> str:
    tally = Tally(**counts)
    return verdict(replace(SHADOW, tally=tally), replace(NOISE, tally=noise) if noise is not None else None)


def test_the_agreement_comes_first_with_its_interval() -> None:
    assert said(pairs=412, agreeing=333) == "v4 agrees with v2 on 80.8 % of 412 pairs (95 % interval 73.4 % to 87 %)."
    assert said(pairs=400, agreeing=400) == "v4 agrees with v2 on all 400 pairs (95 % interval: at least 98.4 %)."
    assert said(pairs=400, agreeing=0).startswith("v4 agrees with v2 on 0 % of 400 pairs (95 % interval: at most 1.6")
    assert "99.999 %" in said(pairs=10**6, agreeing=10**6 - 1)


def test_nothing_and_little_say_so() -> None:
    assert said() == "No answer of v4 has been compared with one of v2 yet."
    assert "That is few" in said(pairs=99, agreeing=98)
    assert "That is few" not in said(pairs=100, agreeing=98)


def test_the_noise_is_told_beside_it() -> None:
    worse, same, unknown = Tally(200, 200), Tally(400, 330), Tally(10, 9)
    assert "more than its noise" in said(worse, pairs=412, agreeing=333)
    assert "less than its noise" in said(Tally(400, 300), pairs=412, agreeing=400)
    for own in (unknown, same):
        assert "no difference that can be told from its noise so far" in said(own, pairs=412, agreeing=333)


def test_structure_invalid_numbers_and_latency_are_told() -> None:
    assert "3 pairs of 412 differ in structure. 1 answer of v4 holds invalid numbers." in said(
        pairs=412, agreeing=400, structural=3, invalid=1
    )
    assert verdict(SHADOW, NOISE).endswith("v4 answers 0.154 ms later at the median.")


def test_two_of_one_name_are_told_apart() -> None:
    text = verdict(replace(SHADOW, production_model="v4"), None)
    assert text.startswith("v4 (the shadow) agrees with v4 (production)")


@pytest.mark.parametrize(
    ("share", "text"), [(1.0, "100 %"), (0.9999, "99.99 %"), (0.0, "0 %"), (0.00012, "0.012 %"), (0.5, "50 %")]
)
def test_percents(share: float, text: str) -> None:
    assert percent(share) == text


@settings(deadline=None)
@given(st.lists(st.integers(-50, 50), min_size=1, max_size=40), st.floats(0, 1))
def test_a_signed_quantile_is_the_nearest_rank(values: list[int], q: float) -> None:
    above, below = [one for one in values if one >= 0], [-one for one in values if one < 0]
    found = signed_quantile(Sketch.of(above) if above else None, Sketch.of(below) if below else None, q)
    ordered = sorted(values)
    rank = q * len(values)
    near = {ordered[min(max(int(rank) + step, 0), len(values) - 1)] for step in (-1, 0)}
    assert found in near


def test_of_nothing_there_is_no_quantile() -> None:
    assert signed_quantile(None, None, 0.5) is None


def test_counts_add_up() -> None:
    one = CaptureCount("g", Counted.DROPPED, 2, "full")
    assert counted_together([one, one, CaptureCount("g", Counted.CAPTURED, 1)]) == (
        CaptureCount("g", Counted.CAPTURED, 1),
        CaptureCount("g", Counted.DROPPED, 4, "full"),
    )
