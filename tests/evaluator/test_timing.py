"""`timing: aws`: alarms are evaluated once a minute, on what AWS would have published by then."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.evaluator.test_loop import START, World, second

from bannister.domain.alarm.alarm import Alarm, AlarmValue, Comparison
from bannister.domain.alarm.alarm import MissingData as Missing
from bannister.domain.metric.aggregate import of_values
from bannister.domain.metric.identity import identity
from bannister.errors import Invalid
from bannister.evaluator.loop import Evaluator
from bannister.metrics.store import Datum, GroupDimensions
from bannister.settings import Timing, load

#: The first whole minute after START, in seconds after it.
MINUTE = -START % 60


@pytest.fixture
async def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    await made.metrics.register(GroupDimensions("g", "e", "v", "c", 1))
    made.settings = replace(made.settings, timing=Timing.AWS)
    made.evaluator = Evaluator(made.state, made.metrics, made.feed, made.clock, made.settings)
    return made


async def told(world: World, name: str = "a") -> list[tuple[int, str]]:
    return [
        (entry.body["evaluated_until"] - START - MINUTE, entry.body["to"]) for entry in await world.transitions(name)
    ]


async def run(world: World, until: int, errors: range) -> None:
    for at in range(until):
        failing = 5 if at in errors else 0
        await world.take(START + MINUTE + at + 1.3, second(START + MINUTE + at, 5, failing))


async def count_errors(world: World, **changes: object) -> Alarm:
    wanted = {"statistic": "Sum", "threshold": 1, "period_seconds": 60, "comparison": Comparison.GREATER}
    return await world.put(**{**wanted, **changes})


async def test_a_breach_is_seen_at_the_end_of_its_minute(world: World) -> None:
    await count_errors(world)
    await run(world, 200, range(65, 70))
    assert await told(world) == [(60, "OK"), (120, "ALARM"), (180, "OK")]
    assert world.evaluator.evaluated_until("a") == START + MINUTE + 180


async def test_seconds_that_become_final_together_do_not_hide_a_minute(world: World) -> None:
    await count_errors(world)
    await world.take(START + MINUTE + 58.5, second(START + MINUTE + 5, 5, 5))
    await world.take(START + MINUTE + 62.5)
    assert await told(world) == [(60, "ALARM")]


async def test_an_alarm_with_a_short_period_finds_no_endpoint_metric_as_on_aws(world: World) -> None:
    await count_errors(world, period_seconds=10, missing_data=Missing.MISSING)
    await run(world, 150, range(150))
    assert {to for _, to in await told(world)} <= {"INSUFFICIENT_DATA"}
    assert await world.value() is AlarmValue.INSUFFICIENT_DATA


async def test_with_many_short_periods_it_finds_one_datapoint_in_six_for_the_whole_minute(world: World) -> None:
    await count_errors(world, period_seconds=10, evaluation_periods=10, missing_data=Missing.NOT_BREACHING)
    await run(world, 130, range(3))
    (_, tripped, *_) = await told(world)
    assert tripped == (60, "ALARM")
    points = [point for point in world.evaluator.datapoints("a") if point is not None]
    assert {point.start_at % 60 for point in points} == {0}


async def test_a_high_resolution_metric_of_ones_own_is_evaluated_every_ten_seconds(world: World) -> None:
    own = identity("N", "own")
    await count_errors(world, metric=own, period_seconds=10, statistic="Maximum")
    await world.metrics.put([Datum(own, START + MINUTE + 13, of_values([9.0]))])
    await run(world, 25, range(0))
    assert (20, "ALARM") in await told(world)


def test_the_setting_is_one_of_two_words(tmp_path: Path) -> None:
    assert load(tmp_path, timing=Timing.AWS).timing is Timing.AWS
    (tmp_path / "bannister.toml").write_text('timing = "aws"\n')
    assert load(tmp_path).timing is Timing.AWS
    (tmp_path / "bannister.toml").write_text('timing = "gcp"\n')
    with pytest.raises(Invalid, match="timing must be one of bannister, aws, not 'gcp'"):
        load(tmp_path)
