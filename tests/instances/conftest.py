"""The places that instances run in, for tests: this machine, and one in memory."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from bannister.clock import SystemClock
from bannister.domain.instance import GroupSpec, Instance, InstancePhase
from bannister.ids import RandomIds
from bannister.instances import process
from bannister.instances.groups import GroupedInstances
from bannister.instances.images import ImageTable
from bannister.instances.local import LocalInstances
from bannister.instances.memory import Behaviour, MemoryInstances, MemoryMachine
from bannister.settings import Settings

TIMEOUT_SECONDS = 30.0


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

    def spec(self, mode: str = "good", *, startup_timeout_seconds: float = TIMEOUT_SECONDS) -> GroupSpec:
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
        modes = ("good", "broken", "silent", "unwell", "deaf", "family", "chatty", "environment", "hungry")
        rows = [
            f'[[image]]\nmatch = "model:{mode}"\ncommand = ["{{python}}", "{script}", "{mode}", "{{port}}"]\n'
            for mode in modes
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


@pytest.fixture(params=[pytest.param("local", marks=pytest.mark.real), "memory"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """Each kind of place in turn."""
    kind = LocalPlace if request.param == "local" else MemoryPlace
    async for each in _lent(kind(tmp_path)):
        yield each


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
