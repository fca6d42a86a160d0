"""Instances as processes of this machine.

Each is a program in a session of its own, with a small environment of its own: nothing of the caller's (credentials,
proxies) reaches a model. It prints to a file and hangs on no pipe, so it lives on when the control plane ends, however
that ends, and is found again by its record, its identity and its marks (`process`). It is ready when it answers `/ping`
and the socket that answers is held by a process of its session.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from bannister.boot import boot_id
from bannister.clock import Clock
from bannister.domain.deployment.room import MachineMemory
from bannister.domain.instance import GroupSpec, Usage
from bannister.domain.warmup import Warmup
from bannister.errors import BannisterError, Invalid, Unavailable
from bannister.ids import Ids
from bannister.instances import machine, process
from bannister.instances.containers import ContainerHost
from bannister.instances.engine import NONE, Engines
from bannister.instances.environments import Environments
from bannister.instances.folder_logs import FolderLogs
from bannister.instances.groups import GroupedInstances
from bannister.instances.host import InstanceRecord, Ping, Unprepared
from bannister.instances.hosts import MachineHost
from bannister.instances.images import ImageTable, RunCommand
from bannister.instances.installing import REQUIREMENTS, Wanted
from bannister.instances.limiting import BEYOND, Grant, Limiter
from bannister.instances.ping import asked
from bannister.instances.ports import Ports
from bannister.instances.process import Identity
from bannister.instances.records import FolderRecords
from bannister.instances.warmup import warm_up, warmup_of
from bannister.settings import Settings

_logger = logging.getLogger(__name__)
_ADDRESS: Final = "127.0.0.1"
#: There is no such program, or it is none: to try again is of no use.
_NO_PROGRAM: Final = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ENOEXEC, errno.E2BIG)
#: What an instance takes over from the control plane's environment.
_INHERITED: Final = ("HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES")


class LocalInstances(GroupedInstances):
    """The backend for one machine; see `bannister.instances.backend`."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        ids: Ids,
        images: ImageTable,
        fence: Callable[[], None] = lambda: None,
        engines: Engines | None = None,
        epoch: int = 0,
    ) -> None:
        """The backend for one machine.

        Args:
            settings: Folders, ports and times.
            clock: The present.
            ids: For instances.
            images: How images are run.
            fence: Called before every act; it does not return when another process has taken over.
            engines: Where containers run; None: nowhere.
            epoch: Of the control plane, for whoever looks at its containers.
        """
        folder = settings.instances_dir
        #: What the instances print.
        self.logs = FolderLogs(folder, clock, settings.instance_log_bytes_max, settings.past_instance_logs_max)
        records = FolderRecords(folder, self.logs, fence)
        seed = str(settings.data_dir).encode()
        ports = Ports(settings.instance_port_first, settings.instance_port_last, seed)
        self._containers = ContainerHost(
            settings, clock, images, engines or Engines(NONE), records, self.logs, ports, epoch, fence
        )
        host = MachineHost(
            LocalHost(settings, clock, images, records, self.logs, ports, fence),
            self._containers,
            lambda image: images.resolve(image).container,
        )
        super().__init__(settings, clock, ids, records, host)

    async def memory(self) -> MachineMemory | None:
        """The machine's, and what the instances that serve use of it; None: not known here."""
        total, available = machine.memory_total(), machine.memory_available()
        if total is None or available is None:
            return None
        records = [member.life.record for member in self._members.values()]
        leaders = {one.process.pid: one.group for one in records if one.process is not None and one.answered}
        used: dict[str, int] = {}
        for leader, count in (await asyncio.to_thread(process.session_memory, dict.fromkeys(leaders, 0))).items():
            used[leaders[leader]] = max(used.get(leaders[leader], 0), count)
        groups = {one.id: one.group for one in records if one.answered}
        for instance, one in (await self._containers.usage()).items():
            if instance in groups:
                used[groups[instance]] = max(used.get(groups[instance], 0), one.resident_bytes)
        return MachineMemory(total, available, used)


class LocalProcess:
    """A running process of an instance, our child or one that an earlier control plane started."""

    def __init__(
        self,
        identity: Identity,
        port: int,
        fence: Callable[[], None],
        data_dir: Path,
        grant: Grant,
        released: Callable[[LocalProcess], None],
    ) -> None:
        self._identity = identity
        self._port = port
        self._fence = fence
        self._data_dir = data_dir
        self.grant = grant
        self._released = released
        self._ended: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._strained: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._patience: asyncio.TimerHandle | None = None
        self._is_to_end = False
        self._warnings: tuple[str, ...] = ()
        self._watch = process.EndWatch(identity.pid, self._notice_end)

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

    def uses(self, memory_bytes: int) -> str | None:
        """To be told what it uses now; why that is too much, if it is so for the first time."""
        why = self.grant.exceeded(memory_bytes)
        if why is None or self._ended.done():
            return None
        if self._strained.done():
            # One that still waits for its turn serves, and what it has begun would be lost.
            if self._is_to_end and memory_bytes > BEYOND * (self.grant.memory_bytes or 0):
                self.kill()
            return None
        self._strained.set_result(why)
        return why

    async def warm_up(self, path: str, warmup: Warmup, timeout_seconds: float) -> str | None:
        return await warm_up(_ADDRESS, self._port, path, warmup, timeout_seconds)

    async def ping(self, path: str, timeout_seconds: float) -> Ping:
        answer = await asked(_ADDRESS, self._port, path, timeout_seconds)
        if not answer.up:
            return Ping.SILENT
        self._warnings = answer.warnings
        return Ping.OK if process.listens(self._identity.pid, self._port) else Ping.STRANGER

    def be_polite(self, seconds: float, niceness: int) -> None:
        """Yield to those that serve until `settle`, but not for ever: on a machine that stays busy it must start all the same."""
        self._patience = asyncio.get_running_loop().call_later(seconds, self.settle, niceness)

    def settle(self, niceness: int) -> bool:
        return self._ended.done() or process.set_niceness(self._identity.pid, niceness, for_good=niceness > 0)

    def terminate(self) -> None:
        self._is_to_end = True
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def release(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
        self._watch.close()
        self._released(self)

    def _signal(self, number: signal.Signals) -> None:
        if not self._ended.done():
            self._fence()
            process.signal_session(self._identity.pid, number)

    def _notice_end(self) -> None:
        """What it started ends with it; but once a stranger's child has been reaped, its id may already be another's."""
        pid = self._identity.pid
        if process.is_unreaped_child(pid):
            process.signal_session(pid, signal.SIGKILL)
        else:
            process.kill_marked_session(pid, self._data_dir)
        self._ended.set_result(process.reap(pid))


class LocalHost:
    """Starts the processes of one data directory and finds them again."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        images: ImageTable,
        records: FolderRecords,
        logs: FolderLogs,
        ports: Ports,
        fence: Callable[[], None],
    ) -> None:
        self._logs = logs
        self._settings = settings
        self._fence = fence
        self._clock = clock
        self._images = images
        self._records = records
        self._limiter = Limiter(settings)
        #: The processes with a limit on their memory, by id, each with its instance.
        self._bounded: dict[int, tuple[str, LocalProcess]] = {}
        self._environments = Environments(settings, clock, fence, records.environments_in_use)
        self._ports = ports

    async def prepare(self, record: InstanceRecord, spec: GroupSpec, waits: Callable[[str], None]) -> None:
        """Have its artifact's requirements installed, where the image is run by an interpreter of ours."""
        if spec.artifact_dir is None or not Path(spec.artifact_dir, REQUIREMENTS).is_file():
            return
        if record.environment is not None and self._environments.holds(record.environment):
            return  # as its last process had it, whatever has become of the interpreter since
        served_without = record.was_ready and record.environment is None
        record.environment = None
        run = self._images.resolve(spec.image)
        if run.brings_its_own_packages:
            return
        wanted = Wanted(Path(spec.artifact_dir), run.python, {**run.environment, **spec.environment}, _path())
        log = self._logs.file(record.id)
        try:
            record.environment = str(await self._environments.obtained(wanted, log, waits))
        except (Unprepared, Unavailable) as error:
            if not served_without:
                raise
            _say(log, f"Its code/requirements.txt is not installed ({error}); it is started without, as it was before.")
        self._records.save_instance(record)

    def start(self, record: InstanceRecord, spec: GroupSpec) -> LocalProcess:
        run = self._run(record, spec)
        run.check_paths(spec)
        port = self._ports.take(self._records.save_next_port)
        record.begin(port, self._clock.now())
        grant = self._limiter.grant(record.id, spec.instance_type)
        record.cores, record.memory_bytes, record.instance_type = grant.cores, grant.memory_bytes, grant.instance_type
        try:
            self._records.save_instance(record)
            pid = self._spawn(record, spec, run, port, grant)
        except BannisterError:
            self._limiter.give_back(record.id)
            raise
        niceness = self._settings.shadow_niceness if spec.is_shadow else 0
        process.set_niceness(pid, max(niceness, self._settings.startup_niceness))
        if spec.is_shadow:
            process.offer_memory(pid)
        record.process = process.identify(pid) or Identity(pid, "", boot_id())  # it may have ended already
        try:
            self._records.save_instance(record)
        except Unavailable as error:  # it runs, and is looked after; the next control plane knows it by its marks
            _logger.warning("Instance %s: %s", record.id, error)
        started = self._process(record.id, record.process, port, grant)
        started.be_polite(self._settings.startup_yield_seconds, niceness)
        return started

    def _spawn(self, record: InstanceRecord, spec: GroupSpec, run: RunCommand, port: int, grant: Grant) -> int:
        environment = dict(grant.environment) | self._environment(record, port, spec, run.environment)
        argv = run.argv(port=port, model_dir=spec.artifact_dir or "", path=environment["PATH"])
        log = self._logs.file(record.id)
        if str(grant):
            _say(log, str(grant))
        try:
            return process.start(argv, environment, self._records.work_dir(record.id), log, grant.cores)
        except OSError as error:
            wrong = Invalid if error.errno in _NO_PROGRAM else Unavailable
            raise wrong(f"{argv[0]}: {error.strerror}.") from error
        except ValueError as error:
            raise Invalid(f"its command or environment is none that a process can have ({error}).") from error

    def adopt(self, records: list[InstanceRecord]) -> dict[str, LocalProcess]:
        self._ports.next = self._records.next_port or self._ports.next
        marks = process.marked(self._settings.data_dir)
        found: dict[str, LocalProcess] = {}
        for record in records:
            record.process = _present(record, marks)
            if record.process is None or record.port is None:
                record.process = record.port = None
                continue
            self._ports.keep(record.port)
            grant = Grant(record.cores, record.memory_bytes, record.instance_type)
            self._limiter.adopt(record.id, grant)
            found[record.id] = self._process(record.id, record.process, record.port, grant)
        self._end(marks, known=set(found))
        self._environments.begin()
        return found

    def give_back_port(self, port: int) -> None:
        self._ports.give_back(port)

    def end_strays(self, known: set[str]) -> None:
        self._end(process.marked(self._settings.data_dir), known)

    async def usage(self, processes: Mapping[str, Identity]) -> dict[str, Usage]:
        used = await asyncio.to_thread(process.session_usage, {one.pid for one in processes.values()})
        return {
            instance: used[one.pid]
            for instance, one in processes.items()
            if one.pid in used and process.is_running(one)  # its id may be another's since
        }

    async def tend_logs(self) -> None:
        self._fence()
        await self._logs.tend()

    async def warmup(self, spec: GroupSpec) -> Warmup:
        return await warmup_of(spec, self._settings)

    async def tend_memory(self) -> None:
        bounds: dict[int, int | None] = {pid: one.grant.memory_bytes for pid, (_, one) in self._bounded.items()}
        if not bounds:
            return
        self._fence()
        for pid, used in (await asyncio.to_thread(process.session_memory, bounds)).items():
            if pid in self._bounded:
                instance, one = self._bounded[pid]
                if why := one.uses(used):
                    _say(self._logs.file(instance), f"This instance {why}: it is ended.")

    def _process(self, instance: str, identity: Identity, port: int, grant: Grant) -> LocalProcess:
        def released(one: LocalProcess) -> None:
            self._limiter.give_back(instance)
            if self._bounded.get(identity.pid) == (instance, one):
                del self._bounded[identity.pid]

        started = LocalProcess(identity, port, self._fence, self._settings.data_dir, grant, released)
        if grant.memory_bytes is not None:
            self._bounded[identity.pid] = (instance, started)
        return started

    def _run(self, record: InstanceRecord, spec: GroupSpec) -> RunCommand:
        run = self._images.resolve(spec.image)
        return run if record.environment is None else replace(run, python=f"{record.environment}/bin/python")

    def _end(self, marks: Mapping[int, str], known: set[str]) -> None:
        self._fence()
        for pid, instance in marks.items():
            if instance not in known:
                _logger.warning("Process %d of instance %s should not be there and is ended", pid, instance)
                _kill(pid)

    def _environment(
        self, record: InstanceRecord, port: int, spec: GroupSpec, of_image: Mapping[str, str]
    ) -> dict[str, str]:
        model_dir = {} if spec.artifact_dir is None else {"SM_MODEL_DIR": spec.artifact_dir}
        environment = {
            "LANG": "C.UTF-8",
            **{name: os.environ[name] for name in _INHERITED if name in os.environ},
            "PATH": _path(),
            "PYTHONUNBUFFERED": "1",  # its last words before it ends must reach the log
            **of_image,
            **spec.environment,
            **model_dir,
            "SAGEMAKER_BIND_TO_PORT": str(port),
            process.MARK_INSTANCE: record.id,
            process.MARK_DATA_DIR: str(self._settings.data_dir),
        }
        if record.environment is not None:  # programs that its requirements brought are found first
            environment["PATH"] = f"{record.environment}/bin{os.pathsep}{environment['PATH']}"
        return environment


def _path() -> str:
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"


def _present(record: InstanceRecord, marks: Mapping[int, str]) -> Identity | None:
    """The process of a recorded instance, if it still runs."""
    if record.process is not None:
        # Marks can be overwritten by a program that renames itself: they may be missing, but not be another's.
        same = marks.get(record.process.pid, record.id) == record.id
        return record.process if same and process.is_running(record.process) else None
    # The control plane ended between the start of the process and writing down its id.
    leaders = (pid for pid, instance in marks.items() if instance == record.id and process.leads_session(pid))
    return next((identity for pid in leaders if (identity := process.identify(pid))), None)


def _say(log: Path, sentence: str) -> None:
    """Say something in an instance's log. A full disk does not keep an instance from starting."""
    with (
        contextlib.suppress(OSError),
        open(log, "a", opener=lambda name, flags: os.open(name, flags, 0o600)) as file,
    ):
        file.write(f"[bannister] {sentence}\n")


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError as error:
        _logger.warning("Process %d cannot be ended: %s", pid, error.strerror)
    process.reap(pid)
