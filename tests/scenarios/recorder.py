"""The flight recorder, read after the flight: every decision of a server's life is taken again from its record."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from bannister.domain.deployment.recorder import DECIDED, disagreements


def decisions(data_dir: Path) -> list[dict[str, Any]]:
    """The bodies of all decisions in a data directory, read from a copy: nobody is fenced, nothing is locked."""
    if not (data_dir / "state.db").exists():
        return []
    with tempfile.TemporaryDirectory() as folder:
        for file in data_dir.glob("state.db*"):
            shutil.copy(file, folder)
        with closing(sqlite3.connect(Path(folder) / "state.db")) as state:
            found = state.execute("SELECT body FROM journal WHERE kind = ? ORDER BY sequence", (DECIDED,)).fetchall()
    return [msgspec.json.decode(body) for (body,) in found]


def check_decisions(data_dir: Path) -> int:
    """How many decisions there were, after checking that each is the same when it is taken again."""
    bodies = decisions(data_dir)
    assert disagreements(bodies) == []
    return len(bodies)
