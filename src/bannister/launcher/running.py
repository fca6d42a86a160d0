"""A process that runs a part: one that we started, or one that an earlier `up` left and we have taken over.

The end of a child wakes us by SIGCHLD. Of a process that is not our child nobody tells us, so it is held by a pidfd, which
becomes readable when it ends and never names another process; where there are none (macOS) it is looked at now and then.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from time import monotonic, sleep
from typing import Protocol

from bannister.launcher.logs import open_log
from bannister.launcher.parts import Part
from bannister.launcher.processes import Identity, identify, is_alive, send

#: A killed process is gone at once, unless it hangs in the kernel; then nobody waits for it any longer than this.
_KILL_SECONDS_MAX = 5.0
_LOOK_SECONDS = 0.01


class Running(Protocol):
    """What the launcher does with a process."""

    @property
    def identity(self) -> Identity | None: ...

    @property
    def descriptor(self) -> int | None:
        """Readable when it has ended; None: look at `ended` instead."""
        ...

    def ended(self) -> str | None:
        """How it ended, in words; None: it runs."""
        ...

    @property
    def exit_code(self) -> int | None:
        """Once it has ended, where that is known; below zero: minus the signal that ended it."""
        ...

    def signal(self, number: int) -> None: ...

    def wait(self) -> None:
        """After SIGKILL: until it is gone."""
        ...

    def close(self) -> None:
        """Nobody asks about it any more."""
        ...


class StartedProcess:
    """Our child, in a session of its own, so that a Ctrl-C in our terminal reaches it only through us."""

    def __init__(self, part: Part, environment: Mapping[str, str], directory: Path) -> None:
        with open_log(part.log) as log:
            self._process = subprocess.Popen(
                part.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=directory,
                env=environment,
                start_new_session=True,
            )
        try:
            self.identity = identify(self._process.pid)
        except OSError:  # too many open files, say: whoever is told that it was not started must not have it running
            self.signal(signal.SIGKILL)
            self.wait()
            raise
        self.descriptor = None

    def ended(self) -> str | None:
        code = self._process.poll()
        if code is None:
            return None
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    @property
    def exit_code(self) -> int | None:
        return self._process.returncode

    def signal(self, number: int) -> None:
        if number == signal.SIGKILL and self._process.poll() is None:
            os.killpg(self._process.pid, number)
        else:
            self._process.send_signal(number)

    def wait(self) -> None:
        try:
            self._process.wait(_KILL_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            return

    def close(self) -> None:
        return


class AdoptedProcess:
    """A process that an earlier `up` started; `identity` has been verified by the caller."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.descriptor = _pidfd(identity)
        #: Only a parent is told.
        self.exit_code = None

    def ended(self) -> str | None:
        if self.descriptor is not None:
            readable, _, _ = select.select([self.descriptor], [], [], 0)
            return "has ended" if readable else None
        return None if is_alive(self.identity) else "has ended"

    def signal(self, number: int) -> None:
        if self.descriptor is None:
            send(self.identity, number)
        elif hasattr(signal, "pidfd_send_signal") and self.ended() is None:  # it is wherever there are pidfds
            signal.pidfd_send_signal(self.descriptor, number)

    def wait(self) -> None:
        deadline = monotonic() + _KILL_SECONDS_MAX
        while self.ended() is None and monotonic() < deadline:
            sleep(_LOOK_SECONDS)

    def close(self) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


def _pidfd(identity: Identity) -> int | None:
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        descriptor: int = os.pidfd_open(identity.pid)
    except OSError:
        return None
    if is_alive(identity):  # asked after the descriptor was taken: it holds this very process
        return descriptor
    os.close(descriptor)
    return None
