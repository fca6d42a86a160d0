"""Inference experiments in simulated worlds, and a crash at every write of one: the outcome is that of the uninterrupted run."""

import asyncio
import contextlib
import logging
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from tests.simulation.experiments import ByExperiment, Experimenting, script_of, seeds_of_experiments, situation
from tests.simulation.room import Room
from tests.simulation.simulate import simulate
from tests.simulation.story import tell
from tests.simulation.world import Model, Violation, World

from bannister.domain.deployment.construction import same_but_instances
from bannister.domain.experiment.admission import Action
from bannister.domain.experiment.experiment import ENDED, ExperimentVariant
from bannister.domain.experiment.recorder import DECIDED, disagreements
from bannister.instances.memory import Behaviour
from bannister.operations.experiments import ExperimentChange, ExperimentRequest, create_experiment, update_experiment

#: A task that is killed before it began leaves what it was to run.
pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")

PROMOTE = {"a": Action.REMOVE, "shadow": Action.PROMOTE}
RESTORE = {"a": Action.RETAIN, "shadow": Action.REMOVE}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_worlds_with_experiments_and_faults() -> None:
    counts: Counter[str] = Counter()
    for seed in seeds_of_experiments(1, 12):
        counts.update(simulate(seed).counts)
    # They went everywhere: else nothing was shown.
    for what in ("experiments completed", "experiments cancelled", "endpoints restored", "endpoints left otherwise"):
        assert counts[what] > 0, counts


def test_an_endpoint_that_cannot_be_restored_loses_at_least_the_shadow() -> None:
    assert simulate(1, situation()).counts["endpoints left otherwise"] == 1


@pytest.mark.parametrize("seed", seeds_of_experiments(1000, 3))
def test_decisions_about_experiments_are_the_same_when_taken_again(seed: int) -> None:
    world = World(seed)
    with contextlib.suppress(Violation):  # another test's matter
        world.loop.run(tell(world, script_of(seed)))
    bodies = [entry.body for entry in world.medium.entries if entry.kind == DECIDED]
    assert bodies
    assert disagreements(bodies) == []


# --- a crash at every point -------------------------------------------------------------------------


@dataclass
class Outcome:
    """What must be the same, wherever it was interrupted."""

    status: str
    reason: str | None
    restored: bool
    variants: list[str]
    running: list[str]
    points: list[str] = field(default_factory=list, compare=False)
    #: The number of the first point after the experiment was stopped.
    stopped_at: int = field(default=1, compare=False)


async def _experiment(world: World, stop: dict[str, Action] | None, crash_at: int | None) -> Outcome:
    world.shadows, world.room = ByExperiment(world), Room(world, varies=False)
    world.begin()
    release = Experimenting(world, "e")
    first = await release.version(Model("one", Behaviour(ready_after_seconds=0.3)), 2)
    second = await release.version(Model("two", Behaviour(ready_after_seconds=0.3)), 1)
    await release.create_with(first)
    before = world.endpoints()["e"].blue
    assert before is not None
    ends_at = world.clock.now() + 30.0
    asked = ExperimentRequest(
        "e",
        ExperimentVariant("a", first, "ml.m5.large", 1),
        ExperimentVariant("shadow", second, "ml.m5.large", 1),
        50,
        ends_at=ends_at,
    )
    experiments, points, began = world.checker.experiments.experiments, world.point_names, world.points
    world.crash_at = lambda number, _: number - began == crash_at
    await release._caller.ask(lambda context: create_experiment(context, "x", asked), lambda: "x" in experiments)
    await asyncio.sleep(12.0)
    change = ExperimentChange(sampling_percent=5)
    await release._caller.ask(
        lambda context: update_experiment(context, "x", change), lambda: experiments["x"].sampling_percent == 5
    )
    await asyncio.sleep(3.0)
    stopped_at = len(points) + 1 if stop is not None else 1
    if stop is not None:
        await release.stop("x", stop)
    while experiments["x"].status not in ENDED:
        await asyncio.sleep(0.5)
    world.crash_at = None
    await asyncio.sleep(20.0)
    world.checker.settled()
    after = world.endpoints()["e"].blue
    assert after is not None
    return Outcome(
        experiments["x"].status.value,
        experiments["x"].reason,
        same_but_instances(after, before),
        [group.variant for group in after.all_groups],
        sorted(world.image_of[world.machine.group_of[one]] for one in world.machine.running),
        list(points),
        stopped_at,
    )


@pytest.mark.slow
@pytest.mark.parametrize("stop", [None, RESTORE, PROMOTE], ids=["by the clock", "restored", "promoted"])
def test_every_crash_point_has_the_same_outcome(stop: dict[str, Action] | None) -> None:
    world = World(7)
    uninterrupted = world.loop.run(_experiment(world, stop, None))
    assert uninterrupted.status == ("Cancelled" if stop is RESTORE else "Completed")
    assert uninterrupted.restored == (stop is not PROMOTE)
    assert uninterrupted.variants == (["shadow"] if stop is PROMOTE else ["a"])
    assert any("experiment/x" in point for point in uninterrupted.points)
    # Up to there all three are the same.
    first = uninterrupted.stopped_at
    assert len(uninterrupted.points) - first > 10
    for number, point in enumerate(uninterrupted.points[first - 1 :], start=first):
        again = World(7)
        assert again.loop.run(_experiment(again, stop, number)) == uninterrupted, f"crashed {point} (point {number})"


# --- the rules can be broken ------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "an endpoint that is not restored",
        "another count after an experiment",
        "an end that is not seen",
        "sampling that is not set",
        "capture that is forgotten by what comes after",
        "capture that stays the experiment's when nothing can be restored",
        "a shadow that stays when nothing can be restored",
    ],
)
def test_a_broken_rule_is_noticed(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.simulation.experiment_mutants", name],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
