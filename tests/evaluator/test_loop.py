"""The evaluator with the product's in-memory stores and a feed that the test writes to."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bannister.domain.alarm.alarm import Alarm, AlarmQuery, AlarmRule, AlarmValue, Comparison, MissingData
from bannister.domain.alarm.evaluation import initial_state
from bannister.domain.metric.aggregate import of_values
from bannister.domain.metric.identity import MetricIdentity, identity
from bannister.domain.metric.summary import Report, Summary
from bannister.errors import Fenced, Unavailable
from bannister.evaluator.horizon import NOTICED_SECONDS, Horizon
from bannister.evaluator.loop import Evaluator
from bannister.metrics.memory import MemoryMetrics
from bannister.metrics.store import Datum, GroupDimensions
from bannister.operations.alarms import Extras
from bannister.operations.composite_alarms import CompositeDefinition, put_composite_alarm
from bannister.operations.context import Context
from bannister.settings import Settings
from bannister.state.memory import MemoryMedium, MemoryState
from bannister.state.store import Entry, Put, Remove
from bannister.state.tables import ALARMS

START = 1_795_407_000
ERRORS = identity("AWS/SageMaker", "Invocation5XXErrors", {"EndpointName": "e", "VariantName": "v"})
INVOCATIONS = identity("AWS/SageMaker", "Invocations", {"EndpointName": "e", "VariantName": "v"})
OK, ALARM, INSUFFICIENT = AlarmValue.OK, AlarmValue.ALARM, AlarmValue.INSUFFICIENT_DATA
TIMEOUT = 30


class HandClock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.time = float(START)

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


class QueueFeed:
    """What a test puts in, the evaluator takes out."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Report] = asyncio.Queue()
        self.acknowledged: list[int] = []

    def send(self, report: Report) -> None:
        self._queue.put_nowait(report)

    async def __aiter__(self) -> AsyncIterator[Report]:
        while True:
            yield await self._queue.get()

    async def acknowledge(self, report: Report) -> None:
        self.acknowledged.append(report.sequence)


class FragileMetrics(MemoryMetrics):
    """A medium that can fail: for one metric when read, or for all when written."""

    broken: MetricIdentity | None = None
    read_failures = 0
    record_failures = 0

    async def read(self, metric, start, period_seconds, periods, unit=None, **shown):
        self.read_failures -= 1
        if metric == self.broken or self.read_failures >= 0:
            raise Unavailable("The disk is gone.")
        return await super().read(metric, start, period_seconds, periods, unit, **shown)

    async def record(self, report):
        if self.record_failures:
            self.record_failures -= 1
            raise Unavailable("The disk is full.")
        return await super().record(report)


class World:
    """An evaluator and all that it works with."""

    def __init__(self, tmp_path: Path) -> None:
        self.settings = Settings(tmp_path, evaluation_backlog_seconds_max=20, report_retry_seconds=0.001)
        self.clock = HandClock()
        self.medium = MemoryMedium()
        self.state = MemoryState(self.medium)
        self.metrics = FragileMetrics(self.settings)
        self.feed = QueueFeed()
        self.sequence = 0
        self.restart()

    def restart(self) -> None:
        self.evaluator = Evaluator(self.state, self.metrics, self.feed, self.clock, self.settings)

    async def put(self, name: str = "a", **changes: object) -> Alarm:
        values: dict[str, object] = {
            "metric": ERRORS,
            "statistic": "Average",
            "period_seconds": 10,
            "evaluation_periods": 1,
            "datapoints_to_alarm": 1,
            "threshold": 0.5,
            "comparison": Comparison.GREATER_OR_EQUAL,
        }
        rule = AlarmRule(**{**values, **changes})  # type: ignore[arg-type]
        alarm = Alarm(name, rule, initial_state(self.clock.now()), self.clock.now())
        row = await self.state.get(ALARMS, name)
        await self.state.commit([Put(ALARMS, name, alarm, 0 if row is None else row.revision)])
        return alarm

    def report(self, watermark: float | None, *summaries: Summary, covered_since: float | None = START) -> Report:
        self.sequence += 1
        return Report("run", self.sequence, watermark, covered_since, summaries)

    async def take(self, watermark: float | None, *summaries: Summary) -> None:
        self.clock.time = max(self.clock.time, watermark or 0)
        await self.evaluator.take(self.report(watermark, *summaries))

    async def value(self, name: str = "a") -> AlarmValue:
        row = await self.state.get(ALARMS, name)
        assert row is not None
        return row.value.state.value

    async def transitions(self, name: str = "a") -> list[Entry]:
        return await self.state.journal(subject=f"alarm/{name}", kind="alarm.transitioned")


@pytest.fixture
async def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    await made.metrics.register(GroupDimensions("g", "e", "v", "c", 1))
    return made


def second(at: int, requests: int = 1, errors: int = 0) -> Summary:
    return Summary("g", "127.0.0.1:1", at, requests, errors_5xx=errors, model_errors=errors)


async def test_errors_lead_to_a_transition_that_explains_itself(world: World) -> None:
    await world.put()
    await world.take(START + 5.2, second(START + 4))
    assert await world.value() is OK
    await world.take(START + 6.2, second(START + 5, 4, 4))
    assert await world.value() is ALARM
    first, last = await world.transitions()
    assert (first.body["from"], first.body["to"]) == ("INSUFFICIENT_DATA", "OK")
    assert (last.body["from"], last.body["to"]) == ("OK", "ALARM")
    assert last.at == START + 6.2
    assert last.body["reason"].startswith("Threshold Crossed: 1 out of the last 1 datapoints [0.8 (23/11/26 04:09:56)]")
    assert last.body["from_reason"] == first.body["reason"]
    assert last.body["evaluated_until"] == START + 6
    assert last.body["window"] == {"start": START + 6 - 30, "end": START + 6, "period_seconds": 10}
    assert last.body["values"] == [None, None, 0.8]
    assert world.evaluator.evaluated_until("a") == START + 6


async def test_the_window_slides_with_every_second_and_its_end_is_exclusive(world: World) -> None:
    await world.put(missing_data=MissingData.NOT_BREACHING)
    await world.take(START + 1, second(START, 1, 1))
    # What ended in the second START + 1 is not final yet, and not looked at.
    await world.take(START + 1.9, second(START + 1, 9))
    assert await world.value() is ALARM
    await world.take(START + 2.0)
    assert await world.value() is OK


async def test_a_short_breach_inside_one_report_is_not_missed(world: World) -> None:
    """One bad second, then good ones: over ten of them it breaches for a moment only, and all become final at once."""
    await world.put(statistic="Minimum", threshold=1.0)
    await world.take(START + 1, second(START, 1))
    summaries = [second(START + at, 1, errors=int(12 <= at < 22)) for at in range(1, 35)]
    await world.take(START + 20.0, *summaries[:20])
    await world.take(START + 35.0, *summaries[20:])
    assert [entry.body["to"] for entry in await world.transitions()] == ["OK", "ALARM", "OK"]
    assert [entry.body["evaluated_until"] for entry in await world.transitions()] == [START + 1, START + 22, START + 23]


async def test_a_backlog_beyond_the_bound_is_cut_to_its_newest_part_and_counted(world: World) -> None:
    await world.put()
    await world.take(START + 1, second(START))
    await world.take(START + 40, second(START + 5, 1, 1), second(START + 39))
    assert world.evaluator.seconds_skipped == 39 - 20
    assert world.evaluator.evaluated_until("a") == START + 40
    # START + 21 is the first that is still evaluated; its range of 30 s reaches back to the error, until START + 36.
    assert [entry.body["evaluated_until"] for entry in await world.transitions()] == [
        START + at for at in (1, 21, 36, 40)
    ]


async def test_nothing_is_evaluated_while_telemetry_is_silent(world: World) -> None:
    await world.put(missing_data=MissingData.BREACHING)
    await world.take(None)
    world.clock.time += 100
    assert await world.value() is INSUFFICIENT
    assert world.evaluator.watermark is None
    assert world.evaluator.evaluated_until("a") is None
    assert world.evaluator.silent_seconds() == 100
    await world.take(START + 100.5)
    assert await world.value() is ALARM
    assert world.evaluator.silent_seconds() == 0
    # Reports without progress are silence, too.
    world.clock.time += 7
    await world.evaluator.take(world.report(START + 100.5))
    assert world.evaluator.silent_seconds() == 7


@pytest.mark.parametrize("mode", MissingData)
async def test_what_was_not_seen_is_not_missing(world: World, mode: MissingData) -> None:
    """Telemetry is away for a minute: no rule for missing data may speak for that minute, in either direction."""
    await world.put("quiet", missing_data=mode)
    await world.put("loud", missing_data=mode, comparison=Comparison.LESS)
    await world.take(START + 1, second(START))
    assert (await world.value("quiet"), await world.value("loud")) == (OK, ALARM)
    world.clock.time = START + 62.0
    await world.evaluator.take(world.report(START + 62.0, covered_since=START + 61.0))
    assert (await world.value("quiet"), await world.value("loud")) == (OK, ALARM)
    assert world.evaluator.evaluated_until("quiet") == START + 62
    # Ten seconds that were covered and empty are missing.
    await world.evaluator.take(world.report(START + 71.0, covered_since=START + 61.0))
    filled = {
        MissingData.BREACHING: (ALARM, ALARM),
        MissingData.NOT_BREACHING: (OK, OK),
        MissingData.IGNORE: (OK, ALARM),
    }
    expected = filled.get(mode, (INSUFFICIENT, INSUFFICIENT))
    assert (await world.value("quiet"), await world.value("loud")) == expected


@pytest.mark.parametrize("mode", MissingData)
async def test_of_a_period_that_was_seen_in_part_a_count_is_no_datapoint(world: World, mode: MissingData) -> None:
    """Ten requests a second, one of them an error. Telemetry is away for 45 s: half a period has half the requests, and half the errors."""
    for name, changes in {
        "few requests": {"metric": INVOCATIONS, "comparison": Comparison.LESS, "threshold": 300.0},
        "many errors": {"threshold": 50.0},
        "errors on average": {"threshold": 0.05, "statistic": "Average"},
    }.items():
        await world.put(name, **{"statistic": "Sum", "period_seconds": 60, "missing_data": mode} | changes)
    expected = {"few requests": OK, "many errors": ALARM, "errors on average": ALARM}
    for at in range(1, 181):
        await world.take(START + at, second(START + at - 1, 10, 1))
    before = {name: await world.transitions(name) for name in expected}
    assert {name: await world.value(name) for name in expected} == expected
    for at in range(226, 400):
        world.clock.time = START + at
        await world.evaluator.take(world.report(START + at, second(START + at - 1, 10, 1), covered_since=START + 225.0))
        assert {name: await world.value(name) for name in expected} == expected, at
    assert {name: await world.transitions(name) for name in expected} == before


async def test_every_gap_is_remembered_not_only_the_newest(world: World) -> None:
    """What lies in the first one does not come back because something else was missed for a moment later."""
    await world.put(metric=INVOCATIONS, statistic="Sum", period_seconds=60, comparison=Comparison.LESS, threshold=300.0)
    for at in range(1, 181):
        await world.take(START + at, second(START + at - 1, 10))
    for at in range(226, 400):
        world.clock.time = START + at
        since = START + (225.0 if at < 229 else 228.5)
        await world.evaluator.take(world.report(START + at, second(START + at - 1, 10), covered_since=since))
        assert await world.value() is OK, at


def test_a_source_that_cannot_keep_up_makes_one_gap_however_long() -> None:
    source = Horizon(HandClock())
    for number in range(1, 2000):
        source.hear(Report("r", number, START + number - 0.4, START + number - 1.0))
    (gap,) = source.gaps
    assert (gap.began, gap.ended) == (START + 0.6 - NOTICED_SECONDS, START + 1998.0)
    source.hear(Report("r", 2000, START + 2100.0, START + 1998.0))
    source.hear(Report("r", 2001, START + 2101.0, START + 2100.5))
    assert [one.ended for one in source.gaps] == [START + 1998.0, START + 2100.5]


async def test_a_part_that_cannot_breach_any_more_is_enough(world: World) -> None:
    """An alarm that is put after the gap, which has no state to keep: there was more than nothing, whatever there was."""
    for at in range(1, 31):
        await world.take(START + at, second(START + at - 1, 10))
    for at in range(251, 260):
        world.clock.time = START + at
        await world.evaluator.take(world.report(START + at, second(START + at - 1, 10), covered_since=START + 250.0))
    await world.put(
        metric=INVOCATIONS,
        statistic="Sum",
        period_seconds=60,
        comparison=Comparison.LESS,
        threshold=1.0,
        missing_data=MissingData.BREACHING,
    )
    for at in range(260, 330):
        world.clock.time = START + at
        await world.evaluator.take(world.report(START + at, second(START + at - 1, 10), covered_since=START + 250.0))
        assert await world.value() is OK, at


async def test_a_part_that_breaches_already_is_enough(world: World) -> None:
    await world.put(statistic="Sum", period_seconds=60, threshold=20.0)
    for at in range(1, 101):
        await world.take(START + at, second(START + at - 1, 10))
    assert await world.value() is OK
    await world.evaluator.take(world.report(START + 126.0, second(START + 125, 30, 25), covered_since=START + 125.0))
    assert await world.value() is ALARM


async def test_a_new_alarm_starts_at_its_first_evaluation(world: World) -> None:
    await world.take(START + 3, second(START + 2, 1, 1))
    assert world.evaluator.evaluated_until("a") is None
    await world.put()
    assert world.evaluator.evaluated_until("a") is None
    await world.take(START + 4)
    assert world.evaluator.evaluated_until("a") == START + 4
    assert await world.value() is ALARM


async def test_an_alarm_deleted_and_put_again_is_not_taken_for_the_old_one(world: World) -> None:
    await world.put()
    await world.take(START + 3, second(START + 2))
    row = await world.state.get(ALARMS, "a")
    assert row is not None
    await world.state.commit([Remove(ALARMS, "a", row.revision)])
    await world.take(START + 4)
    assert world.evaluator.evaluated_until("a") is None
    await world.put()
    await world.take(START + 5)
    assert world.evaluator.evaluated_until("a") == START + 5


async def test_a_fault_of_one_alarm_is_contained_and_made_up_for(world: World, caplog) -> None:
    other = MetricIdentity("N", "broken")
    await world.put("broken", metric=other, threshold=5.0, missing_data=MissingData.NOT_BREACHING)
    await world.put("sound")
    await world.metrics.put([Datum(other, START, of_values([1.0]))])
    await world.take(START + 1, second(START))
    world.metrics.broken = other
    await world.take(START + 2, second(START + 1, 9, 9))
    await world.take(START + 3)
    assert await world.value("sound") is ALARM
    assert world.evaluator.evaluated_until("sound") == START + 3
    assert world.evaluator.evaluated_until("broken") == START + 1
    assert sum('"broken"' in record.getMessage() for record in caplog.records) == 1
    world.metrics.broken = None
    await world.take(START + 4)
    assert world.evaluator.evaluated_until("broken") == START + 4


async def test_a_failed_evaluation_is_made_up_for_from_its_very_second(world: World) -> None:
    """All of ten seconds are bad at the end of START + 19 only, and just that evaluation fails."""
    await world.put(statistic="Minimum", threshold=1.0)
    bad_ones = range(10, 20)
    await world.take(START + 19.0, *(second(START + at, 1, errors=int(at in bad_ones)) for at in range(19)))
    world.metrics.read_failures = 1
    await world.take(START + 22.0, *(second(START + at, 1, errors=int(at in bad_ones)) for at in range(19, 22)))
    assert world.evaluator.evaluated_until("a") == START + 19
    await world.take(START + 23.0, second(START + 22))
    assert [entry.body["to"] for entry in await world.transitions()] == ["OK", "ALARM", "OK"]
    assert (await world.transitions())[1].body["evaluated_until"] == START + 20


BROKEN = MetricIdentity("N", "broken")


async def steps_of_broken(world: World, ones: range, until: int, broken: range, first: int = 0) -> None:
    """A second of each, with a datum of 1 or 0 of a metric that cannot be read in some of them."""
    for at in range(first, until):
        await world.metrics.put([Datum(BROKEN, START + at, of_values([float(at in ones)]))])
        world.metrics.broken = BROKEN if at in broken else None
        await world.take(START + at + 1)


async def told(world: World, name: str = "a") -> list[tuple[int, str]]:
    return [(entry.body["evaluated_until"] - START, entry.body["to"]) for entry in await world.transitions(name)]


async def test_an_alarm_that_was_faulty_for_long_says_what_was_given_up(world: World, caplog) -> None:
    """Twenty seconds are made up for; an instant before that is lost, and that is said."""
    caplog.set_level("INFO")
    await world.put(metric=BROKEN, statistic="Minimum", threshold=1.0)
    await world.put("sound", missing_data=MissingData.NOT_BREACHING)
    await steps_of_broken(world, range(12, 22), 30, range(20, 55))
    assert (world.evaluator.alarms_faulty, world.evaluator.evaluations_skipped) == (1, 0)
    await steps_of_broken(world, range(12, 22), 55, range(20, 55), first=30)
    assert (world.evaluator.alarms_faulty, world.evaluator.evaluations_skipped) == (1, 55 - 40)
    assert world.evaluator.seconds_skipped == 0
    await steps_of_broken(world, range(12, 22), 60, range(0), first=55)
    assert (world.evaluator.alarms_faulty, world.evaluator.evaluations_skipped) == (0, 56 - 40)
    assert await told(world) == [(1, OK)]
    assert world.evaluator.evaluated_until("a") == START + 60
    said = [record.getMessage() for record in caplog.records if '"a"' in record.getMessage()]
    assert said == [
        'Alarm "a" cannot be evaluated; it is tried again at every pass.',
        'Alarm "a" is evaluated again; 16 of its evaluations were given up.',
    ]


async def test_a_new_alarm_that_fails_at_first_is_made_up_for_from_its_first_second(world: World) -> None:
    await steps_of_broken(world, range(10, 20), 19, range(0))
    await world.put(metric=BROKEN, statistic="Minimum", threshold=1.0)
    await steps_of_broken(world, range(10, 20), 25, range(24), first=19)
    assert await told(world) == [(20, ALARM), (21, OK)]
    assert (world.evaluator.alarms_faulty, world.evaluator.evaluations_skipped) == (0, 0)


async def test_another_rule_begins_anew_also_where_the_former_could_not_be_evaluated(world: World) -> None:
    await world.put(metric=BROKEN)
    await steps_of_broken(world, range(0), 5, range(5))
    assert world.evaluator.alarms_faulty == 1
    await world.put()
    await steps_of_broken(world, range(0), 6, range(6), first=5)
    assert world.evaluator.alarms_faulty == 0
    assert [
        entry.body["evaluated_until"] for entry in await world.transitions()
    ] == []  # no data, so it stays as it was


async def test_an_alarm_that_is_behind_costs_the_others_nothing(world: World, monkeypatch) -> None:
    await world.put(metric=BROKEN)
    for name in ("b", "c", "d"):
        await world.put(name, missing_data=MissingData.NOT_BREACHING)
    await steps_of_broken(world, range(0), 15, range(5, 15))
    asked: list[str] = []
    honest = world.evaluator._is_due
    monkeypatch.setattr(world.evaluator, "_is_due", lambda name, *rest: [asked.append(name), honest(name, *rest)][1])
    await steps_of_broken(world, range(0), 16, range(16), first=15)
    assert sorted(name for name in asked if name != "a") == ["b", "c", "d"]


async def test_transitions_that_cannot_be_written_are_said_once_and_made_up_for(world: World, caplog) -> None:
    await world.put("a")
    await Place(world).composite("c", "ALARM(a)")

    class Full(MemoryState):
        full = False

        async def commit(self, writes=(), records=(), *, at_sequence=None):
            if records and self.full:
                raise Unavailable("The disk is full.")
            return await super().commit(writes, records, at_sequence=at_sequence)

    full = world.state = Full(world.medium)
    world.restart()
    await world.take(START + 1, second(START))
    full.full = True
    for at in range(1, 5):
        await world.take(START + at + 1, second(START + at, 9, 9))
    assert world.evaluator.alarms_faulty == 1
    full.full = False
    await world.take(START + 6, second(START + 5, 9, 9))
    assert await told(world) == [(1, OK), (2, ALARM)]
    assert await world.value("c") is ALARM
    assert sum("cannot be written" in record.getMessage() for record in caplog.records) == 1


async def test_a_report_that_cannot_be_stored_is_tried_again_before_anything_is_judged(world: World) -> None:
    await world.put(missing_data=MissingData.NOT_BREACHING)
    world.metrics.record_failures = 3
    await world.take(START + 1, second(START, 1, 1))
    assert await world.value() is ALARM
    assert world.feed.acknowledged == [1]


async def test_a_report_that_comes_again_counts_once_and_is_acknowledged_again(world: World) -> None:
    await world.put()
    report = world.report(START + 1, second(START, 1, 1))
    await world.evaluator.take(report)
    later = world.report(START + 2, second(START + 1, 9))
    await world.evaluator.take(later)
    await world.evaluator.take(report)
    assert world.feed.acknowledged == [1, 2, 1]
    assert world.evaluator.watermark == START + 2
    assert len(await world.transitions()) == 2


async def test_after_a_crash_before_the_acknowledgement_the_same_report_is_judged(world: World) -> None:
    await world.put()
    report = world.report(START + 1, second(START, 1, 1))
    await world.metrics.record(report)
    world.restart()
    await world.evaluator.take(report)
    assert await world.value() is ALARM


async def test_a_clock_set_back_starts_anew_instead_of_passing_for_evaluated(world: World) -> None:
    await world.put()
    await world.take(START + 3600, second(START + 3599))
    await world.evaluator.take(world.report(START + 10.0, second(START + 9, 1, 1)))
    assert world.evaluator.evaluated_until("a") == START + 10
    assert await world.value() is ALARM


async def test_a_state_set_by_hand_returns_to_what_the_data_says(world: World) -> None:
    alarm = await world.put()
    await world.take(START + 1, second(START))
    row = await world.state.get(ALARMS, "a")
    assert row is not None
    by_hand = replace(row.value.state, value=ALARM, reason="a drill")
    await world.state.commit([Put(ALARMS, "a", replace(alarm, state=by_hand), row.revision)])
    await world.take(START + 2, second(START + 1))
    assert await world.value() is OK
    assert (await world.transitions())[-1].body["from_reason"] == "a drill"


async def test_a_change_in_the_middle_of_an_evaluation_is_decided_again(world: World) -> None:
    """The alarm is put again, with another threshold, between its being read and its transition being written."""
    await world.put()

    class Meddling(MemoryState):
        meddled = False

        async def commit(self, writes=(), records=(), *, at_sequence=None):
            if records and not self.meddled:
                self.meddled = True
                world.state = self
                await world.put(threshold=2.0)
            return await super().commit(writes, records, at_sequence=at_sequence)

    world.state = Meddling(world.medium)
    world.restart()
    await world.take(START + 1, second(START, 1, 1))
    assert [entry.body["to"] for entry in await world.transitions()] == ["OK"]


async def test_another_process_that_took_over_ends_the_loop(world: World) -> None:
    await world.put()
    MemoryState(world.medium)
    world.feed.send(world.report(START + 1, second(START, 1, 1)))
    with pytest.raises(Fenced):
        async with asyncio.timeout(TIMEOUT):
            await world.evaluator.run()


async def test_the_loop_announces_each_pass(world: World) -> None:
    await world.put()
    task = asyncio.create_task(world.evaluator.run())
    try:
        seen = world.evaluator.changed.version
        world.feed.send(world.report(START + 1, second(START, 1, 1), covered_since=START - 5))
        assert await world.evaluator.changed.wait_past(seen, TIMEOUT) != seen
        assert await world.value() is ALARM
        assert world.evaluator.covered_since == START - 5
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


# --- composite alarms


class Place:
    """Alarms by operations, as callers put them."""

    def __init__(self, world: World) -> None:
        self.context = Context(
            state=world.state,
            metrics=world.metrics,
            objects=None,  # type: ignore[arg-type]
            clock=world.clock,
            ids=None,  # type: ignore[arg-type]
            settings=world.settings,
            image_refusal=lambda image: None,
            ready_instances=dict,
        )

    async def composite(self, name: str, rule: str, **more: Any) -> None:
        extras = Extras(**{key: more.pop(key) for key in list(more) if key.endswith("actions")})
        await put_composite_alarm(self.context, name, CompositeDefinition(rule, **more), extras)


async def test_a_composite_moves_in_the_commit_of_its_child(world: World) -> None:
    await world.put("a")
    await Place(world).composite("c", "ALARM(a)")
    await Place(world).composite("above", "ALARM(c)")
    await world.take(START + 1, second(START))
    before = await world.state.sequence()
    await world.take(START + 2, second(START + 1, 9, 9))
    entries = await world.state.journal(after=before)
    assert [(one.subject, one.body["to"]) for one in entries] == [
        ("alarm/a", "ALARM"),
        ("alarm/c", "ALARM"),
        ("alarm/above", "ALARM"),
    ]
    assert entries[1].body["children"] == {"a": "ALARM"}
    assert (
        entries[1].body["reason"].startswith("arn:aws:cloudwatch:us-east-1:000000000000:alarm:a transitioned to ALARM")
    )


async def test_composites_see_one_second_whole(world: World) -> None:
    """Both alarms go to ALARM in the same second: one without the other never was."""
    await world.put("a")
    await world.put("b")
    await Place(world).composite("one", "ALARM(a) AND NOT ALARM(b)")
    await Place(world).composite("other", "ALARM(b) AND NOT ALARM(a)")
    await world.take(START + 1, second(START))
    await world.take(START + 2, second(START + 1, 9, 9))
    assert (await world.value("a"), await world.value("b")) == (ALARM, ALARM)
    for name in ("one", "other"):
        assert [entry.body["to"] for entry in await world.transitions(name)] == ["OK"]


async def test_an_instant_of_a_child_is_not_missed(world: World) -> None:
    await world.put(statistic="Minimum", threshold=1.0)
    await Place(world).composite("c", "ALARM(a)")
    await world.take(START + 1, second(START))
    await world.take(START + 35.0, *(second(START + at, 1, errors=int(12 <= at < 22)) for at in range(1, 35)))
    assert [entry.body["to"] for entry in await world.transitions("c")] == ["OK", "ALARM", "OK"]


async def test_a_composite_is_evaluated_as_far_as_its_children(world: World) -> None:
    broken = MetricIdentity("N", "broken")
    await world.put("a")
    await world.put("b", metric=broken)
    place = Place(world)
    await place.composite("c", "ALARM(a) OR ALARM(b)")
    await place.composite("above", "ALARM(c) OR TRUE")
    await place.composite("constant", "FALSE")
    assert world.evaluator.evaluated_until("above") is None
    await world.take(START + 1, second(START))
    world.metrics.broken = broken
    await world.take(START + 2, second(START + 1))
    assert world.evaluator.evaluated_until("a") == START + 2
    assert world.evaluator.evaluated_until("c") == START + 1
    assert world.evaluator.evaluated_until("above") == START + 1
    assert world.evaluator.evaluated_until("constant") == START + 2


async def test_a_composite_written_in_the_middle_is_decided_again(world: World) -> None:
    """Its rule changes between its being read and its transition being written."""
    await world.put("a")
    await Place(world).composite("c", "ALARM(a)")

    class Meddling(MemoryState):
        meddled = False

        async def commit(self, writes=(), records=(), *, at_sequence=None):
            if records and not self.meddled:
                self.meddled = True
                world.state = self
                await Place(world).composite("c", "OK(a)")
            return await super().commit(writes, records, at_sequence=at_sequence)

    world.state = Meddling(world.medium)
    world.restart()
    await world.take(START + 1, second(START, 1, 1))
    assert await world.value("a") is ALARM
    assert await world.value("c") is OK


async def test_held_actions_are_run_when_their_time_is_over(world: World) -> None:
    await world.put("a")
    await world.put("s", metric=MetricIdentity("N", "never"))
    await Place(world).composite(
        "c", "ALARM(a)", suppressor="s", wait_seconds=20, extension_seconds=5, alarm_actions=("arn:x",)
    )
    await world.take(START + 1, second(START))
    await world.evaluator.end_suppressions()
    world.clock.time = START + 30.0
    await world.evaluator.end_suppressions()
    await world.take(START + 30.0, second(START + 29, 9, 9))
    assert await world.value("c") is ALARM
    assert await world.state.journal(kind="alarm.acted") == []
    world.clock.time += 19.9
    await world.evaluator.end_suppressions()
    assert await world.state.journal(kind="alarm.acted") == []
    world.clock.time += 0.2
    await world.evaluator.end_suppressions()
    await world.evaluator.end_suppressions()
    (entry,) = await world.state.journal(kind="alarm.acted")
    assert (entry.body["action"], entry.body["state"]) == ("arn:x", "ALARM")


# --- alarms on expressions


REQUESTS = identity("AWS/SageMaker", "Invocations", {"EndpointName": "e", "VariantName": "v"})


def queries(expression: str) -> tuple[AlarmQuery, ...]:
    return (
        AlarmQuery("bad", ERRORS, "Sum", period_seconds=10, return_data=False),
        AlarmQuery("all", REQUESTS, "Sum", period_seconds=10, return_data=False),
        AlarmQuery("result", expression=expression),
    )


async def test_an_alarm_on_an_expression(world: World) -> None:
    await world.put(metric=None, statistic="", queries=queries("100 * bad / all"), threshold=50.0)
    await Place(world).composite("c", "ALARM(a)")
    await world.take(START + 1, second(START, 4, 1))
    assert await world.value() is OK
    await world.take(START + 2, second(START + 1, 4, 3))
    assert await world.value() is ALARM
    entry = (await world.transitions())[-1]
    assert (entry.body["values"], entry.body["evaluated_until"]) == ([None, None, 50.0], START + 2)
    assert await world.value("c") is ALARM


async def test_fill_does_not_speak_for_what_nobody_saw(world: World) -> None:
    """Telemetry was away: that no error was counted in that time does not mean that there was none."""
    await world.put(metric=None, statistic="", queries=queries("FILL(bad, 0) + 0 * FILL(all, 0)"), threshold=1.0)
    await world.take(START + 1, second(START, 1, 1))
    assert await world.value() is ALARM
    await world.evaluator.take(world.report(START + 62.0, covered_since=START + 61.0))
    assert await world.value() is ALARM
    await world.evaluator.take(world.report(START + 71.0, covered_since=START + 61.0))
    assert await world.value() is OK
