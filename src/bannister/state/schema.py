"""The shape of the state file, and the way from every earlier shape to this one.

`MIGRATIONS` begins with the first version that was ever written. Each step runs in one transaction together with its number
(`user_version`), so a file is at one version or at the next, wherever a process ends.

Values (the `value` of a row) are dataclasses as JSON, and change with these rules:

* A new field has a default: values written before it are read with the default.
* A field that is renamed, removed or changes its meaning is a step here: `UPDATE row SET value = …` with SQLite's JSON functions.
* A new field that an earlier version must not lose when it writes the row again raises the version too, with an empty step: earlier versions then
  refuse the file.

`tests/state/fixtures` keeps a file of every version and values of every table; the tests open and read them with the present types.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bannister.errors import Unavailable

#: Statements that bring the file from one version to the next; append only.
MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        "CREATE TABLE epoch (id INTEGER PRIMARY KEY CHECK (id = 1), epoch INTEGER NOT NULL)",
        "INSERT INTO epoch VALUES (1, 0)",
        """CREATE TABLE row (
            name TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, revision INTEGER NOT NULL, PRIMARY KEY (name, key)
        ) WITHOUT ROWID""",
        """CREATE TABLE journal (
            sequence INTEGER PRIMARY KEY, at REAL NOT NULL, subject TEXT NOT NULL, kind TEXT NOT NULL, body BLOB NOT NULL
        )""",
        "CREATE INDEX journal_by_subject ON journal (subject, sequence)",
        "CREATE INDEX journal_by_kind ON journal (kind, sequence)",
    ),
    # Fleets have a shadow and a capture, endpoints an experiment: an earlier version would drop them in writing.
    (),
    # Alarms may be composite, and are named by composites: an earlier version could not read the former, and would forget the latter.
    (),
    # Models, configurations, endpoints and experiments have tags, and configurations may be serverless or asynchronous: an earlier version would drop
    # the former in writing, and serve the latter.
    (),
    # Models, configurations, variants and alarms have members that are only described: an earlier version would drop them in writing.
    (),
    # Models have paths: an earlier version would drop them in writing, and ask what runs where it does not answer.
    (),
)


def refuse_later(connection: sqlite3.Connection, path: Path) -> None:
    """Turn down a file that a later version wrote.

    Raises:
        Unavailable: It did; the file was not touched.
    """
    version = _version(connection)
    if version > len(MIGRATIONS):
        raise Unavailable(
            f"{path} was written by a later version of Bannister (schema {version}; this one knows {len(MIGRATIONS)}): use "
            "that version, or restore a backup that this one made. Nothing was changed."
        )


def migrate(connection: sqlite3.Connection, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> None:
    """Bring a file to the newest version, one transaction for each step."""
    while _version(connection) < len(migrations):
        with transaction(connection):
            version = _version(connection)  # inside: another process may have been faster
            for step in migrations[version : version + 1]:
                for statement in step:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {version + 1}")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk may have ended it already
            connection.execute("ROLLBACK")
        raise
