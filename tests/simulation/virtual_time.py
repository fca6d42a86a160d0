"""An event loop in virtual time, and processes on it that crash and freeze.

Nothing sleeps: when no callback is ready, the time jumps to the next timer. Callbacks run in the order in which they were scheduled, timers in
the order of their times, so a run is a function of its seed. Threads, sockets and executors do not exist here; code that reaches for one fails.

A *process* is whatever runs in a context in which the variable `PROCESS` names it: tasks inherit it from the task that made them. A process that
is killed never runs another callback, not even a `finally`, which is what `kill -9` does to a real one. A frozen process runs nothing until it is
thawed; then all that became due in the meantime runs at once, as after SIGCONT.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar

from bannister.errors import Fenced

T = TypeVar("T")

#: 2026-11-23T00:00:00Z: the wall clock when a simulation begins.
EPOCH = 1_795_392_000.0


class OutOfBounds(AssertionError):
    """The simulation ran for longer than it may: something spins, or never ends."""


class Process:
    """Something that can crash or freeze as a whole."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.frozen = False
        self.held: list[_Handle] = []
        #: So many more callbacks it runs, and then what ends it; see `VirtualLoop.kill_after`.
        self.fuse: tuple[int, Callable[[], None]] | None = None
        #: In the order in which they were made.
        self.tasks: dict[asyncio.Task[Any], None] = {}


PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)


class _Handle:
    """A callback that is due now or at a time; what asyncio knows as a (timer) handle."""

    __slots__ = ("_args", "_callback", "_context", "_when", "done")

    def __init__(self, when: float, callback: Callable[..., object], args: tuple[Any, ...], context: Context) -> None:
        self._when = when
        self._callback = callback
        self._args = args
        self._context = context
        self.done = False

    def when(self) -> float:
        return self._when

    def cancel(self) -> None:
        self.done = True
        self._args = ()

    def cancelled(self) -> bool:
        return self.done

    def run(self) -> None:
        self.done = True
        self._context.run(self._callback, *self._args)


class VirtualLoop(asyncio.AbstractEventLoop):
    """See above. `run` it; there is no other way to start it."""

    def __init__(self, *, turns_max: int = 50_000_000, seconds_max: float = 10_000_000.0) -> None:
        self._now = 0.0
        self._ready: deque[_Handle] = deque()
        self._timers: list[tuple[float, int, _Handle]] = []
        self._scheduled = 0
        self._turns_max = turns_max
        self._seconds_max = seconds_max
        self._processes: dict[Process, None] = {}
        #: Callbacks run so far.
        self.turns = 0
        #: What ends the run at once, whoever else takes it for an error of their own.
        self.fatal: BaseException | None = None
        #: The run is over, and its tasks are only being unwound.
        self.over = False
        #: Exceptions that nobody was there to take.
        self.unhandled: list[str] = []

    # --- what asyncio asks of a loop

    def time(self) -> float:
        return self._now

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> _Handle:  # type: ignore[override]
        handle = _Handle(self._now, callback, args, context if context is not None else copy_context())
        self._ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> _Handle:  # type: ignore[override]
        when = self._now + delay if delay > 0.0 else self._now
        handle = _Handle(when, callback, args, context if context is not None else copy_context())
        self._scheduled += 1
        heapq.heappush(self._timers, (when, self._scheduled, handle))
        return handle

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> _Handle:  # type: ignore[override]
        handle = _Handle(when, callback, args, context if context is not None else copy_context())
        self._scheduled += 1
        heapq.heappush(self._timers, (when, self._scheduled, handle))
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[T]:  # type: ignore[override]
        context = context if context is not None else copy_context()
        task: asyncio.Task[T] = asyncio.Task(coro, loop=self, name=name, context=context)
        process = context.get(PROCESS)
        if process is not None:
            process.tasks[task] = None
            task.add_done_callback(lambda done: process.tasks.pop(done, None), context=_NOWHERE)
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if self.over or isinstance(error, Fenced):
            return  # a task of a process that was replaced: it was told so
        self.unhandled.append(f"{context.get('message')}: {error!r}")

    def call_soon_threadsafe(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("A simulation has no threads.")

    def run_in_executor(self, *_: Any) -> Any:
        raise AssertionError("A simulation has no threads.")

    # --- processes

    def process(self, name: str) -> Process:
        process = Process(name)
        self._processes[process] = None
        return process

    def spawn(self, process: Process, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task in a process."""
        context = copy_context()
        context.run(PROCESS.set, process)
        return self.create_task(work, context=context)

    def within(self, process: Process, function: Callable[..., T], *args: Any) -> T:
        """Call something as a process does."""
        context = copy_context()
        context.run(PROCESS.set, process)
        return context.run(function, *args)

    def kill(self, process: Process) -> None:
        """It never runs again."""
        process.alive = False
        process.fuse = None

    def kill_after(self, process: Process, callbacks: int, then: Callable[[], None]) -> None:
        """Call `then` (which kills it) before the process runs its so-many-th next callback: between any two awaits."""
        process.fuse = (callbacks, then)

    def freeze(self, process: Process) -> None:
        process.frozen = True

    def thaw(self, process: Process) -> None:
        process.frozen = False
        self._ready.extend(process.held)
        process.held = []

    # --- running

    def run(self, work: Awaitable[T]) -> T:
        """Run until `work` is done; then everything that was left is unwound."""
        asyncio._set_running_loop(self)
        try:
            main = self.create_task(_awaiting(work))
            while not main.done():
                self._once()
                if self.fatal is not None:
                    raise self.fatal
            return main.result()
        finally:
            self._unwind()
            asyncio._set_running_loop(None)

    def _once(self) -> None:
        ready, timers = self._ready, self._timers
        if not ready:
            while timers and timers[0][2].done:  # cancelled: no reason to stop there
                heapq.heappop(timers)
            if not timers:
                raise OutOfBounds("Everything waits, and nothing will ever happen.")
            self._now = max(self._now, timers[0][0])
            if self._now > self._seconds_max:
                raise OutOfBounds(f"{self._seconds_max:.0f} virtual seconds are over.")
        now = self._now
        while timers and timers[0][0] <= now:
            handle = heapq.heappop(timers)[2]
            if not handle.done:
                ready.append(handle)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle.done:
                continue
            context = handle._context
            process = context.get(PROCESS)
            if (
                process is not None
                and (process.fuse is not None or process.frozen or not process.alive)
                and self._holds(process, handle)
            ):
                continue
            self.turns += 1
            if self.turns > self._turns_max:
                raise OutOfBounds(f"{self._turns_max} callbacks have run.")
            handle.done = True
            context.run(handle._callback, *handle._args)

    def _holds(self, process: Process, handle: _Handle) -> bool:
        """Whether a process does not run this callback, now or ever."""
        if process.fuse is not None:
            left, then = process.fuse
            process.fuse = (left - 1, then) if left > 0 else None
            if left <= 0:
                then()
        if process.frozen or not process.alive:
            process.held.append(handle)
            return True
        return False

    def _unwind(self) -> None:
        """Let every task end, so that nothing is destroyed while it waits. Whatever they do now, nobody looks."""
        self.over = True
        for process in self._processes:
            process.alive, process.frozen = True, False
            self._ready.extend(process.held)
        for _ in range(_UNWINDING_ROUNDS_MAX):
            left = [task for process in self._processes for task in process.tasks]
            if not left:
                return
            for task in left:
                task.cancel()
            for _ in range(len(self._ready) + len(left)):
                if self._ready:
                    handle = self._ready.popleft()
                    if not handle.done:
                        handle.run()


#: Tasks that were cancelled have ended after so many rounds, or never will.
_UNWINDING_ROUNDS_MAX = 20
_NOWHERE = Context()


async def _awaiting(work: Awaitable[T]) -> T:
    return await work


class VirtualClock:
    """Tells the loop's time; the wall clock can be set, the monotonic one cannot."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        #: The wall clock is this much ahead of the time that passed.
        self.ahead_seconds = 0.0

    def now(self) -> float:
        return EPOCH + self._loop.time() + self.ahead_seconds

    def monotonic(self) -> float:
        return self._loop.time()
