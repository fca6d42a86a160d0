"""Instances that are only pretended: the same backend over a machine that exists in memory.

For simulation and for tests of what is above the backend. All that decides (groups, lives, back-off, attempts, epochs) is the
code that runs real processes; only the machine differs. A `MemoryMachine` outlives the backend, as processes outlive
the control plane: pass it to the next `MemoryInstances` and its programs are adopted.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from bannister.clock import Clock
from bannister.domain.instance import GroupSpec, Usage
from bannister.domain.warmup import Warmup
from bannister.errors import Invalid
from bannister.ids import Ids
from bannister.instances.groups import GroupedInstances
from bannister.instances.host import GroupRecord, InstanceRecord, Ping, Remembered, Unprepared
from bannister.instances.logs import PART_BYTES_MAX, LogLine, LogPart, LogStream
from bannister.instances.process import Identity
from bannister.instances.warmup import answered, late, warmup_of
from bannister.settings import Settings

_FIRST_PORT: Final = 20000
_SIGKILL_STATUS: Final = -9
_SIGTERM_STATUS: Final = -15
_LOG_LINES_MAX: Final = 1000
_PAST_LOGS_MAX: Final = 50
#: What every program uses: this share of a processor, and this memory.
_CPU_SHARE: Final = 0.02
_RESIDENT_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a program does."""

    #: It answers `/ping` this long after its start; None: never.
    ready_after_seconds: float | None = 0.0
    #: It answers its warm-up this long after it began, with this status; None: never.
    warm_after_seconds: float | None = 0.0
    warm_up_status: int = 200
    #: It uses more memory than it may this long after its start.
    strained_after_seconds: float | None = None
    #: It ends by itself with `exit_status` this long after its start.
    ends_after_seconds: float | None = None
    exit_status: int = 1
    #: It ends this long after it was asked to; None: it does not listen.
    stops_after_seconds: float | None = 0.0
    prints: tuple[str, ...] = ()
    #: What it says against itself when it answers `/ping`.
    warnings: tuple[str, ...] = ()
    #: Before its first start something is installed, which takes this long; once for all programs of its image.
    installs_for_seconds: float = 0.0
    #: … and fails, for what these lines say; none: it does not.
    installing_fails: tuple[str, ...] = ()


@dataclass(slots=True)
class _Program:
    identity: Identity
    instance: str
    behaviour: Behaviour
    started_at: float
    #: Set while it answers.
    answering: asyncio.Event = field(default_factory=asyncio.Event)
    #: It has answered its warm-up.
    warm: bool = False
    strained: bool = False
    timers: list[asyncio.TimerHandle] = field(default_factory=list)
    watcher: Callable[[int], None] | None = None
    strain_watcher: Callable[[], None] | None = None


class MemoryMachine:
    """A machine with the programs that run on it, and what the backend recorded there."""

    def __init__(self, *, default: Behaviour | None = None) -> None:
        self._default = default or Behaviour()
        #: How the programs of an image behave; the next start counts. None: nobody can run it.
        self.behaviours: dict[str, Behaviour | None] = {}
        #: Images whose programs have what they need installed.
        self.installed: set[str] = set()
        self.remembered = Remembered()
        self.next_port = _FIRST_PORT
        self.logs: dict[str, deque[LogLine]] = {}
        #: The records of instances that are gone and whose logs are kept.
        self.past: dict[str, InstanceRecord] = {}
        self._programs: dict[str, _Program] = {}
        self._started = 0
        #: What programs do goes on whoever started them, and when that has ended.
        self._context = copy_context()

    @property
    def running(self) -> dict[str, int]:
        """The process ids of what runs, by instance."""
        return {instance: program.identity.pid for instance, program in self._programs.items()}

    def behaviour_of(self, image: str) -> Behaviour | None:
        """How the next program of an image will behave; None: nobody can run it."""
        return self.behaviours.get(image, self._default)

    def start(self, instance: str, image: str, now: float = 0.0) -> Identity:
        """Raises `Invalid` for an image that nobody can run."""
        behaviour = self.behaviour_of(image)
        if behaviour is None:
            raise Invalid(f"Bannister does not know how to run the image {image!r}.")
        self._started += 1
        program = _Program(Identity(self._started, str(self._started), "memory"), instance, behaviour, now)
        self._programs[instance] = program
        for text in behaviour.prints:
            self.print(instance, text, now)
        self._later(program, behaviour.ready_after_seconds, lambda: self.answer(instance))
        self._later(program, behaviour.ends_after_seconds, lambda: self.end(instance, behaviour.exit_status))
        self._later(program, behaviour.strained_after_seconds, lambda: self.strain(instance))
        return program.identity

    def usage(self, instance: str, now: float) -> Usage:
        """What a program that runs has used: always the same share of a processor, and the same memory."""
        return Usage(_CPU_SHARE * max(now - self._programs[instance].started_at, 0.0), _RESIDENT_BYTES)

    def print(self, instance: str, text: str, at: float) -> None:
        """A program prints one line."""
        lines = self.logs.setdefault(instance, deque(maxlen=_LOG_LINES_MAX))
        start = lines[-1].end if lines else 0
        lines.append(LogLine(at, start, start + len(text.encode()) + 1, text))

    def end(self, instance: str, status: int = _SIGKILL_STATUS) -> None:
        """A program ends, as if killed from outside."""
        program = self._programs.pop(instance, None)
        if program is not None:
            for timer in program.timers:
                timer.cancel()
            if program.watcher:
                program.watcher(status)

    def terminate(self, instance: str) -> None:
        """A program is asked to end."""
        program = self._programs.get(instance)
        if program is not None:
            self._later(program, program.behaviour.stops_after_seconds, lambda: self.end(instance, _SIGTERM_STATUS))

    def strain(self, instance: str) -> None:
        """A program uses more memory than it may."""
        program = self._programs[instance]
        program.strained = True
        if program.strain_watcher:
            program.strain_watcher()

    def behaviour(self, instance: str) -> Behaviour | None:
        """How a program behaves; None: it does not run."""
        program = self._programs.get(instance)
        return None if program is None else program.behaviour

    def warmed_up(self, instance: str) -> None:
        """A program has answered its warm-up."""
        self._programs[instance].warm = True

    def hang(self, instance: str) -> None:
        """A program runs on and no longer answers."""
        self._programs[instance].answering.clear()

    def answer(self, instance: str) -> None:
        """A program answers (again)."""
        self._programs[instance].answering.set()

    def answers(self, instance: str) -> bool:
        return instance in self._programs and self._programs[instance].answering.is_set()

    async def answers_within(self, instance: str, seconds: float) -> bool:
        """Whether a program answers now, or does after at most so long."""
        program = self._programs.get(instance)
        if program is None or program.answering.is_set():
            return program is not None
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(program.answering.wait(), seconds)
        return program.answering.is_set()

    def watch(
        self, instance: str, watcher: Callable[[int], None] | None, strain_watcher: Callable[[], None] | None = None
    ) -> Identity | None:
        """Be told when a program ends, and when it uses too much memory; None: it does not run."""
        program = self._programs.get(instance)
        if program is None:
            return None
        program.watcher, program.strain_watcher = watcher, strain_watcher
        if program.strained and strain_watcher:
            strain_watcher()
        return program.identity

    def _later(self, program: _Program, delay_seconds: float | None, do: Callable[[], None]) -> None:
        if delay_seconds == 0:
            do()
        elif delay_seconds is not None:
            loop = asyncio.get_running_loop()
            program.timers.append(loop.call_later(delay_seconds, do, context=self._context.copy()))


class MemoryInstances(GroupedInstances):
    """The backend over a `MemoryMachine`; see `bannister.instances.backend`."""

    def __init__(
        self,
        clock: Clock,
        ids: Ids,
        machine: MemoryMachine | None = None,
        settings: Settings | None = None,
        fence: Callable[[], None] = lambda: None,
    ) -> None:
        """`fence` is called before every act; it does not return when another process has taken over."""
        self.machine = machine or MemoryMachine()
        records = _MemoryRecords(self.machine, fence)
        #: What the programs print.
        self.logs = MemoryLogs(self.machine)
        settings = settings or Settings(data_dir=Path())
        super().__init__(settings, clock, ids, records, _MemoryHost(settings, self.machine, clock, records, fence))


class _MemoryProcess:
    def __init__(self, machine: MemoryMachine, instance: str, fence: Callable[[], None]) -> None:
        self._fence = fence
        self._machine = machine
        self._instance = instance
        self._ended: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._strained: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        identity = machine.watch(instance, self._ended.set_result, self._strain)
        if identity is None:
            self._ended.set_result(None)
        self._identity = identity or Identity(0, "", "memory")
        self._warnings: tuple[str, ...] = ()

    @property
    def identity(self) -> Identity:
        return self._identity

    @property
    def ended(self) -> asyncio.Future[int | None]:
        return self._ended

    @property
    def strained(self) -> asyncio.Future[str]:
        return self._strained

    @property
    def preparing(self) -> bool:
        return False

    @property
    def why(self) -> str | None:
        return None

    @property
    def warnings(self) -> tuple[str, ...]:
        return self._warnings

    async def ping(self, path: str, timeout_seconds: float) -> Ping:
        del path, timeout_seconds
        behaviour = self._machine.behaviour(self._instance)
        if self._ended.done() or behaviour is None or not self._machine.answers(self._instance):
            return Ping.SILENT
        self._warnings = behaviour.warnings
        return Ping.OK

    async def warm_up(self, path: str, warmup: Warmup, timeout_seconds: float) -> str | None:
        behaviour, first = self._machine.behaviour(self._instance), warmup.requests[0]
        if behaviour is None:
            return "is gone"
        takes = behaviour.warm_after_seconds
        if takes is None or takes > timeout_seconds:
            await asyncio.sleep(timeout_seconds)
            return late(warmup, first, timeout_seconds)
        await asyncio.sleep(takes)
        if not await self._machine.answers_within(self._instance, timeout_seconds - takes):
            return late(warmup, first, timeout_seconds)
        if not 200 <= behaviour.warm_up_status < 300:
            return answered(warmup, first, behaviour.warm_up_status, "")
        if not self._ended.done():
            self._machine.warmed_up(self._instance)
        return None

    def _strain(self) -> None:
        if not self._strained.done():
            self._strained.set_result("used more memory than it may")

    def settle(self, niceness: int) -> bool:
        return True

    def terminate(self) -> None:
        if not self._ended.done():
            self._fence()
            self._machine.terminate(self._instance)

    def kill(self) -> None:
        if not self._ended.done():
            self._fence()
            self._machine.end(self._instance)

    def release(self) -> None:
        if not self._ended.done():
            self._machine.watch(self._instance, None)


class _MemoryHost:
    def __init__(
        self,
        settings: Settings,
        machine: MemoryMachine,
        clock: Clock,
        records: _MemoryRecords,
        fence: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._fence = fence
        self._machine = machine
        self._clock = clock
        self._records = records

    async def prepare(self, record: InstanceRecord, spec: GroupSpec, waits: Callable[[str], None]) -> None:
        behaviour = self._machine.behaviour_of(spec.image)
        if behaviour is None or behaviour.installs_for_seconds == 0 or spec.image in self._machine.installed:
            return
        waits("The instance waits until what it needs is installed.")
        await asyncio.sleep(behaviour.installs_for_seconds)
        self._fence()
        for line in behaviour.installing_fails:
            self._machine.print(record.id, line, self._clock.now())
        if behaviour.installing_fails:
            raise Unprepared("What it needs cannot be installed.", behaviour.installing_fails)
        self._machine.installed.add(spec.image)

    def start(self, record: InstanceRecord, spec: GroupSpec) -> _MemoryProcess:
        self._fence()
        now = self._clock.now()
        record.begin(self._machine.next_port, now)
        self._records.save_instance(record)  # before it runs, for whoever finds it
        record.process = self._machine.start(record.id, spec.image, now)
        self._machine.next_port += 1
        self._records.save_instance(record)
        return self._process(record.id)

    async def warmup(self, spec: GroupSpec) -> Warmup:
        """What the environment says: nothing is really unpacked here."""
        return await warmup_of(replace(spec, artifact_dir=None), self._settings)

    def adopt(self, records: list[InstanceRecord]) -> dict[str, _MemoryProcess]:
        running = self._machine.running
        for record in records:
            if record.id not in running:
                record.process = record.port = None
        self.end_strays({record.id for record in records})
        return {record.id: self._process(record.id) for record in records if record.id in running}

    def _process(self, instance: str) -> _MemoryProcess:
        return _MemoryProcess(self._machine, instance, self._fence)

    def give_back_port(self, port: int) -> None:
        pass  # a port is never used again here

    def end_strays(self, known: set[str]) -> None:
        self._fence()
        for instance in self._machine.running:
            if instance not in known:
                self._machine.end(instance)

    async def usage(self, processes: Mapping[str, Identity]) -> dict[str, Usage]:
        now = self._clock.now()
        return {one: self._machine.usage(one, now) for one in processes if one in self._machine.running}

    async def tend_logs(self) -> None:
        pass  # they are bounded, and have their times, as they are written

    async def tend_memory(self) -> None:
        pass  # a program says by itself that it uses too much


class _MemoryRecords:
    """Records that are copied on the way in and out, as a file would."""

    def __init__(self, machine: MemoryMachine, fence: Callable[[], None]) -> None:
        self._machine = machine
        self._fence = fence
        self._groups = {record.spec.id: record for record in machine.remembered.groups}
        self._instances = {record.id: record for record in machine.remembered.instances}

    def load(self) -> Remembered:
        known = self._machine.remembered
        return Remembered(
            known.epoch, [replace(one) for one in known.groups], [replace(one) for one in known.instances]
        )

    def save_epoch(self, epoch: int) -> None:
        self._fence()
        self._machine.remembered.epoch = epoch

    def save_group(self, record: GroupRecord) -> None:
        self._fence()
        self._groups[record.spec.id] = replace(record)
        self._machine.remembered.groups = list(self._groups.values())

    def forget_group(self, group: str) -> None:
        self._fence()
        self._groups.pop(group, None)
        self._machine.remembered.groups = list(self._groups.values())

    def save_instance(self, record: InstanceRecord) -> None:
        self._fence()
        self._instances[record.id] = replace(record)
        self._machine.remembered.instances = list(self._instances.values())

    def forget_instance(self, instance: str) -> None:
        self._fence()
        record = self._instances.pop(instance, None)
        self._machine.remembered.instances = list(self._instances.values())
        if record is not None:
            self._machine.past[instance] = record
        for gone in list(self._machine.past)[:-_PAST_LOGS_MAX]:
            del self._machine.past[gone]
            self._machine.logs.pop(gone, None)

    def log_tail(self, instance: str, lines: int) -> list[str]:
        return [line.text for line in self._machine.logs.get(instance, ())][-lines:] if lines > 0 else []


class MemoryLogs:
    """What the programs of a `MemoryMachine` print; see `bannister.instances.logs`."""

    def __init__(self, machine: MemoryMachine) -> None:
        self._machine = machine

    async def streams(self) -> tuple[LogStream, ...]:
        records = [*self._machine.remembered.instances, *self._machine.past.values()]
        return tuple([self._stream(record) for record in records if record.endpoint])

    async def forward(
        self, instance: str, position: int = 0, *, since: float = 0.0, bytes_max: int = PART_BYTES_MAX
    ) -> LogPart:
        lines = self._machine.logs.get(instance, deque())
        wanted = [line for line in lines if line.position >= position and line.at >= since]
        if not wanted:
            end = lines[-1].end if lines else 0
            return LogPart((), end, end, more=False)
        start = wanted[0].position
        part = [line for line in wanted if line.end - start <= bytes_max] or wanted[:1]
        return LogPart(tuple(part), start, part[-1].end, more=len(part) < len(wanted))

    async def backward(self, instance: str, position: int | None = None) -> LogPart:
        lines = self._machine.logs.get(instance, deque())
        wanted = [line for line in lines if position is None or line.end <= position]
        if not wanted:
            first = lines[0].position if lines else 0
            return LogPart((), first, first, more=False)
        end = wanted[-1].end
        part = [line for line in wanted if end - line.position <= PART_BYTES_MAX] or wanted[-1:]
        return LogPart(tuple(part), part[0].position, end, more=len(part) < len(wanted))

    def _stream(self, record: InstanceRecord) -> LogStream:
        lines = self._machine.logs.get(record.id, deque())
        return LogStream(
            record.endpoint,
            record.variant,
            record.id,
            record.first_started_at,
            lines[0].at if lines else None,
            lines[-1].at if lines else None,
            lines[-1].end - lines[0].position if lines else 0,
        )
