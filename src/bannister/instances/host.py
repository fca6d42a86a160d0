"""What the common part of a backend (`groups`, `life`) needs of the place where instances run.

Two things are kept apart: *records*, which say what should exist and must survive the control plane, and the *host*, which
starts processes and finds those again that an earlier control plane left. A process is always recorded before it is
started, so that there is no moment in which it exists and nobody would know.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from bannister.domain.instance import GroupSpec, Usage
from bannister.domain.warmup import Warmup
from bannister.errors import Invalid
from bannister.instances.process import Identity


@dataclass(slots=True)
class GroupRecord:
    """A group that is wanted."""

    spec: GroupSpec
    count: int


@dataclass(slots=True)
class InstanceRecord:
    """All that must be remembered of an instance to go on with it."""

    id: str
    group: str
    #: Grows with every instance of the backend: the newest are the first to go.
    sequence: int
    #: Whose it is, for those who read its log when its group is gone; empty in a record of an earlier version.
    endpoint: str = ""
    variant: str = ""
    port: int | None = None
    #: Its process, once started; None while it has none, or was being started when the control plane ended.
    process: Identity | None = None
    #: The name of its container, where it is one.
    container: str | None = None
    #: When the present process was started.
    started_at: float | None = None
    #: When the first process was started: the start-up timeout counts from here.
    first_started_at: float | None = None
    #: Processes started so far.
    starts: int = 0
    #: Of those that ended, how many had answered.
    deaths: int = 0
    #: The present process has answered `/ping` and its warm-up.
    answered: bool = False
    #: It has not answered for some time now.
    silent: bool = False
    #: When it answered again after the last such time; None: there was none.
    silent_until: float | None = None
    #: One of its processes has.
    was_ready: bool = False
    stopping: bool = False
    #: Its group was made smaller; it answers until it is evicted.
    draining: bool = False
    #: Why it was given up.
    failure: str | None = None
    #: What its present process may use: cores (empty: all), bytes (None: no limit), and the type that has them.
    cores: tuple[int, ...] = ()
    memory_bytes: int | None = None
    instance_type: str | None = None
    #: The folder of the environment that its artifact's requirements were installed into; None: it has none.
    environment: str | None = None

    def begin(self, port: int, now: float) -> None:
        """A process is about to be started at this port."""
        self.port, self.process, self.started_at = port, None, now
        self.first_started_at = self.first_started_at or now


@dataclass(slots=True)
class Remembered:
    """Everything that was recorded."""

    epoch: int = 0
    groups: list[GroupRecord] = field(default_factory=list)
    instances: list[InstanceRecord] = field(default_factory=list)


class Records(Protocol):
    """Keeps records; synchronous, because a record must be there before what it describes, and small.

    What saves may raise `Unavailable`.
    """

    def load(self) -> Remembered: ...

    def save_epoch(self, epoch: int) -> None: ...

    def save_group(self, record: GroupRecord) -> None: ...

    def forget_group(self, group: str) -> None: ...

    def save_instance(self, record: InstanceRecord) -> None: ...

    def forget_instance(self, instance: str) -> None:
        """Also its folder; what it printed can still be read for a while."""
        ...

    def log_tail(self, instance: str, lines: int) -> list[str]: ...


class Ping(Enum):
    """What came of asking an instance whether it is up."""

    OK = "answered"
    SILENT = "did not answer with 200"
    #: Something else listens on its port.
    STRANGER = "is not the one that listens on its port"


class Process(Protocol):
    """A process that runs, or has just ended."""

    @property
    def identity(self) -> Identity: ...

    @property
    def ended(self) -> asyncio.Future[int | None]:
        """Done once it has ended and nothing of its session is left; its exit status where it is known."""
        ...

    @property
    def strained(self) -> asyncio.Future[str]:
        """Done once it has used more memory than it may: what happened, without its subject."""
        ...

    @property
    def preparing(self) -> bool:
        """What it runs is still being fetched: the time that it may take to start has not begun."""
        ...

    @property
    def why(self) -> str | None:
        """How it ended, where more is known than an exit status: the rest of a sentence that begins with the instance."""
        ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """What it said against itself when it last answered a ping, as sentences."""
        ...

    async def ping(self, path: str, timeout_seconds: float) -> Ping: ...

    async def warm_up(self, path: str, warmup: Warmup, timeout_seconds: float) -> str | None:
        """Send it these requests; None: all were answered with 2xx, otherwise what went wrong, without its subject."""
        ...

    def settle(self, niceness: int) -> bool:
        """Give it the priority with which it serves; False: not now, try again."""
        ...

    def terminate(self) -> None:
        """Ask it, and all that it started, to end."""
        ...

    def kill(self) -> None:
        """End it, and all that it started."""
        ...

    def release(self) -> None:
        """Stop watching it; it runs on."""
        ...


class Unprepared(Invalid):
    """What an instance needs before its process can start cannot be made."""

    def __init__(self, message: str, lines: Sequence[str] = ()) -> None:
        """`lines` of what was printed meanwhile say why; none: the message does."""
        super().__init__(message)
        self.lines = tuple(lines)


class Host(Protocol):
    """Starts processes, and finds them again."""

    async def prepare(self, record: InstanceRecord, spec: GroupSpec, waits: Callable[[str], None]) -> None:
        """Make what the instance needs before `start`; fills in the record and saves it. Returns at once where there is nothing to do.

        `waits` is told in a sentence what it waits for, should it take long; what is printed meanwhile is in the instance's log.

        Raises:
            Unprepared: It cannot be made.
            Invalid: The instance can never be started; says why.
            Unavailable: It cannot be made now, because a disk is full.
        """
        ...

    def start(self, record: InstanceRecord, spec: GroupSpec) -> Process:
        """Start a process for an instance at low priority, on a port of its own; fills in the record and saves it.

        Raises:
            Invalid: It can never be started; says why.
            Unavailable: It cannot be started now.
        """
        ...

    async def warmup(self, spec: GroupSpec) -> Warmup:
        """The requests that a group's model is warmed up with.

        Raises:
            Invalid: The model brings something else.
            Unavailable: They cannot be read now.
        """
        ...

    def adopt(self, records: list[InstanceRecord]) -> Mapping[str, Process]:
        """The processes of these instances that still run, by instance; every other one of ours is ended."""
        ...

    def give_back_port(self, port: int) -> None: ...

    def end_strays(self, known: set[str]) -> None:
        """End every process of ours that belongs to none of these instances."""
        ...

    async def usage(self, processes: Mapping[str, Identity]) -> Mapping[str, Usage]:
        """What these processes have used, by instance, as far as can be told."""
        ...

    async def tend_logs(self) -> None:
        """Keep what the instances print within its bound, and note when they printed it; called every second or so."""
        ...

    async def tend_memory(self) -> None:
        """Look at what the instances use, and make those known that use too much; called every second or so."""
        ...
