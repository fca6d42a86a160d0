"""Whether a part that runs also works: a small request again and again, and an answer of any kind is a sign of life.

Nothing here waits. A request is sent, its socket joins what the launcher sleeps on, and the answer is looked at when it comes. Silence is
counted in looks, not by the clock: when the launcher itself stood still (it was stopped, or the whole machine was), the time in
between says nothing about the part.
"""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from time import monotonic

from bannister.launcher.readiness import READY_PATH
from bannister.settings import Settings

_REQUEST = f"GET {READY_PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()


class Liveness:
    """Asks one process, behind the unix socket on which it serves HTTP; it may be silent for so long once it listens."""

    def __init__(self, path: Path, silence_seconds_max: float, settings: Settings) -> None:
        self._path = path
        self._silence_seconds_max = silence_seconds_max
        self._settings = settings
        self._question: socket.socket | None = None
        #: It has listened since it was started: from then on the shorter bound holds.
        self._listened = False
        self._looked_at = monotonic()
        #: How long it has been silent.
        self.silent_seconds = 0.0
        self.next_look_at = self._looked_at + settings.liveness_interval_seconds

    @property
    def descriptor(self) -> int | None:
        """Readable when the answer comes."""
        return self._question.fileno() if self._question is not None else None

    def look(self, now: float) -> bool:
        """Take an answer, ask again when it is time; True: it has been silent beyond its bound."""
        if self._question is not None and self._answered(self._question):
            self._drop()
            self.silent_seconds, self._looked_at = 0.0, now
        if now < self.next_look_at:
            return False
        interval = self._settings.liveness_interval_seconds
        self.silent_seconds += min(now - self._looked_at, 2 * interval)
        self._looked_at, self.next_look_at = now, now + interval
        if self._question is None:
            self._ask()
        bound = self._silence_seconds_max if self._listened else self._settings.ready_timeout_seconds
        return self.silent_seconds >= bound

    def close(self) -> None:
        """Stop asking."""
        self._drop()

    def _ask(self) -> None:
        question = socket.socket(socket.AF_UNIX)
        question.setblocking(False)
        try:
            question.connect(str(self._path))
            question.sendall(_REQUEST)
        except OSError:  # it does not listen yet, or its queue is full because it does not accept
            question.close()
            return
        self._question, self._listened = question, True

    @staticmethod
    def _answered(question: socket.socket) -> bool:
        try:
            question.recv(4096)
        except BlockingIOError:
            return False
        except OSError:  # it hung up: it is alive, or has ended, which is noticed otherwise
            return True
        return True

    def _drop(self) -> None:
        if self._question is not None:
            with contextlib.suppress(OSError):
                self._question.close()
            self._question = None
