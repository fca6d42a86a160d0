"""What the launcher wrote down about the processes it started, so that the next one can take them over if it was killed itself."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bannister.launcher.processes import Identity


class Record:
    """A file with the running parts, by name; replaced whole, so that it is never half written.

    `fingerprint` says what these parts run: version, settings and commands.
    """

    def __init__(self, path: Path, fingerprint: str = "") -> None:
        self._path = path
        self._fingerprint = fingerprint

    @property
    def exists(self) -> bool:
        """Whether an earlier `up` did not come to its end."""
        return self._path.exists()

    def write(self, running: dict[str, Identity]) -> None:
        """Write down all that runs."""
        beside = self._path.with_name(f"{self._path.name}.new")
        parts = {name: asdict(process) for name, process in running.items()}
        beside.write_text(json.dumps({"fingerprint": self._fingerprint, "parts": parts}))
        beside.replace(self._path)

    def read(self) -> dict[str, Identity]:
        """What was running when it was last written; nothing when there is no readable record."""
        try:
            return {name: Identity(**fields) for name, fields in self._found()["parts"].items()}
        except (KeyError, TypeError, AttributeError):
            return {}

    def same_fingerprint(self) -> bool:
        """Whether what was written down runs the same as this one would."""
        return bool(self._fingerprint) and self._found().get("fingerprint") == self._fingerprint

    def remove(self) -> None:
        """Nothing runs any more."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()

    def _found(self) -> dict[str, Any]:
        try:
            found = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}
