"""One part and the process that runs it now: started or taken over, looked at, ended, and counted when it ends by itself."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path
from time import monotonic

from bannister.errors import EXIT_CANNOT_START
from bannister.launcher.liveness import Liveness
from bannister.launcher.parts import Part
from bannister.launcher.processes import Identity
from bannister.launcher.running import AdoptedProcess, Running, StartedProcess
from bannister.settings import Settings


class Child:
    """A part, the process that runs it now if any, and how often it has ended lately."""

    def __init__(self, part: Part, settings: Settings) -> None:
        self.part = part
        #: When to start it; None while it runs.
        self.start_at: float | None = 0.0
        self._settings = settings
        self._running: Running | None = None
        self._liveness: Liveness | None = None
        self._began_at = 0.0
        self._ended_at: list[float] = []
        #: It ended saying that it cannot start, however often it is tried.
        self.cannot_start = False

    @property
    def identity(self) -> Identity | None:
        """The process that runs it."""
        return self._running.identity if self._running is not None else None

    @property
    def ends(self) -> int:
        """How often it ended by itself within the window."""
        return len(self._ended_at)

    @property
    def descriptors(self) -> list[int]:
        """What becomes readable when there is something to look at."""
        held = self._running.descriptor if self._running is not None else None
        asked = self._liveness.descriptor if self._liveness is not None else None
        return [one for one in (held, asked) if one is not None]

    @property
    def look_at(self) -> float | None:
        """When it is next to be looked at, whether or not something happens before."""
        return self._liveness.next_look_at if self._liveness is not None else self.start_at

    def start(self, environment: Mapping[str, str], directory: Path) -> None:
        """Start it in its own session.

        Raises:
            OSError: It cannot be started now.
        """
        self._began_at = monotonic()
        self.remove_sockets()
        self._take(StartedProcess(self.part, environment, directory))

    def put_off(self, error: OSError, now: float) -> str:
        """After it could not be started: say so. It is due again as after an end."""
        return f"{self.part.name} could not be started: {error}; {self._come_back(now)}"

    def adopt(self, identity: Identity) -> None:
        """Take over a process that an earlier `up` started."""
        self._take(AdoptedProcess(identity))

    def reap(self, now: float) -> str | None:
        """If it has ended by itself since the last look: how, in words. Then it is due to start again."""
        if self._running is None or (how := self._running.ended()) is None:
            return None
        self.cannot_start = self._running.exit_code == EXIT_CANNOT_START
        return f"{self.part.name} {how}; {self._come_back(now)}"

    def replace_if_frozen(self, now: float) -> str | None:
        """If it runs and gives no sign of life: end it, and say so. Then it is due to start again."""
        if self._running is None or self._liveness is None or not self._liveness.look(now):
            return None
        silent = self._liveness.silent_seconds
        self.kill()
        return f"{self.part.name} did not answer for {silent:.0f} s and was killed; {self._come_back(now)}"

    def is_gone(self) -> bool:
        """Whether no process of it is left; its exit status is taken."""
        if self._running is not None and self._running.ended() is not None:
            self._forget()
        return self._running is None

    def ask_to_stop(self) -> None:
        """SIGTERM; it may take its time, and is not asked for signs of life meanwhile."""
        if self._liveness is not None:
            self._liveness.close()
            self._liveness = None
        if self._running is not None:
            self._running.signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, also to one that is stopped, and wait until it is gone."""
        if self.is_gone() or self._running is None:
            return
        self._running.signal(signal.SIGKILL)
        self._running.wait()
        self._forget()

    def remove_sockets(self) -> None:
        """Remove what it left where it listened."""
        for socket in self.part.sockets:
            socket.unlink(missing_ok=True)

    def _take(self, running: Running) -> None:
        self._running = running
        self._began_at = monotonic()
        self.start_at = None
        if self.part.asked is not None:
            self._liveness = Liveness(self.part.asked, self.part.silence_seconds_max, self._settings)

    def _come_back(self, now: float) -> str:
        """At once, for every moment counts and most often it was killed from outside; later and later if it ends as soon as it starts."""
        self._forget()
        settings = self._settings
        if now - self._began_at >= settings.part_settled_seconds:
            self._ended_at.clear()
        self._ended_at = [at for at in self._ended_at if now - at < settings.part_ends_window_seconds] + [now]
        delay = settings.part_backoff_seconds_min * 2 ** (self.ends - 2) if self.ends > 1 else 0.0
        delay = min(settings.part_backoff_seconds_max, delay)
        self.start_at = now + delay
        when = f"in {delay:.1f} s" if delay else "at once"
        return f"starting it again {when} (log: {self.part.log})"

    def _forget(self) -> None:
        if self._running is not None:
            self._running.close()
        if self._liveness is not None:
            self._liveness.close()
        self._running = self._liveness = None
