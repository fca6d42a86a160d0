"""Whether a state file can be trusted, asked before anything is written to it.

SQLite's `quick_check` walks every page (about 1 ms per MiB). A file of ordinary size is checked whole; of a larger one the rows, on which everything
depends, and the newest part of the journal. `bannister backup` checks the whole of what it copies.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from bannister.errors import Unavailable
from bannister.state.schema import refuse_later

#: Of a large journal, the numbers of so many newest entries are checked.
_ENTRIES: Final = 2000


def check(connection: sqlite3.Connection, path: Path, whole_bytes_max: int) -> None:
    """Look for damage in a file that is not new.

    Raises:
        Unavailable: It is damaged, or a later version wrote it; the sentence says what to do. Nothing was changed.
    """
    try:
        refuse_later(connection, path)
        damage = _damage(connection, whole=path.stat().st_size <= whole_bytes_max)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_IOERR:
            raise  # locked or full, which is no damage
        damage = str(error)
    if damage is not None:
        raise Unavailable(
            f"The state file {path} is damaged ({damage}). Nothing was changed. Move the data directory away and restore a backup "
            "into a new one: bannister restore BACKUP --data-dir DIR."
        )


def _damage(connection: sqlite3.Connection, *, whole: bool) -> str | None:
    if not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
        return None
    (found,) = connection.execute(f"PRAGMA quick_check({'1' if whole else 'row'})").fetchone()
    if found != "ok":
        return str(found).splitlines()[-1]  # a headline comes first
    if connection.execute("SELECT count(*) FROM epoch WHERE epoch >= 0").fetchone() != (1,):
        return "it has no epoch"
    return _gap(connection, whole=whole)


def _gap(connection: sqlite3.Connection, *, whole: bool) -> str | None:
    first, last = connection.execute(
        "SELECT (SELECT min(sequence) FROM journal), (SELECT max(sequence) FROM journal)"
    ).fetchone()
    if last is None:
        return None
    if whole:
        (count,) = connection.execute("SELECT count(*) FROM journal").fetchone()  # of an index, which is small
    else:
        first = max(first, last - _ENTRIES)
        (count,) = connection.execute("SELECT count(*) FROM journal WHERE sequence >= ?", (first,)).fetchone()
    missing = last - first + 1 - count
    return f"of the journal's entries {first} to {last}, {missing} are missing" if missing else None
