"""What an instance prints: a file, because a pipe would end with the control plane, bounded from outside.

The instance appends to `log`. When that has grown to half of the bound, its last half-bound is copied to `log.1` and it is
emptied; the instance, which appends, goes on at its new end and notices nothing. A line written between copying and
emptying is lost, and an instance that prints faster than the control plane looks exceeds the bound for as long.

Beside it, `log.times` says when how much had been printed: after a header, one *mark* (a position, a time) for every look that
found more than the one before. A line's time is that of the first mark at or behind its end. *Positions* count the bytes since the
instance's first one; the header has those of the first bytes of `log.1` and `log`, so moving content leaves positions as they are.
The header is replaced before the file is emptied: a process that ends in between leaves a piece of log that is shown twice, not times
that are wrong.
"""

from __future__ import annotations

import bisect
import contextlib
import os
import shutil
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bannister.instances.logs import LogLine, LogPart

#: Marks of one log; of more, every second one of the older half is forgotten.
MARKS_MAX: Final = 8192
#: A line that began earlier than this before the time that is asked for is shown from there on.
_LOOK_BACK_BYTES: Final = 64 * 1024

_HEADER: Final = struct.Struct("<QQ")
_MARK: Final = struct.Struct("<Qd")


@dataclass(frozen=True, slots=True)
class Times:
    """What `log.times` says."""

    #: The positions of the first bytes of what came before, and of the log.
    first: int = 0
    start: int = 0
    #: Ascending; one time for each position.
    positions: tuple[int, ...] = ()
    moments: tuple[float, ...] = ()

    @property
    def marked(self) -> int:
        """Up to where there are times."""
        return self.positions[-1] if self.positions else self.first

    def at(self, end: int) -> float:
        """The time of a line that ends here."""
        found = bisect.bisect_left(self.positions, end)
        return self.moments[min(found, len(self.moments) - 1)] if self.moments else 0.0

    def position_of(self, since: float) -> int:
        """Where what has a time of at least `since` begins, perhaps in the middle of a line."""
        found = bisect.bisect_left(self.moments, since)
        return self.positions[found - 1] if found > 0 else self.first


@dataclass(frozen=True, slots=True)
class Noted:
    """As much of `log.times` as it takes to go on with it."""

    start: int
    marked: int
    marks: int

    @classmethod
    def of(cls, times: Times) -> Noted:
        return cls(times.start, times.marked, len(times.positions))


# --- the files


def before(file: Path) -> Path:
    """Where the part of a log is that was moved out of `file`."""
    return file.with_name(f"{file.name}.1")


def times_file(file: Path) -> Path:
    return file.with_name(f"{file.name}.times")


def read_times(file: Path) -> Times:
    """The times of a log; empty where nobody noted any."""
    try:
        content = times_file(file).read_bytes()
    except OSError:
        return Times()
    if len(content) < _HEADER.size:
        return Times()
    first, start = _HEADER.unpack_from(content)
    # The last mark may be cut off by a process that ended.
    marks = content[_HEADER.size : len(content) - (len(content) - _HEADER.size) % _MARK.size]
    pairs = list(_MARK.iter_unpack(marks))
    return Times(first, start, tuple([position for position, _ in pairs]), tuple([moment for _, moment in pairs]))


def write_times(file: Path, times: Times) -> None:
    target = times_file(file)
    partial = target.with_suffix(".partial")
    marks = zip(times.positions, times.moments, strict=True)
    partial.write_bytes(_HEADER.pack(times.first, times.start) + b"".join(_MARK.pack(*mark) for mark in marks))
    partial.replace(target)


def mark(file: Path, noted: Noted | None, now: float) -> Noted:
    """Note that what is in the file now was there at this time. None: what has been noted is read first."""
    if noted is None:
        times = read_times(file)
        write_times(file, times)  # whole, without a mark that was cut off
        noted = Noted.of(times)
    end = noted.start + _size(file)
    if end == noted.marked:
        return noted
    if end < noted.marked or noted.marks >= MARKS_MAX:
        return _mend(file, now)
    with times_file(file).open("ab") as target:
        target.write(_MARK.pack(end, now))
    return replace(noted, marked=end, marks=noted.marks + 1)


def _mend(file: Path, now: float) -> Noted:
    """A mark where more than that has to be written."""
    times = read_times(file)
    if times.start + _size(file) < times.marked:  # it was emptied, and nobody wrote down where it goes on
        times = replace(times, start=times.marked)
    if len(times.positions) >= MARKS_MAX:
        half = MARKS_MAX // 2
        times = replace(
            times,
            positions=times.positions[1:half:2] + times.positions[half:],
            moments=times.moments[1:half:2] + times.moments[half:],
        )
    end = times.start + _size(file)
    if end > times.marked:
        times = replace(times, positions=(*times.positions, end), moments=(*times.moments, now))
    write_times(file, times)
    return Noted.of(times)


def bound(file: Path, bytes_max: int) -> Noted | None:
    """Keep `file` and what came before it within `bytes_max` together; what has been noted since, if it was not."""
    size = _size(file)
    half = bytes_max // 2
    if size <= half:
        return None
    with file.open("rb") as source:
        source.seek(size - half)
        before(file).write_bytes(source.read(half))
    times = read_times(file)
    start = times.start + size
    kept = bisect.bisect_right(times.positions, start - half)
    times = Times(start - half, start, times.positions[kept:], times.moments[kept:])
    write_times(file, times)
    os.truncate(file, 0)
    return Noted.of(times)


def join(file: Path, into: Path) -> None:
    """Write a log with what came before it, and its times, into one file."""
    with into.open("wb") as target:
        for part in (before(file), file):
            with contextlib.suppress(FileNotFoundError), part.open("rb") as source:
                shutil.copyfileobj(source, target)
    times = read_times(file)
    first = times.start - _size(before(file))
    write_times(into, replace(times, first=first, start=first))


def tail(file: Path, lines: int, bytes_max: int) -> list[str]:
    """The last lines of a log and of what came before it, looking at `bytes_max` bytes at most."""
    data = b""
    for part in (file, before(file)):
        if data.count(b"\n") <= lines:
            data = _end_of(part, bytes_max - len(data)) + data
    return data.decode(errors="replace").splitlines()[-lines:] if lines > 0 else []


def size(file: Path) -> int:
    """Bytes of a log and of what came before it."""
    return _size(file) + _size(before(file))


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _end_of(file: Path, count: int) -> bytes:
    try:
        with file.open("rb") as source:
            source.seek(max(0, file.stat().st_size - count))
            return source.read(max(0, count))
    except OSError:
        return b""


# --- lines


def forward(file: Path, times: Times, position: int, since: float, bytes_max: int, *, ended: bool) -> LogPart:
    """Whole lines from a position or a time on; of a log that has ended, also a last one that nobody finished."""
    first, end = _extent(file, times)
    from_time = times.position_of(since)
    start = max(position, first)
    if from_time > start:
        start = _line_start(file, times, from_time)
    start = min(start, end)
    data = _bytes(file, times, start, min(end, start + bytes_max))
    behind = start + len(data)
    whole = data.rfind(b"\n") + 1
    if not whole and (len(data) == bytes_max or (ended and behind == end)):
        whole = len(data)  # a line that is longer than what is read at once, or the last one
    elif ended and behind == end:
        whole = len(data)
    return LogPart(_lines(times, start, data[:whole]), start, start + whole, more=whole > 0 and start + whole < end)


def backward(file: Path, times: Times, position: int | None, bytes_max: int, *, ended: bool) -> LogPart:
    """The whole lines that end at a position; None: at the end."""
    first, last = _extent(file, times)
    end = last if position is None else min(max(position, first), last)
    start = max(first, end - bytes_max)
    data = _bytes(file, times, start, end)
    if position is None and not ended:  # the last line may not be finished
        data = data[: data.rfind(b"\n") + 1] or (data if len(data) == bytes_max else b"")
    end = start + len(data)
    if start > first and (cut := data.find(b"\n") + 1) and cut < len(data):
        start, data = start + cut, data[cut:]
    return LogPart(_lines(times, start, data), start, end, more=start > first)


def _extent(file: Path, times: Times) -> tuple[int, int]:
    return times.start - _size(before(file)), times.start + _size(file)


def _bytes(file: Path, times: Times, start: int, end: int) -> bytes:
    """What was printed from one position to another, as far as it is kept."""
    pieces = [
        _piece(part, max(start, low) - low, min(end, high) - low)
        for part, low, high in (
            (before(file), times.start - _size(before(file)), times.start),
            (file, times.start, times.start + _size(file)),
        )
        if max(start, low) < min(end, high)
    ]
    return b"".join(pieces)


def _piece(file: Path, start: int, end: int) -> bytes:
    try:
        with file.open("rb") as source:
            source.seek(start)
            return source.read(end - start)
    except OSError:
        return b""


def _line_start(file: Path, times: Times, position: int) -> int:
    """Where the line begins that a position is in."""
    low = max(_extent(file, times)[0], position - _LOOK_BACK_BYTES)
    found = _bytes(file, times, low, position).rfind(b"\n")
    return low if found < 0 else low + found + 1


def _lines(times: Times, start: int, data: bytes) -> tuple[LogLine, ...]:
    """By line feeds only: a progress bar's carriage returns are inside of its line."""
    lines: list[LogLine] = []
    behind = start + len(data)
    for raw in data.split(b"\n"):
        end = min(start + len(raw) + 1, behind)
        if text := raw.rstrip(b"\r").decode(errors="replace"):
            lines.append(LogLine(times.at(end), start, end, text))
        start = end
    return tuple(lines)
