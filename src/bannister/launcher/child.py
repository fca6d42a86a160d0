"""One part as a process of ours: started in a session of its own, looked at, ended, and counted when it ends by itself."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from bannister.launcher.logs import open_log
from bannister.launcher.parts import Part
from bannister.launcher.processes import Identity, identify
from bannister.settings import Settings


class Child:
    """A part, the process that runs it now if any, and how often it has ended lately."""

    def __init__(self, part: Part, settings: Settings) -> None:
        self.part = part
        self.identity: Identity | None = None
        #: When to start it; None while it runs.
        self.start_at: float | None = 0.0
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._ended_at: list[float] = []

    @property
    def ends(self) -> int:
        """How often it ended by itself within the window."""
        return len(self._ended_at)

    def start(self, environment: Mapping[str, str], directory: Path) -> None:
        """Start it in its own session, so that a Ctrl-C in our terminal reaches it only through us."""
        self.remove_sockets()
        with open_log(self.part.log) as log:
            self._process = subprocess.Popen(
                self.part.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=directory,
                env=environment,
                start_new_session=True,
            )
        self.identity = identify(self._process.pid)
        self.start_at = None

    def reap(self, now: float) -> str | None:
        """If it has ended by itself since the last look: how, in words. Then it is due to start again after its back-off."""
        if self._process is None or (code := self._process.poll()) is None:
            return None
        self._forget()
        settings = self._settings
        self._ended_at = [at for at in self._ended_at if now - at < settings.part_ends_window_seconds] + [now]
        delay = min(settings.part_backoff_seconds_max, settings.part_backoff_seconds_min * 2 ** (self.ends - 1))
        self.start_at = now + delay
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return f"{self.part.name} {how}; starting it again in {delay:.1f} s (log: {self.part.log})"

    def is_gone(self) -> bool:
        """Whether no process of it is left; its exit status is taken."""
        if self._process is not None and self._process.poll() is not None:
            self._forget()
        return self._process is None

    def ask_to_stop(self) -> None:
        """SIGTERM; it may take its time."""
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        """SIGKILL to its whole process group, and wait until it is gone."""
        if self.is_gone() or self._process is None:
            return
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._forget()

    def remove_sockets(self) -> None:
        """Remove what it left where it listened."""
        for socket in self.part.sockets:
            socket.unlink(missing_ok=True)

    def _forget(self) -> None:
        self._process = None
        self.identity = None
