"""Who may look into what is kept: this user alone, also where the data directory is open to others.

State and records hold what models get as environment, passwords among it. A data directory that Bannister makes is for its user only; one that is there already keeps its mode, because it may be
somebody's for more than this. So what lies in it is closed by itself. Where that cannot be done (a file system without modes) everything goes on as it is.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

_OTHERS: Final = 0o077
#: What SQLite keeps beside a database, with the database's mode when it makes them.
_BESIDE: Final = ("-wal", "-shm", "-journal")


def close_folder(folder: Path) -> None:
    """Make a folder for this user only, also one that is there."""
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)


def close_database(file: Path) -> None:
    """To be called before SQLite opens, or makes, a database."""
    with contextlib.suppress(OSError):
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    for each in (file, *(file.with_name(f"{file.name}{suffix}") for suffix in _BESIDE)):
        with contextlib.suppress(OSError):
            each.chmod(0o600)


def is_open(path: Path) -> bool:
    """Whether other users of this machine may do anything with it."""
    try:
        return bool(path.stat().st_mode & _OTHERS)
    except OSError:
        return False
