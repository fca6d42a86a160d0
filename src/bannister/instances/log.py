"""What an instance prints: a file, because a pipe would end with the control plane, bounded from outside.

The instance appends to `log`. When that has grown to half of the bound, its last half-bound is copied to `log.1` and it is
emptied; the instance, which appends, goes on at its new end and notices nothing. A line written between copying and
emptying is lost, and an instance that prints faster than the control plane looks exceeds the bound for as long.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path


def bound(file: Path, bytes_max: int) -> None:
    """Keep `file` and what came before it within `bytes_max` together."""
    try:
        size = file.stat().st_size
    except OSError:
        return
    half = bytes_max // 2
    if size <= half:
        return
    with file.open("rb") as source:
        source.seek(size - half)
        before(file).write_bytes(source.read(half))
    os.truncate(file, 0)


def before(file: Path) -> Path:
    """Where the part of a log is that was moved out of `file`."""
    return file.with_name(f"{file.name}.1")


def join(file: Path, into: Path) -> None:
    """Write a log with what came before it into one file."""
    with into.open("wb") as target:
        for part in (before(file), file):
            with contextlib.suppress(FileNotFoundError), part.open("rb") as source:
                shutil.copyfileobj(source, target)


def tail(file: Path, lines: int, bytes_max: int) -> list[str]:
    """The last lines of a log and of what came before it, looking at `bytes_max` bytes at most."""
    data = b""
    for part in (file, before(file)):
        if data.count(b"\n") <= lines:
            data = _end_of(part, bytes_max - len(data)) + data
    return data.decode(errors="replace").splitlines()[-lines:] if lines > 0 else []


def _end_of(file: Path, count: int) -> bytes:
    try:
        with file.open("rb") as source:
            source.seek(max(0, file.stat().st_size - count))
            return source.read(max(0, count))
    except OSError:
        return b""
