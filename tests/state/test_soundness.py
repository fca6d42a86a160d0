"""A damaged file is told from a sound one before anything is written to it."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bannister.errors import Unavailable
from bannister.state.sqlite import SqliteState
from bannister.state.store import Record


async def filled(path: Path) -> None:
    state = SqliteState(path)
    await state.commit(records=[Record(float(at), "s", "k", {"x": "y" * 500}) for at in range(500)])
    await state.close()


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))


def cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def replace(path: Path) -> None:
    path.write_bytes(b"this is not a database, not at all" * 1000)


def _sql(statement: str):
    def _damage(path: Path) -> None:
        with closing(sqlite3.connect(path)) as database, database:
            database.execute(statement)

    return _damage


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (overwrite, r"is damaged \((Tree|Page|wrong|database disk|On tree|btree)"),
        (cut, "is damaged"),
        (replace, "file is not a database"),
        (_sql("DELETE FROM journal WHERE sequence = 250"), "entries 1 to 500, 1 are missing"),
        (_sql("DELETE FROM epoch"), "no epoch"),
    ],
)
async def test_a_damaged_file_is_refused_with_what_to_do_and_not_changed(tmp_path: Path, damage, sentence: str) -> None:
    path = tmp_path / "state.db"
    await filled(path)
    SqliteState(path)._connection.close()
    damage(path)
    before = path.read_bytes()
    with pytest.raises(Unavailable, match=sentence) as refused:
        SqliteState(path)
    assert "bannister restore BACKUP --data-dir DIR" in str(refused.value)
    assert path.read_bytes() == before


async def test_of_a_large_file_the_rows_and_the_newest_history_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    await filled(path)
    await SqliteState(path, checked_bytes_max=0).close()
    _sql("DELETE FROM journal WHERE sequence = 250")(path)
    with pytest.raises(Unavailable, match="1 are missing"):
        SqliteState(path, checked_bytes_max=0)


async def test_a_pruned_journal_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    await filled(path)
    state = SqliteState(path)
    assert await state.prune(before=99.0, keep=500, up_to=500) == 99
    await state.close()
    await SqliteState(path).close()
