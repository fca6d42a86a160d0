"""Which run of the machine this is: part of every identity by which a process is found again.

A process id and the moment of a start come again after a restart of the machine; with the boot they name one process for ever. The launcher and the instances ask here, so that
what one of them has recorded means the same to the other.
"""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Final

_LINUX: Final = sys.platform == "linux"
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
#: On macOS. Not `kern.boottime`: it is the present time less how long the machine runs, so it moves whenever the clock is set, and all that runs would seem to be gone.
_SYSCTL: Final = ("sysctl", "-n", "kern.bootsessionuuid")


@cache
def boot_id() -> str:
    """Names the time between two starts of the machine."""
    if _LINUX:
        return _BOOT_ID.read_text().strip()
    return subprocess.run(_SYSCTL, capture_output=True, text=True, check=False).stdout.strip()
