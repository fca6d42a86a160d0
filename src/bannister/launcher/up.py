"""`bannister up`: claim the data directory and the port, start the parts, and stay until asked to stop."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence

from bannister.disk import DiskReserve
from bannister.launcher.claims import (
    DataDirectoryLock,
    check_port_free,
    check_port_number,
    claim_run_dir,
    make_directories,
    open_to_others,
    remove_run_dir,
)
from bannister.launcher.interruptions import Interruptions
from bannister.launcher.leftovers import adoptable, end_left, left_running
from bannister.launcher.parts import PORT_HOLDER, Part, fingerprint, part_environment, parts_of
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
            claim_run_dir(settings)
            if (sentence := open_to_others(settings)) is not None:
                screen.say(sentence)
            # Before everything that writes: on a full disk this is what there is to start with.
            DiskReserve(settings.reserve_path, settings.disk_reserve_bytes, settings.disk_free_bytes_min).prepare()
            supervision = _prepare(settings, parts_for, interruptions, screen)
            return 0 if supervision.run() else 130
        except GaveUp as error:
            screen.say(str(error))
            return 1
        finally:
            remove_run_dir(settings)
            lock.release()


def _prepare(
    settings: Settings,
    parts_for: Callable[[Settings], Sequence[Part]],
    interruptions: Interruptions,
    screen: Screen,
) -> Supervision:
    parts = parts_for(settings)
    record = Record(settings.data_dir / "run" / "processes.json", fingerprint(settings, parts))
    left = left_running(settings, record)
    adopted = adoptable(left, record, parts)
    ended = {name: process for name, process in left.items() if name not in adopted}
    end_left(ended, parts, settings.part_stop_grace_seconds, interruptions)
    if left:
        screen.say(f"An earlier `up` on this data directory was killed{_done_with(adopted, ended)}.")
    if PORT_HOLDER not in adopted:
        check_port_free(settings.port)
    environment = part_environment(settings, os.environ)
    return Supervision(settings, parts, environment, record, interruptions, screen, adopted)


def _done_with(adopted: Iterable[str], ended: Iterable[str]) -> str:
    took = f"; took over what it left running: {', '.join(adopted)}" if adopted else ""
    return took + (f"; ended what it left running: {', '.join(ended)}" if ended else "")
