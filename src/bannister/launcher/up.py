"""`bannister up`: claim the data directory and the port, start the parts, and stay until asked to stop."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from bannister.launcher.claims import DataDirectoryLock, check_port_free, check_port_number, make_directories
from bannister.launcher.interruptions import Interruptions
from bannister.launcher.leftovers import end_recorded
from bannister.launcher.parts import Part, part_environment, parts_of
from bannister.launcher.record import Record
from bannister.launcher.screen import Screen
from bannister.launcher.supervision import GaveUp, Supervision
from bannister.settings import Settings


def up(settings: Settings, parts_for: Callable[[Settings], Sequence[Part]] = parts_of) -> int:
    """Run Bannister in the foreground; returns the exit code: 0 after a stop that was asked for, 1 after giving up, 130
    when a second Ctrl-C did not let everything end by itself.

    Raises:
        Refused: The data directory or the port cannot be had; nothing was started.
    """
    check_port_number(settings.port)
    screen = Screen()
    with Interruptions() as interruptions:
        make_directories(settings)
        lock = DataDirectoryLock(settings)
        try:
            supervision = _prepare(settings, parts_for, interruptions, screen)
            return 0 if supervision.run() else 130
        except GaveUp as error:
            screen.say(str(error))
            return 1
        finally:
            lock.release()


def _prepare(
    settings: Settings,
    parts_for: Callable[[Settings], Sequence[Part]],
    interruptions: Interruptions,
    screen: Screen,
) -> Supervision:
    parts = parts_for(settings)
    record = Record(settings.data_dir / "run" / "processes.json")
    ended = end_recorded(record.read(), parts, settings.part_stop_grace_seconds, interruptions)
    if ended:
        screen.say(
            f"An earlier `up` on this data directory was killed; ended what it left running: {', '.join(ended)}."
        )
    check_port_free(settings.port)
    return Supervision(settings, parts, part_environment(settings, os.environ), record, interruptions, screen)
