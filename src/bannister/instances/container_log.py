"""What a container prints, copied from the engine to the instance's log: each line once, also over restarts of the control plane and of the engine.

An engine tells what was printed in frames, each with the stream that it is of, and each line with its moment. How far the copy has come is kept with it: a moment, and
how many lines of that moment were copied, for Podman's moments are whole seconds. Whoever goes on asks for that second again and passes over what is known.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Final

from bannister.errors import Unavailable
from bannister.instances.engine import Engine, EngineRefused
from bannister.instances.folder_logs import FolderLogs

_logger = logging.getLogger(__name__)
_FRAME_HEADER_BYTES: Final = 8
#: A longer line is copied in parts.
_LINE_BYTES_MAX: Final = 64 * 1024
_TIME: Final = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) ?")


async def copy_log(engine: Engine, container: str, logs: FolderLogs, instance: str, fence: Callable[[], None]) -> bool:
    """Copy until the container has ended, or the engine breaks off; the next copy goes on where this one ended. Whether nothing went wrong.

    One at a time for each container. What goes wrong is logged: nothing depends on a log. `fence` raises when another control plane has taken over.
    """
    position = logs.copied_to(instance, container)
    at, known = position
    query = {"follow": 1, "stdout": 1, "stderr": 1, "timestamps": 1, "since": at // 10**9}
    try:
        async with contextlib.aclosing(engine.stream("GET", f"/containers/{container}/logs", query)) as stream:
            async for lines in _lines(_frames(stream)):
                fresh = []
                for moment, line in lines:
                    if moment < at or (moment == at and known > 0):
                        known -= moment == at
                        continue
                    position = moment, position[1] + 1 if moment == position[0] else 1
                    fresh.append(line)
                if fresh:
                    fence()
                    logs.copy(instance, container, b"".join(fresh), position)
    except (Unavailable, EngineRefused) as error:
        _logger.info("The log of container %s is not copied on: %s", container, error)
    except OSError as error:  # a full disk
        _logger.warning("The log of container %s: %s", container, error)
    else:
        return True
    return False


async def _frames(stream: AsyncIterator[bytes]) -> AsyncIterator[tuple[int, bytes]]:
    """The pieces of an engine's log: which stream (1 standard output, 2 errors), and what was printed."""
    buffer = b""
    async for piece in stream:
        buffer += piece
        while len(buffer) >= _FRAME_HEADER_BYTES:
            end = _FRAME_HEADER_BYTES + int.from_bytes(buffer[4:8], "big")
            if len(buffer) < end:
                break
            yield buffer[0], buffer[_FRAME_HEADER_BYTES:end]
            buffer = buffer[end:]


async def _lines(frames: AsyncIterator[tuple[int, bytes]]) -> AsyncIterator[list[tuple[int, bytes]]]:
    """Whole lines with the moment of each, in nanoseconds; as many at once as a piece of the log brings."""
    rest: dict[int, bytes] = {}
    at = 0
    async for stream, text in frames:
        *whole, left = (rest.pop(stream, b"") + text).split(b"\n")
        if len(left) > _LINE_BYTES_MAX:
            whole, left = [*whole, left], b""
        if left:
            rest[stream] = left
        lines = []
        for line in whole:
            found = _TIME.match(line)
            if found is not None:
                at, line = _nanoseconds(found), line[found.end() :]
            lines.append((at, line + b"\n"))
        if lines:
            yield lines
    if rest:  # its last words may have no end of line
        last = []
        for left in rest.values():
            found = _TIME.match(left)
            last.append((_nanoseconds(found), left[found.end() :]) if found is not None else (at, left))
        yield last


def _nanoseconds(found: re.Match[bytes]) -> int:
    moment = datetime.fromisoformat((found[1] + (b"+00:00" if found[3] == b"Z" else found[3])).decode())
    return round(moment.timestamp()) * 10**9 + int((found[2] or b"0").ljust(9, b"0"))
