"""The parts' logs: files that they write themselves, bounded from outside.

A part writes straight into its file, so that it goes on when the launcher is gone. Rotation therefore copies the file aside and cuts it to
nothing; because it was opened for appending, the part goes on at its new beginning. What is written between copy and cut is lost.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import IO


def open_log(path: Path) -> IO[bytes]:
    """Open for a part to write to, readable by this user only."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab", buffering=0)


def rotate(path: Path, bytes_max: int) -> None:
    """Move the content of a log that has grown too large to `PATH.1`, over the one that was there."""
    try:
        if path.stat().st_size <= bytes_max:
            return
        shutil.copyfile(path, path.with_name(f"{path.name}.1"))
        os.truncate(path, 0)
    except OSError:  # a full disk must not stop the launcher; it is tried again at the next look
        return


def tail(path: Path, lines: int) -> list[str]:
    """The last lines; of a line that is very long, only its end."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 500 * lines))
            return file.read().decode(errors="replace").splitlines()[-lines:]
    except OSError:
        return []
