"""Ending processes that are not children of ours: what an `up` that was killed left behind, and what a stop could not reach."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from time import monotonic

from bannister.launcher.interruptions import Interruptions
from bannister.launcher.parts import Part
from bannister.launcher.processes import Identity, is_alive, marked, runs, send
from bannister.launcher.record import Record
from bannister.settings import DATA_DIR_VARIABLE, INSTANCE_VARIABLE, PART_VARIABLE, Settings

_LOOK_SECONDS = 0.01
_KILL_SECONDS = 2.0


def end(processes: Iterable[Identity], grace_seconds: float, interruptions: Interruptions) -> None:
    """SIGTERM, then SIGKILL to those that are still there after the grace; returns when all are gone.

    A process that even SIGKILL does not end at once (it hangs in the kernel) is left alone after a while.
    """
    left = [process for process in processes if is_alive(process)]
    for number, patience_seconds in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, _KILL_SECONDS)):
        for process in left:
            send(process, number)
        deadline = monotonic() + patience_seconds
        while left and monotonic() < deadline:
            interruptions.wait(_LOOK_SECONDS)
            left = [process for process in left if is_alive(process)]


def left_running(settings: Settings, record: Record) -> dict[str, Identity]:
    """The parts of an earlier `up` that are still running, by name.

    A record is believed only where the process carries our marks: after a restart of the machine its numbers are others'. Between the start
    of a process and its record lies a moment in which that `up` may have been killed, so the marks are asked for the rest, too.
    """
    if not record.exists:
        return {}
    # So a record of a version that named the boot otherwise (on macOS by `kern.boottime`) misleads nobody: no process in it equals one that carries the marks now. Those are found all the
    # same, as unrecorded, ended and started anew, as after every change of version; and instances are none of ours: the next control plane finds them by a record of its own.
    marks = set(_marked_parts(settings))
    found = {name: process for name, process in record.read().items() if process in marks}
    for number, process in enumerate(sorted(marks - set(found.values()), key=lambda one: one.pid), start=1):
        found[f"unrecorded process {number}"] = process
    return found


def adoptable(left: dict[str, Identity], record: Record, parts: Iterable[Part]) -> dict[str, Identity]:
    """Of these, what runs exactly what we would start: the same version, settings and command."""
    if not record.same_fingerprint():
        return {}
    return {part.name: left[part.name] for part in parts if part.name in left and runs(left[part.name], part.command)}


def end_left(
    left: dict[str, Identity], parts: Iterable[Part], grace_seconds: float, interruptions: Interruptions
) -> None:
    """End parts of an earlier `up`.

    The control plane is killed: asked nicely it would stop the instances, which the new one is to adopt. So is what nobody recorded: it may
    be a control plane.
    """
    gentle = {part.name for part in parts if not part.leaves_heirs}
    for name, process in left.items():
        if name not in gentle:
            send(process, signal.SIGKILL)
    end(left.values(), grace_seconds, interruptions)


def _marked_parts(settings: Settings) -> list[Identity]:
    return marked(_directory(settings), any_of=(PART_VARIABLE,), none_of=(INSTANCE_VARIABLE,))


def end_strays(settings: Settings, grace_seconds: float, interruptions: Interruptions) -> None:
    """End whatever Bannister started on this data directory and is still there, found by its environment.

    The data directory alone would not do: a person may have exported it, and then every program of theirs carries it.
    """
    end(marked(_directory(settings), any_of=(PART_VARIABLE, INSTANCE_VARIABLE)), grace_seconds, interruptions)


def _directory(settings: Settings) -> str:
    return f"{DATA_DIR_VARIABLE}={settings.data_dir}"
