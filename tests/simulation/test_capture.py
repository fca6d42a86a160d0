"""The rules of copies and of captured traffic have something to judge: what they leave out, because something disturbed it, is not most of it."""

from collections import Counter

import pytest
from tests.simulation.simulate import simulate

#: A task that is killed before it began leaves what it was to run.
pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")

#: Some of those that have shadows; the first are about experiments.
SEEDS = (6, 14, 18, 17, 30)


def test_the_rules_of_captured_traffic_have_something_to_judge() -> None:
    counts: Counter[str] = Counter()
    for seed in SEEDS:
        counts.update(simulate(seed).counts)
    assert counts["copies undisturbed, told"] > counts["copies"] / 4, counts
    kinds = ("early", "slow", "noise")
    halves = ("early", "lost", "that nobody listened to")
    rooms = ("rooms judged", "rooms judged, with a full heap", "copies skipped")
    for what in (
        *(f"copies undisturbed, {one}" for one in kinds),
        *(f"halves {one}" for one in halves),
        *rooms,
        "requests sampled",
        "copies of a process that was killed",
        "exchanges due at the end",
    ):
        assert counts[what] > 0, (what, counts)
