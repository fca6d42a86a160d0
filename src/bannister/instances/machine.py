"""What this machine has for instances: cores, memory, and how much of that is free.

Where Bannister itself runs in a container or a service whose memory is limited, that limit is the machine's: instances are in it, too.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

_ROOT: Final = Path("/")


def cores() -> tuple[int, ...]:
    """The cores that this process may use, and can give to instances; empty: this system gives out none (macOS)."""
    if sys.platform != "linux":
        return ()
    return tuple(sorted(os.sched_getaffinity(0)))


def physical_cores(cores: Sequence[int], root: Path = _ROOT) -> dict[int, int]:
    """By core, the physical core that it is a thread of, named by its first thread; those of which the system does not tell are left out."""
    found = {}
    for core in cores:
        topology = root / f"sys/devices/system/cpu/cpu{core}/topology"
        # Kernels before 5.3 have the second name only. A list is like `0,4` or `0-1`.
        for line in (*_lines(topology / "core_cpus_list"), *_lines(topology / "thread_siblings_list")):
            first = re.match(r"\d+", line)
            if first is not None:
                found[core] = int(first[0])
                break
    return found


def memory_total(root: Path = _ROOT) -> int | None:
    """Bytes of memory; None: not known."""
    figures = _figures(root)
    return None if figures is None else figures[0]


def memory_available(root: Path = _ROOT) -> int | None:
    """Bytes that can be used without anything being swapped out; None: not known."""
    figures = _figures(root)
    return None if figures is None else figures[1]


def _figures(root: Path) -> tuple[int, int] | None:
    """Total and available."""
    found = _fields(root / "proc/meminfo")
    if "MemTotal" not in found or "MemAvailable" not in found:  # no Linux
        return None
    total, available = found["MemTotal"] * 1024, found["MemAvailable"] * 1024
    for limit, used in _limits(root):
        total, available = min(total, limit), min(available, max(limit - used, 0))
    return total, available


def _limits(root: Path) -> Iterator[tuple[int, int]]:
    """Limits of the control groups that we are in, each with what is used of it and could not be given back."""
    for line in _lines(root / "proc/self/cgroup"):
        number, controllers, path = line.split(":", 2)
        if number == "0":
            base, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            base = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        group = base / path.strip("/")
        # In a container of its own the path may be that of the host, and only the base is there.
        for folder in dict.fromkeys((group, *group.parents, base)):
            if folder.is_relative_to(base):
                limit, used = _number(folder / names[0]), _number(folder / names[1])
                if limit is not None and used is not None:
                    yield limit, used - _fields(folder / "memory.stat").get(names[2], 0)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []


def _fields(file: Path) -> dict[str, int]:
    """Lines of a name and a number."""
    pairs = [line.replace(":", " ").split() for line in _lines(file)]
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) >= 2 and pair[1].isdigit()}


def _number(file: Path) -> int | None:
    """None: there is no such file, or no limit."""
    lines = _lines(file)
    return int(lines[0]) if lines and lines[0].isdigit() else None
