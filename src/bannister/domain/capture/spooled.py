"""What the capture process and the control plane agree on about spooled files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

#: Ends of file names: still being written; finished, and the control plane's to move.
OPEN: Final = ".open"
READY: Final = ".ready"
#: Given up by the control plane, and the capture process's to count and to remove: its bucket did not take it; it does not say where it goes.
UNDELIVERED: Final = ".undelivered"
UNREADABLE: Final = ".unreadable"

_FIRST_LINE_BYTES_MAX: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class Destination:
    """A spooled file's first line: where its other lines go. Moving it twice is moving it once: the key is of no other file."""

    bucket: str
    key: str


class _Lines(Protocol):
    def readline(self, limit: int, /) -> bytes: ...


def read_destination(file: _Lines) -> tuple[Destination, int] | None:
    """Read the first line, and its length in bytes; None: it does not say where the others go."""
    first = file.readline(_FIRST_LINE_BYTES_MAX)
    try:
        return msgspec.json.decode(first, type=Destination), len(first)
    except msgspec.MsgspecError:
        return None
