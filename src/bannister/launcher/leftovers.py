"""Ending processes that are not children of ours: what an `up` that was killed left behind, and what a stop could not reach."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from time import monotonic

from bannister.launcher.interruptions import Interruptions
from bannister.launcher.parts import DATA_DIR_VARIABLE, INSTANCE_VARIABLE, PART_VARIABLE, Part
from bannister.launcher.processes import Identity, is_alive, marked, send
from bannister.settings import Settings

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


def end_recorded(
    recorded: dict[str, Identity], parts: Iterable[Part], grace_seconds: float, interruptions: Interruptions
) -> list[str]:
    """End the parts of an earlier `up` that are still running; returns their names.

    The control plane is killed: asked nicely it would stop the instances, which the new one is to adopt.
    """
    alive = {name: process for name, process in recorded.items() if is_alive(process)}
    for part in parts:
        if part.leaves_heirs and part.name in alive:
            send(alive[part.name], signal.SIGKILL)
    end(alive.values(), grace_seconds, interruptions)
    return list(alive)


def end_strays(settings: Settings, grace_seconds: float, interruptions: Interruptions) -> None:
    """End whatever Bannister started on this data directory and is still there, found by its environment.

    The data directory alone would not do: a person may have exported it, and then every program of theirs carries it.
    """
    directory = f"{DATA_DIR_VARIABLE}={settings.data_dir}"
    end(marked(directory, any_of=(PART_VARIABLE, INSTANCE_VARIABLE)), grace_seconds, interruptions)
