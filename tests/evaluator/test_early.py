"""Alarms of a running deployment are decided as soon as it is certain, and only they."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.domain.deployment.worlds import CANARY, deployment
from tests.evaluator.test_loop import ERRORS, START, Place, World, second

from bannister.domain.alarm.alarm import AlarmValue, Comparison, MissingData
from bannister.domain.alarm.definition import Definition
from bannister.domain.deployment.deployment import Phase
from bannister.domain.endpoint import Endpoint
from bannister.domain.metric.aggregate import of_values
from bannister.domain.metric.identity import identity
from bannister.evaluator.loop import Evaluator
from bannister.metrics.store import Datum, GroupDimensions
from bannister.operations.alarms import Extras, put_metric_alarm, set_alarm_state
from bannister.settings import Timing
from bannister.state.store import Put
from bannister.state.tables import ALARMS, ENDPOINTS

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
    assert last.body["window"] == {"start": START + 11, "end": START + 31, "period_seconds": 10}
    assert last.body["values"] == [6.0, 6.0], "what it was decided on, not what has ended by now"
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


async def bursts(world: World, seconds: tuple[int, ...], first: int, last: int) -> None:
    """Six errors in each of these, and none in the other seconds from the first to the last."""
    for at in range(first, last):
        await world.take(START + at + 1, second(START + at, 6, 6 if at in seconds else 0))


async def changes(world: World) -> list[tuple[int, str]]:
    return [(entry.body["evaluated_until"] - START, entry.body["to"]) for entry in await world.transitions()]


async def test_an_early_alarm_stands_until_its_period_has_ended_also_when_its_deployment_ends_first(
    world: World,
) -> None:
    await deploy(world, Phase.BAKING, "a")
    await bursts(world, (20, 28), 19, 29)
    assert await world.value() is ALARM  # for the evaluation at 31
    await deploy(world, Phase.ROLLED_BACK, "a")
    await bursts(world, (), 29, 50)
    assert await changes(world) == [(20, OK), (29, ALARM), (39, OK)]


async def test_one_that_is_foreseen_again_stands_for_that_evaluation(world: World) -> None:
    """Judged as a whole up to 40; from 43 on a boundary lies between the last two bursts."""
    await deploy(world, Phase.BAKING, "a")
    await bursts(world, (20, 32, 38), 19, 41)
    row = await world.state.get(ALARMS, "a")
    assert row is not None
    assert row.value.state.confirmed_at == START + 43
    await deploy(world, Phase.ROLLED_BACK, "a")
    await bursts(world, (), 41, 55)
    assert await changes(world) == [(20, OK), (33, ALARM), (49, OK)]


@pytest.mark.parametrize("how", ["put again", "set by hand"])
async def test_another_rule_or_a_hand_ends_the_waiting(world: World, how: str) -> None:
    await deploy(world, Phase.BAKING, "a")
    await bursts(world, (20, 28), 19, 29)
    await deploy(world, Phase.ROLLED_BACK, "a")
    context = Place(world).context
    if how == "put again":
        asked = Definition(
            ERRORS,
            statistic="Sum",
            period_seconds=10,
            evaluation_periods=2,
            threshold=100.0,
            comparison="GreaterThanThreshold",
        )
        await put_metric_alarm(context, "a", asked, Extras())
    else:
        await set_alarm_state(context, "a", ALARM, "a drill")
    await world.take(START + 30)
    assert await world.value() is OK


@pytest.mark.parametrize("named", ["one", "above"])
async def test_a_composite_alarm_that_a_deployment_names_brings_the_alarms_beneath_it(world: World, named: str) -> None:
    await Place(world).composite("one", "ALARM(a) OR FALSE")
    await Place(world).composite("above", "NOT (OK(one))")
    await deploy(world, Phase.BAKING, named)
    assert (29, ALARM) in await two_bursts(world)
    for composite in ("one", "above"):
        *_, last = await world.transitions(composite)
        assert (last.body["to"], last.at) == (ALARM, START + 29.0)


async def test_a_suppressor_keeps_its_evaluation(world: World) -> None:
    await world.put("b")
    await Place(world).composite("one", "ALARM(b)", suppressor="a", wait_seconds=1, extension_seconds=1)
    await deploy(world, Phase.BAKING, "one")
    assert await two_bursts(world) == [(20, OK), (31, ALARM)]


async def test_those_beneath_a_composite_alarm_that_a_deployment_names_are_looked_at_first(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = {name: identity("Mine", name) for name in ("alone", "child", "elsewhere", "sibling")}
    for name, metric in metrics.items():
        await world.put(name, metric=metric)
    await Place(world).composite("guard", "ALARM(child)")
    await Place(world).composite("both", "ALARM(child) OR ALARM(sibling)")
    await Place(world).composite("other", "ALARM(elsewhere)")
    await deploy(world, Phase.BAKING, "guard")
    read: list[str] = []
    honest = world.metrics.read

    async def reading(metric, *rest, **shown):
        read.append(metric.name)
        return await honest(metric, *rest, **shown)

    monkeypatch.setattr(world.metrics, "read", reading)
    await world.take(START + 1)
    assert set(read[:2]) == {"child", "sibling"}  # a rule over both must see them in one step
    assert {"alone", "elsewhere"} <= set(read[2:])


async def test_what_a_deployment_names_is_not_seen_without_what_changes_in_the_same_second(world: World) -> None:
    await world.put("a", threshold=5.0, statistic="Sum")
    await world.put("b", threshold=5.0, statistic="Sum")
    await Place(world).composite("one", "ALARM(a) AND NOT ALARM(b)")
    await deploy(world, Phase.BAKING, "a")
    await bursts(world, (25,), 20, 30)
    assert (await world.value("a"), await world.value("b")) == (ALARM, ALARM)
    assert [entry.body["to"] for entry in await world.transitions("one")] == [OK]


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
