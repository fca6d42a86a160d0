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

#: Entries of the journal whose numbers are checked at start.
_ENTRIES: Final = 20_000


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
        return str(found).partition("\n")[0]
    if connection.execute("SELECT count(*) FROM epoch WHERE epoch >= 0").fetchone() != (1,):
        return "it has no epoch"
    return _gap(connection)


def _gap(connection: sqlite3.Connection) -> str | None:
    newest = "(SELECT sequence FROM journal ORDER BY sequence DESC LIMIT ?)"
    query = f"SELECT count(*), min(sequence), max(sequence) FROM {newest}"
    count, first, last = connection.execute(query, (_ENTRIES,)).fetchone()
    if count and last - first + 1 != count:
        return f"of the journal's entries {first} to {last}, {last - first + 1 - count} are missing"
    return None
