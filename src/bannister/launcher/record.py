"""What the launcher wrote down about the processes it started, so that the next one can end them if it was killed itself."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from pathlib import Path

from bannister.launcher.processes import Identity


class Record:
    """A file with the running parts, by name; replaced whole, so that it is never half written."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, running: dict[str, Identity]) -> None:
        """Write down all that runs."""
        beside = self._path.with_name(f"{self._path.name}.new")
        beside.write_text(json.dumps({name: asdict(process) for name, process in running.items()}))
        beside.replace(self._path)

    def read(self) -> dict[str, Identity]:
        """What was running when it was last written; nothing when there is no readable record."""
        try:
            found = json.loads(self._path.read_text())
            return {name: Identity(**fields) for name, fields in found.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def remove(self) -> None:
        """Nothing runs any more."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
