"""A bake that is guarded by an alarm on compared answers, with the real evaluator and deployer: blind is not quiet."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.domain.deployment.worlds import deployment, fleet
from tests.evaluator.test_comparisons import AGREEMENT, ShadowWorld, tallied
from tests.evaluator.test_loop import START, Place

from bannister.deployer.loop import Deployer
from bannister.domain.alarm.alarm import AlarmValue, Comparison, MissingData
from bannister.domain.comparison.rules import Rules
from bannister.domain.deployment.deployment import Deployment, Phase
from bannister.domain.deployment.observation import Limits
from bannister.domain.deployment.outlook import waiting
from bannister.domain.deployment.recorder import DECIDED, disagreements
from bannister.domain.endpoint import Endpoint
from bannister.domain.fleet import Shadow
from bannister.domain.instance import Instance, InstancePhase
from bannister.domain.routing import RoutePlan, Weight
from bannister.domain.traffic import TRAFFIC_PARTS
from bannister.metrics.store import GroupDimensions
from bannister.signals import Signal
from bannister.state.store import Put
from bannister.state.tables import COMPARISON_RULES, ENDPOINTS

LIMITS = Limits(blind_timeout_seconds=60.0)
BAKE = 30


class Plane:
    """Proxies that acknowledge at once, and instances that are ready."""

    def __init__(self) -> None:
        self.changed = Signal()
        self.asked: list[RoutePlan] = []

    def acknowledged(self, plan: RoutePlan) -> bool:
        self.asked.append(plan)
        return True

    def acknowledged_weights(self, endpoint: str) -> tuple[Weight, ...] | None:
        return self.asked[-1].weights if self.asked else None

    def snapshot(self) -> list[Instance]:
        groups = [group for config in ("v1", "v2") for group in fleet(config).groups]
        return [
            Instance(f"{group.id}-{number}", group.id, InstancePhase.READY)
            for group in groups
            for number in range(group.instance_count)
        ]


class Baking(ShadowWorld):
    """A deployment in its first bake; the test says who reports."""

    def __init__(self, tmp_path: Path) -> None:
        super().__init__(tmp_path)
        self.plane = plane = Plane()
        self.deployer = Deployer(self.state, plane, plane, self.evaluator, self.clock, LIMITS, 1.0)  # type: ignore[arg-type]

    async def begin(self, named: str) -> None:
        """`named`: the deployment's alarm, itself on compared answers or a composite alarm over one that is."""
        self.named = named
        await self.metrics.register(GroupDimensions("shadow", "e", "s", "c", 1))
        await self.put(
            "differs",
            metric=AGREEMENT,
            threshold=0.9,
            comparison=Comparison.LESS,
            missing_data=MissingData.NOT_BREACHING,
        )
        await Place(self).composite("over", "ALARM(differs) OR FALSE")
        await Place(self).composite("over all", "ALARM(over)")
        one = deployment()
        one = replace(
            one,
            policy=replace(one.policy, alarms=(named,)),
            phase=Phase.BAKING,
            step=0,
            phase_since=float(START),
            baking_since=float(START),
            deadline_at=START + 5000.0,
            alarms_seen=await self.state.sequence(),
        )
        await self.state.commit([Put(ENDPOINTS, "e", Endpoint("e", 0.0, 0.0, blue=one.blue, deployment=one), 0)])

    async def second(self, at: int, *, compares: bool, run: str = "c", since: float = START - 5.0) -> Deployment:
        """One second: reports, then a turn of the deployer; the deployment afterwards."""
        self.clock.time = float(START + at)
        await self.take(self.clock.time)
        if compares:
            await self.take_comparisons(self.clock.time, tallied(START + at - 1, 5, 5), run=run, since=since)
        row = await self.state.get(ENDPOINTS, "e")
        assert row is not None
        assert row.value.deployment is not None
        await self.deployer._contained(row)
        row = await self.state.get(ENDPOINTS, "e")
        assert row is not None
        assert row.value.deployment is not None
        return row.value.deployment


@pytest.fixture(params=["differs", "over all"])
async def world(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Baking]:
    made = Baking(tmp_path)
    await made.begin(request.param)
    yield made
    await asyncio.sleep(0)


async def test_with_comparisons_the_bake_is_over_in_its_time(world: Baking) -> None:
    phases = [(await world.second(at, compares=True)).phase for at in range(1, BAKE + 1)]
    assert set(phases[:-1]) == {Phase.BAKING}
    assert phases[-1] is Phase.SHIFTING


async def test_a_capture_process_that_stops_in_the_bake_never_lets_it_advance(world: Baking) -> None:
    for at in range(1, 11):
        await world.second(at, compares=True)
    for at in range(11, 70):
        one = await world.second(at, compares=False)
        assert one.phase is Phase.BAKING, at
    said = waiting(one, await world.deployer.observer.observe(Endpoint("e", 0.0, 0.0, deployment=one), one), LIMITS)
    assert said is not None
    assert "No answers are compared, because the capture process is silent" in said.sentence
    one = await world.second(70, compares=False)
    assert one.phase is Phase.ROLLING_BACK
    assert one.reason == (
        f'No answers have been compared for 60 seconds, because the capture process is silent, so alarm "{world.named}" cannot '
        "be judged; a bake without data is no evidence."
    )
    entries = await world.state.journal(kind=DECIDED)
    assert disagreements(entry.body for entry in entries) == []


async def test_one_that_never_spoke_does_not_let_it_advance_either(world: Baking) -> None:
    for at in range(1, 60):
        assert (await world.second(at, compares=False)).phase is Phase.BAKING
    assert (await world.second(60, compares=False)).phase is Phase.ROLLING_BACK


async def test_a_gap_starts_the_bake_again_where_it_ended(world: Baking) -> None:
    for at in range(1, 21):
        await world.second(at, compares=not 10 <= at < 20, since=START + (20.0 if at >= 20 else -5.0))
    phases = [(await world.second(at, compares=True, since=START + 20.0)).phase for at in range(21, 20 + BAKE + 1)]
    assert set(phases[:-1]) == {Phase.BAKING}
    assert phases[-1] is Phase.SHIFTING


async def test_the_noise_copies_that_the_rules_ask_for_are_expected_of_the_proxies(world: Baking) -> None:
    """A plan without them would never count as acknowledged by proxies that have them."""
    row = await world.state.get(ENDPOINTS, "e")
    assert row is not None
    one = row.value.deployment
    assert one is not None
    assert one.blue is not None
    shadow = Shadow(fleet("v1", variants=("Shadow",)).groups[0], TRAFFIC_PARTS)
    one = replace(one, blue=replace(one.blue, shadow=shadow))
    await world.state.commit([Put(COMPARISON_RULES, "e", Rules(noise_parts=50_000), 0)])
    await world.deployer.observer.observe(replace(row.value, deployment=one), one)
    assert [mirror.noise for mirror in world.plane.asked[-1].mirrors] == [False, True]


async def test_a_composite_is_evidence_with_the_states_beneath_it(world: Baking) -> None:
    one = await world.second(1, compares=True)
    (seen,) = (await world.deployer.observer.observe(Endpoint("e", 0.0, 0.0, deployment=one), one)).alarms
    assert seen.compares
    if world.named == "differs":
        assert (seen.composite_rule, seen.children) == (None, {})
    else:
        assert (seen.composite_rule, seen.children) == ("ALARM(over)", {"over": AlarmValue.OK})
        assert (seen.rule, seen.evaluated_until) == (None, START + 1)
