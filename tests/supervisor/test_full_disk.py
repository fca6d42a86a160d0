"""A disk that is full while an artifact is unpacked: nothing half-written stays, and room is waited for."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import shutil
import tarfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bannister.clock import SystemClock
from bannister.domain.endpoint import Endpoint
from bannister.domain.fleet import Fleet, Group
from bannister.domain.model import Container
from bannister.errors import Unavailable
from bannister.ids import RandomIds
from bannister.instances.memory import MemoryInstances, MemoryMachine
from bannister.metrics.memory import MemoryMetrics
from bannister.objects.memory import MemoryObjects
from bannister.settings import Settings
from bannister.signals import Signal
from bannister.state.group_record import GroupRecord
from bannister.state.memory import MemoryState
from bannister.state.store import Put, Remove
from bannister.state.tables import ENDPOINTS, GROUPS
from bannister.supervisor.artifact import unpack
from bannister.supervisor.artifacts import Artifacts
from bannister.supervisor.loop import Supervisor


class Disk:
    """Takes no more while it is full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = True
        self.refused = 0
        self._copy = shutil.copyfileobj
        monkeypatch.setattr(shutil, "copyfileobj", self._write)

    def _write(self, source, target, length):
        if self.full:
            self.refused += 1
            target.write(source.read(10))
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._copy(source, target, length)


class NoRoutes:
    """Proxies that know of no group."""

    def __init__(self) -> None:
        self.changed = Signal()

    def unrouted(self, group: str) -> bool:
        return True

    async def active_requests(self, group: str) -> int:
        return 0

    async def held(self, group: str) -> bool:
        return False

    def spared(self, group: str, address: str) -> bool:
        return True

    async def active_requests_on(self, group: str, address: str) -> int:
        return 0


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def archive() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        member = tarfile.TarInfo("model.joblib")
        member.size = 100
        tar.addfile(member, io.BytesIO(b"x" * 100))
    return packed.getvalue()


async def test_it_is_said_where_and_nothing_stays(tmp_path: Path, disk: Disk) -> None:
    (tmp_path / "model.tar.gz").write_bytes(archive())
    into = tmp_path / "artifacts"
    with pytest.raises(Unavailable, match=rf"because the disk of {into} is full \(\d+ MiB are free\)"):
        await unpack(tmp_path / "model.tar.gz", into, Settings(tmp_path))
    assert list(into.iterdir()) == []


class World:
    """A supervisor with one endpoint."""

    def __init__(self, tmp_path: Path) -> None:
        self.settings = Settings(tmp_path, restart_backoff_seconds_min=0.01, restart_backoff_seconds_max=0.02)
        self.state = MemoryState()

    @asynccontextmanager
    async def running(self, startup_timeout_seconds: float) -> AsyncIterator[None]:
        objects = MemoryObjects(2**30)
        await put(objects, archive())
        container = Container("i", "s3://models/model.tar.gz")
        group = Group("e.a.c", "e", "a", "c", "c", container, 1, 1.0, startup_timeout_seconds)
        endpoint = Endpoint("e", 0.0, 0.0, blue=Fleet("c", (group,), 0.0))
        await self.state.commit([Put(ENDPOINTS, "e", endpoint, 0)])
        clock = SystemClock()
        instances = MemoryInstances(clock, RandomIds(), MemoryMachine(), self.settings)
        await instances.start()
        artifacts, metrics = Artifacts(objects, self.settings), MemoryMetrics(self.settings)
        supervisor = Supervisor(
            self.state, instances, NoRoutes(), metrics, artifacts, clock, self.settings, self.state.epoch
        )
        task = asyncio.create_task(supervisor.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            await instances.close(stop_instances=True)

    async def group(self) -> GroupRecord | None:
        row = await self.state.get(GROUPS, "e.a.c")
        return None if row is None else row.value

    async def until(self, condition: Callable[[GroupRecord | None], bool]) -> GroupRecord | None:
        async with asyncio.timeout(30):
            while not condition(found := await self.group()):
                await asyncio.sleep(0.005)
        return found


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_room_is_waited_for(world: World, disk: Disk) -> None:
    async with world.running(startup_timeout_seconds=60.0):
        await world.until(lambda _: disk.refused >= 3)
        assert list(world.settings.artifacts_dir.glob("[!.]*")) == []
        disk.full = False
        found = await world.until(lambda group: group is not None and group.prepared)
    assert found is not None
    assert found.failure is None
    assert Path(found.artifact_dir or "", "model.joblib").read_bytes() == b"x" * 100


async def test_it_is_waited_for_as_long_as_instances_may_take_to_start(world: World, disk: Disk) -> None:
    async with world.running(startup_timeout_seconds=0.1):
        found = await world.until(lambda group: group is not None and group.failure is not None)
    assert disk.refused >= 3
    assert found is not None
    assert f"because the disk of {world.settings.artifacts_dir} is full" in (found.failure or "")
    assert list(world.settings.artifacts_dir.iterdir()) == []


async def test_nobody_waits_for_what_is_not_wanted_any_more(world: World, disk: Disk) -> None:
    async with world.running(startup_timeout_seconds=60.0):
        await world.until(lambda _: disk.refused >= 1)
        row = await world.state.get(ENDPOINTS, "e")
        assert row is not None
        await world.state.commit([Remove(ENDPOINTS, "e", row.revision)])
        await world.until(lambda group: group is None)
        await asyncio.sleep(0.05)  # what was under way
        refused = disk.refused
        await asyncio.sleep(0.2)
        assert disk.refused == refused


async def put(objects: MemoryObjects, content: bytes) -> None:
    await objects.create_bucket("models", 0.0)

    async def body() -> AsyncIterator[bytes]:
        yield content

    await objects.put("models", "model.tar.gz", body(), 0.0)
