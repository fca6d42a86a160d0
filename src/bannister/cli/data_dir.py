"""The option `--data-dir`."""

from __future__ import annotations

from pathlib import Path

from bannister.errors import Refused

#: Names the directory where the option does not. Spelled out, because `bannister.settings` takes long to import.
VARIABLE = "BANNISTER_DATA_DIR"


def data_dir(given: str | Path) -> Path:
    """The directory that was named. An empty name, as of a variable that is not set, does not mean the current one."""
    if not str(given):
        raise Refused("--data-dir is empty: name a directory, or leave the option out.")
    return Path(given)
