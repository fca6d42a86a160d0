"""What the capture process and the control plane agree on about spooled files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: Ends of file names: still being written; finished, and the control plane's to move.
OPEN: Final = ".open"
READY: Final = ".ready"


@dataclass(frozen=True, slots=True)
class Destination:
    """A spooled file's first line: where its other lines go. Moving it twice is moving it once: the key is of no other file."""

    bucket: str
    key: str
