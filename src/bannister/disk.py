"""The reserve: room on the disk that is kept for the worst day.

A full disk must not stop a rollback, and a rollback must be written down before it happens. So a file of a fixed size, with real blocks behind it,
lies in the data directory. When the state cannot be written, the file is removed and the write is tried again: there is room now. Until
somebody makes room and the reserve is taken again, whatever would bring more onto the disk is refused with a sentence (`check`); rollbacks
and deletions go on.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sqlite3
from pathlib import Path
from typing import BinaryIO, Final

from bannister.errors import Unavailable

_log = logging.getLogger(__name__)
_BLOCK_BYTES: Final = 1024 * 1024


def database_is_damaged(error: sqlite3.Error) -> bool:
    """Whether a file is not, or no longer, what SQLite wrote: to try again does not help."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class DiskReserve:
    """The reserve of one data directory. For one process at a time."""

    def __init__(self, path: Path, size: int, free_min: int) -> None:
        """`size` and `free_min` in bytes; below `free_min` free bytes nothing new is let in, reserve or not."""
        self._path = path
        self._size = size
        self._free_min = free_min

    @property
    def held(self) -> bool:
        """The reserve is there, with all its blocks."""
        try:
            found = self._path.stat()
        except OSError:
            return self._size == 0
        return found.st_size >= self._size and found.st_blocks * 512 >= self._size

    def prepare(self) -> None:
        """At start: take it; but give it up if there is not even room to start."""
        if not self.take() and self._free() < min(self._size, self._free_min) // 4:
            self.release()

    def take(self) -> bool:
        """Take it if there is room; whether it can be relied on: it is held, and the disk is not about to be full."""
        if self.held:
            return self._free() >= self._free_min
        if self._free() < self._size + self._free_min:
            return False
        partial = self._path.with_name(f"{self._path.name}.partial")
        try:
            with partial.open("wb") as file:
                _fill(file, self._size)
            partial.replace(self._path)
            if not self.held:
                _log.warning(
                    "The reserve %s is written, but the file system has put no room behind it yet. If it says so again, set "
                    "disk_reserve_bytes = 0: then nothing is kept for a full disk.",
                    self._path,
                )
                return False
        except OSError as error:
            _log.warning("The reserve %s cannot be taken: %s.", self._path, error.strerror)
            with contextlib.suppress(OSError):
                partial.unlink()
            return False
        return True

    def release(self) -> bool:
        """Give its room to whoever writes next; whether there was any to give."""
        if self._size == 0 or not self.held:
            return False
        self._path.unlink()
        _log.error(
            "disk.reserve_released: the disk of %s is full. Make room there; until then only rollbacks and deletions "
            "are accepted.",
            self._path.parent,
        )
        return True

    def release_if_full(self) -> bool:
        """As `release`, for one who does not know why his write failed."""
        return self._free() < self._free_min and self.release()

    def check(self) -> None:
        """Let something new in, or not.

        Raises:
            Unavailable: The disk is full, or about to be.
        """
        if not self.held or self._free() < self._free_min:
            raise Unavailable(
                f"The disk of the data directory {self._path.parent} is full ({self._free() // 2**20} MiB are free): nothing new "
                "is accepted until there is room again. Rollbacks and deletions go on."
            )

    def _free(self) -> int:
        try:
            found = os.statvfs(self._path.parent)
        except OSError:
            return 0
        return found.f_bavail * found.f_frsize


def _fill(file: BinaryIO, size: int) -> None:
    """Put real blocks behind an empty file, whether or not the system (macOS does not) and the file system can reserve them."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
        else:
            # A file system that copies on write (ZFS) looks whether there is room now, and keeps none.
            if os.fstat(file.fileno()).st_blocks * 512 >= size:
                return
    block = os.urandom(min(size, _BLOCK_BYTES))  # no zeros: a file system that compresses would keep no room for them
    file.writelines(block[: size - position] for position in range(0, size, _BLOCK_BYTES))
    file.flush()
    os.fsync(file.fileno())  # some give blocks only then
