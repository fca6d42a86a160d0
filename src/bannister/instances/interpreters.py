"""Asks interpreters what they are: their version, their platform and the packages that they see (`bannister.runtime.environment describe`).

An interpreter may be anything that an image's row names, may import a lot before it answers, and may never answer. So few are asked at a time, each at low priority and for so long, and
whoever wants to know the same meanwhile (the other instances of the group, other groups) waits for the same answer. It is not kept: packages may be installed
at any time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from bannister.clock import Clock
from bannister.domain.requirements import Interpreter
from bannister.errors import Invalid
from bannister.instances import program
from bannister.instances.host import Unprepared
from bannister.instances.installer_environment import environment
from bannister.settings import Settings

#: What makes environments, and says what an interpreter is; it is run by its path.
ENVIRONMENT_PROGRAM: Final = Path(__file__).resolve().parent.parent / "runtime" / "environment.py"

#: So many are asked at the same time; more wait.
ASKED_PARALLEL_MAX: Final = 2
#: An interpreter says what it is within this long from when it is its turn.
ANSWER_SECONDS_MAX: Final = 60.0
#: The name of each of its packages is in it.
ANSWER_BYTES_MAX: Final = 1024 * 1024
_PIECE_BYTES: Final = 64 * 1024
#: Of what it says instead, so many lines are shown.
_SHOWN_LINES: Final = 3


@dataclass(slots=True)
class _Question:
    """An interpreter that is being asked."""

    answer: asyncio.Task[Interpreter]
    waiting: int = 0


class Interpreters:
    """Those of this machine. For one event loop."""

    def __init__(self, settings: Settings, clock: Clock, fence: Callable[[], None]) -> None:
        """`fence` is called before every act; it does not return when another process has taken over."""
        self._settings = settings
        self._clock = clock
        self._fence = fence
        self._questions: dict[tuple[str, str], _Question] = {}
        self._turns = asyncio.Semaphore(ASKED_PARALLEL_MAX)

    async def described(self, python: str, path: str) -> Interpreter:
        """What an interpreter is; `path`: where it, and all that it starts, is looked for.

        Raises:
            Invalid: There is no such interpreter.
            Unprepared: It does not say.
            OSError: It cannot be started.
        """
        found = shutil.which(python, path=path)
        if found is None:
            raise Invalid(f"There is no interpreter {python!r} to install code/requirements.txt for.")
        key = found, path
        question = self._questions.get(key)
        if question is None:
            question = self._questions[key] = _Question(asyncio.create_task(self._ask(found, path)))
        question.waiting += 1
        try:
            return await asyncio.shield(question.answer)
        finally:
            question.waiting -= 1
            if not question.waiting:
                del self._questions[key]
                await _given_up(question.answer)

    async def _ask(self, python: str, path: str) -> Interpreter:
        async with self._turns:
            self._fence()
            answer = _Answer()
            command = [python, str(ENVIRONMENT_PROGRAM), "describe"]
            name = f"asked-{secrets.token_hex(4)}"

            async def look() -> None:
                if answer.is_too_long:
                    raise Unprepared(f"The interpreter {python} prints without end when it is asked what it is.")

            try:
                asked = program.Program(command, environment(path, {}), Path("/"), answer.path, name)
                await program.run(asked, ANSWER_SECONDS_MAX, look, self._settings, self._clock, self._fence)
                return _read(python, answer.lines())
            except TimeoutError:
                raise Unprepared(f"The interpreter {python} does not answer within {ANSWER_SECONDS_MAX:g} s.") from None
            finally:
                answer.close()


class _Answer:
    """What is printed into a pipe. A file would do, but an environment that is there must be found on a full disk, too."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        self._loop.add_reader(self._read, self._take)
        self._content = bytearray()
        #: As whoever prints opens it.
        self.path = Path(f"/dev/fd/{self._write}")

    @property
    def is_too_long(self) -> bool:
        """Nothing more is taken, and whoever prints more waits."""
        return len(self._content) > ANSWER_BYTES_MAX

    def lines(self) -> list[str]:
        """All that was printed until now."""
        while self._take():
            pass
        return self._content.decode(errors="replace").splitlines()

    def close(self) -> None:
        self._loop.remove_reader(self._read)
        os.close(self._read)
        os.close(self._write)

    def _take(self) -> bool:
        piece = b""
        if not self.is_too_long:
            with contextlib.suppress(BlockingIOError):
                piece = os.read(self._read, _PIECE_BYTES)
        else:
            self._loop.remove_reader(self._read)
        self._content += piece
        return bool(piece)


def _read(python: str, lines: list[str]) -> Interpreter:
    """The last line that is an answer: what it imports may print others."""
    for line in reversed(lines):
        with contextlib.suppress(TypeError, msgspec.DecodeError):
            return msgspec.convert({"path": python, **msgspec.json.decode(line)}, Interpreter)
    raise Unprepared(f"The interpreter {python} cannot install code/requirements.txt.", lines[-_SHOWN_LINES:])


async def _given_up(answer: asyncio.Task[Interpreter]) -> None:
    """Nobody waits for it any more."""
    answer.cancel()
    await asyncio.wait([answer])
    if not answer.cancelled():
        answer.exception()  # known now, also where nobody was left to be told
