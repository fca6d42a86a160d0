"""`timing: aws`: alarms are evaluated once a minute, on what AWS would have published by then."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.evaluator.test_loop import ERRORS, START, World, queries, second

from bannister.domain.alarm.alarm import Alarm, AlarmQuery, AlarmValue, Comparison
from bannister.domain.alarm.alarm import MissingData as Missing
from bannister.domain.metric.aggregate import of_values
from bannister.domain.metric.identity import identity
from bannister.errors import Invalid
from bannister.evaluator import known
from bannister.evaluator.assessor import Assessor
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


async def test_an_alarm_that_looks_back_for_more_than_a_day_is_evaluated_once_an_hour_and_nobody_waits_for_it(
    world: World,
) -> None:
    own = identity("N", "own")
    await count_errors(world, metric=own, period_seconds=3600, evaluation_periods=25, datapoints_to_alarm=1)
    await count_errors(world, name="a day", metric=own, period_seconds=3600, evaluation_periods=24)
    hour = START + -START % 3600
    await world.metrics.put([Datum(own, hour - 1200, of_values([9.0]))])
    for at in range(hour - 600, hour + 600, 20):
        await world.take(at + 0.3)
        assert world.evaluator.evaluated_until("a") == at
    transitions = [entry.body["evaluated_until"] for entry in await world.transitions("a")]
    assert transitions == [hour]
    [first] = await world.transitions("a day")
    assert first.body["evaluated_until"] == hour - 600 + -(hour - 600) % 60
    assert world.evaluator.evaluated_until("a day") == hour + 540


async def test_a_minute_that_ended_while_nobody_evaluated_is_evaluated_after_a_restart(world: World) -> None:
    await count_errors(world)
    await run(world, 58, range(5))
    world.evaluator = Evaluator(world.state, world.metrics, world.feed, world.clock, world.settings)
    await world.take(START + MINUTE + 61.3, second(START + MINUTE + 59, 5))
    assert await told(world) == [(60, "ALARM")]
    await count_errors(world, name="new")
    world.evaluator = Evaluator(world.state, world.metrics, world.feed, world.clock, world.settings)
    await world.take(START + MINUTE + 65.3, second(START + MINUTE + 64, 5))
    assert await told(world, "new") == [], "it was put after that minute"


async def test_an_alarm_that_a_deployment_begins_to_wait_for_in_the_middle_of_a_pass_is_evaluated_in_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = {"first"}

    async def names(*_: object) -> frozenset[str]:
        return frozenset(watched)

    monkeypatch.setattr(known, "watched_alarms", names)
    for name in ("first", "later"):
        await count_errors(world, name=name)
    settle = Assessor._settle

    async def settle_and_read_again(self: Assessor, moves: dict[str, Any]) -> None:
        await settle(self, moves)
        watched.add("later")
        self.known.forget_version()
        await self.refreshed()

    monkeypatch.setattr(Assessor, "_settle", settle_and_read_again)
    await run(world, 62, range(5))
    for name in ("first", "later"):
        assert await told(world, name) == [(60, "ALARM")]


async def test_the_first_minute_of_an_alarm_that_could_not_be_evaluated_then_is_made_up_for(world: World) -> None:
    await count_errors(world)
    await count_errors(world, name="new")
    world.metrics.broken = ERRORS
    await run(world, 60, range(5))
    assert world.evaluator.alarms_faulty == 2
    world.metrics.broken = None
    await world.take(START + MINUTE + 62.5)
    for name in ("a", "new"):
        assert await told(world, name) == [(60, "ALARM")]


def failing(**changes: object) -> dict[str, object]:
    """An alarm on the number of errors, asked for as an expression."""
    return {"metric": None, "statistic": "", "queries": queries("bad + 0"), **changes}


async def test_an_expression_sees_of_short_periods_what_aws_has_published(world: World) -> None:
    """Beside an alarm on the metric itself, whichever of them is looked at first."""
    short = {"period_seconds": 10, "evaluation_periods": 10, "missing_data": Missing.NOT_BREACHING}
    await count_errors(world, name="after", **failing(**short))
    await count_errors(world, name="metric", **short)
    await count_errors(world, name="before", **failing(**short))
    await run(world, 130, range(3))
    expected = await told(world, "metric")
    assert (60, "ALARM") in expected
    for name in ("before", "after"):
        assert await told(world, name) == expected
        points = [point for point in world.evaluator.datapoints(name) if point is not None]
        assert {point.start_at % 60 for point in points} == {0}
    assert world.evaluator.datapoints("before") == world.evaluator.datapoints("metric")


async def test_an_expression_with_a_short_period_finds_no_endpoint_metric_as_on_aws(world: World) -> None:
    await count_errors(world, name="metric", period_seconds=10, missing_data=Missing.MISSING)
    await count_errors(world, **failing(period_seconds=10, missing_data=Missing.MISSING))
    await run(world, 150, range(150))
    assert await world.value() is AlarmValue.INSUFFICIENT_DATA
    assert await told(world) == await told(world, "metric")


async def test_an_expression_over_minutes_is_seen_at_the_end_of_its_minute(world: World) -> None:
    minutes = tuple(replace(query, period_seconds=60) if query.metric else query for query in queries("bad / all"))
    await count_errors(world, metric=None, statistic="", queries=minutes, threshold=0.01)
    await run(world, 200, range(65, 70))
    assert await told(world) == [(60, "OK"), (120, "ALARM"), (180, "OK")]


async def test_metrics_that_differ_in_unit_or_period_are_not_taken_for_each_other(world: World) -> None:
    own = identity("N", "own")
    await world.metrics.put([Datum(own, START + MINUTE + 13, of_values([9.0], unit="Bytes"))])
    for name, unit, period in [("bytes", "Bytes", 10), ("count", "Count", 10), ("any", None, 10), ("long", None, 20)]:
        one = AlarmQuery("m", own, "Maximum", unit, period_seconds=period, return_data=False)
        asked = {"queries": (one, AlarmQuery("x", expression="m + 0")), "metric": None, "statistic": ""}
        await count_errors(world, name=name, period_seconds=period, **asked)
        await count_errors(
            world, name=f"{name}-metric", metric=own, unit=unit, period_seconds=period, statistic="Maximum"
        )
    await run(world, 45, range(0))
    for name, expected in [("bytes", True), ("count", False), ("any", True), ("long", True)]:
        assert ((20, "ALARM") in await told(world, name)) is expected
        assert await told(world, name) == await told(world, f"{name}-metric")


def test_the_setting_is_one_of_two_words(tmp_path: Path) -> None:
    assert load(tmp_path, timing=Timing.AWS).timing is Timing.AWS
    (tmp_path / "bannister.toml").write_text('timing = "aws"\n')
    assert load(tmp_path).timing is Timing.AWS
    (tmp_path / "bannister.toml").write_text('timing = "gcp"\n')
    with pytest.raises(Invalid, match="timing must be one of bannister, aws, not 'gcp'"):
        load(tmp_path)
