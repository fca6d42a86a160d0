"""Instances as containers of this machine's engine (Docker, Podman), run as SageMaker runs them.

    command   `serve` (or what the image's row says), after the image's own entry point
    port      8080 inside, published to a port of its own on 127.0.0.1
    model     /opt/ml/model, the unpacked artifact, read-only
    end       SIGTERM, and SIGKILL after the grace; its exit status, and whether it had too much memory, is in the reason

A container's name is recorded before it is made, so that there is no moment in which it exists and nobody would know; it carries
the data directory, its instance and the epoch of whoever made it as labels, by which those are found that nobody knows any more. It lives on
when the control plane ends. What it prints is copied to the instance's log, and after a restart of the control plane from where the copy ended.

**The image is pinned.** A tag may come to mean something else. The first container of a group decides (pulled or not, as `container_pull` says)
which image, by its id, all of the group's containers are made from, also those that are started years later.

**The engine may be away.** Containers serve on without it where it lets them, and are not given up: what was recorded is believed until the
engine says otherwise. Only what has to be started waits for it.

**The port** is vouched for by the engine: while the container runs, nobody else can have been given it. So a ping that is answered was answered by the container.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from bannister.clock import Clock
from bannister.domain.instance import GroupSpec, Usage
from bannister.domain.instance_type import Allowance
from bannister.domain.warmup import Warmup
from bannister.errors import Unavailable
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
from bannister.instances.records import FolderRecords, PinnedImage
from bannister.instances.registry_logins import login_for
from bannister.instances.warmup import warm_up
from bannister.settings import Settings, Switch

_logger = logging.getLogger(__name__)
#: Between two attempts to reach an engine that does not answer, in seconds.
_AGAIN_SECONDS: Final = 1.0
#: What a container uses is no reason to wait for an engine that is busy.
_USAGE_SECONDS: Final = 5.0
#: What an ended container printed last is waited for this long.
_LAST_WORDS_SECONDS: Final = 5.0
#: Containers that nobody knows are looked for this often.
_SWEEP_SECONDS: Final = 60.0
_SIGNALS: Final = range(1, 65)
_FRAME_HEADER_BYTES: Final = 8
_LINE_BYTES_MAX: Final = 64 * 1024
_MESSAGE_CHARACTERS_MAX: Final = 400
_TIME: Final = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) ?")


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
        self._images = images
        self._ports = ports
        self._containers: dict[str, ContainerProcess] = {}
        #: By image: one pull at a time.
        self._pulls: dict[str, asyncio.Lock] = {}
        self._swept_at: float | None = None
        #: By the engine's socket.
        self._can_share: dict[Path, bool] = {}
        self._capabilities: dict[Path, Capability] = {}

    # --- as a host

    def start(self, record: InstanceRecord, spec: GroupSpec) -> ContainerProcess:
        run = self._images.resolve(spec.image)
        run.check_paths(spec)
        self.engines.find()
        port = self._ports.take()
        self.records.save_next_port(self._ports.next)
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

    async def image(self, engine: Engine, making: _Making) -> str:
        """The id of the image that the group runs, pulled if need be."""
        pinned = self.records.pinned_image(making.spec.id)
        if pinned is None or await _inspect_image(engine, pinned.id) is None:
            name = making.spec.image
            async with self._pulls.setdefault(name, asyncio.Lock()):
                pinned = self.records.pinned_image(making.spec.id)  # another instance may have been faster
                policy = making.run.pull or self.settings.container_pull
                if pinned is None:
                    pinned = await self._found_or_pulled(engine, name, policy)
                    self.records.pin_image(making.spec.id, pinned)
                elif await _inspect_image(engine, pinned.id) is None:
                    await self._pull_again(engine, name, pinned, policy)
        return pinned.id

    async def _found_or_pulled(self, engine: Engine, name: str, policy: str) -> PinnedImage:
        if policy != "always" and (found := await _inspect_image(engine, name)) is not None:
            return found
        if policy == "never":
            raise _Failed(f"cannot be started: the container engine has no image {name!r}, and container_pull is never")
        await self._pull(engine, name)
        found = await _inspect_image(engine, name)
        if found is None:
            raise _Failed(f"cannot be started: the image {name!r} was pulled, and is not there")
        return found

    async def _pull_again(self, engine: Engine, name: str, pinned: PinnedImage, policy: str) -> None:
        """The image that the group runs, when somebody has removed it: by its digest, never by a name that may mean another by now."""
        removed = f"cannot be started: the image {pinned.id} that this fleet runs, {name!r} when it began, was removed"
        remedy = "load it again (docker load), or update the endpoint: a new fleet takes what the name means now"
        if pinned.source is None:
            raise _Failed(f"{removed}, and no registry is known that has it: {remedy}")
        if policy == "never":
            raise _Failed(f"{removed}, and container_pull is never: docker pull {pinned.source}, {remedy}")
        try:
            await self._pull(engine, pinned.source)
        except _Failed as failure:
            why = str(failure).removeprefix("cannot be started: ")
            raise _Failed(f"{removed}, and {why}: pull it, {remedy}") from None
        if await _inspect_image(engine, pinned.id) is None:
            raise _Failed(f"{removed}, and {pinned.source} is another by its id: {remedy}")

    async def _pull(self, engine: Engine, name: str) -> None:
        self.fence()
        _logger.info("Image %s is pulled", name)
        login = await asyncio.to_thread(login_for, name, os.environ)
        instead = "" if login.why_none is None else f" {login.why_none}"
        headers = {} if login.header is None else {"X-Registry-Auth": login.header}
        seconds = self.settings.container_pull_timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                told = engine.stream("POST", "/images/create", {"fromImage": _with_tag(name)}, headers=headers)
                trouble = await _trouble(told)
        except EngineRefused as error:
            trouble = str(error)
        except TimeoutError:
            raise _Failed(f"cannot be started: the image {name!r} was not pulled within {seconds:g} seconds") from None
        if trouble is not None:
            raise _Failed(f"cannot be started: the image {name!r} cannot be pulled ({trouble}){_clause(instead)}")

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
        try:
            engine = self._host.engines.find()
            image = await self._host.image(engine, making)
            self._whole = self._whole or not await self._host.can_share(engine)
            self._host.fence()
            limits = await self._host.limits(engine, making.spec.instance_type)
            self._tell(making, limits)
            self._host.fence()
            await engine.call(
                "POST", "/containers/create", {"name": self._name}, definition(self._order(making, image, limits))
            )
            self._host.fence()
            await engine.call("POST", f"/containers/{self._name}/start")
        except EngineRefused as refusal:
            raise _Failed(f"cannot be started: the container engine says: {refusal}") from None
        except Unavailable as error:
            raise _Failed(f"cannot be started: {str(error).removesuffix('.')}") from None
        finally:
            self._prepared = True
        if self._whole:
            return
        yielded = self._host.settings.startup_yield_seconds
        self._patience = asyncio.get_running_loop().call_later(yielded, self.settle, 0)

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
                        if copying is None:
                            copying = asyncio.create_task(self._copy_log(engine))
                        await asyncio.wait([copying], timeout=_LAST_WORDS_SECONDS)
                        return self._status(state)
                    if state.get("Status") == "created":  # whoever made it ended before it was started
                        raise _Failed("was never started")
                    self._up.set()
                    if copying is None or copying.done():
                        copying = asyncio.create_task(self._copy_log(engine))
                    await engine.call("POST", f"/containers/{self._name}/wait", timeout_seconds=None)
                except Unavailable as error:
                    _logger.warning("Container %s: %s", self._name, error)
                    self._up.set()  # what was recorded is believed; a ping says more
                    await asyncio.sleep(_AGAIN_SECONDS)
        finally:
            if copying is not None:
                copying.cancel()

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

    # --- what it prints

    async def _copy_log(self, engine: Engine) -> None:
        """Until it has ended, or the engine breaks off; the next copy goes on where this one ended.

        The place is a moment and how many lines of that moment were copied: Podman's moments are whole seconds.
        """
        position = self._host.logs.copied_to(self._instance, self._name)
        at, known = position
        query = {"follow": 1, "stdout": 1, "stderr": 1, "timestamps": 1, "since": at // 10**9}
        try:
            async with contextlib.aclosing(engine.stream("GET", f"/containers/{self._name}/logs", query)) as stream:
                async for lines in _lines(_frames(stream)):
                    fresh = []
                    for moment, line in lines:
                        if moment < at or (moment == at and known > 0):
                            known -= moment == at
                            continue
                        position = moment, position[1] + 1 if moment == position[0] else 1
                        fresh.append(line)
                    if fresh:
                        self._host.fence()
                        self._host.logs.copy(self._instance, self._name, b"".join(fresh), position)
        except (Unavailable, EngineRefused) as error:
            _logger.info("The log of container %s is not copied on: %s", self._name, error)
        except OSError as error:  # a full disk
            _logger.warning("The log of container %s: %s", self._name, error)


async def remove(engine: Engine, container: str) -> None:
    """Take a container away, running or not. One that is not there: nothing."""
    try:
        await engine.call("DELETE", f"/containers/{container}", {"force": 1, "v": 1})
    except EngineRefused as refusal:
        if refusal.status not in (404, 409):  # 409: somebody else is removing it
            raise


async def _inspect_image(engine: Engine, name: str) -> PinnedImage | None:
    try:
        found = await engine.call("GET", f"/images/{quote(name, safe='/:@')}/json")
    except EngineRefused as refusal:
        if refusal.status == 404:
            return None
        raise
    return PinnedImage(str(found["Id"]), next(map(str, found.get("RepoDigests") or ()), None))


def _clause(sentence: str) -> str:
    """A sentence as what ends another."""
    return sentence if not sentence else f".{sentence.removesuffix('.')}"


def _with_tag(name: str) -> str:
    """Without one, an engine would pull every tag."""
    last = name.rpartition("/")[2]
    return name if ":" in last or "@" in last else f"{name}:latest"


async def _trouble(told: AsyncGenerator[bytes, None]) -> str | None:
    """What went wrong in a pull whose answer had begun with 200; None: nothing. It is told line by line, and of many layers, or slow ones, there are any number."""
    found, rest = None, b""
    async with contextlib.aclosing(told) as stream:
        async for piece in stream:
            *lines, rest = (rest + piece).split(b"\n")
            found = next(filter(None, map(_error, lines)), found)
            rest = rest[-_LINE_BYTES_MAX:]
    return _error(rest) or found


def _error(line: bytes) -> str | None:
    with contextlib.suppress(ValueError):
        said = json.loads(line) if b'"error"' in line else None
        if isinstance(said, dict) and "error" in said:
            return " ".join(str(said["error"]).split())[:_MESSAGE_CHARACTERS_MAX]
    return None


async def _frames(stream: AsyncIterator[bytes]) -> AsyncIterator[tuple[int, bytes]]:
    """The pieces of an engine's log: which stream (1 standard output, 2 errors), and what was printed."""
    buffer = b""
    async for piece in stream:
        buffer += piece
        while len(buffer) >= _FRAME_HEADER_BYTES:
            end = _FRAME_HEADER_BYTES + int.from_bytes(buffer[4:8], "big")
            if len(buffer) < end:
                break
            yield buffer[0], buffer[_FRAME_HEADER_BYTES:end]
            buffer = buffer[end:]


async def _lines(frames: AsyncIterator[tuple[int, bytes]]) -> AsyncIterator[list[tuple[int, bytes]]]:
    """Whole lines with the moment of each, in nanoseconds; as many at once as a piece of the log brings."""
    rest: dict[int, bytes] = {}
    at = 0
    async for stream, text in frames:
        *whole, left = (rest.pop(stream, b"") + text).split(b"\n")
        if len(left) > _LINE_BYTES_MAX:
            whole, left = [*whole, left], b""
        if left:
            rest[stream] = left
        lines = []
        for line in whole:
            found = _TIME.match(line)
            if found is not None:
                at, line = _nanoseconds(found), line[found.end() :]
            lines.append((at, line + b"\n"))
        if lines:
            yield lines
    if rest:  # its last words may have no end of line
        last = []
        for left in rest.values():
            found = _TIME.match(left)
            last.append((_nanoseconds(found), left[found.end() :]) if found is not None else (at, left))
        yield last


def _nanoseconds(found: re.Match[bytes]) -> int:
    moment = datetime.fromisoformat((found[1] + (b"+00:00" if found[3] == b"Z" else found[3])).decode())
    return round(moment.timestamp()) * 10**9 + int((found[2] or b"0").ljust(9, b"0"))
