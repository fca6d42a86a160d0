"""The life of one instance: start a process, wait until it answers, watch it, start another when it ends.

    prepare ──▶ start ── answers /ping ──▶ warm up ──▶ watch ── ends ──▶ back off ──▶ prepare, start …
                  │                           │          ├ silent: UNREADY, READY again when it answers; a process that hangs is left alone
                  │                           │          └ uses more memory than it may: UNREADY, asked to end, and started again
                  └ ends, or is not up in time┘ answers a warm-up request with an error: FAILED, if it was never ready
                        never ready before: at most `startup_attempts_max` tries within the start-up timeout, then FAILED
                        ready before:       tried again for ever, ever more slowly

To prepare (install the artifact's requirements) takes a time of its own, outside of the start-up timeout; where that fails, trying again is of no use. What only cannot be done now (a full disk, a container
engine that does not answer, no free port) is no attempt: it is waited for as long as the start-up timeout. Nor does the time count in which others of the group have their turn.
Every process is warmed up before it is shown as ready, also one that was started again: its first request is as quick as any other.

Each start gets a new port, so an address never means two processes. Of one group, only so many instances start at a time,
each at low priority until it answers, for starting green must not hurt blue.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from bannister.clock import Clock
from bannister.domain.instance import GroupSpec, Instance, InstancePhase
from bannister.domain.warmup import Warmup
from bannister.errors import Invalid, Unavailable
from bannister.instances.host import Host, InstanceRecord, Ping, Process, Records, Unprepared
from bannister.settings import Settings
from bannister.signals import Signal

_logger = logging.getLogger(__name__)
_HOST: Final = "127.0.0.1"
#: Between two pings of an instance that takes long to start, in seconds.
_PING_INTERVAL_MAX: Final = 0.25
#: A FailureReason holds 1024 characters; which configuration was rolled back to which (63 characters each) is said in it, too.
_REASON_LENGTH_MAX: Final = 850
#: A killed process is gone at once, unless it hangs in the kernel; then nobody waits for it any longer than this.
_KILL_SECONDS_MAX: Final = 10.0
#: A process that ends breaks its connection first; its end, which says more, is known this much later at most.
_END_SECONDS_MAX: Final = 1.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all instances of a backend share."""

    settings: Settings
    clock: Clock
    records: Records
    host: Host
    #: Something that `Instance` shows has changed.
    announce: Callable[[], None]
    #: Once announced, what is to end has no time for that any more.
    hurry: Signal = field(default_factory=Signal)


@dataclass(frozen=True, slots=True)
class _Setback:
    """Why an instance is not up: a sentence without its subject; `final`: trying again is of no use."""

    why: str
    final: bool = False
    #: What it did not pass.
    check: str = "the ping health check"
    #: It still answers what it has begun, and is given time for that.
    answers: bool = False
    #: Lines of its log that say more than the last ones; none: the last ones do.
    lines: tuple[str, ...] = ()


class Life:
    """One instance. `run` goes on until it is cancelled or the instance has failed; then `end`."""

    def __init__(
        self,
        around: Surroundings,
        record: InstanceRecord,
        spec: GroupSpec,
        turns: asyncio.Semaphore,
        process: Process | None = None,
        others: Callable[[], Sequence[Instance]] = tuple,
    ) -> None:
        """`others`: those of its group that are wanted, as they are shown now."""
        self.record = record
        self._around = around
        self._settings = around.settings
        self._spec = spec
        self._turns = turns
        self._process = process
        self._others = others
        #: The answer to the last ping of a process that is watched is late, or did not come.
        self._overdue = False
        #: What the process is to be warmed up with; None: not read yet.
        self._warmup: Warmup | None = None
        self._setbacks = 0
        #: Since when it cannot be prepared, for a reason that may pass (monotonic seconds).
        self._put_off_since: float | None = None
        self._deadline = around.clock.monotonic() + self._startup_seconds_left()
        self._shown = self._view(self._first_phase(), record.failure)

    @property
    def shown(self) -> Instance:
        """What the world sees of it."""
        return self._shown

    async def look(self) -> None:
        """Ask an adopted process, so that the first thing shown of it is true; as patiently as when it is watched."""
        if self._process and self.record.answered and not self.record.stopping:
            for _ in range(self._settings.health_check_unhealthy_count):
                if await self._ask_if_up():
                    return
            if not self._process.ended.done():
                self._show_silent(
                    f"It did not answer {self._spec.paths.ping} with 200 when the control plane found it."
                )

    async def run(self) -> None:
        """Keep a process running; returns when the instance has failed."""
        while self.record.failure is None:
            setback = await self._attempt()
            if self._gives_up(setback):
                await self._end_process()
                self._fail(setback)
            else:
                await self._back_off(setback)

    async def _attempt(self) -> _Setback:
        """Bring it up and look after it until something ends that."""
        try:
            return await self._become_ready() or await self._watch()
        except Exception as error:  # reported where people look: the endpoint must fail, not wait for ever
            _logger.exception("Instance %s cannot be looked after", self.record.id)
            return _Setback(f"could not be looked after ({type(error).__name__}: {error})", final=True)

    def begin_to_drain(self) -> None:
        """Make known, and remember, that it is to get no more requests."""
        self.record.draining = True
        self._save()
        self._show(self._shown.phase, self._shown.reason)

    def begin_to_end(self) -> None:
        """Make known, and remember, that it is to go."""
        self._show(InstancePhase.STOPPING, None)
        self.record.stopping = True
        self._save()

    async def end(self) -> None:
        """Stop it for good: ask, wait out the grace, kill. To be called when `run` no longer runs."""
        await self._ask_to_end()
        await self._end_process()

    def leave(self) -> None:
        """Let the process run on without us."""
        if self._process:
            self._process.release()

    def _first_phase(self) -> InstancePhase:
        if self.record.failure is not None:
            return InstancePhase.FAILED
        if self.record.stopping:
            return InstancePhase.STOPPING
        if self.record.was_ready:
            return InstancePhase.UNREADY
        return InstancePhase.STARTING if self._process else InstancePhase.PENDING

    # --- becoming ready

    async def _become_ready(self) -> _Setback | None:
        """Start a process unless there is one, and wait until it answers; what went wrong, or None."""
        if self._process and self.record.answered:
            return None
        if self._process is None and (unprepared := await self._prepare()):
            return unprepared
        queued = self._around.clock.monotonic()
        async with self._turns:
            if self._process is None:
                self._pass_over(self._around.clock.monotonic() - queued)
                setback = await self._start()
                if setback:
                    return setback
            return await self._wait_until_up()

    def _pass_over(self, seconds: float) -> None:
        """Others had their turn: that time counts for nothing."""
        self._deadline += seconds
        if self._put_off_since is not None:
            self._put_off_since += seconds

    async def _prepare(self) -> _Setback | None:
        reason = self._shown.reason
        waiting = InstancePhase.UNREADY if self.record.was_ready else InstancePhase.PENDING
        try:
            await self._around.host.prepare(self.record, self._spec, lambda why: self._show(waiting, why))
        except Unprepared as error:
            return _Setback(f"cannot be started: {_clause(error)}", final=True, lines=error.lines)
        except Invalid as error:
            return _Setback(f"cannot be started: {_clause(error)}", final=True)
        except Unavailable as error:
            return self._put_off(error)
        self._show(self._shown.phase, reason)
        return None

    def _put_off(self, error: Unavailable) -> _Setback:
        """What is missing may come, as room on a full disk or an engine that is being restarted: that is waited for as long as the instance may take to start."""
        now, timeout = self._around.clock.monotonic(), self._spec.startup_timeout_seconds
        self._put_off_since = now if self._put_off_since is None else self._put_off_since
        if now - self._put_off_since < timeout:
            return _Setback(f"cannot be started now: {_clause(error)}")
        return _Setback(f"cannot be started: {_clause(error)}; it was tried for {timeout:g} seconds", final=True)

    async def _start(self) -> _Setback | None:
        now, before = self._around.clock.monotonic(), self.record.first_started_at
        begins = self.record.was_ready or before is None
        if begins:
            self._deadline = now + self._spec.startup_timeout_seconds
        self.record.starts += 1
        self._count_death()
        self._forget_answers()
        try:
            self._warmup = await self._around.host.warmup(self._spec)
            self._process = self._around.host.start(self.record, self._spec)
        except Invalid as error:
            return _Setback(f"cannot be started: {_clause(error)}", final=True)
        except Unavailable as error:  # no attempt, and none of its time
            self.record.starts -= 1
            self.record.first_started_at = before
            self._save()
            return self._put_off(error)
        if self._put_off_since is not None and not begins:
            self._deadline += now - self._put_off_since
        self._put_off_since = None
        if not self._process.preparing:
            self._show_starting()
        return None

    def _show_starting(self) -> None:
        self._show(InstancePhase.UNREADY if self.record.was_ready else InstancePhase.STARTING, self._shown.reason)

    async def _wait_until_up(self) -> _Setback | None:
        process = self._process
        assert process is not None
        began = self._around.clock.monotonic()
        while not process.ended.done():
            if process.strained.done():
                return _Setback(process.strained.result(), final=True)
            if await self._ask() is Ping.OK:
                setback = await self._warm_up()
                if setback is None:
                    self._show_ready()
                return setback
            now = self._around.clock.monotonic()
            if process.preparing:
                self._deadline = now + self._spec.startup_timeout_seconds
            elif self._shown.phase is InstancePhase.PENDING:
                self._show_starting()
            if now >= self._deadline:
                return _Setback(self._late(), final=not self.record.was_ready)
            # A twentieth of the time it has taken so far: prompt for the quick, cheap for the slow.
            pause = min(max((now - began) / 20, self._settings.ping_interval_starting_seconds), _PING_INTERVAL_MAX)
            await self._wait(min(pause, self._deadline - now))
        return _Setback(_ending(process))

    async def _warm_up(self) -> _Setback | None:
        """Have the process answer its model's warm-up requests; what went wrong, or None."""
        process, warmup = self._process, self._warmup
        assert process is not None
        if warmup is None:  # an earlier control plane started it
            try:
                warmup = await self._around.host.warmup(self._spec)
            except (Invalid, Unavailable) as error:
                return _Setback(f"cannot be warmed up: {_clause(error)}", isinstance(error, Invalid), "its warm-up")
            # The time to start may have passed while nobody was there to ask: its warm-up begins anew, and so does the time for that.
            again = min(self._settings.warmup_timeout_seconds, self._spec.startup_timeout_seconds)
            self._deadline = max(self._deadline, self._around.clock.monotonic() + again)
        self._warmup = None
        if not warmup.requests:
            return None
        left = self._deadline - self._around.clock.monotonic()
        timeout = max(min(self._settings.warmup_timeout_seconds, left), 0.0)
        work = asyncio.create_task(process.warm_up(self._spec.paths.invocations, warmup, timeout))
        try:
            ends: list[asyncio.Future[Any]] = [work, process.ended, process.strained]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            why = work.result() if work.done() else None
            if work.done() and why is None:
                return None
            if not process.strained.done():
                await asyncio.wait([process.ended], timeout=_END_SECONDS_MAX)
        finally:
            work.cancel()
        if process.strained.done():
            return _Setback(process.strained.result(), final=True, check="its warm-up")
        if process.ended.done():
            return _Setback(f"{_ending(process)} during its warm-up", check="its warm-up")
        return _Setback(why or "", final=True, check="its warm-up")

    async def _wait(self, seconds: float) -> None:
        """Until so much time has passed, or something has happened to the process."""
        process = self._process
        assert process is not None
        ends: list[asyncio.Future[Any]] = [process.ended]
        if not process.strained.done():  # else it waits for its turn to be ended
            ends.append(process.strained)
        await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)

    def _startup_seconds_left(self) -> float:
        """Of an adopted instance, by the clock that all processes share; it may have jumped, so within bounds."""
        since = self.record.started_at if self.record.was_ready else self.record.first_started_at
        passed = self._around.clock.now() - since if since is not None else 0.0
        timeout = self._spec.startup_timeout_seconds
        return min(max(timeout - passed, 0.0), timeout)

    def _late(self) -> str:
        return f"did not answer {self._spec.paths.ping} with 200 within {self._spec.startup_timeout_seconds:g} seconds"

    async def _ask_if_up(self) -> bool:
        """Ask one that was warmed up once, and show what came of it."""
        answer = await self._ask()
        if answer is Ping.OK:
            self._show_ready()
        return answer is Ping.OK

    async def _ask(self) -> Ping:
        process = self._process
        assert process is not None
        answer = await process.ping(self._spec.paths.ping, self._settings.ping_timeout_seconds)
        if process.ended.done():
            return Ping.SILENT
        if answer is Ping.STRANGER:
            self._forget_answers()  # whatever answers there now is not ours, and gets no request
            self._show(self._shown.phase, f"The instance {answer.value}.")
        return answer

    async def _ask_watched(self) -> bool:
        """Ask one that is ready, and show meanwhile that it keeps us waiting: it may have been given requests that it will never answer."""
        late = asyncio.get_running_loop().call_later(self._settings.ping_overdue_seconds, self._show_overdue)
        try:
            answers = await self._ask_if_up()
        finally:
            late.cancel()
        if not answers:
            self._show_overdue()
        return answers

    def _show_overdue(self) -> None:
        if self._shown.phase is InstancePhase.READY:
            self._overdue = True
            self._show(InstancePhase.READY, None)

    def _show_ready(self) -> None:
        record = self.record
        self._overdue = False
        if record.stopping:  # what it answers now, nobody is told: it was not asked before it was decided that it goes
            return
        if not record.answered or record.silent:
            if record.silent:
                record.silent, record.silent_until = False, self._around.clock.now()
            record.answered = record.was_ready = True
            self._save()
        self._show(InstancePhase.READY, None)

    def _show_silent(self, why: str) -> None:
        """Remembered before it is shown: whoever comes after us must know that proxies may have dropped it with requests in flight."""
        if not self.record.silent:
            self.record.silent = True
            self._save()
        self._show(InstancePhase.UNREADY, why)

    def _count_death(self) -> None:
        """Of the process that has ended, perhaps while no control plane was there; one that never answered was only an attempt to start."""
        if self.record.answered:
            self.record.deaths += 1

    def _forget_answers(self) -> None:
        """What its process said does not hold for the next one."""
        self.record.answered = self.record.silent = False
        self.record.silent_until = None

    # --- being ready

    async def _watch(self) -> _Setback:
        """Look after a process that was up until it ends."""
        process = self._process
        assert process is not None
        up_since = self._around.clock.monotonic()
        misses = 0
        niceness = self._settings.shadow_niceness if self._spec.is_shadow else 0
        settled = process.settle(niceness)
        while not process.ended.done():
            await self._wait(self._settings.health_check_interval_seconds)
            if process.strained.done() and not process.ended.done() and self._may_be_missed():
                return _Setback(process.strained.result(), answers=True)
            settled = settled or process.settle(niceness)
            misses = 0 if process.ended.done() or await self._ask_watched() else misses + 1
            if misses >= self._settings.health_check_unhealthy_count and not process.ended.done():
                why = f"It did not answer {self._spec.paths.ping} with 200 {misses} times in a row."
                self._show_silent(why)
        if self._around.clock.monotonic() - up_since >= self._settings.restart_backoff_seconds_max:
            self._setbacks = 0
        return _Setback(_ending(process))

    def _may_be_missed(self) -> bool:
        """Those of a group have the same model and the same traffic, so they need too much memory at the same time: they are ended one after the other."""
        return all(one.phase in (InstancePhase.READY, InstancePhase.FAILED) for one in self._others())

    # --- going on, or not

    def _gives_up(self, setback: _Setback) -> bool:
        if self.record.was_ready:
            return False
        return setback.final or self.record.starts >= self._settings.startup_attempts_max

    async def _back_off(self, setback: _Setback) -> None:
        settings = self._settings
        pause = min(settings.restart_backoff_seconds_min * 2**self._setbacks, settings.restart_backoff_seconds_max)
        self._setbacks = min(self._setbacks + 1, 32)
        phase = InstancePhase.UNREADY if self.record.was_ready else InstancePhase.PENDING
        self._count_death()
        self._forget_answers()
        self._show(phase, f"The instance {setback.why}; it is started again in {pause:g} seconds.")
        if setback.answers:
            await self._ask_to_end()
        await self._end_process()
        await asyncio.sleep(pause)

    def _fail(self, setback: _Setback) -> None:
        attempts = f" ({self.record.starts} attempts)" if self.record.starts > 1 else ""
        kind = "shadow" if self._spec.is_shadow else "production"
        text = (
            f"The primary container for {kind} variant {self._spec.variant} did not pass {setback.check}. "
            f"The instance {setback.why}{attempts}."
        )
        if setback.lines:
            self.record.failure = _with_lines(f"{text} From its log:", setback.lines)
        else:
            lines = self._around.records.log_tail(self.record.id, self._settings.failure_log_lines)
            self.record.failure = _with_log(text, lines)
        self._save()
        self._show(InstancePhase.FAILED, self.record.failure)

    async def _ask_to_end(self) -> None:
        """Let it finish what it has begun, within the grace, unless everything is to end at once."""
        if self._process is None:
            return
        self._process.terminate()
        hurry, told = self._around.hurry, asyncio.get_running_loop().create_future()
        grace_seconds = 0.0 if hurry.version else self._settings.stop_grace_seconds
        hurry.enrol(told)
        try:
            ends: list[asyncio.Future[Any]] = [self._process.ended, told]
            await asyncio.wait(ends, timeout=grace_seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            hurry.dismiss(told)

    async def _end_process(self) -> None:
        """Kill what is left, and forget the process and its port."""
        if self._process:
            self._process.kill()
            await asyncio.wait([self._process.ended], timeout=_KILL_SECONDS_MAX)
            self._process.release()
        if self.record.port is not None:
            self._around.host.give_back_port(self.record.port)
        self._process = None
        self.record.process = self.record.port = None
        self._forget_answers()

    def _save(self) -> None:
        try:
            self._around.records.save_instance(self.record)
        except Unavailable as error:  # a full disk must not stop what serves; it is written again with the next change
            _logger.warning("Instance %s: %s", self.record.id, error)

    # --- what is shown

    def _show(self, phase: InstancePhase, reason: str | None) -> None:
        shown = self._view(phase, reason)
        if shown != self._shown and not self.record.stopping:
            self._shown = shown
            self._around.announce()

    def _view(self, phase: InstancePhase, reason: str | None) -> Instance:
        record = self.record
        return Instance(
            id=record.id,
            group=record.group,
            phase=phase,
            host=None if record.port is None else _HOST,
            port=record.port,
            reason=reason,
            restarts=max(record.starts - 1, 0),
            deaths=record.deaths,
            started_at=record.started_at,
            answered=record.answered,
            silent_until=record.silent_until,
            draining=record.draining,
            overdue=self._overdue and phase is InstancePhase.READY,
            warnings=() if self._process is None else self._process.warnings,
        )


def _clause(error: Exception) -> str:
    """An error's sentence as the end of another, which brings the full stop."""
    return str(error).removesuffix(".")


def _ending(process: Process) -> str:
    if process.why is not None:
        return process.why
    status = process.ended.result()
    if status is None:
        return "ended"
    if status >= 0:
        return f"ended with exit status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"


def _with_log(text: str, lines: list[str]) -> str:
    """A sentence with as many of the last lines as fit, the newest above all."""
    if not lines:
        return f"{text} It printed nothing."
    return _with_lines(f"{text} The last lines of its log:", lines)


def _with_lines(text: str, lines: Sequence[str]) -> str:
    kept: list[str] = []
    room = _REASON_LENGTH_MAX - len(text)
    for line in reversed(lines):
        line = line[:300]
        room -= len(line) + 1
        if room < 0:
            break
        kept.append(line)
    return "\n".join([text, *reversed(kept)])
