"""Alarms that found no data are left alone, and end up where they would have without that."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
from tests.evaluator.test_loop import ERRORS, START, World, second

from bannister.domain.alarm.alarm import AlarmState, AlarmValue, MissingData
from bannister.domain.metric.aggregate import of_values
from bannister.domain.metric.identity import MetricIdentity, identity
from bannister.evaluator.quiet import Quiet
from bannister.metrics.store import Datum, GroupDimensions
from bannister.state.store import Put
from bannister.state.tables import ALARMS

OWN = identity("N", "own")


@pytest.fixture
async def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    await made.metrics.register(GroupDimensions("g", "e", "v", "c", 1))
    return made


@pytest.fixture
def reads(world: World, monkeypatch: pytest.MonkeyPatch) -> list[MetricIdentity]:
    found: list[MetricIdentity] = []
    honest = world.metrics.read

    async def read(metric, *rest, **shown):
        found.append(metric)
        return await honest(metric, *rest, **shown)

    monkeypatch.setattr(world.metrics, "read", read)
    return found


async def test_an_alarm_without_data_is_not_read_again_and_its_position_moves(world: World, reads) -> None:
    await world.put()
    await world.take(START + 1)
    del reads[:]
    await world.take(START + 60)
    assert reads == []
    assert world.evaluator.evaluated_until("a") == START + 60
    await world.take(START + 61, second(START + 60, 1, 1))
    assert await world.value() is AlarmValue.ALARM


async def test_data_of_a_later_time_is_found_when_its_time_has_come(world: World) -> None:
    await world.put(metric=OWN)
    await world.metrics.put([Datum(OWN, START + 30, of_values([1.0]))])
    for at in range(1, 31):
        await world.take(START + at)
    assert await world.value() is AlarmValue.INSUFFICIENT_DATA
    await world.take(START + 31)
    assert await world.value() is AlarmValue.ALARM


async def test_a_statistic_that_appears_when_what_spoiled_it_has_left_is_seen(world: World) -> None:
    """Negative samples have no percentile; nothing is added when the last of them leaves the period."""
    await world.put(metric=OWN, statistic="p90", threshold=50.0, period_seconds=60)
    await world.metrics.put([Datum(OWN, START, of_values([-1.0])), Datum(OWN, START + 40, of_values([100.0]))])
    for at in range(41, 61):
        await world.take(START + at)
    assert await world.value() is AlarmValue.INSUFFICIENT_DATA
    await world.take(START + 61)
    assert await world.value() is AlarmValue.ALARM


async def test_after_the_clock_was_set_back_it_is_looked_at_anew(world: World) -> None:
    await world.put(missing_data=MissingData.NOT_BREACHING)
    await world.take(START + 1.3, second(START, 5, 5))
    for at in range(1, 60):
        await world.take(START + at + 1.3)
    assert await world.value() is AlarmValue.OK
    await world.take(START + 5.3)
    assert await world.value() is AlarmValue.ALARM, "the errors are in its range again"


async def test_a_state_set_by_hand_is_taken_back(world: World) -> None:
    await world.put()
    await world.take(START + 1)
    row = await world.state.get(ALARMS, "a")
    assert row is not None
    by_hand = AlarmState(AlarmValue.ALARM, "By hand.", None, START, START)
    await world.state.commit([Put(ALARMS, "a", replace(row.value, state=by_hand), row.revision)])
    await world.take(START + 2)
    assert await world.value() is AlarmValue.INSUFFICIENT_DATA


@pytest.mark.parametrize("seed", range(12))
async def test_any_history_leads_to_the_same_transitions_as_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Data that comes late, early, after a gap of telemetry's, with and without what is left alone."""
    told = []
    for attentive in (False, True):
        if attentive:
            monkeypatch.setattr(Quiet, "is_unchanged", lambda *_: False)
        rng = random.Random(seed)
        world = World(tmp_path)
        await world.metrics.register(GroupDimensions("g", "e", "v", "c", 1))
        for missing in MissingData:
            await world.put(f"e-{missing}", metric=ERRORS, missing_data=missing)
            await world.put(f"o-{missing}", metric=OWN, missing_data=missing, evaluation_periods=2)
        covered, at = float(START), START
        for _ in range(60):
            at += rng.choice((1, 1, 2, 7, 15))
            if rng.random() < 0.1:
                covered = at - rng.random() * 5
            found = []
            if rng.random() < 0.25:
                found = [second(at - rng.choice((1, 1, 4, 20)), 2, rng.choice((0, 2)))]
            if rng.random() < 0.25:
                when = at + rng.choice((-40, -3, 5, 30))
                await world.metrics.put([Datum(OWN, when, of_values([float(rng.choice((0, 1)))]))])
            world.clock.time = at
            await world.evaluator.take(world.report(float(at), *found, covered_since=covered))
        told.append(
            [
                (entry.subject, entry.body["to"], entry.body["evaluated_until"])
                for entry in await world.state.journal(kind="alarm.transitioned")
            ]
        )
    assert told[0] == told[1]
    assert len(told[0]) > 4
