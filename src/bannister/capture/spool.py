"""Captured records on the disk, until the control plane has moved them to the object store.

    DATA/capture/0001795549010175-3f2a9c01-7.open      being written
    DATA/capture/0001795549010175-3f2a9c01-7.ready     finished: the control plane's to move, then to remove

The first line of a file says where it goes (bucket and key); all others are records. A record is written with one call before it counts as written, so killing this process loses
none. What it leaves open its successor finishes, without the half record that a full disk may have left at the end.

The spool is bounded, and stops while the disk has less than `capture_disk_free_bytes_min` free: long before the reserve is touched.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from bannister.domain.capture.record import file_name
from bannister.domain.capture.spooled import OPEN, READY, Destination
from bannister.settings import Settings

_log = logging.getLogger(__name__)

#: Files that are written at the same time; beyond, the oldest is finished.
_OPEN_FILES_MAX: Final = 100
#: The disk and the spool are measured this often at most.
_MEASURE_SECONDS: Final = 0.5

SPOOL_FULL: Final = "the spool is full"
DISK_FULL: Final = "the disk is nearly full"


@dataclass(slots=True)
class _File:
    descriptor: int
    path: Path
    opened_at: float
    size: int


class Spool:
    """Writes records. For one process at a time; times that are compared are on the clock that nobody sets."""

    def __init__(self, settings: Settings, run: str, free_bytes: Callable[[Path], int] | None = None) -> None:
        self._settings = settings
        self._directory = settings.capture_dir
        self._run = run
        self._free_bytes = free_bytes or _free_bytes
        self._files: dict[tuple[str, str], _File] = {}
        self._made = 0
        self._measured_at = -_MEASURE_SECONDS
        self._size = 0
        self._refusal: str | None = None

    def recover(self) -> None:
        """Finish what an earlier process left open."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in sorted(self._directory.glob(f"*{OPEN}")):
            try:
                _cut_half_line(path)
                path.rename(path.with_suffix(READY))
            except OSError as error:
                _log.warning("What an earlier run left in %s cannot be finished: %s.", path, error)

    def write(self, bucket: str, prefix: str, line: bytes, now: float, monotonic: float) -> str | None:
        """Append a record to the file for this bucket and beginning of keys. Why it was not written; None: it was."""
        refusal = self._refused(len(line), monotonic)
        if refusal is not None:
            return refusal
        try:
            file = self._file(bucket, prefix, now, monotonic)
            _append(file, line)
        except OSError as error:
            _log.warning("A captured record cannot be written to %s: %s.", self._directory, error.strerror)
            return DISK_FULL
        self._size += len(line)
        if file.size >= self._settings.capture_file_bytes_max:
            self._finish(bucket, prefix)
        return None

    def rotate(self, monotonic: float) -> None:
        """Finish the files that have been open long enough."""
        for key, file in list(self._files.items()):
            if monotonic - file.opened_at >= self._settings.capture_file_seconds_max:
                self._finish(*key)

    def close(self) -> None:
        """Finish all files."""
        for key in list(self._files):
            self._finish(*key)

    def _refused(self, size: int, monotonic: float) -> str | None:
        if monotonic - self._measured_at >= _MEASURE_SECONDS:
            self._measured_at = monotonic
            self._size = _directory_size(self._directory)
            short = self._free_bytes(self._directory) < self._settings.capture_disk_free_bytes_min
            self._refusal = DISK_FULL if short else None
        if self._size + size > self._settings.capture_spool_bytes_max:
            return SPOOL_FULL
        return self._refusal

    def _file(self, bucket: str, prefix: str, now: float, monotonic: float) -> _File:
        file = self._files.get((bucket, prefix))
        if file is not None:
            return file
        if len(self._files) >= _OPEN_FILES_MAX:
            self._finish(*next(iter(self._files)))
        self._made += 1
        path = self._directory / f"{int(now * 1000):016d}-{self._run}-{self._made}{OPEN}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        file = _File(os.open(path, flags, 0o600), path, monotonic, 0)
        key = prefix + file_name(now, f"{self._run}{self._made:08x}")
        try:
            _append(file, msgspec.json.encode(Destination(bucket, key)) + b"\n")
        except OSError:
            os.close(file.descriptor)
            path.unlink()
            raise
        self._files[bucket, prefix] = file
        return file

    def _finish(self, bucket: str, prefix: str) -> None:
        file = self._files.pop((bucket, prefix))
        os.close(file.descriptor)
        with contextlib.suppress(OSError):  # the next run finishes it
            file.path.rename(file.path.with_suffix(READY))


def _append(file: _File, line: bytes) -> None:
    """All of the line or nothing of it.

    Raises:
        OSError: There is no room.
    """
    try:
        written = os.write(file.descriptor, line)
        if written < len(line):
            raise OSError(None, "No space left on device")
    except OSError:
        os.ftruncate(file.descriptor, file.size)
        raise
    file.size += len(line)


def _cut_half_line(path: Path) -> None:
    with path.open("r+b") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)


def _directory_size(directory: Path) -> int:
    total = 0
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):  # the control plane has just moved it
                total += entry.stat().st_size
    return total


def _free_bytes(directory: Path) -> int:
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize
