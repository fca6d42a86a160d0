"""A crash at every write and every effect of a deployment, also between the acts of which an effect consists, each followed by recovery: the outcome is that
of the uninterrupted run.
"""

import asyncio
import logging
from dataclasses import dataclass, field, replace

import pytest
from tests.simulation.story import Caller, Release
from tests.simulation.world import Model, World

from bannister.domain.alarm.definition import Definition
from bannister.domain.deployment.deployment import Phase
from bannister.domain.deployment.policy import CapacitySize, CapacityType, DeploymentPolicy, Routing
from bannister.domain.deployment.recorder import DECIDED
from bannister.domain.metric.identity import identity
from bannister.instances.memory import Behaviour
from bannister.operations.alarms import Extras, put_metric_alarm
from bannister.operations.endpoints import create_endpoint, update_endpoint

QUIET_SECONDS = 20.0

#: A task that is killed before it began leaves what it was to run.
pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")


@dataclass
class Outcome:
    """What must be the same, wherever it was interrupted."""

    config: str
    phases: list[str]
    weights: list[tuple[str, int]]
    running: list[str]
    failed: bool
    points: list[str] = field(default_factory=list, compare=False)
    acts: int = field(default=0, compare=False)
    #: The phases that decisions led to.
    reached: set[str] = field(default_factory=set, compare=False)


HALF = CapacitySize(CapacityType.CAPACITY_PERCENT, 50)


def _policy(routing: Routing, back: CapacitySize | None) -> DeploymentPolicy:
    step = None if routing is Routing.ALL_AT_ONCE else HALF
    wait_seconds = 3 if back is None else 15  # what was answered well before counts for ten seconds
    return DeploymentPolicy(
        routing, step, wait_seconds, termination_wait_seconds=4, alarms=("errors",), rollback_step=back
    )


async def _release(
    world: World, routing: Routing, bad: bool, crash_at: int | None, back: CapacitySize | None, crash_at_act: int
) -> Outcome:
    world.begin()
    caller, release = Caller(world), Release(world, "e")
    first = await release.version(Model("one", Behaviour(ready_after_seconds=0.3)), 2)
    await caller.ask(lambda context: create_endpoint(context, "e", first))
    await release.at_rest()
    fails_at_once = bad and back is None
    second = await release.version(Model("two", Behaviour(ready_after_seconds=0.3), error_rate=float(fails_at_once)), 2)
    dimensions = {"EndpointName": "e", "VariantName": "a", "EndpointConfigName": second}
    alarm = Definition(
        metric=identity("AWS/SageMaker", "Invocation5XXErrors", dimensions),
        statistic="Average",
        period_seconds=10,
        evaluation_periods=1,
        threshold=0.5,
        comparison="GreaterThanOrEqualToThreshold",
        missing_data="notBreaching",
    )
    await caller.ask(lambda context: put_metric_alarm(context, "errors", alarm, Extras()))
    points, before = world.point_names, world.points
    world.crash_at = lambda number, _: number - before == crash_at
    world.crash_at_act = crash_at_act
    await caller.ask(
        lambda context: update_endpoint(context, "e", second, _policy(routing, back)),
        lambda: len(world.checker.watched) > 1,  # the answer may be lost, and the deployment not
    )
    while (running := world.endpoints()["e"].deployment) is not None:
        if back is not None and running.step > 0:  # in the second batch, when some of blue is gone
            world.models["two"] = replace(world.models["two"], error_rate=1.0)
        await asyncio.sleep(0.5)
    world.crash_at = world.crash_at_act = None
    await asyncio.sleep(QUIET_SECONDS)
    world.checker.settled()
    endpoint = world.endpoints()["e"]
    assert endpoint.blue is not None
    proxy = next(iter(world.network.proxies.values()))
    return Outcome(
        endpoint.blue.config_name,
        [outcome.value for outcome in world.checker.outcomes.values()],
        [(one.group.rpartition(".")[0], one.parts) for one in proxy.weights("e") if one.parts],
        sorted(world.image_of[world.machine.group_of[one]] for one in world.machine.running),
        endpoint.failure_reason is not None,
        list(points),
        world.acts_begun,
        {entry.body["to"] for entry in world.medium.entries if entry.kind == DECIDED},
    )


def _run(
    routing: Routing, bad: bool, crash_at: int | None, back: CapacitySize | None = None, crash_at_act: int = 0
) -> Outcome:
    logging.disable(logging.CRITICAL)
    world = World(7)
    try:
        return world.loop.run(_release(world, routing, bad, crash_at, back, crash_at_act))
    finally:
        logging.disable(logging.NOTSET)


@pytest.mark.parametrize("routing", Routing)
@pytest.mark.parametrize("bad", [False, True], ids=["success", "rollback"])
def test_every_crash_point_has_the_same_outcome(routing: Routing, bad: bool) -> None:
    uninterrupted = _run(routing, bad, None)
    assert uninterrupted.phases[-1] == ("rolled back" if bad else "completed")
    for kind in ("before commit", "after commit", "before publish", "after publish", "before ensure", "before remove"):
        assert any(point.startswith(kind) for point in uninterrupted.points), kind
    for number, point in enumerate(uninterrupted.points, start=1):
        outcome = _run(routing, bad, number)
        assert outcome == uninterrupted, f"crashed {point} (point {number})"


def test_a_crash_at_every_point_of_a_way_back_in_batches_has_the_same_outcome() -> None:
    uninterrupted = _run(Routing.ROLLING, True, None, HALF)
    assert uninterrupted.phases[-1] == "rolled back"
    assert uninterrupted.reached >= {Phase.RESTORING.value, Phase.SHEDDING.value}
    for number, point in enumerate(uninterrupted.points, start=1):
        outcome = _run(Routing.ROLLING, True, number, HALF)
        assert outcome == uninterrupted, f"crashed {point} (point {number})"


@pytest.mark.parametrize(
    ("routing", "bad", "back"),
    [*((routing, bad, None) for routing in Routing for bad in (False, True)), (Routing.ROLLING, True, HALF)],
)
def test_a_crash_before_every_act_of_the_backend_has_the_same_outcome(
    routing: Routing, bad: bool, back: CapacitySize | None
) -> None:
    """A record, a start, a signal: what was begun and not written down, or written down and not begun, is found by whoever comes next."""
    uninterrupted = _run(routing, bad, None, back)
    assert uninterrupted.acts > 8
    for number in range(1, uninterrupted.acts + 1):
        assert _run(routing, bad, None, back, number) == uninterrupted, f"crashed before act {number}"
