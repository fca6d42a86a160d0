"""The real loops in simulated worlds, from seeds. A failure prints its seed; `make simulate SEED=…` replays it."""

import os
import subprocess
import sys

import pytest
from tests.simulation.simulate import simulate
from tests.simulation.soak import faults_by_phase, soak, summary
from tests.simulation.story import Script

#: What `make test` does. `make soak-simulation` does more.
DEPLOYMENTS = int(os.environ.get("SIMULATED_DEPLOYMENTS", "10000"))
FIRST_SEED = 10_000
SECONDS_MAX = 900.0

#: A task that is killed before it began leaves what it was to run.
pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")


@pytest.mark.parametrize("seed", range(1, 9))
def test_a_world_with_faults(seed: int) -> None:
    result = simulate(seed)
    assert result.counts["completed"] + result.counts["rolled back"] > 0


def test_a_world_in_which_nothing_goes_wrong_releases_every_sound_version() -> None:
    result = simulate(1, Script(endpoints=2, deployments=4, fault_seconds=None))
    assert result.counts["completed"] > 0
    assert result.counts["deployments"] == 8


def test_the_same_seed_is_the_same_run_whatever_the_process() -> None:
    digests = {_digest(hash_seed) for hash_seed in ("1", "2")}
    assert len(digests) == 1


def _digest(hash_seed: str) -> str:
    command = [sys.executable, "-m", "tests.simulation.simulate", "--seed", "3"]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    return done.stdout.rsplit("digest ", 1)[1]


@pytest.mark.slow
def test_ten_thousand_deployments_with_faults(capsys: pytest.CaptureFixture[str]) -> None:
    workers = os.cpu_count() or 1
    tally = soak(FIRST_SEED, DEPLOYMENTS, SECONDS_MAX, workers)
    with capsys.disabled():
        print(f"\n{summary(tally, workers)}")
    assert tally.violations == []
    assert tally.deployments >= DEPLOYMENTS, f"Only {tally.deployments} in {SECONDS_MAX:.0f} s."
    by_phase = faults_by_phase(tally)
    assert min(by_phase.values()) > DEPLOYMENTS / 1000, f"Hardly any faults in some phase: {by_phase}"
