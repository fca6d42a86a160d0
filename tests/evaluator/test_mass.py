"""Many alarms that change in the same second: few commits, and none of them holds up or stops another."""

from pathlib import Path

import pytest
from tests.evaluator.test_loop import ERRORS, START, Place, World, second

from bannister.domain.alarm.alarm import Alarm, AlarmRule, AlarmValue, Comparison
from bannister.domain.alarm.alarm_rule import holds, parse
from bannister.domain.alarm.evaluation import initial_state
from bannister.errors import Fenced, Unavailable
from bannister.evaluator import assessor
from bannister.evaluator.assessor import TOGETHER_MAX
from bannister.metrics.store import GroupDimensions
from bannister.state.memory import MemoryState
from bannister.state.store import Put
from bannister.state.tables import ALARMS

OK, ALARM = AlarmValue.OK, AlarmValue.ALARM
COUNT = 1000


class Counting(MemoryState):
    """Keeps what each commit moves, and can fail for one alarm."""

    poison = ""

    def __init__(self, medium) -> None:
        super().__init__(medium)
        self.commits: list[list[str]] = []

    async def commit(self, writes=(), records=(), *, at_sequence=None):
        moved = [one.subject.removeprefix("alarm/") for one in records if one.kind == "alarm.transitioned"]
        if self.poison in moved:
            raise Unavailable("This one cannot be written.")
        done = await super().commit(writes, records, at_sequence=at_sequence)
        if moved:
            self.commits.append(moved)
        return done


@pytest.fixture
async def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.state = Counting(made.medium)
    await made.metrics.register(GroupDimensions("g", "e", "v", "c", 1))
    rule = AlarmRule(ERRORS, "Average", 10, 1, 1, 0.5, Comparison.GREATER_OR_EQUAL)
    alarms = [Alarm(f"a{number:04}", rule, initial_state(START), START) for number in range(COUNT)]
    await made.state.commit([Put(ALARMS, alarm.name, alarm, 0) for alarm in alarms])
    made.restart()
    return made


def commits(world: World) -> list[list[str]]:
    assert isinstance(world.state, Counting)
    return world.state.commits


async def settled(world: World) -> None:
    """All in OK; then commits are counted."""
    await world.take(START + 1, second(START))
    assert {row.value.state.value for row in await world.state.rows(ALARMS)} == {OK}
    commits(world).clear()


async def test_a_thousand_transitions_take_few_commits(world: World) -> None:
    await settled(world)
    await world.take(START + 2, second(START + 1, 9, 9))
    assert [len(one) for one in commits(world)] == [TOGETHER_MAX] * (COUNT // TOGETHER_MAX)
    assert {row.value.state.value for row in await world.state.rows(ALARMS)} == {ALARM}
    assert world.evaluator.evaluated_until("a0999") == START + 2
    entries = await world.state.journal(kind="alarm.transitioned", subject="alarm/a0500")
    assert [entry.body["to"] for entry in entries] == [OK, ALARM]


async def test_one_that_cannot_be_written_stops_no_other(world: World) -> None:
    await settled(world)
    world.state.poison = "a0007"  # type: ignore[attr-defined]
    await world.take(START + 2, second(START + 1, 9, 9))
    left = {row.key for row in await world.state.rows(ALARMS) if row.value.state.value is not ALARM}
    assert left == {"a0007"}
    assert world.evaluator.alarms_faulty == 1
    world.state.poison = ""  # type: ignore[attr-defined]
    await world.take(START + 3, second(START + 2, 9, 9))
    (*_, last) = await world.transitions("a0007")
    assert (last.body["to"], last.body["evaluated_until"]) == (ALARM, START + 2)


async def test_one_that_is_put_again_meanwhile_is_decided_again_and_no_other_is_lost(world: World, monkeypatch) -> None:
    await settled(world)
    honest, meddled = assessor.settle, []

    async def settle(*arguments):
        if not meddled:
            meddled.append(True)
            await world.put("a0007", threshold=2.0)
        return await honest(*arguments)

    monkeypatch.setattr(assessor, "settle", settle)
    await world.take(START + 2, second(START + 1, 9, 9))
    left = {row.key for row in await world.state.rows(ALARMS) if row.value.state.value is not ALARM}
    assert left == {"a0007"}
    assert world.evaluator.alarms_faulty == 0


async def test_another_process_that_took_over_ends_it(world: World) -> None:
    await settled(world)
    MemoryState(world.medium)
    with pytest.raises(Fenced):
        await world.take(START + 2, second(START + 1, 9, 9))


async def test_under_composites_few_commits_too_and_each_composite_moves_with_all_beneath_it(world: World) -> None:
    """A hundred rules over ten each, joined by tens from above; one over all of the first three hundred, which are more than a commit takes otherwise."""
    place = Place(world)
    for low in range(100):
        names = [f"a{number:04}" for number in range(low * 10, low * 10 + 10)]
        await place.composite(f"low{low:02}", " AND ".join(f"ALARM({name})" for name in names))
    for high in range(10):
        await place.composite(
            f"high{high}", " AND ".join(f"ALARM(low{low:02})" for low in range(high * 10, high * 10 + 10))
        )
    await place.composite("top", "ALARM(high0) OR ALARM(high1) OR ALARM(high2)")
    world.restart()
    await settled(world)
    await world.take(START + 2, second(START + 1, 9, 9))
    rows = {row.key: row.value for row in await world.state.rows(ALARMS)}
    assert {alarm.state.value for alarm in rows.values()} == {ALARM}
    assert len(commits(world)) <= 5
    values = dict.fromkeys(rows, OK)
    for moved in commits(world):
        values |= dict.fromkeys(moved, ALARM)
        for alarm in rows.values():
            if alarm.composite is not None:
                assert holds(parse(alarm.composite.text), values.get) is (values[alarm.name] is ALARM), alarm.name
    assert [len(one) for one in commits(world) if "top" in one] == [300 + 30 + 3 + 1]
