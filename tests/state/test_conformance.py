"""What every state store promises, checked on each implementation."""

import math
from dataclasses import dataclass
from pathlib import Path

import pytest

from bannister.errors import Conflict, Fenced, Invalid, Unavailable
from bannister.state.memory import MemoryMedium, MemoryState
from bannister.state.sqlite import SqliteState
from bannister.state.store import Put, Record, Remove, State, Table


@dataclass(frozen=True, slots=True)
class Ship:
    name: str
    guns: tuple[int, ...] = ()
    home: str | None = None
    tons: float = 0.0
    draught: float | None = None


SHIPS = Table("ship", Ship)


@pytest.fixture(params=["memory", "sqlite"])
def reopen(request, tmp_path: Path):
    medium = MemoryMedium()
    opened: list[State] = []

    def _open() -> State:
        opened.append(MemoryState(medium) if request.param == "memory" else SqliteState(tmp_path / "state.db"))
        return opened[-1]

    return _open


async def test_a_row_comes_back_as_it_was_written(reopen) -> None:
    state = reopen()
    await state.commit([Put(SHIPS, "victory", Ship("Victory", (32, 68)), 0)])
    row = await state.get(SHIPS, "victory")
    assert row is not None
    assert row.value == Ship("Victory", (32, 68))
    assert row.revision == 1
    assert await state.get(SHIPS, "other") is None


async def test_rows_survive_reopening(reopen) -> None:
    await reopen().commit([Put(SHIPS, "a", Ship("A"), 0)], [Record(1.0, "s", "k", {"x": [1, "y"]})])
    again = reopen()
    assert [row.key for row in await again.rows(SHIPS)] == ["a"]
    assert (await again.journal())[0].body == {"x": [1, "y"]}


async def test_listing_is_by_key_and_prefix(reopen) -> None:
    state = reopen()
    await state.commit([Put(SHIPS, key, Ship(key), 0) for key in ("b/2", "a", "b/1", "b%")])
    assert [row.key for row in await state.rows(SHIPS)] == ["a", "b%", "b/1", "b/2"]
    assert [row.key for row in await state.rows(SHIPS, "b/")] == ["b/1", "b/2"]


@pytest.mark.parametrize("revision", [0, 2, 7])
async def test_a_write_at_another_revision_conflicts_and_changes_nothing(reopen, revision: int) -> None:
    state = reopen()
    await state.commit([Put(SHIPS, "a", Ship("A"), 0)])
    with pytest.raises(Conflict):
        await state.commit(
            [Put(SHIPS, "b", Ship("B"), 0), Put(SHIPS, "a", Ship("A2"), revision)], [Record(1, "s", "k")]
        )
    assert await state.get(SHIPS, "b") is None
    assert (await state.get(SHIPS, "a")).value == Ship("A")
    assert await state.sequence() == 0


@pytest.mark.parametrize(
    "wrong",
    [
        Ship("B", tons=math.inf),
        Ship("B", tons=math.nan),
        Ship("B", draught=-math.inf),  # would be read as None
        Ship("B", home=7),
        Ship("B", (1, "two")),
    ],
    ids=repr,
)
@pytest.mark.parametrize("revision", [0, 1])
async def test_what_could_not_be_read_again_is_not_written(reopen, wrong: Ship, revision: int) -> None:
    state = reopen()
    await state.commit([Put(SHIPS, "b", Ship("B"), 0)] if revision else [])
    with pytest.raises(Invalid, match="The ship 'b' cannot be stored, because it could not be read again"):
        await state.commit([Put(SHIPS, "a", Ship("A"), 0), Put(SHIPS, "b", wrong, revision)], [Record(1, "s", "k")])
    for one in (state, reopen()):
        assert [row.value for row in await one.rows(SHIPS)] == [Ship("B")] * revision
        assert await one.sequence() == 0


async def test_a_list_in_place_of_a_tuple_is_read_as_one(reopen) -> None:
    state = reopen()
    await state.commit([Put(SHIPS, "a", Ship("A", [1, 2]), 0)])
    assert (await state.get(SHIPS, "a")).value == Ship("A", (1, 2))


async def test_removing_needs_the_revision_too(reopen) -> None:
    state = reopen()
    await state.commit([Put(SHIPS, "a", Ship("A"), 0)])
    with pytest.raises(Conflict):
        await state.commit([Remove(SHIPS, "a", 9)])
    await state.commit([Remove(SHIPS, "a", 1)])
    assert await state.get(SHIPS, "a") is None
    await state.commit([Put(SHIPS, "a", Ship("again"), 0)])


async def test_the_journal_is_numbered_without_gaps(reopen) -> None:
    state = reopen()
    assert await state.commit(records=[Record(1, "endpoint/a", "x"), Record(2, "endpoint/b", "y")]) == 2
    with pytest.raises(Conflict):
        await state.commit([Remove(SHIPS, "none", 1)], [Record(3, "endpoint/a", "x")])
    assert await state.commit(records=[Record(3, "endpoint/a", "y")]) == 3
    assert [entry.sequence for entry in await state.journal()] == [1, 2, 3]
    assert [entry.sequence for entry in await state.journal(subject="endpoint/a")] == [1, 3]
    assert [entry.sequence for entry in await state.journal(kind="y", after=2)] == [3]
    assert [entry.sequence for entry in await state.journal(limit=2)] == [1, 2]
    assert [entry.sequence for entry in await state.journal(newest_first=True)] == [3, 2, 1]
    assert [entry.sequence for entry in await state.journal(newest_first=True, before=3, limit=1)] == [2]
    assert [entry.sequence for entry in await state.journal(subject="endpoint/a", before=3, newest_first=True)] == [1]
    assert [entry.sequence for entry in await state.journal(after=1, before=3)] == [2]
    assert [entry.sequence for entry in await state.journal(kind={"x", "y", "z"}, subject="endpoint/a")] == [1, 3]
    assert await state.newest_numbers(after=0, kind="y", limit=1) == [3]
    assert await state.newest_numbers(after=1, kind="y", limit=5) == [3, 2]


async def test_a_commit_can_insist_that_nothing_was_journaled_since(reopen) -> None:
    state = reopen()
    seen = await state.sequence()
    await state.commit(records=[Record(1, "alarm/a", "alarm.transitioned")])
    with pytest.raises(Conflict):
        await state.commit([Put(SHIPS, "a", Ship("A"), 0)], at_sequence=seen)
    await state.commit([Put(SHIPS, "a", Ship("A"), 0)], at_sequence=1)


async def test_a_replaced_process_changes_nothing(reopen) -> None:
    old = reopen()
    new = reopen()
    assert new.epoch > old.epoch
    with pytest.raises(Fenced):
        await old.commit([Put(SHIPS, "a", Ship("A"), 0)])
    assert await new.get(SHIPS, "a") is None
    await new.commit([Put(SHIPS, "a", Ship("A"), 0)])


async def journal_of(state: State, count: int) -> None:
    await state.commit(records=[Record(float(number), "s", "k") for number in range(1, count + 1)])


async def numbers(state: State, **filters: object) -> list[int]:
    return [entry.sequence for entry in await state.journal(**filters)]


@pytest.mark.parametrize(
    ("limits", "left"),
    [
        ({"before": 4.0, "keep": 100, "up_to": 100}, [4, 5, 6]),
        ({"before": 0.0, "keep": 2, "up_to": 100}, [5, 6]),
        ({"before": 4.0, "keep": 2, "up_to": 100}, [5, 6]),
        ({"before": 5.0, "keep": 2, "up_to": 2}, [3, 4, 5, 6]),
        ({"before": 99.0, "keep": 0, "up_to": 100}, [6]),
        ({"before": 99.0, "keep": 0, "up_to": 100, "limit": 2}, [3, 4, 5, 6]),
    ],
)
async def test_the_oldest_entries_are_forgotten(reopen, limits, left) -> None:
    state = reopen()
    await journal_of(state, 6)
    assert await state.prune(**limits) == 6 - len(left)
    assert await numbers(state) == left


async def test_what_is_left_has_no_gaps_whatever_the_clock_did(reopen) -> None:
    state = reopen()
    await state.commit(records=[Record(at, "s", "k") for at in (1.0, 50.0, 2.0, 51.0)])
    assert await state.prune(before=10.0, keep=100, up_to=100) == 1
    assert await numbers(state) == [2, 3, 4]


async def test_numbers_are_never_used_again_and_positions_hold(reopen) -> None:
    state = reopen()
    await journal_of(state, 5)
    await state.prune(before=99.0, keep=0, up_to=100)
    again = reopen()
    assert await again.sequence() == 5
    assert await again.commit(records=[Record(6.0, "s", "new")], at_sequence=5) == 6
    assert await numbers(again) == [5, 6]
    assert await numbers(again, after=5) == [6]
    assert await numbers(again, after=2, kind="new") == [6]
    assert await numbers(again, after=6) == []


async def test_a_replaced_process_forgets_nothing(reopen) -> None:
    old = reopen()
    await journal_of(old, 3)
    new = reopen()
    with pytest.raises(Fenced):
        await old.prune(before=99.0, keep=0, up_to=100)
    assert await numbers(new) == [1, 2, 3]


async def test_commits_are_announced(reopen) -> None:
    state = reopen()
    before = state.changed.version
    await state.commit([Put(SHIPS, "a", Ship("A"), 0)])
    assert state.changed.version > before


async def test_a_damaged_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"this is not a database, not at all" * 100)
    with pytest.raises(Unavailable):
        SqliteState(tmp_path / "state.db")
