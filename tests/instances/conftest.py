"""The places that instances run in, for tests: this machine, and one in memory."""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.instances.container_engine import LARGE

from bannister.clock import SystemClock
from bannister.domain.instance import GroupSpec, Instance, InstancePhase
from bannister.errors import Unavailable
from bannister.ids import RandomIds
from bannister.instances import process
from bannister.instances.engine import Engine, EngineRefused, Engines
from bannister.instances.groups import GroupedInstances
from bannister.instances.images import ImageTable
from bannister.instances.local import LocalInstances
from bannister.instances.memory import Behaviour, MemoryInstances, MemoryMachine
from bannister.settings import Settings

TIMEOUT_SECONDS = 30.0
MODES = ("good", "broken", "silent", "unwell", "deaf", "family", "chatty", "environment", "hungry")
#: What containers of the tests are made from where a real engine answers: anything with a Python.
CONTAINER_IMAGE = os.environ.get("CONTAINER_IMAGE", "python:3.12-slim")


class Place:
    """Where instances run, with what a test does to them from outside."""

    #: A condition is waited for this long.
    patience_seconds = TIMEOUT_SECONDS

    def __init__(self, data_dir: Path, **changes: object) -> None:
        first = random.randrange(20000, 29000)
        values: dict[str, object] = {
            "instance_port_first": first,
            "instance_port_last": first + 500,
            "restart_backoff_seconds_min": 0.02,
            "stop_grace_seconds": 10.0,
            "health_check_interval_seconds": 0.1,
            "ping_timeout_seconds": 1.0,
            "startup_parallel_max": 4,
        } | changes
        self.settings = Settings(data_dir=data_dir, **values)  # type: ignore[arg-type]
        self.backends: list[GroupedInstances] = []

    def new_backend(self) -> GroupedInstances:
        raise NotImplementedError

    def spec(self, mode: str = "good", *, startup_timeout_seconds: float = 4 * TIMEOUT_SECONDS) -> GroupSpec:
        return GroupSpec(
            id=f"shop-{mode}/1",
            endpoint="shop",
            variant="AllTraffic",
            image=f"model:{mode}",
            artifact_dir=None,
            environment={"COLOUR": "green"},
            startup_timeout_seconds=startup_timeout_seconds,
        )

    async def until(
        self, backend: GroupedInstances, condition: Callable[[tuple[Instance, ...]], object]
    ) -> tuple[Instance, ...]:
        """Wait until the snapshot meets a condition; returns that snapshot."""
        async with asyncio.timeout(self.patience_seconds):
            while True:
                seen = backend.changed.version
                if condition(snapshot := backend.snapshot()):
                    return snapshot
                await backend.changed.wait_past(seen)

    async def until_all(self, backend: GroupedInstances, phase: InstancePhase, count: int = 1) -> tuple[Instance, ...]:
        return await self.until(backend, lambda found: [one.phase for one in found] == [phase] * count)

    async def started(self) -> GroupedInstances:
        backend = self.new_backend()
        self.backends.append(backend)
        await backend.start()
        return backend

    def pid(self, instance: str) -> int:
        raise NotImplementedError

    def crash(self, instance: str) -> None:
        raise NotImplementedError

    def hang(self, instance: str) -> None:
        raise NotImplementedError

    def wake(self, instance: str) -> None:
        raise NotImplementedError

    def start_orphan(self) -> Callable[[], bool]:
        """Start a process that nobody recorded; tells whether it runs."""
        raise NotImplementedError


class LocalPlace(Place):
    def __init__(self, data_dir: Path, **changes: object) -> None:
        super().__init__(data_dir, **changes)
        script = Path(__file__).with_name("model_server.py")
        rows = [
            f'[[image]]\nmatch = "model:{mode}"\ncommand = ["{{python}}", "{script}", "{mode}", "{{port}}"]\n'
            for mode in MODES
        ]
        self.settings.images_path.write_text("\n".join(rows))

    def new_backend(self) -> LocalInstances:
        return LocalInstances(self.settings, SystemClock(), RandomIds(), ImageTable(self.settings))

    def pid(self, instance: str) -> int:
        marks = process.marked(self.settings.data_dir)
        return next(pid for pid, name in marks.items() if name == instance and process.leads_session(pid))

    def crash(self, instance: str) -> None:
        os.kill(self.pid(instance), signal.SIGKILL)

    def hang(self, instance: str) -> None:
        os.kill(self.pid(instance), signal.SIGSTOP)

    def wake(self, instance: str) -> None:
        os.kill(self.pid(instance), signal.SIGCONT)

    def start_orphan(self) -> Callable[[], bool]:
        marks = {process.MARK_DATA_DIR: str(self.settings.data_dir), process.MARK_INSTANCE: "0badcafe"}
        orphan = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env=marks)
        deadline = time.monotonic() + 10
        while orphan.pid not in process.marked(self.settings.data_dir):  # its environment is there a moment after it
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return lambda: process.identify(orphan.pid) is not None and orphan.poll() is None


def ask(engine: Engine, method: str, path: str, query: dict[str, object] | None = None, body: object = None) -> Any:
    """Ask an engine from a test that does not wait, whether or not an event loop runs."""
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, engine.call(method, path, query, body)).result()


class ContainerPlace(Place):
    """Containers of an engine: the machine's, or `container_engine.py`."""

    def __init__(self, data_dir: Path, engine: Path, *, is_real: bool = False, **changes: object) -> None:
        super().__init__(data_dir, container_engine=str(engine), **changes)
        self.engines = Engines(str(engine))
        self.is_real = is_real
        if is_real:  # a container takes seconds where the machine is busy
            self.patience_seconds = 4 * TIMEOUT_SECONDS
        #: What the models are run from, mounted into each container.
        self.folder = Path(__file__).parent
        rows = [
            f'[[image]]\nmatch = "bannister-test/{mode}:*"\ncontainer = true\n'
            f'command = ["python3", "{{model_dir}}/model_server.py", "{mode}", "{{port}}", "0.0.0.0"]\n'
            for mode in MODES
        ]
        self.settings.images_path.write_text("\n".join(rows))

    def new_backend(self) -> LocalInstances:
        images = ImageTable(self.settings)
        return LocalInstances(self.settings, SystemClock(), RandomIds(), images, engines=self.engines, epoch=7)

    def spec(self, mode: str = "good", *, startup_timeout_seconds: float = 4 * TIMEOUT_SECONDS) -> GroupSpec:
        spec = super().spec(mode, startup_timeout_seconds=startup_timeout_seconds)
        image = spec.image if mode not in MODES else f"bannister-test/{mode}:1"
        return dataclasses.replace(spec, image=image, artifact_dir=str(self.folder))

    @property
    def engine(self) -> Engine:
        return self.engines.find()

    def ask(self, method: str, path: str, query: dict[str, object] | None = None, body: object = None) -> Any:
        return ask(self.engine, method, path, query, body)

    def container(self, instance: str) -> dict[str, Any]:
        """Raises `KeyError`: there is none."""
        label = f"bannister.instance={instance}"
        found = self.ask("GET", "/containers/json", {"all": 1, "filters": json.dumps({"label": [label]})})
        if not found:
            raise KeyError(instance)
        return dict(self.ask("GET", f"/containers/{found[0]['Id']}/json"))

    def pid(self, instance: str) -> int:
        return int(self.container(instance)["State"]["Pid"])

    def crash(self, instance: str) -> None:
        self._signal(instance, "SIGKILL")

    def hang(self, instance: str) -> None:
        self._signal(instance, "SIGSTOP")

    def wake(self, instance: str) -> None:
        self._signal(instance, "SIGCONT")

    def _signal(self, instance: str, name: str) -> None:
        self.ask("POST", f"/containers/{self.container(instance)['Id']}/kill", {"signal": name})

    def move(self, image: str) -> None:
        """The tag comes to mean another image."""
        if not self.is_real:
            self.ask("POST", "/images/create", {"fromImage": image})
            return
        name = f"bannister-move-{self.settings.instance_port_first}"
        made = self.ask("POST", "/containers/create", {"name": name}, {"Image": image, "Cmd": ["true"]})
        repo, _, tag = image.partition(":")
        self.ask("POST", "/commit", {"container": made["Id"], "repo": repo, "tag": tag}, {})
        self.ask("DELETE", f"/containers/{name}", {"force": 1})

    def start_orphan(self) -> Callable[[], bool]:
        definition = {
            "Image": "bannister-test/good:1",
            "Cmd": ["python3", "-c", "import time; time.sleep(600)"],
            "Env": [],
            "Labels": {"bannister.data-dir": str(self.settings.data_dir), "bannister.instance": "0badcafe"},
            "HostConfig": {"PortBindings": {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(self.settings.instance_port_last + 1)}]}},
        }  # fmt: skip
        if not self.is_real:
            self.ask("POST", "/images/create", {"fromImage": "bannister-test/good:1"})
        name = f"bannister-orphan-{self.settings.instance_port_first}"
        self.ask("POST", "/containers/create", {"name": name}, definition)
        self.ask("POST", f"/containers/{name}/start")

        def runs() -> bool:
            try:
                return bool(self.ask("GET", f"/containers/{name}/json")["State"]["Running"])
            except EngineRefused:
                return False

        return runs


def real_engine() -> Path | None:
    """The machine's engine, if it has one and the image that the tests need."""
    try:
        engine = Engines().find()
        ask(engine, "GET", f"/images/{CONTAINER_IMAGE}/json")
    except (Unavailable, EngineRefused):
        return None
    for mode in MODES:
        ask(engine, "POST", f"/images/{CONTAINER_IMAGE}/tag", {"repo": f"bannister-test/{mode}", "tag": "1"})
    return engine.socket


class EngineProgram:
    """A `container_engine.py` that runs, and what a test does to it."""

    def __init__(self) -> None:
        self.socket = Path(tempfile.mkdtemp(prefix="engine-", dir="/tmp")) / "engine.sock"  # a socket's path is short
        program = [sys.executable, str(Path(__file__).with_name("container_engine.py")), str(self.socket)]
        images = [f"bannister-test/{name}:1" for name in (*MODES, LARGE)]
        self._running = subprocess.Popen([*program, *images])
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not self.socket.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def pause(self) -> None:
        """It does not answer, and what it runs goes on."""
        self._running.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._running.send_signal(signal.SIGCONT)

    def end(self) -> None:
        self._running.terminate()
        self._running.wait(TIMEOUT_SECONDS)
        shutil.rmtree(self.socket.parent)


@pytest.fixture(scope="session")
def engine_program() -> Iterator[Path]:
    """The socket of a `container_engine.py` that all tests share."""
    engine = EngineProgram()
    yield engine.socket
    engine.end()


@pytest.fixture
async def place_of_own_engine(tmp_path: Path) -> AsyncIterator[tuple[ContainerPlace, EngineProgram]]:
    engine = EngineProgram()
    try:
        async for each in _lent(ContainerPlace(tmp_path, engine.socket)):
            assert isinstance(each, ContainerPlace)
            yield each, engine
            engine.resume()
    finally:
        engine.end()


@pytest.fixture(params=["container program", "container engine"])
async def container_place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ContainerPlace]:
    async for each in _lent(_place(request, tmp_path)):
        assert isinstance(each, ContainerPlace)
        yield each


class MemoryPlace(Place):
    def __init__(self, data_dir: Path, **changes: object) -> None:
        super().__init__(data_dir, **changes)
        self.machine = MemoryMachine(default=Behaviour(ready_after_seconds=0.01))
        self.machine.behaviours = {
            "model:broken": Behaviour(
                ready_after_seconds=None,
                ends_after_seconds=0.01,
                exit_status=3,
                prints=("ModuleNotFoundError: No module named 'flights'",),
            ),
            "model:silent": Behaviour(ready_after_seconds=None, prints=("still loading",)),
            "model:deaf": Behaviour(stops_after_seconds=None),
            "unknown:1": None,
            "model:cold": Behaviour(ready_after_seconds=0.01, warm_up_status=500),
            "model:sluggish": Behaviour(ready_after_seconds=0.01, warm_after_seconds=None),
        }

    def new_backend(self) -> MemoryInstances:
        return MemoryInstances(SystemClock(), RandomIds(), self.machine, self.settings)

    def pid(self, instance: str) -> int:
        return self.machine.running[instance]

    def crash(self, instance: str) -> None:
        self.machine.end(instance)

    def hang(self, instance: str) -> None:
        self.machine.hang(instance)

    def wake(self, instance: str) -> None:
        self.machine.answer(instance)

    def start_orphan(self) -> Callable[[], bool]:
        self.machine.start("0badcafe", "model:good")
        return lambda: "0badcafe" in self.machine.running


@pytest.fixture(
    params=[
        "memory",
        *(pytest.param(kind, marks=pytest.mark.real) for kind in ("local", "container program", "container engine")),
    ]
)
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """Each kind of place in turn."""
    async for each in _lent(_place(request, tmp_path)):
        yield each


def _place(request: pytest.FixtureRequest, data_dir: Path) -> Place:
    match request.param:
        case "memory":
            return MemoryPlace(data_dir)
        case "local":
            return LocalPlace(data_dir)
        case "container program":
            return ContainerPlace(data_dir, request.getfixturevalue("engine_program"))
        case _:
            return ContainerPlace(data_dir, request.getfixturevalue("machine_engine"), is_real=True)


@pytest.fixture(scope="session")
def machine_engine() -> Path:
    socket = real_engine()
    if socket is None:
        pytest.skip(f"no Docker or Podman answers here that has the image {CONTAINER_IMAGE}")
    return socket


@pytest.fixture
async def local_place(tmp_path: Path) -> AsyncIterator[LocalPlace]:
    async for each in _lent(LocalPlace(tmp_path, instance_log_bytes_max=64 * 1024)):
        assert isinstance(each, LocalPlace)
        yield each


async def _lent(place: Place) -> AsyncIterator[Place]:
    try:
        yield place
    finally:
        for backend in place.backends:
            await backend.close(stop_instances=False)
        last = place.new_backend()
        await last.start()
        await last.close(stop_instances=True)
