"""What the simulation found in the product, kept as the seeds that showed it and would show it again.

A seed is worth keeping for as long as its world does what it did then. So each is run twice: as the product is, and with what mended it undone, where it must fail. What seeds no longer show is kept as
a situation, with the undone mend as a mutant (`situations.py`, `mutants.py`; docs/simulation.md lists them).
"""

import random
import subprocess
import sys

import pytest
from tests.simulation.simulate import simulate
from tests.simulation.story import Script

pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")

#: By seed: the mutant that is the undone mend.
FOUND = {
    # A thawed control plane overwrote the instance records of its successor: the next one took all instances for strays and ended them.
    100: "instances touched by a control plane that was replaced",
    # A control plane restarted while blue retired withdrew the endpoint's routes, because not every green instance was seen healthy.
    4095: "green without traffic while blue retires",
}


@pytest.mark.parametrize("seed", FOUND)
def test_what_was_found_stays_mended(seed: int) -> None:
    simulate(seed, world_of(seed))


@pytest.mark.parametrize("seed", FOUND)
def test_without_its_mend_it_is_found_again(seed: int) -> None:
    run = f"simulate({seed}, world_of({seed}), parts=MUTANTS[{FOUND[seed]!r}][0]())"
    program = f"from tests.simulation.mutants import MUTANTS\nfrom tests.simulation.test_found import *\n{run}"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=False)
    assert "tests.simulation.world.Violation: " in done.stderr, f"{seed} shows nothing any more: keep a situation"


def world_of(seed: int) -> Script:
    """As worlds were when these were found."""
    rng = random.Random(-seed)
    return Script(
        endpoints=rng.choice((1, 2, 3, 4)),
        deployments=5,
        fault_seconds=rng.choice((None, 1.5, 3.0, 3.0, 6.0, 12.0)),
        proxies=rng.choice((1, 1, 2)),
    )
