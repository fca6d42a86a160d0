"""Files and values of every earlier version are opened and read by this one."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bannister.errors import Unavailable
from bannister.state import tables
from bannister.state.schema import MIGRATIONS, migrate
from bannister.state.sqlite import SqliteState
from bannister.state.store import Put, Table

FIXTURES = Path(__file__).with_name("fixtures")
#: Tables that came without a new version: a file written before has no rows in them.
LATER = {"shadow", "comparison_rules", "event_delivery"}
TABLES = [value for value in vars(tables).values() if isinstance(value, Table)]
#: The version in which a table first had rows, where it was not the first one.
SINCE = {tables.EXPERIMENTS.name: 2, tables.ACTIONS.name: 3}


def written_by(version: int, path: Path) -> None:
    """The file as that version left it."""
    with closing(sqlite3.connect(path)) as database:
        database.executescript((FIXTURES / f"schema-{version}.sql").read_text())


def contains(now: Any, then: Any) -> bool:
    """Everything that was written is still there: a renamed field would be gone without a word."""
    if isinstance(then, dict):
        return isinstance(now, dict) and all(key in now and contains(now[key], then[key]) for key in then)
    if isinstance(then, list):
        return isinstance(now, list) and len(now) == len(then) and all(map(contains, now, then))
    return bool(now == then)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_stored_values_are_read_whole_by_the_present_types(table: Table[Any]) -> None:
    written = (FIXTURES / f"{table.name}.json").read_bytes()
    values = msgspec.json.decode(written, type=list[table.type])  # type: ignore[name-defined]
    assert contains(msgspec.json.decode(msgspec.json.encode(values)), msgspec.json.decode(written))


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS) + 1))
async def test_a_file_of_every_version_is_opened_and_read(tmp_path: Path, version: int) -> None:
    """A new migration needs a new file here: `iterdump` of one that its version wrote."""
    written_by(version, tmp_path / "state.db")
    state = SqliteState(tmp_path / "state.db")
    assert state.epoch == 8
    assert [entry.sequence for entry in await state.journal()] == [1, 2, 3]
    for table in TABLES:
        rows = await state.rows(table)
        assert bool(rows) is (table.name not in LATER and version >= SINCE.get(table.name, 1)), table.name
        assert {row.revision for row in rows} <= {3}
        await state.commit([Put(table, row.key, row.value, row.revision) for row in rows])
    await state.close()


def test_a_file_of_a_later_version_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    written_by(1, path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(
        Unavailable, match=rf"later version of Bannister \(schema 99; this one knows {len(MIGRATIONS)}\)"
    ):
        SqliteState(path)
    assert path.read_bytes() == before


#: A field of values that is renamed, as a later version may have to.
RENAME = """
UPDATE row SET value = CAST(json_remove(json_set(CAST(value AS TEXT), '$.role', json_extract(CAST(value AS TEXT), '$.execution_role')),
'$.execution_role') AS BLOB) WHERE name = 'model'
"""


def test_a_migration_can_rename_a_field_of_values(tmp_path: Path) -> None:
    written_by(1, tmp_path / "state.db")
    with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as database:
        migrate(database, (*MIGRATIONS, (RENAME,)))
        (value,) = database.execute("SELECT value FROM row WHERE key = 'model-0'").fetchone()
        assert database.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 1,)
    assert isinstance(value, bytes)
    model = msgspec.json.decode(value)
    assert model["role"] == "arn:role"
    assert "execution_role" not in model


def test_a_migration_that_fails_half_way_changes_nothing(tmp_path: Path) -> None:
    written_by(1, tmp_path / "state.db")
    with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as database:
        with pytest.raises(sqlite3.OperationalError):
            migrate(
                database, (*MIGRATIONS, ("CREATE TABLE extra (a)", "DELETE FROM row", "INSERT INTO nowhere VALUES (1)"))
            )
        assert database.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        assert database.execute("SELECT count(*) FROM row").fetchone() != (0,)
        assert not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'extra'").fetchone()
        migrate(database, (*MIGRATIONS, ("CREATE TABLE extra (a)",)))
        assert database.execute("SELECT count(*) FROM extra").fetchone() == (0,)


async def test_a_value_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    written_by(1, tmp_path / "state.db")
    with closing(sqlite3.connect(tmp_path / "state.db")) as database, database:
        database.execute("UPDATE row SET value = CAST('{}' AS BLOB) WHERE key = 'model-1'")
    state = SqliteState(tmp_path / "state.db")
    with pytest.raises(Unavailable, match="The model 'model-1' in the state file cannot be read"):
        await state.rows(tables.MODELS)
    await state.close()
