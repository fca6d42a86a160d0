"""The logs of a folder's instances; see `bannister.instances.log` for the files.

The folder is looked at every second or so and before it is read, and each look has one time for all logs, in whole milliseconds (as readers are told them) and
always later than that of the look before. All that takes longer than a look at a file's size is done in a thread; a lock keeps a reader from a file that is being
emptied.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from bannister.clock import Clock
from bannister.instances import log
from bannister.instances.host import InstanceRecord
from bannister.instances.log import Noted
from bannister.instances.logs import PART_BYTES_MAX, LogPart, LogStream

_LINE_BYTES: Final = 4096
_STEP_SECONDS: Final = 0.001


class FolderLogs:
    """`running/ID/log` of instances that exist, `past/ID.log` of those that are gone; with `ID.json`, their records."""

    def __init__(self, folder: Path, clock: Clock, bytes_max: int, past_max: int) -> None:
        """Each log is kept within `bytes_max`, and `past_max` of them after their instances are gone."""
        self._running = folder / "running"
        self._past = folder / "past"
        self._clock = clock
        self._bytes_max = bytes_max
        self._past_max = past_max
        self._lock = threading.Lock()
        self._looked_at = 0.0
        self._noted: dict[str, Noted] = {}

    def file(self, instance: str) -> Path:
        """Where an instance prints to."""
        return self._running / instance / "log"

    def copy(self, instance: str, container: str, lines: bytes, until: tuple[int, int]) -> None:
        """Add what a container printed; `until`: when it printed the last of it, in nanoseconds, and how many of its lines have that time.

        Raises:
            OSError: The disk is full, for example; nothing was added.
        """
        copied = self._copied_file(instance)
        partial = copied.with_name(f"{copied.name}.partial")
        with self.file(instance).open("ab", buffering=0) as file:
            before, left = file.tell(), memoryview(lines)
            try:
                while left:
                    left = left[file.write(left) :]
                partial.write_text(f"{container} {until[0]} {until[1]}")
                partial.replace(copied)
            except OSError:
                # Else what has been written of it would come again with the next copy.
                file.truncate(min(before, os.fstat(file.fileno()).st_size))
                with contextlib.suppress(OSError):
                    partial.unlink()
                raise

    def copied_to(self, instance: str, container: str) -> tuple[int, int]:
        """The `until` of the last copy; zeros: there was none."""
        try:
            name, at, lines = self._copied_file(instance).read_text().split()
            return (int(at), int(lines)) if name == container else (0, 0)
        except (OSError, ValueError):
            return 0, 0

    def tail(self, instance: str, lines: int) -> list[str]:
        """The last lines, whatever their times."""
        if not instance.isalnum():  # ids are hexadecimal: no path
            return []
        running = self.file(instance)
        return log.tail(running if running.exists() else self._past_file(instance), lines, lines * _LINE_BYTES)

    def retire(self, instance: str) -> None:
        """Remove an instance's folder, keep what it printed, and forget the oldest that was kept.

        The folder goes under the lock: a look that is under way would write times into it, and a folder with something in it stays.
        """
        with self._lock:
            with contextlib.suppress(OSError):
                self._mark(instance, self._next_look())
                log.join(self.file(instance), self._past_file(instance))
                self._record_file(instance).write_bytes((self._running / instance / "record.json").read_bytes())
            shutil.rmtree(self._running / instance, ignore_errors=True)
            self._noted.pop(instance, None)
            past = sorted(self._past.glob("*.log"), key=lambda file: file.stat().st_mtime_ns)
            for file in past[: max(0, len(past) - self._past_max)]:
                for each in (file, log.times_file(file), self._record_file(file.stem)):
                    each.unlink(missing_ok=True)

    async def tend(self) -> None:
        """Give what has been printed its time, and keep the logs within their bound."""
        await asyncio.to_thread(self._tend)

    async def streams(self) -> tuple[LogStream, ...]:
        return await asyncio.to_thread(self._streams)

    async def forward(
        self, instance: str, position: int = 0, *, since: float = 0.0, bytes_max: int = PART_BYTES_MAX
    ) -> LogPart:
        return await asyncio.to_thread(self._forward, instance, position, since, bytes_max)

    async def backward(self, instance: str, position: int | None = None) -> LogPart:
        return await asyncio.to_thread(self._backward, instance, position)

    # --- in a thread

    def _tend(self) -> None:
        with self._lock:
            self._look()
            for instance in self._instances():
                with contextlib.suppress(FileNotFoundError):
                    noted = log.bound(self.file(instance), self._bytes_max)
                    if noted is not None:
                        self._noted[instance] = noted

    def _streams(self) -> tuple[LogStream, ...]:
        with self._lock:
            self._look()
            running = [(self._running / name / "record.json", self.file(name)) for name in self._instances()]
            past = [(self._record_file(file.stem), file) for file in sorted(self._past.glob("*.log"))]
            return tuple(_streams_of([*running, *past]))

    def _forward(self, instance: str, position: int, since: float, bytes_max: int) -> LogPart:
        with self._lock:
            file, ended = self._find(instance)
            return log.forward(file, log.read_times(file), position, since, bytes_max, ended=ended)

    def _backward(self, instance: str, position: int | None) -> LogPart:
        with self._lock:
            file, ended = self._find(instance)
            return log.backward(file, log.read_times(file), position, PART_BYTES_MAX, ended=ended)

    # --- parts

    def _look(self) -> None:
        now = self._next_look()
        for instance in self._instances():
            # Seen off just now; or the disk is full, and what is printed gets the time at which it no longer is.
            with contextlib.suppress(OSError):
                self._mark(instance, now)

    def _next_look(self) -> float:
        self._looked_at = round(max(self._clock.now(), self._looked_at + _STEP_SECONDS), 3)
        return self._looked_at

    def _mark(self, instance: str, now: float) -> None:
        # Until it is written whole, what is remembered does not hold.
        noted = self._noted.pop(instance, None)
        self._noted[instance] = log.mark(self.file(instance), noted, now)

    def _instances(self) -> list[str]:
        return sorted(folder.name for folder in self._running.iterdir()) if self._running.exists() else []

    def _find(self, instance: str) -> tuple[Path, bool]:
        running = self.file(instance)
        return (running, False) if running.exists() else (self._past_file(instance), True)

    def _copied_file(self, instance: str) -> Path:
        return self._running / instance / "log.copied"

    def _past_file(self, instance: str) -> Path:
        return self._past / f"{instance}.log"

    def _record_file(self, instance: str) -> Path:
        return self._past / f"{instance}.json"


def _streams_of(found: Iterable[tuple[Path, Path]]) -> Iterable[LogStream]:
    """What is known of logs, by their records; without a record nobody knows whose it is."""
    for record_file, file in found:
        try:
            record = msgspec.json.decode(record_file.read_bytes(), type=InstanceRecord)
        except (OSError, msgspec.DecodeError):
            continue
        if not record.endpoint:
            continue
        moments = log.read_times(file).moments
        yield LogStream(
            record.endpoint,
            record.variant,
            record.id,
            record.first_started_at or record.started_at or (moments[0] if moments else None),
            moments[0] if moments else None,
            moments[-1] if moments else None,
            log.size(file),
        )
