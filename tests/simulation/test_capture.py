"""The rules of captured traffic have something to judge: what they leave out, because something disturbed it, is not most of it."""

from collections import Counter

import pytest
from tests.simulation.simulate import simulate

#: A task that is killed before it began leaves what it was to run.
pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")

#: Some of those that have shadows; the last are about experiments.
SEEDS = (1, 3, 9, 17, 18, 30)


def test_the_rules_of_captured_traffic_have_something_to_judge() -> None:
    counts: Counter[str] = Counter()
    for seed in SEEDS:
        counts.update(simulate(seed).counts)
    assert counts["copies undisturbed, told"] > counts["copies"] / 4, counts
    for what in (
        "copies undisturbed, early",
        "copies undisturbed, slow",
        "halves early",
        "halves lost",
        "halves doubled",
    ):
        assert counts[what] > 0, counts
