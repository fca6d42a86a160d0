"""Where the instances of one machine run: as processes, or as containers where it has an engine. The image of each says which."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bannister.domain.instance import GroupSpec, Usage
from bannister.domain.warmup import Warmup
from bannister.instances.containers import ContainerHost
from bannister.instances.host import Host, InstanceRecord, Process
from bannister.instances.process import Identity


class MachineHost:
    """A `Host` of two: whatever an instance was, after a change of the image table its next start may be of the other kind."""

    def __init__(self, processes: Host, containers: ContainerHost, is_container: Callable[[str], bool]) -> None:
        """`is_container`: whether an image is run by the engine; raises `Invalid` where nobody can run it."""
        self._processes = processes
        self._containers = containers
        self._is_container = is_container

    async def prepare(self, record: InstanceRecord, spec: GroupSpec, waits: Callable[[str], None]) -> None:
        """What an artifact requires is added to our interpreters; a container brings what it needs."""
        if self._is_container(spec.image):
            record.environment = None
        else:
            await self._processes.prepare(record, spec, waits)

    def start(self, record: InstanceRecord, spec: GroupSpec) -> Process:
        if self._is_container(spec.image):
            return self._containers.start(record, spec)
        record.container = None
        return self._processes.start(record, spec)

    def adopt(self, records: list[InstanceRecord]) -> Mapping[str, Process]:
        # Processes first: their host ends all that nobody recorded.
        processes = self._processes.adopt([one for one in records if one.container is None])
        containers = self._containers.adopt([one for one in records if one.container is not None])
        return {**processes, **containers}

    def give_back_port(self, port: int) -> None:
        self._processes.give_back_port(port)

    def end_strays(self, known: set[str]) -> None:
        self._processes.end_strays(known)
        self._containers.end_strays(known)

    async def usage(self, processes: Mapping[str, Identity]) -> Mapping[str, Usage]:
        return {**await self._processes.usage(processes), **await self._containers.usage()}

    async def warmup(self, spec: GroupSpec) -> Warmup:
        return await self._processes.warmup(spec)

    async def tend_memory(self) -> None:
        await self._processes.tend_memory()

    async def tend_logs(self) -> None:
        await self._processes.tend_logs()
        await self._containers.tend()
