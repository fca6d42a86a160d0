"""The real loops in each scripted situation, undisturbed and with faults."""

import pytest
from tests.simulation.simulate import simulate
from tests.simulation.situations import SITUATIONS, scripts

#: A task that is killed before it began leaves what it was to run.
pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")

SEEDS = range(1, 6)


@pytest.mark.parametrize("name", SITUATIONS)
@pytest.mark.parametrize("disturbed", [False, True], ids=["undisturbed", "with faults"])
def test_a_situation(name: str, disturbed: bool) -> None:
    for seed in SEEDS:
        simulate(seed, scripts(name)[disturbed])
