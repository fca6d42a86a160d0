"""What the supervisor's loop may not be held up by, and what it may not be misled by."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from bannister.clock import SystemClock
from bannister.domain.endpoint import Endpoint
from bannister.domain.fleet import Fleet, Group
from bannister.domain.instance import InstancePhase
from bannister.domain.model import Container
from bannister.ids import RandomIds
from bannister.instances.memory import MemoryInstances, MemoryMachine
from bannister.metrics.memory import MemoryMetrics
from bannister.objects.memory import MemoryObjects
from bannister.settings import Settings
from bannister.signals import Signal
from bannister.state.memory import MemoryState
from bannister.state.store import Put
from bannister.state.tables import ENDPOINTS, GROUPS
from bannister.supervisor.artifacts import Artifacts
from bannister.supervisor.loop import Supervisor


class Clock(SystemClock):
    ahead_seconds = 0.0
    later_seconds = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.later_seconds

    def now(self) -> float:
        return super().now() + self.ahead_seconds


class Proxies:
    """They route to nobody any more, and have requests in flight."""

    def __init__(self) -> None:
        self.changed = Signal()
        self.in_flight = 0
        self.holds = False

    def unrouted(self, group: str) -> bool:
        return True

    async def active_requests(self, group: str) -> int:
        return self.in_flight

    async def held(self, group: str) -> bool:
        return self.holds

    def spared(self, group: str, address: str) -> bool:
        return True

    async def active_requests_on(self, group: str, address: str) -> int:
        return self.in_flight


class BusyArtifacts(Artifacts):
    """Something is unpacked, which takes long."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(MemoryObjects(2**30), settings)
        self.sweeps = 0
        self.unpacked = asyncio.Event()
        self.unpacked.set()

    async def sweep(self, in_use: Callable[[], Awaitable[set[str]]]) -> None:
        self.sweeps += 1
        await self.unpacked.wait()
        await super().sweep(in_use)


class World:
    """A supervisor, and the endpoints that it looks after."""

    def __init__(self, tmp_path: Path) -> None:
        self.settings = Settings(
            tmp_path, drain_poll_seconds=0.01, drain_timeout_seconds=20.0, stream_drain_timeout_seconds=20.0
        )
        self.state = MemoryState()
        self.clock = Clock()
        self.proxies = Proxies()
        self.artifacts = BusyArtifacts(self.settings)
        self.instances = MemoryInstances(self.clock, RandomIds(), MemoryMachine(), self.settings)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        await self.instances.start()
        supervisor = Supervisor(
            self.state,
            self.instances,
            self.proxies,
            MemoryMetrics(self.settings),
            self.artifacts,
            self.clock,
            self.settings,
            epoch=1,
        )
        task = asyncio.create_task(supervisor.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            await self.instances.close(stop_instances=True)

    async def endpoint(self, name: str) -> None:
        group = Group(f"{name}.a.c", name, "a", "c", "c", Container("i"), 1, 1.0, 60.0)
        await self.state.commit([Put(ENDPOINTS, name, Endpoint(name, 0.0, 0.0, blue=Fleet("c", (group,), 0.0)), 0)])
        await until(lambda: name in self.ready())

    def ready(self) -> set[str]:
        return {one.group.partition(".")[0] for one in self.instances.snapshot() if one.phase is InstancePhase.READY}

    async def delete(self, name: str) -> None:
        row = await self.state.get(ENDPOINTS, name)
        assert row is not None
        await self.state.commit([Put(ENDPOINTS, name, replace(row.value, deleting=True), row.revision)])


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_what_is_unpacked_for_one_endpoint_holds_up_no_other(tmp_path: Path) -> None:
    """What no group uses any more is removed when that is over: a rolling update that goes back cannot wait for it."""
    world = World(tmp_path)
    async with world.running():
        await world.endpoint("gone")
        world.artifacts.unpacked.clear()
        swept = world.artifacts.sweeps
        await world.delete("gone")
        await until(lambda: world.artifacts.sweeps > swept)
        await world.endpoint("new")
        assert not world.artifacts.unpacked.is_set()


async def test_a_clock_that_is_set_forward_cuts_no_request(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with world.running():
        await world.endpoint("e")
        world.proxies.in_flight = 1
        await world.delete("e")
        await _until_retiring(world)
        world.clock.ahead_seconds = 3600.0
        for _ in range(20):  # of its turns
            world.proxies.changed.announce()
            await asyncio.sleep(0.01)
        assert world.ready() == {"e"}
        world.proxies.in_flight = 0
        await until(lambda: not world.instances.snapshot())


async def test_who_waits_for_a_body_is_waited_for_and_not_for_ever(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.proxies.holds = True
    async with world.running():
        await world.endpoint("e")
        await world.delete("e")
        await _until_retiring(world)
        for _ in range(20):  # of its turns
            world.proxies.changed.announce()
            await asyncio.sleep(0.01)
        assert world.ready() == {"e"}
        world.clock.later_seconds = world.settings.drain_timeout_seconds
        await until(lambda: not world.instances.snapshot())
        cut = [one.body for one in await world.state.journal() if one.kind == "group.drain_cut"]
        assert cut == [{"group": "e.a.c", "requests": None}]


async def _until_retiring(world: World) -> None:
    async with asyncio.timeout(10):
        while True:
            rows = await world.state.rows(GROUPS)
            if rows and rows[0].value.retiring_since is not None:
                return
            await asyncio.sleep(0.005)
