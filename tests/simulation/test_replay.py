"""A world in which a property does not hold says how to make it again, and that is what makes it again."""

import shlex
import subprocess
import sys
from dataclasses import replace

import pytest
from tests.simulation.plane import Parts
from tests.simulation.simulate import simulate
from tests.simulation.situations import scripts
from tests.simulation.story import Script
from tests.simulation.world import Violation, World

from bannister.deployer.loop import Deployer

#: A task that is killed before it began leaves what it was to run.
pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")


async def _broken(world: World) -> None:
    raise world.violated("0: nothing holds", "It was made so.")


def _said(seed: int, script: Script) -> str:
    with pytest.raises(Violation) as found:
        simulate(seed, script)
    return str(found.value)


@pytest.mark.parametrize(("disturbed", "faults"), [(False, ""), (True, " FAULTS=1")])
def test_a_situation_is_replayed_by_its_name(disturbed: bool, faults: str) -> None:
    script = replace(scripts("held by an alarm")[disturbed], situation=_broken)
    assert f"replay with: make simulate SITUATION='held by an alarm' SEED=3{faults}\n" in _said(3, script)


def test_a_world_of_a_test_is_replayed_by_the_test(request: pytest.FixtureRequest) -> None:
    script = Script(fault_seconds=None, situation=_broken)
    assert f"replay with: .venv/bin/python -m pytest '{request.node.nodeid}'\n" in _said(3, script)


def test_what_a_violation_says_makes_the_same_world() -> None:
    found = simulate(3, scripts("held by an alarm")[True])
    said = scripts("held by an alarm")[True].replay(3)
    assert said is not None
    made = subprocess.run(
        [*shlex.split(said), "--dry-run", "--no-print-directory", f"PYTHON={sys.executable}"],
        capture_output=True,
        text=True,
        check=True,
    )
    (command,) = [line for line in made.stdout.splitlines() if "tests.simulation.simulate" in line]
    done = subprocess.run(command.lstrip("@"), shell=True, capture_output=True, text=True, check=True)
    assert found.digest in done.stdout


class _Broken(Deployer):
    """Ends at once, and so does its control plane."""

    async def run(self) -> None:
        raise RuntimeError("It is broken.")


def test_a_world_of_a_seed_is_replayed_by_the_seed() -> None:
    with pytest.raises(Violation, match=r"replay with: make simulate SEED=5\n"):
        simulate(5, parts=Parts(deployer=_Broken))
