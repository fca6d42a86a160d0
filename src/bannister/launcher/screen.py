"""What the person who ran `up` sees: one line on standard output for programs, sentences on standard error for people.

A closed pipe must not bring down a server, so what cannot be written is dropped.
"""

from __future__ import annotations

import sys
from typing import TextIO


class Screen:
    """The two streams of `up`."""

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._passing = False
        self.is_terminal = self._err.isatty()

    def announce(self, line: str) -> None:
        """The line that programs wait for."""
        self._clear()
        _write(self._out, f"{line}\n")

    def say(self, *lines: str) -> None:
        """Sentences that stay."""
        self._clear()
        _write(self._err, "".join(f"{line}\n" for line in lines))

    def show_passing(self, line: str) -> None:
        """On a terminal only: a line that the next one replaces."""
        if self.is_terminal:
            _write(self._err, f"\r\x1b[2K{line[:79]}")
            self._passing = True

    def _clear(self) -> None:
        if self._passing:
            _write(self._err, "\r\x1b[2K")
            self._passing = False


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except OSError:
        return
