"""Processes as the machine knows them: which one is meant by a recorded number, and which belong to a data directory.

A process id alone names nothing: it is used again, sooner or later and certainly after a reboot. With the machine's boot id and the
time at which the process started it names one process for ever. On Linux all of this is read from /proc; elsewhere from `ps`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bannister.boot import boot_id

_PROC = Path("/proc")
_LINUX = sys.platform == "linux"


@dataclass(frozen=True, slots=True)
class Identity:
    """One process, of all that ever ran on this machine."""

    pid: int
    #: When it started, in the machine's own terms: only ever compared.
    started: str
    #: The boot of the machine in which it ran.
    boot: str


def identify(pid: int) -> Identity | None:
    """The process that has this id now; None when there is none, or only its exit status is left."""
    started = _started_linux(pid) if _LINUX else started_by_ps(pid)
    return Identity(pid, started, boot_id()) if started else None


def is_alive(process: Identity) -> bool:
    """Whether this very process still runs."""
    return identify(process.pid) == process


def runs(process: Identity, command: Sequence[str]) -> bool:
    """Whether this very process still runs, with this command line (which is believed where only `ps` could tell)."""
    if not is_alive(process):
        return False
    if not _LINUX:
        return True
    try:
        words = (_PROC / str(process.pid) / "cmdline").read_bytes()
    except OSError:
        return False
    return words == b"".join(os.fsencode(word) + b"\0" for word in command)


def send(process: Identity, signal_number: int) -> None:
    """Signal this very process; nothing when it is gone."""
    if not is_alive(process):
        return
    try:
        os.kill(process.pid, signal_number)
    except ProcessLookupError:
        return


def marked(mark: str, any_of: tuple[str, ...], none_of: tuple[str, ...] = ()) -> list[Identity]:
    """Processes of this user with `mark` (NAME=value), any of these names and none of those in their environment.

    No ancestor of this one is among them.
    """
    names = tuple(f"{name}=" for name in any_of)
    unwanted = tuple(f"{name}=" for name in none_of)
    environments = _environments_linux() if _LINUX else _environments_by_ps()
    spared = _ancestors()
    found = (
        identify(pid)
        for pid, entries in environments
        if mark in entries
        and pid not in spared
        and any(entry.startswith(names) for entry in entries)
        and not (unwanted and any(entry.startswith(unwanted) for entry in entries))
    )
    return [process for process in found if process is not None]


def started_by_ps(pid: int) -> str | None:
    """The start of a process to the second: all that `ps` tells. Each column is an option of its own: what follows an equals sign is its heading."""
    state, _, started = _output("ps", "-o", "stat=", "-o", "lstart=", "-p", str(pid)).partition(" ")
    return None if state.startswith("Z") else started.strip() or None


def _started_linux(pid: int) -> str | None:
    fields = _stat(pid)
    return fields[19] if fields and fields[0] not in "ZX" else None


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third (the state) on; empty when there is no such process."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()  # the second field is a name that may contain anything


def _environments_linux() -> Iterator[tuple[int, list[str]]]:
    for entry in os.scandir(_PROC):
        if not entry.name.isdigit():
            continue
        try:
            if entry.stat().st_uid == os.getuid():
                yield int(entry.name), os.fsdecode((_PROC / entry.name / "environ").read_bytes()).split("\0")
        except OSError:  # it has ended, or is not ours to read
            continue


def _environments_by_ps() -> Iterator[tuple[int, list[str]]]:
    for line in _output("ps", "-x", "-E", "-ww", "-o", "pid=", "-o", "command=").splitlines():
        pid, *words = line.split()  # a value with a space in it is not found: `ps` does not tell where it ends
        yield int(pid), words


def _ancestors() -> set[int]:
    """This process and those it descends from."""
    found = {os.getpid(), os.getppid()}
    parent = os.getppid()
    while _LINUX and parent > 1 and (fields := _stat(parent)):
        parent = int(fields[1])
        found.add(parent)
    return found


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
