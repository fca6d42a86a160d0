"""A program that does something for instances before they start: it installs requirements, or says what an interpreter is.

It is a session of its own, at low priority for good, and it carries the marks of an instance that nobody recorded. So whatever is left of it when the control plane was
killed is found and ended as any other stray (`process.marked`), and it ends with all that it started when it is not waited for any more.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bannister.clock import Clock
from bannister.instances import process
from bannister.settings import Settings

#: A killed process is gone at once, unless it hangs in the kernel.
_KILL_SECONDS_MAX: Final = 10.0
#: Between two looks whether what was killed is gone.
_LOOK_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True)
class Program:
    """What is to be run."""

    command: Sequence[str]
    environment: Mapping[str, str]
    directory: Path
    #: What it prints is added here.
    output: Path
    #: In the place of an instance's id, in its marks.
    mark: str


async def run(
    program: Program,
    seconds_max: float,
    look: Callable[[], Awaitable[None]],
    settings: Settings,
    clock: Clock,
    fence: Callable[[], None],
) -> int | None:
    """Run a program; its exit status (negative: the signal). All of it has ended when this returns, however it does.

    `look` is called every `environment_check_seconds` and at the end; what it raises ends the program.

    Raises:
        TimeoutError: It did not end within `seconds_max`.
        OSError: It cannot be started.
    """
    running = _Running(program, settings)
    deadline = clock.monotonic() + seconds_max
    try:
        while not running.ended.done():
            left = deadline - clock.monotonic()
            if left <= 0:
                raise TimeoutError
            await asyncio.wait([running.ended], timeout=min(left, settings.environment_check_seconds))
            await look()
    finally:
        if not running.ended.done():
            fence()
            await running.kill()
        await running.all_gone()
    return running.ended.result()


class _Running:
    """A program that was started, until it has ended with all that it started."""

    def __init__(self, program: Program, settings: Settings) -> None:
        marks = {process.MARK_INSTANCE: program.mark, process.MARK_DATA_DIR: str(settings.data_dir)}
        environment = {**program.environment, **marks}
        self.pid = process.start(program.command, environment, program.directory, program.output)
        process.set_niceness(self.pid, settings.startup_niceness, for_good=True)
        #: Its exit status.
        self.ended: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._watch = process.EndWatch(self.pid, self._notice_end)

    async def kill(self) -> None:
        process.signal_session(self.pid, signal.SIGKILL)
        await asyncio.wait([self.ended], timeout=_KILL_SECONDS_MAX)
        self._watch.close()

    async def all_gone(self) -> None:
        """Wait for what it started: on a busy machine a process that was killed lives on until it has its turn."""
        for _ in range(round(_KILL_SECONDS_MAX / _LOOK_SECONDS)):
            if not process.session_runs(self.pid):
                return
            await asyncio.sleep(_LOOK_SECONDS)

    def _notice_end(self) -> None:
        process.signal_session(self.pid, signal.SIGKILL)  # it is not reaped yet: nobody else has its id
        self.ended.set_result(process.reap(self.pid))
