"""Captured records on the disk, until the control plane has moved them to the object store.

    DATA/capture/0001795549010175-3f2a9c01-7.open          being written
    DATA/capture/0001795549010175-3f2a9c01-7.ready         finished: the control plane's to move, then to remove
    DATA/capture/0001795549010175-3f2a9c01-7.undelivered   given up by the control plane: this process's to count and to remove
    DATA/capture/0001795549010175-3f2a9c01-7.unreadable    the same: it does not say where it goes

The first line of a file says where it goes (bucket and key); all others are records. A record is written with one call before it counts as written, so killing this process loses
none. What it leaves open its successor finishes, without the half record that a full disk may have left at the end.

The spool is bounded, and each bucket has a share of it, so that one that takes nothing stops nobody else's records. It stops while the disk has less than `capture_disk_free_bytes_min` free: long
before the reserve is touched.

Each endpoint, variant and hour has a file of its own. There may be many more of them than file descriptors: those that were not written to for longest are closed meanwhile, not finished.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from bannister.domain.capture.record import file_name, source_of
from bannister.domain.capture.spooled import OPEN, READY, UNDELIVERED, UNREADABLE, Destination, read_destination
from bannister.settings import Settings

_log = logging.getLogger(__name__)

#: Files that are held open at the same time.
_DESCRIPTORS_MAX: Final = 100
#: The disk and the spool are measured this often at most.
_MEASURE_SECONDS: Final = 0.5
#: Files that are counted and removed at a time.
_REMOVED_MAX: Final = 50
_BLOCK_BYTES: Final = 1024 * 1024

SPOOL_FULL: Final = "the spool is full"
BUCKET_FULL: Final = "its bucket's share of the spool is full"
DISK_FULL: Final = "the disk is nearly full"
#: By ending: why what was written is dropped after all.
_GIVEN_UP: Final = {
    UNDELIVERED: "its bucket did not take it in time",
    UNREADABLE: "its file does not say where it goes",
}

_Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Records that had been written."""

    reason: str
    #: Of which endpoint and variant they are; "": nobody knows.
    endpoint: str = ""
    variant: str = ""


@dataclass(slots=True)
class _Spooled:
    """A file in the spool. Bucket "": it does not say."""

    bucket: str
    size: int


@dataclass(slots=True)
class _File:
    """One that is being written."""

    path: Path
    opened_at: float
    spooled: _Spooled


class Spool:
    """Writes records. For one process at a time; times that are compared are on the clock that nobody sets."""

    def __init__(self, settings: Settings, run: str, free_bytes: Callable[[Path], int] | None = None) -> None:
        self._settings = settings
        self._directory = settings.capture_dir
        self._run = run
        self._free_bytes = free_bytes or _free_bytes
        self._files: dict[_Key, _File] = {}
        #: Of some of them, that which was not used for longest first.
        self._descriptors: dict[_Key, int] = {}
        self._made = 0
        self._measured_at = -_MEASURE_SECONDS
        #: By name without its ending.
        self._spooled: dict[str, _Spooled] = {}
        self._bytes: Counter[str] = Counter()
        self._given_up: list[Path] = []
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
        self._look()

    def write(self, bucket: str, prefix: str, line: bytes, now: float, monotonic: float) -> str | None:
        """Append a record to the file for this bucket and beginning of keys. Why it was not written; None: it was."""
        refusal = self._refused(bucket, len(line), monotonic)
        if refusal is not None:
            return refusal
        key = bucket, prefix
        try:
            file = self._files.get(key) or self._begin(key, now, monotonic)
            self._append(key, file, line)
        except OSError as error:
            _log.warning("A captured record cannot be written to %s: %s.", self._directory, error.strerror)
            return DISK_FULL
        if file.spooled.size >= self._settings.capture_file_bytes_max:
            self._finish(key)
        return None

    def rotate(self, monotonic: float) -> None:
        """Finish the files that have been open long enough."""
        for key, file in list(self._files.items()):
            if monotonic - file.opened_at >= self._settings.capture_file_seconds_max:
                self._finish(key)

    def remove_given_up(self, monotonic: float) -> Counter[GivenUp]:
        """Remove files that the control plane has given up, some at a time; how many records were in them."""
        self._measure(monotonic)
        removed: Counter[GivenUp] = Counter()
        for path in self._given_up:
            with contextlib.suppress(OSError):  # next time
                given_up, records = _counted(path)
                path.unlink()
                removed[given_up] += records
        self._given_up.clear()
        return removed

    def close(self) -> None:
        """Finish all files."""
        for key in list(self._files):
            self._finish(key)

    # --- how much there is

    def _refused(self, bucket: str, size: int, monotonic: float) -> str | None:
        self._measure(monotonic)
        if self._bytes.total() + size > self._settings.capture_spool_bytes_max:
            return SPOOL_FULL
        if self._bytes[bucket] + size > self._settings.capture_spool_bucket_bytes_max:
            return BUCKET_FULL
        return self._refusal

    def _measure(self, monotonic: float) -> None:
        """Look at what there is, if the last look was a while ago."""
        if monotonic - self._measured_at >= _MEASURE_SECONDS:
            self._measured_at = monotonic
            self._look()

    def _look(self) -> None:
        """What is not known yet is read, which is much only at the start: others move files, and add none."""
        try:
            short = self._free_bytes(self._directory) < self._settings.capture_disk_free_bytes_min
            with os.scandir(self._directory) as entries:
                there = {entry.name.rpartition(".")[0]: entry.name for entry in entries}
        except OSError as error:
            _log.warning("Captured records cannot be looked at in %s: %s.", self._directory, error.strerror)
            return
        self._refusal = DISK_FULL if short else None
        for name in self._spooled.keys() - there.keys():
            gone = self._spooled.pop(name)
            self._bytes[gone.bucket] -= gone.size
        for name in there.keys() - self._spooled.keys():
            path = self._directory / there[name]
            with contextlib.suppress(OSError):  # the control plane has just moved it
                self._add(name, _Spooled(_bucket(path), path.stat().st_size))
        given_up = sorted(name for name in there.values() if name.endswith(tuple(_GIVEN_UP)))
        self._given_up = [self._directory / name for name in given_up[:_REMOVED_MAX]]

    def _add(self, name: str, spooled: _Spooled) -> None:
        self._spooled[name] = spooled
        self._bytes[spooled.bucket] += spooled.size

    # --- the files

    def _begin(self, key: _Key, now: float, monotonic: float) -> _File:
        self._made += 1
        bucket, prefix = key
        path = self._directory / f"{int(now * 1000):016d}-{self._run}-{self._made}{OPEN}"
        path.touch(0o600, exist_ok=False)
        file = self._files[key] = _File(path, monotonic, _Spooled(bucket, 0))
        self._add(path.stem, file.spooled)
        to = Destination(bucket, prefix + file_name(now, f"{self._run}{self._made:08x}"))
        try:
            self._append(key, file, msgspec.json.encode(to) + b"\n")
        except OSError:
            self._close(key)
            del self._files[key], self._spooled[path.stem]
            path.unlink()
            raise
        return file

    def _append(self, key: _Key, file: _File, line: bytes) -> None:
        """All of the line or nothing of it.

        Raises:
            OSError: There is no room.
        """
        descriptor = self._descriptor(key, file)
        try:
            written = os.write(descriptor, line)
            if written < len(line):
                raise OSError(None, "No space left on device")
        except OSError:
            os.ftruncate(descriptor, file.spooled.size)
            raise
        file.spooled.size += len(line)
        self._bytes[file.spooled.bucket] += len(line)

    def _descriptor(self, key: _Key, file: _File) -> int:
        descriptor = self._descriptors.pop(key, None)
        if descriptor is None:
            while len(self._descriptors) >= _DESCRIPTORS_MAX:
                self._close(next(iter(self._descriptors)))
            descriptor = os.open(file.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._descriptors[key] = descriptor
        return descriptor

    def _close(self, key: _Key) -> None:
        descriptor = self._descriptors.pop(key, None)
        if descriptor is not None:
            os.close(descriptor)

    def _finish(self, key: _Key) -> None:
        self._close(key)
        file = self._files.pop(key)
        with contextlib.suppress(OSError):  # the next run finishes it
            file.path.rename(file.path.with_suffix(READY))


def _bucket(path: Path) -> str:
    with path.open("rb") as file:
        found = read_destination(file)
    return found[0].bucket if found is not None else ""


def _counted(path: Path) -> tuple[GivenUp, int]:
    """Whose records are in a file, and how many."""
    with path.open("rb") as file:
        found = read_destination(file)
        records = 0
        while block := file.read(_BLOCK_BYTES):
            records += block.count(b"\n")
    source = source_of(found[0].key) if found is not None else ("", "")
    return GivenUp(_GIVEN_UP[path.suffix], *source), records


def _cut_half_line(path: Path) -> None:
    with path.open("r+b") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)


def _free_bytes(directory: Path) -> int:
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize
