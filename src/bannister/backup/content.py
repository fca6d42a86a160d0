"""What a backup is: a tar.gz with these members, in this order.

    manifest.json        what this is: format, versions, the directory it was made of
    bannister.toml, images.toml
    artifacts/SHA256/…   the unpacked artifacts that groups use
    objects/…            the files of objects
    objects/.index.db    which of them are objects; state.db; metrics.db, if asked for
    end.json             that it is complete, and what is to be left out

Databases come last and are copies made by SQLite while the server runs. Files of objects never change once they are named, so a copy of the
index and all files that it names are one consistent whole, whenever those files were read.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from bannister.errors import Unavailable

#: Grows when a reader of the former format would misunderstand.
FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
END: Final = "end.json"
STATE: Final = "state.db"
METRICS: Final = "metrics.db"
INDEX: Final = "objects/.index.db"
SETTINGS_FILES: Final = ("bannister.toml", "images.toml")
FILES: Final = (*SETTINGS_FILES, STATE, METRICS, END)
FOLDERS: Final = ("objects", "artifacts")


def check_database(path: Path) -> None:
    """Read a database to its end.

    Raises:
        Unavailable: It is damaged.
    """
    try:
        with closing(sqlite3.connect(path)) as database:
            (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        found = str(error)
    if found != "ok":
        raise Unavailable(f"{path.name} is damaged: {found}.")


def schema_of(state: Path) -> int:
    """The version of a state file's shape."""
    with closing(sqlite3.connect(state)) as database:
        return int(database.execute("PRAGMA user_version").fetchone()[0])


def object_files(index: Path) -> set[str]:
    """The files that a copy of the index names, below the folder of objects."""
    with closing(sqlite3.connect(index)) as database:
        return files_named(database)


def files_named(index: sqlite3.Connection) -> set[str]:
    """The same of an open one."""
    return {file for (file,) in index.execute("SELECT file FROM objects")}
