"""What instances print, to be read by line and time: the interface, and the values in it.

A program prints bytes; lines and times are added from outside. A line's time is when it was first seen whole, and a later look never
gives a time that an earlier one has given: so a reader who has seen everything up to a time misses nothing by asking for what is later.
Every implementation passes `tests/instances/test_logs.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

#: So much of a log is read at once; a longer line is divided.
PART_BYTES_MAX: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class LogStream:
    """What is kept of one instance's output."""

    endpoint: str
    variant: str
    instance: str
    #: When the instance was started; None: not yet. All times in seconds since the epoch.
    created_at: float | None
    #: The times of the oldest and the newest line; None: nothing has been printed.
    first_at: float | None
    last_at: float | None
    size: int


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that is not empty, without its end."""

    at: float
    #: Where it begins and where what follows it does, in bytes since the instance's first; never used twice.
    position: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class LogPart:
    """Lines that follow each other, oldest first."""

    lines: tuple[LogLine, ...]
    #: Everything from `start` up to `end` has been looked at.
    start: int
    end: int
    #: There is more where the reading was going.
    more: bool


class InstanceLogs(Protocol):
    """Reads the logs of instances that run, and of those last gone. Never blocks the event loop."""

    async def streams(self) -> tuple[LogStream, ...]:
        """All logs there are. What has been printed up to now has its time afterwards."""
        ...

    async def forward(
        self, instance: str, position: int = 0, *, since: float = 0.0, bytes_max: int = PART_BYTES_MAX
    ) -> LogPart:
        """Whole lines from a position, or the first one with a time of at least `since`, whichever is later. Unknown: none."""
        ...

    async def backward(self, instance: str, position: int | None = None) -> LogPart:
        """The whole lines that end at a position; None: the last ones. Unknown instance: none."""
        ...


class NoLogs:
    """Where there are no instances."""

    async def streams(self) -> tuple[LogStream, ...]:
        return ()

    async def forward(
        self, instance: str, position: int = 0, *, since: float = 0.0, bytes_max: int = PART_BYTES_MAX
    ) -> LogPart:
        return LogPart((), 0, 0, more=False)

    async def backward(self, instance: str, position: int | None = None) -> LogPart:
        return LogPart((), 0, 0, more=False)
