"""Alarms of a running deployment are decided as soon as it is certain, and only they."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.domain.deployment.worlds import CANARY, deployment
from tests.evaluator.test_loop import START, World, second

from bannister.domain.alarm.alarm import AlarmValue, Comparison, MissingData
from bannister.domain.deployment.machine import Phase
from bannister.domain.endpoint import Endpoint
from bannister.domain.metric.aggregate import of_values
from bannister.domain.metric.identity import identity
from bannister.evaluator.loop import Evaluator
from bannister.metrics.store import Datum, GroupDimensions
from bannister.settings import Timing
from bannister.state.store import Put
from bannister.state.tables import ENDPOINTS

OK, ALARM = AlarmValue.OK, AlarmValue.ALARM


@pytest.fixture
async def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    await made.metrics.register(GroupDimensions("g", "e", "v", "c", 1))
    await made.put(
        statistic="Sum",
        evaluation_periods=2,
        datapoints_to_alarm=2,
        threshold=5,
        comparison=Comparison.GREATER,
        missing_data=MissingData.NOT_BREACHING,
    )
    return made


async def deploy(world: World, phase: Phase, *alarms: str) -> None:
    running = replace(deployment(replace(CANARY, alarms=alarms)), phase=phase)
    row = await world.state.get(ENDPOINTS, "e")
    endpoint = Endpoint("e", 0.0, 0.0, deployment=running)
    await world.state.commit([Put(ENDPOINTS, "e", endpoint, 0 if row is None else row.revision)])


async def two_bursts(world: World) -> list[tuple[int, str]]:
    """Six errors in the seconds 20 and 28; when the alarm changed, in seconds after the start."""
    for at in range(19, 36):
        errors = 6 if at in (20, 28) else 0
        await world.take(START + at + 1, second(START + at, errors, errors)) if errors else await world.take(
            START + at + 1
        )
    return [(entry.body["evaluated_until"] - START, entry.body["to"]) for entry in await world.transitions()]


async def test_an_alarm_that_a_deployment_names_is_decided_when_it_is_certain(world: World) -> None:
    await deploy(world, Phase.BAKING, "a")
    assert await two_bursts(world) == [(20, OK), (29, ALARM)]
    *_, last = await world.transitions()
    assert "Decided 2 seconds before the period ends" in last.body["reason"]
    assert "decidedEarly" in json.loads(last.body["reason_data"])
    assert await world.value() is ALARM


@pytest.mark.parametrize(("phase", "named"), [(Phase.BAKING, "another"), (Phase.COMPLETED, "a")])
async def test_any_other_alarm_waits_for_its_evaluation(world: World, phase: Phase, named: str) -> None:
    await deploy(world, phase, named)
    assert await two_bursts(world) == [(20, OK), (31, ALARM)]


async def test_under_the_timing_of_aws_nothing_is_decided_early(world: World) -> None:
    world.settings = replace(world.settings, timing=Timing.AWS)
    world.evaluator = Evaluator(world.state, world.metrics, world.feed, world.clock, world.settings)
    await deploy(world, Phase.BAKING, "a")
    assert (29, ALARM) not in await two_bursts(world)


async def test_an_alarm_is_decided_early_from_the_moment_that_a_deployment_names_it(world: World) -> None:
    for at, errors in [(20, 6), (28, 6)]:
        await world.take(START + at + 1, second(START + at, errors, errors))
    assert await world.value() is OK
    await deploy(world, Phase.SHIFTING, "a")
    await world.take(START + 30)
    assert await world.value() is ALARM


async def test_data_of_standard_resolution_make_it_certain_too(world: World) -> None:
    mine = identity("Mine", "Loss")
    await world.put(
        metric=mine,
        statistic="Maximum",
        period_seconds=60,
        evaluation_periods=2,
        datapoints_to_alarm=2,
        threshold=5,
        comparison=Comparison.GREATER,
        missing_data=MissingData.NOT_BREACHING,
    )
    await deploy(world, Phase.BAKING, "a")
    for at in range(19, 90):
        if at in (20, 75):
            await world.metrics.put([Datum(mine, START + at, of_values([6.0]), 60)])
        await world.take(START + at + 1)
    *_, last = await world.transitions()
    assert (last.body["evaluated_until"] - START, last.body["to"]) == (76, ALARM)
    assert "decidedEarly" in json.loads(last.body["reason_data"])
