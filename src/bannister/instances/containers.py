"""Instances as containers of this machine's engine (Docker, Podman), run as SageMaker runs them.

    command   `serve` (or what the image's row says), after the image's own entry point
    port      8080 inside, published to a port of its own on 127.0.0.1
    model     /opt/ml/model, the unpacked artifact, read-only
    end       SIGTERM, and SIGKILL after the grace; its exit status, and whether it had too much memory, is in the reason

A container's name is recorded before it is made, so that there is no moment in which it exists and nobody would know; it carries
the data directory, its instance and the epoch of whoever made it as labels, by which those are found that nobody knows any more. It lives on
when the control plane ends. Which image it is made from: `bannister.instances.container_images`; what becomes of what it prints: `bannister.instances.container_log`.

**The engine may be away.** Containers serve on without it where it lets them, and are not given up: what was recorded is believed until the
engine says otherwise. Only what has to be started waits for it.

**The port** is vouched for by the engine: while the container runs, nobody else can have been given it. So a ping that is answered was answered by the container.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bannister.clock import Clock
from bannister.domain.instance import GroupSpec, Usage
from bannister.domain.instance_type import Allowance
from bannister.domain.warmup import Warmup
from bannister.errors import Unavailable
from bannister.instances.container_images import ContainerImages, NoImage
from bannister.instances.container_log import copy_log
from bannister.instances.container_request import (
    ADDRESS,
    LABEL_DATA_DIR,
    WHOLE_SHARES,
    Capability,
    Order,
    capability,
    definition,
    limits_of,
    shares,
    told,
)
from bannister.instances.engine import Engine, EngineRefused, Engines
from bannister.instances.folder_logs import FolderLogs
from bannister.instances.host import InstanceRecord, Ping
from bannister.instances.images import ImageTable, RunCommand
from bannister.instances.ping import asked
from bannister.instances.ports import Ports
from bannister.instances.process import Identity
from bannister.instances.records import FolderRecords
from bannister.instances.warmup import warm_up
from bannister.settings import Settings, Switch

_logger = logging.getLogger(__name__)
#: Between two attempts to reach an engine that does not answer, in seconds.
_AGAIN_SECONDS: Final = 1.0
#: An engine that was there when a container was to be made, and is restarted meanwhile, is waited for this long.
_RESTART_SECONDS: Final = 60.0
_CONFLICT: Final = 409
_NOT_MODIFIED: Final = 304
#: What a container uses is no reason to wait for an engine that is busy.
_USAGE_SECONDS: Final = 5.0
#: What an ended container printed last is waited for this long.
_LAST_WORDS_SECONDS: Final = 5.0
#: Containers that nobody knows are looked for this often.
_SWEEP_SECONDS: Final = 60.0
_SIGNALS: Final = range(1, 65)


class _Failed(Exception):
    """It cannot be brought up, or is gone; a sentence without its subject."""


@dataclass(frozen=True, slots=True)
class _Making:
    """What a container is made from."""

    spec: GroupSpec
    run: RunCommand
    record: InstanceRecord

    def settled_niceness(self, settings: Settings) -> int:
        """With which it serves."""
        return settings.shadow_niceness if self.spec.is_shadow else 0


class ContainerHost:
    """Makes the containers of one data directory, and finds them again; a `bannister.instances.host.Host`."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        images: ImageTable,
        engines: Engines,
        records: FolderRecords,
        logs: FolderLogs,
        ports: Ports,
        epoch: int,
        fence: Callable[[], None],
    ) -> None:
        """`epoch`: of the control plane, written on what it makes."""
        self.settings = settings
        self.engines = engines
        self.records = records
        self.logs = logs
        self.fence = fence
        self.epoch = epoch
        self._clock = clock
        self._table = images
        self.images = ContainerImages(settings, records, fence)
        self._ports = ports
        self._containers: dict[str, ContainerProcess] = {}
        self._swept_at: float | None = None
        #: By the engine's socket.
        self._can_share: dict[Path, bool] = {}
        self._capabilities: dict[Path, Capability] = {}

    # --- as a host

    def start(self, record: InstanceRecord, spec: GroupSpec) -> ContainerProcess:
        run = self._table.resolve(spec.image)
        run.check_paths(spec)
        self.engines.find()
        port = self._ports.take(self.records.save_next_port)
        record.begin(port, self._clock.now())
        record.container = f"bannister-{record.id}-{record.starts}"
        self.records.save_instance(record)
        return self._container(record, port, _Making(spec, run, record))

    def adopt(self, records: list[InstanceRecord]) -> dict[str, ContainerProcess]:
        """All that were recorded: whether they still run, the engine is asked when they are watched."""
        found = {}
        for record in records:
            if record.port is None:
                record.container = None
                continue
            self._ports.keep(record.port)
            found[record.id] = self._container(record, record.port, None)
        return found

    def give_back_port(self, port: int) -> None:
        self._ports.give_back(port)

    def end_strays(self, known: set[str]) -> None:
        """They are looked for all the time (`tend`), and after the next start."""

    async def usage(self) -> dict[str, Usage]:
        """What its containers have used, by instance, as the engine says."""
        found = {one.instance: asyncio.create_task(one.usage()) for one in self._containers.values()}
        if found:
            await asyncio.wait(found.values())
        return {instance: used for instance, task in found.items() if (used := task.result()) is not None}

    async def tend(self) -> None:
        """Look for containers of ours that nobody knows, from time to time; called every second or so."""
        now = self._clock.monotonic()
        if self._swept_at is None or now - self._swept_at >= _SWEEP_SECONDS:
            with contextlib.suppress(Unavailable, EngineRefused):  # there is no engine, or none now
                await self._sweep(self.engines.find())
            self._swept_at = now

    async def _sweep(self, engine: Engine) -> None:
        label = f"{LABEL_DATA_DIR}={self.settings.data_dir}"
        found = await engine.call("GET", "/containers/json", {"all": 1, "filters": json.dumps({"label": [label]})})
        for one in found or []:
            names = [name.lstrip("/") for name in one.get("Names", [])]
            if not any(name in self._containers for name in names):
                _logger.warning("Container %s should not be there and is removed", names[0] if names else one["Id"])
                self.fence()
                await remove(engine, one["Id"])

    # --- for its containers

    async def can_share(self, engine: Engine) -> bool:
        """Whether the engine can give a running container another share of the processor; Podman learned it late."""
        if engine.socket not in self._can_share:
            try:
                await engine.call("POST", "/containers/bannister-nobody/update", body={"CpuShares": WHOLE_SHARES})
            except EngineRefused as refusal:
                self._can_share[engine.socket] = "no such container" in str(refusal).lower()
            if not self._can_share.get(engine.socket):
                _logger.info("The engine cannot change shares: containers that start do not yield to those that serve")
        return self._can_share.get(engine.socket, False)

    async def limits(self, engine: Engine, instance_type: str | None) -> Allowance:
        """What a container of a type may use of the engine's machine, which on macOS is another one than this."""
        if self.settings.instance_limits is not Switch.ON or instance_type is None:
            return Allowance()
        if engine.socket not in self._capabilities:
            try:
                info = await engine.call("GET", "/info")
            except EngineRefused as refusal:
                _logger.warning("Containers are not limited, because the engine does not say what it has: %s", refusal)
                info = None
            self._capabilities[engine.socket] = capability(info if isinstance(info, dict) else {})
        return limits_of(instance_type, self._capabilities[engine.socket])

    def forget(self, name: str) -> None:
        self._containers.pop(name, None)

    def _container(self, record: InstanceRecord, port: int, making: _Making | None) -> ContainerProcess:
        assert record.container is not None
        container = ContainerProcess(self, record.container, record.id, port, making)
        self._containers[record.container] = container
        return container


class ContainerProcess:
    """A container of an instance, made now or by an earlier control plane; a `bannister.instances.host.Process`."""

    def __init__(self, host: ContainerHost, name: str, instance: str, port: int, making: _Making | None) -> None:
        self._host = host
        self._name = name
        self._instance = instance
        self._port = port
        self._ended: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._strained: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        #: It runs, as far as is known. An adopted one is believed to when the engine does not answer.
        self._up = asyncio.Event()
        #: It has ended: what it has printed by now is all.
        self._over = asyncio.Event()
        self._adopted = making is None
        #: Its image is here, and it was started.
        self._prepared = making is None
        self._why: str | None = None
        self._warnings: tuple[str, ...] = ()
        #: With which it serves, and whether it has that already.
        self._niceness = 0 if making is None else making.settled_niceness(host.settings)
        self._whole = making is None or host.settings.startup_niceness <= self._niceness
        self._setup: asyncio.Task[None] | None = None
        self._patience: asyncio.TimerHandle | None = None
        #: Short acts beside its life (signals, shares), until they are done.
        self._acts: set[asyncio.Task[None]] = set()
        self._life = asyncio.get_running_loop().create_task(self._live(making))

    # --- as a process

    @property
    def identity(self) -> Identity:
        return Identity(0, self._name, "container")

    @property
    def ended(self) -> asyncio.Future[int | None]:
        return self._ended

    @property
    def strained(self) -> asyncio.Future[str]:
        """Never done: the engine itself ends what takes more memory than it may."""
        return self._strained

    async def warm_up(self, path: str, warmup: Warmup, timeout_seconds: float) -> str | None:
        return await warm_up(ADDRESS, self._port, path, warmup, timeout_seconds)

    @property
    def instance(self) -> str:
        return self._instance

    @property
    def preparing(self) -> bool:
        return not self._prepared

    @property
    def why(self) -> str | None:
        return self._why

    @property
    def warnings(self) -> tuple[str, ...]:
        return self._warnings

    async def ping(self, path: str, timeout_seconds: float) -> Ping:
        if self._adopted and not self._up.is_set() and not self._ended.done():
            with contextlib.suppress(TimeoutError):  # what the engine says of it is on its way, or the engine is away
                async with asyncio.timeout(timeout_seconds):
                    await self._up.wait()
        may_answer = self._up.is_set() or self._adopted
        if not may_answer:
            return Ping.SILENT
        answer = await asked(ADDRESS, self._port, path, timeout_seconds)
        if not answer.up:
            return Ping.SILENT
        self._warnings = answer.warnings
        return Ping.OK

    async def usage(self) -> Usage | None:
        """What it has used; None: it does not run, or nobody can tell."""
        if not self._up.is_set() or self._ended.done():
            return None
        query = {"stream": "false", "one-shot": "true"}
        try:
            engine = self._host.engines.find()
            found = await engine.call("GET", f"/containers/{self._name}/stats", query, timeout_seconds=_USAGE_SECONDS)
            memory = found["memory_stats"]
            files = memory.get("stats", {})
            # As `docker stats` counts: without files that would be read again.
            spare = files.get("inactive_file", files.get("total_inactive_file", 0))
            return Usage(found["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9, memory["usage"] - spare)
        except (Unavailable, EngineRefused, KeyError, TypeError):  # the latter two: it has just ended
            return None

    def settle(self, niceness: int) -> bool:
        del niceness  # it was told with what it is made from
        if not self._whole and not self._ended.done() and not self._acts:
            self._act(self._give_whole_share())
        return self._whole or self._ended.done()

    def terminate(self) -> None:
        self._stop("SIGTERM")

    def kill(self) -> None:
        self._stop("SIGKILL")

    def release(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
        for task in (self._life, self._setup, *self._acts):
            if task is not None:
                task.cancel()
        self._host.forget(self._name)

    def _stop(self, signal: str) -> None:
        if self._ended.done():
            return
        self._host.fence()
        if self._setup is not None and not self._setup.done():
            self._setup.cancel()
        else:
            self._act(self._signal(signal))

    # --- its life

    async def _live(self, making: _Making | None) -> None:
        status: int | None = None
        try:
            if making is not None:
                self._setup = asyncio.create_task(self._set_up(making))
                await asyncio.wait([self._setup])
                if self._setup.cancelled():
                    raise _Failed("was stopped before it had started")
                self._setup.result()
            status = await self._watch()
        except _Failed as failure:
            self._why = str(failure)
        except EngineRefused as refusal:
            self._why = f"cannot be looked after: the container engine says: {refusal}"
        except Exception as error:
            _logger.exception("Container %s cannot be looked after", self._name)
            self._why = f"could not be looked after ({type(error).__name__}: {error})"
        await self._remove()
        self._ended.set_result(status)

    async def _set_up(self, making: _Making) -> None:
        """Make and start it."""
        loop, again = asyncio.get_running_loop(), False
        until: float | None = None
        try:
            while True:
                try:
                    await self._make(making, again=again)
                    break
                except Unavailable as error:
                    until = (
                        until or loop.time() + _RESTART_SECONDS
                    )  # from here on: to pull an image may have taken longer
                    if loop.time() > until:
                        raise
                    _logger.warning("Container %s: %s", self._name, error)
                    await asyncio.sleep(_AGAIN_SECONDS)
                    again = True
        except EngineRefused as refusal:
            raise _Failed(f"cannot be started: the container engine says: {refusal}") from None
        except NoImage as why:
            raise _Failed(f"cannot be started: {why}") from None
        except Unavailable as error:
            raise _Failed(f"cannot be started: {str(error).removesuffix('.')}") from None
        finally:
            self._prepared = True
        if self._whole:
            return
        yielded = self._host.settings.startup_yield_seconds
        self._patience = asyncio.get_running_loop().call_later(yielded, self.settle, 0)

    async def _make(self, making: _Making, *, again: bool) -> None:
        """`again`: the engine may have done some of it before, and was not there any more to say so."""
        engine = self._host.engines.find()
        image = await self._host.images.of_group(engine, making.spec.id, making.spec.image, making.run.pull)
        self._whole = self._whole or not await self._host.can_share(engine)
        self._host.fence()
        limits = await self._host.limits(engine, making.spec.instance_type)
        self._tell(making, limits)
        self._host.fence()
        order = definition(self._order(making, image, limits))
        try:
            await engine.call("POST", "/containers/create", {"name": self._name}, order)
        except EngineRefused as refusal:
            if not (again and refusal.status == _CONFLICT):
                raise
        self._host.fence()
        try:
            await engine.call("POST", f"/containers/{self._name}/start")
        except EngineRefused as refusal:
            if not (again and refusal.status == _NOT_MODIFIED):
                raise

    def _order(self, making: _Making, image: str, limits: Allowance) -> Order:
        settings = self._host.settings
        return Order(
            making.spec,
            making.run,
            self._instance,
            image,
            self._port,
            str(settings.data_dir),
            self._host.epoch,
            limits,
            self._niceness if self._whole else max(self._niceness, settings.startup_niceness),
        )

    def _tell(self, making: _Making, limits: Allowance) -> None:
        """What limits it, in its record and as the first line of its log."""
        record = making.record
        record.memory_bytes, record.instance_type = limits.memory_bytes, making.spec.instance_type
        self._host.records.save_instance(record)
        sentence = "" if self._host.settings.instance_limits is not Switch.ON else told(record.instance_type, limits)
        if sentence:
            with contextlib.suppress(OSError):  # a full disk
                self._host.logs.copy(self._instance, self._name, f"[bannister] {sentence}\n".encode(), (0, 0))

    async def _watch(self) -> int | None:
        """Until it has ended; its exit status, negative for a signal."""
        copying: asyncio.Task[None] | None = None
        try:
            while True:
                try:
                    engine = self._host.engines.find()
                    state = await self._state(engine)
                    if state is None:
                        raise _Failed("is gone: somebody removed its container")
                    if not state.get("Running", False) and state.get("Status") not in (
                        "created",
                        "restarting",
                        "paused",
                    ):
                        self._over.set()
                        copying = copying or asyncio.create_task(self._copy_log())
                        await asyncio.wait([copying], timeout=_LAST_WORDS_SECONDS)
                        return self._status(state)
                    if state.get("Status") == "created":  # whoever made it ended before it was started
                        raise _Failed("was never started")
                    self._up.set()
                    copying = copying or asyncio.create_task(self._copy_log())
                    await engine.call("POST", f"/containers/{self._name}/wait", timeout_seconds=None)
                except (Unavailable, EngineRefused) as error:
                    # Trouble of the engine's own (5XX) says nothing of the container.
                    if isinstance(error, EngineRefused) and error.status < 500:
                        raise
                    _logger.warning("Container %s: %s", self._name, error)
                    self._up.set()  # what was recorded is believed; a ping says more
                    await asyncio.sleep(_AGAIN_SECONDS)
        finally:
            if copying is not None:
                copying.cancel()

    async def _copy_log(self) -> None:
        """Until all that it printed is copied; after a disk that was full, or an engine that broke off, from where it stopped."""
        while True:
            is_over = self._over.is_set()
            with contextlib.suppress(Unavailable):
                engine = self._host.engines.find()
                whole = await copy_log(engine, self._name, self._host.logs, self._instance, self._host.fence)
                if whole and is_over:
                    return
            if is_over:
                await asyncio.sleep(_AGAIN_SECONDS)
            else:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._over.wait(), _AGAIN_SECONDS)

    def _status(self, state: dict[str, Any]) -> int | None:
        if state.get("OOMKilled"):
            self._why = "was ended because it took more memory than it may have (OOM-killed)"
        elif state.get("Error"):
            self._why = f"ended: {' '.join(str(state['Error']).split())[:400]}"
        code = int(state.get("ExitCode", 0))
        return 128 - code if code - 128 in _SIGNALS else code

    async def _state(self, engine: Engine) -> dict[str, Any] | None:
        try:
            found = await engine.call("GET", f"/containers/{self._name}/json")
        except EngineRefused as refusal:
            if refusal.status == 404:
                return None
            raise
        return dict(found["State"])

    async def _remove(self) -> None:
        self._host.forget(self._name)
        try:
            self._host.fence()
            await remove(self._host.engines.find(), self._name)
        except (Unavailable, EngineRefused) as error:  # found again by its label, and removed then
            _logger.warning("Container %s cannot be removed now: %s", self._name, error)

    # --- beside it

    def _act(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._acts.add(task)
        task.add_done_callback(self._acts.discard)

    async def _signal(self, signal: str) -> None:
        """Again and again while the engine is away, or cannot: nobody else ends it."""
        while not self._ended.done():
            try:
                self._host.fence()
                await self._host.engines.find().call("POST", f"/containers/{self._name}/kill", {"signal": signal})
            except EngineRefused as refusal:
                if refusal.status in (404, 409):  # it is not there, or does not run any more
                    return
                _logger.warning("Container %s is not ended by %s: %s", self._name, signal, refusal)
                await asyncio.sleep(_AGAIN_SECONDS)
            except Unavailable as error:
                _logger.warning("Container %s: %s", self._name, error)
                await asyncio.sleep(_AGAIN_SECONDS)
            else:
                return

    async def _give_whole_share(self) -> None:
        try:
            self._host.fence()
            engine = self._host.engines.find()
            await engine.call("POST", f"/containers/{self._name}/update", body={"CpuShares": shares(self._niceness)})
        except Unavailable:
            return  # asked again
        except EngineRefused as refusal:
            _logger.warning("Container %s keeps a small share of the processor: %s", self._name, refusal)
        self._whole = True


async def remove(engine: Engine, container: str) -> None:
    """Take a container away, running or not. One that is not there: nothing."""
    try:
        await engine.call("DELETE", f"/containers/{container}", {"force": 1, "v": 1})
    except EngineRefused as refusal:
        if refusal.status not in (404, 409):  # 409: somebody else is removing it
            raise
