"""The real loops in simulated worlds, from seeds. A failure prints its seed; `make simulate SEED=…` replays it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.simulation.simulate import simulate
from tests.simulation.soak import Tally, faults_by_kind, faults_by_phase, keep_in, kept, soak, summary
from tests.simulation.story import Script

from bannister.domain.deployment.deployment import Phase

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


def test_a_run_in_two_parts_comes_to_what_it_comes_to_in_one(tmp_path: Path) -> None:
    whole = soak(Tally(1, 0), 40, SECONDS_MAX, 1, round_worlds=2)
    file = tmp_path / "run.json"
    first = soak(kept(file, 1), 1, SECONDS_MAX, 1, keep=lambda tally: keep_in(file, tally), round_worlds=2)
    assert 0 < first.worlds < whole.worlds
    both = soak(kept(file, 1), 40, SECONDS_MAX, 1, keep=lambda tally: keep_in(file, tally), round_worlds=2)
    assert (both.worlds, both.last_seed, both.counts, both.virtual_seconds) == (
        whole.worlds,
        whole.last_seed,
        whole.counts,
        whole.virtual_seconds,
    )
    assert kept(file, 1) == both


def test_a_run_is_not_continued_as_another(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    keep_in(file, Tally(1, 50))
    with pytest.raises(SystemExit, match="give --seed 1"):
        kept(file, 7)
    file.write_text(file.read_text().replace('"revision": "', '"revision": "0'))
    with pytest.raises(SystemExit, match="is of a run of revision"):
        kept(file, 1)


@pytest.mark.slow
@pytest.mark.alone  # it takes all cores, and says how long it took
def test_ten_thousand_deployments_with_faults(capsys: pytest.CaptureFixture[str]) -> None:
    workers = os.cpu_count() or 1
    tally = soak(Tally(FIRST_SEED, FIRST_SEED - 1), DEPLOYMENTS, SECONDS_MAX, workers)
    with capsys.disabled():
        print(f"\n{summary(tally, workers)}")
    assert tally.violations == []
    assert tally.deployments >= DEPLOYMENTS, f"Only {tally.deployments} in {SECONDS_MAX:.0f} s."
    by_phase = faults_by_phase(tally)
    # Over as soon as the proxies have acknowledged what began it: `test_crash_points.py` and the situations lead there.
    del by_phase[Phase.SHEDDING.value]
    assert min(by_phase.values()) > DEPLOYMENTS / 1000, f"Hardly any faults in some phase: {by_phase}"
    by_kind = faults_by_kind(tally)
    assert min(by_kind.values()) > DEPLOYMENTS / 1000, f"Hardly any faults of some kind: {by_kind}"
