"""The control plane of a simulation: the real loops over the in-memory world, and the points at which it can be made to crash."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.simulation.listeners import ADDRESSES
from tests.simulation.room import GatedAdmin
from tests.simulation.telemetry import Feed

from bannister.announcer.loop import Announcer
from bannister.app import experiment_limits
from bannister.aws.runtime_errors import runtime_texts
from bannister.collector.instructing import instruct_capture
from bannister.deployer.loop import Deployer
from bannister.domain.deployment.observation import Limits
from bannister.domain.fleet import Traits
from bannister.domain.instance import GroupSpec
from bannister.domain.routing import Forwarding, Members, Mirror
from bannister.envoy.discovery import Response, Stream
from bannister.envoy.memory import MemoryDiscovery
from bannister.envoy.resources.names import LISTENER, SHADOW_LISTENER
from bannister.envoy.resources.shadow import Size
from bannister.envoy.snapshot import Snapshot
from bannister.errors import Invalid
from bannister.evaluator.loop import Evaluator
from bannister.experimenter.loop import Experimenter
from bannister.instances.memory import MemoryInstances
from bannister.operations.context import Context
from bannister.publisher.following import follow_endpoints
from bannister.publisher.publisher import Publisher
from bannister.state.memory import MemoryMedium, MemoryState
from bannister.state.store import Put, Record, Remove
from bannister.state.tables import COMPARISON_RULES, ENDPOINTS
from bannister.supervisor.loop import Supervisor

if TYPE_CHECKING:
    from tests.simulation.world import World


@dataclass(frozen=True)
class Parts:
    """What a control plane is built of; a mutation replaces one."""

    deployer: Callable[..., Any] = Deployer
    evaluator: Callable[..., Any] = Evaluator
    supervisor: Callable[..., Any] = Supervisor
    publisher: Callable[..., Any] = Publisher
    experimenter: Callable[..., Any] = Experimenter
    announcer: Callable[..., Any] = Announcer


#: The same for every control plane that starts.
_texts = cache(runtime_texts)


class Ended(BaseException):
    """The process ends here: `os._exit`."""


class ControlPlane:
    """One process: born with the next epoch, it runs until it is killed, fenced, or a loop of it fails."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.process = world.loop.process(f"control plane {number}")
        self.number = number
        self.context: Context | None = None
        self.discovery: GatedDiscovery | None = None
        self.feed: Feed | None = None
        self._epoch = 0

    def start(self) -> None:
        self.world.loop.spawn(self.process, self._run())

    def fence(self) -> None:
        """As the product's: a process that was replaced ends before it acts."""
        self.end_if_replaced()
        if self.world.acts(self):
            raise Ended

    def end_if_replaced(self) -> None:
        """The fence alone: what goes to a proxy is no act of an instance's backend, at each of which it may be made to end."""
        if self.world.medium.epoch != self._epoch and not self.world.loop.over:
            self.world.kill_plane(self, "finds that it was replaced, and ends")
            raise Ended

    async def _run(self) -> None:
        world, settings, clock = self.world, self.world.settings, self.world.clock
        gate = Gate(world, self)
        state = GatedState(MemoryState(world.medium), gate)
        self._epoch = state.epoch
        instances = GatedInstances(MemoryInstances(clock, world.ids, world.machine, settings, self.fence), gate)
        self.discovery = GatedDiscovery(world, self)
        texts = _texts(settings.account_id, settings.invocation_body_bytes_max)
        parts = world.parts
        publisher = parts.publisher(
            settings, instances, texts, clock, self.discovery, self._admin_of(gate), NoMessages()
        )
        self.feed = Feed(world.telemetry, lambda: world.metrics.skipped_account)
        evaluator = parts.evaluator(state, world.metrics, self.feed, clock, settings)
        artifacts = MemoryArtifacts(world)
        supervisor = parts.supervisor(
            state, instances, publisher, world.metrics, artifacts, clock, settings, state.epoch
        )
        limits = Limits(settings.alarm_clear_timeout_seconds, settings.blind_timeout_seconds)
        deployer = parts.deployer(
            state, instances, publisher, evaluator, clock, limits, settings.turn_seconds, world.metrics
        )
        experimenter = parts.experimenter(state, clock, world.ids, experiment_limits(settings), settings.turn_seconds)
        await instances.start()
        self.context = Context(
            state=state,  # type: ignore[arg-type]
            metrics=world.metrics,
            objects=None,  # type: ignore[arg-type]
            clock=clock,
            ids=world.ids,
            settings=settings,
            image_refusal=lambda image: "Nobody can run it." if image == "refused" else None,
            ready_instances=dict,
        )
        self.up_at = world.loop.time()
        world.note("plane", f"{self.number} is up with epoch {state.epoch}")
        loops = [
            publisher.run(), follow_endpoints(publisher, state, settings.state_read_again_seconds), evaluator.run(), supervisor.run(), deployer.run(),
            experimenter.run(),
        ]  # fmt: skip
        if world.shadows is not None:
            line = world.shadows.capture.line(world, self.process)
            loops += [line.run(), instruct_capture(line, EndpointsAlone(state, world.medium))]  # type: ignore[arg-type]
        listeners = world.listeners
        if listeners is not None:

            async def post(url: str, body: str, _timeout_seconds: float) -> int:
                return await listeners.post(world, url, body)

            told = replace(settings, event_webhooks=ADDRESSES)
            loops.append(parts.announcer(state, clock, told, self.fence, post).run())
        tasks = [asyncio.create_task(work) for work in loops]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                world.plane_ended(self, task.exception())
                return

    def _admin_of(self, gate: Gate) -> Callable[[str], Any]:
        world, known = self.world, dict[str, GatedAdmin]()

        def admin_of(node: str) -> Any:
            if world.room is None:
                return world.network.proxies[node]
            return known.get(node) or known.setdefault(node, GatedAdmin(world, self, gate, world.network.proxies[node]))

        return admin_of


class Gate:
    """Every write of a control plane goes through here: a place to crash at, before it and after it."""

    def __init__(self, world: World, plane: ControlPlane) -> None:
        self._world = world
        self._plane = plane

    async def reach(self, point: str) -> None:
        if self._world.reached(self._plane, point):
            await asyncio.get_running_loop().create_future()  # dead: nothing follows


class GatedState:
    """A state whose commits are crash points."""

    def __init__(self, state: MemoryState, gate: Gate) -> None:
        self._state = state
        self._gate = gate
        self.epoch = state.epoch
        self.changed = state.changed
        self.get, self.rows, self.sequence = state.get, state.rows, state.sequence
        self.journal, self.newest_numbers = state.journal, state.newest_numbers

    async def commit(
        self,
        writes: Sequence[Put[Any] | Remove] = (),
        records: Sequence[Record] = (),
        *,
        at_sequence: int | None = None,
    ) -> int:
        what = " ".join([*(f"{write.table.name}/{write.key}" for write in writes), *(one.kind for one in records)])
        await self._gate.reach(f"before commit {what}")
        sequence = await self._state.commit(writes, records, at_sequence=at_sequence)
        self._gate._world.committed(self._gate._plane, writes, records)
        await self._gate.reach(f"after commit {what}")
        return sequence

    async def close(self) -> None:
        await self._state.close()


class EndpointsAlone:
    """A state of which only what instructions are made from changes: to make them again after every change, and every second, would cost a fifteenth of all the time."""

    def __init__(self, state: GatedState, medium: MemoryMedium) -> None:
        self._state, self._medium = state, medium
        self.rows, self.changed = state.rows, self

    @property
    def version(self) -> int:
        writes = self._medium.writes
        return writes.get(ENDPOINTS.name, 0) + writes.get(COMPARISON_RULES.name, 0)

    async def wait_past(self, seen: int, timeout_seconds: float | None = None) -> None:
        del timeout_seconds  # this medium never fails
        changed = self._state.changed
        while self.version == seen:
            await changed.wait_past(changed.version)


class GatedInstances:
    """A backend whose effects are crash points."""

    def __init__(self, instances: MemoryInstances, gate: Gate) -> None:
        self._instances = instances
        self._gate = gate
        self.changed, self.snapshot = instances.changed, instances.snapshot

    async def start(self) -> None:
        await self._instances.start()

    async def ensure(self, spec: GroupSpec, count: int, epoch: int) -> None:
        await self._around(f"ensure {spec.id}", self._instances.ensure(spec, count, epoch))

    async def remove(self, group: str, epoch: int) -> None:
        await self._around(f"remove {group}", self._instances.remove(group, epoch))

    async def evict(self, instance: str, epoch: int) -> None:
        await self._around(f"evict {instance}", self._instances.evict(instance, epoch))

    async def log_tail(self, instance: str, lines: int) -> list[str]:
        return await self._instances.log_tail(instance, lines)

    async def close(self, *, stop_instances: bool) -> None:
        await self._instances.close(stop_instances=stop_instances)

    async def _around(self, what: str, effect: Awaitable[None]) -> None:
        await self._gate.reach(f"before {what}")
        await effect
        await self._gate.reach(f"after {what}")


class GatedDiscovery(MemoryDiscovery):
    """A discovery service whose publications are crash points, with the product's fence before everything that it sends."""

    def __init__(self, world: World, plane: ControlPlane) -> None:
        super().__init__(world.network, world.settings.proxy_lease_seconds, world.clock, world.network.proxies)
        self._world = world
        self._plane = plane

    def open(self, write: Callable[[Response], Awaitable[None]]) -> Stream:
        async def send(response: Response) -> None:
            await self._pass_fence()
            self._world.checker.acted(f"send {response.kind.name.lower()} to a proxy")
            await write(response)

        return super().open(send)

    async def _pass_fence(self) -> None:
        try:
            self._plane.end_if_replaced()
        except Ended:
            self._world.counts["fenced towards a proxy"] += 1
            await asyncio.get_running_loop().create_future()  # dead: nothing follows

    def publish(self, snapshot: Snapshot) -> None:
        if not self._world.reached(self._plane, "before publish"):
            self._world.checker.published(self._plane, snapshot)
            super().publish(snapshot)
            self._world.reached(self._plane, "after publish")


class NoMessages:
    """Proxies in memory read what a resource is about; making the messages for Envoy would take a seventh of all the time."""

    def listeners(self) -> dict[str, None]:
        return {LISTENER: None, SHADOW_LISTENER: None}

    def cluster(self, group: str, traits: Traits) -> Traits:
        return traits

    def hop(self, mirror: Mirror, size: Size) -> None:
        pass

    def members(self, group: str, members: Members) -> None:
        pass

    def route_table(self, forwardings: Mapping[str, Forwarding]) -> None:
        pass


class MemoryArtifacts:
    """Artifacts that are there at once, later, or broken; see `bannister.supervisor.artifacts.Artifacts`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._busy = asyncio.Lock()

    @asynccontextmanager
    async def obtained(self, url: str, _code_url: str | None = None) -> AsyncIterator[Path]:
        async with self._busy:
            if url.startswith("s3://slow/"):
                await asyncio.sleep(1.5)
            if url.startswith("s3://broken/"):
                raise Invalid("It is not an archive.")
            if url.startswith("s3://full/"):
                raise OSError("No space left on device")
            yield Path("/artifacts") / url.removeprefix("s3://")

    async def sweep(self, in_use: Callable[[], Awaitable[set[str]]]) -> None:
        async with self._busy:
            await in_use()
