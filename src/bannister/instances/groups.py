"""Groups of instances, kept at their count: the part of a backend that does not depend on where instances run.

Level-triggered: whatever happens, the instances that are neither draining, stopping nor gone are compared with the count that is
wanted, and started or drained. An instance counts until it is evicted or its group shrinks, also when it has failed.

A group that shrinks stops nothing by itself. Those that are too many are marked as draining and go on answering; whoever knows the traffic
evicts them when they have nothing left to answer. Only one that has never answered `/ping`, and so has never had a request, goes at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bannister.clock import Clock
from bannister.domain.instance import GroupSpec, Instance, InstancePhase, Usage
from bannister.errors import Fenced, Invalid
from bannister.ids import Ids
from bannister.instances.host import GroupRecord, Host, InstanceRecord, Process, Records
from bannister.instances.life import Life, Surroundings
from bannister.settings import Settings
from bannister.signals import Signal

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Group:
    record: GroupRecord
    #: Instances that may be starting at the same time.
    turns: asyncio.Semaphore


@dataclass(slots=True)
class _Member:
    life: Life
    #: None: nobody wants it any more.
    group: _Group | None
    running: asyncio.Task[None] | None = None
    ending: asyncio.Task[None] | None = field(default=None)


class GroupedInstances:
    """An `InstanceBackend` over a host and its records."""

    def __init__(self, settings: Settings, clock: Clock, ids: Ids, records: Records, host: Host) -> None:
        self._settings = settings
        self._ids = ids
        self._records = records
        self._host = host
        self._changed = Signal()
        self._around = Surroundings(settings, clock, records, host, self._changed.announce)
        self._epoch = 0
        self._sequence = 0
        self._groups: dict[str, _Group] = {}
        self._members: dict[str, _Member] = {}
        self._tending: tuple[asyncio.Task[None], ...] = ()
        self._closed = False

    @property
    def changed(self) -> Signal:
        return self._changed

    async def start(self) -> None:
        remembered = self._records.load()
        self._epoch = remembered.epoch
        self._groups = {record.spec.id: self._group(record) for record in remembered.groups}
        processes = self._host.adopt(remembered.instances)
        for record in remembered.instances:
            self._sequence = max(self._sequence, record.sequence)
            if record.id not in processes:
                record.first_started_at = None  # nobody was there to start it: its time begins anew
            self._remember(record, processes.get(record.id))
        await asyncio.gather(*(member.life.look() for member in self._members.values()))
        for member in list(self._members.values()):
            if member.group is None or member.life.record.stopping:
                self._end(member)
            else:
                self._run(member)
        for group in self._groups.values():
            self._keep_count(group)
        logs, memory = self._settings.instance_log_check_seconds, self._settings.instance_memory_check_seconds
        self._tending = (
            asyncio.create_task(self._every(logs, self._host.tend_logs, "logs")),
            asyncio.create_task(self._every(memory, self._host.tend_memory, "memory")),
        )
        self._changed.announce()

    async def ensure(self, spec: GroupSpec, count: int, epoch: int) -> None:
        self._check(epoch)
        group = self._groups.get(spec.id)
        if group is None:
            group = self._group(GroupRecord(spec, count))
            self._records.save_group(group.record)
            self._groups[spec.id] = group
        elif group.record.spec != spec:
            raise Invalid(f"The group {spec.id} exists and runs something else; a group never changes.")
        elif group.record.count != count:
            self._records.save_group(GroupRecord(spec, count))
            group.record.count = count
        self._keep_count(group)

    async def remove(self, group: str, epoch: int) -> None:
        self._check(epoch)
        known = self._groups.pop(group, None)
        if known is not None:
            self._records.forget_group(group)
            for member in [one for one in self._members.values() if one.group is known]:
                self._end(member)

    async def evict(self, instance: str, epoch: int) -> None:
        self._check(epoch)
        member = self._members.get(instance)
        if member is not None and member.ending is None:
            self._end(member)
            if member.group is not None:
                self._keep_count(member.group)

    def snapshot(self) -> tuple[Instance, ...]:
        return tuple([member.life.shown for member in self._members.values()])

    async def usage(self) -> Mapping[str, Usage]:
        records = [member.life.record for member in self._members.values()]
        found = await self._host.usage({one.id: one.process for one in records if one.process is not None})
        may = {one.id: one.memory_bytes for one in records}
        return {name: replace(used, memory_bytes=may.get(name)) for name, used in found.items()}

    async def log_tail(self, instance: str, lines: int) -> list[str]:
        return self._records.log_tail(instance, lines)

    def hurry(self) -> None:
        """While it is being closed: what still ends gets no more time for it."""
        self._around.hurry.announce()

    async def close(self, *, stop_instances: bool) -> None:
        self._closed = True
        await _cancelled(*self._tending)
        if stop_instances:
            for group in list(self._groups):
                self._records.forget_group(group)
            self._groups.clear()
            for member in list(self._members.values()):
                self._end(member)
            await asyncio.gather(*(member.ending for member in list(self._members.values()) if member.ending))
            self._host.end_strays(set())
        members = list(self._members.values())
        await _cancelled(*(task for member in members for task in (member.running, member.ending)))
        for member in members:
            member.life.leave()

    # --- groups

    def _check(self, epoch: int) -> None:
        if self._closed:
            raise Fenced("This backend has been closed.")
        if epoch < self._epoch:
            raise Fenced(f"Epoch {epoch} has been succeeded by {self._epoch}.")
        if epoch > self._epoch:
            self._records.save_epoch(epoch)
            self._epoch = epoch

    def _group(self, record: GroupRecord) -> _Group:
        return _Group(record, asyncio.Semaphore(self._settings.startup_parallel_max))

    def _wanted(self, group: _Group) -> list[_Member]:
        """The group's instances that are to stay, oldest first."""
        return [
            member
            for member in self._members.values()
            if member.group is group and member.ending is None and not member.life.record.draining
        ]

    def _keep_count(self, group: _Group) -> None:
        members = self._wanted(group)
        by_use = sorted(members, key=lambda member: member.life.shown.phase is not InstancePhase.READY)
        for member in by_use[max(group.record.count, 0) :]:
            if member.life.record.answered:
                member.life.begin_to_drain()
            else:
                self._end(member)
        for _ in range(group.record.count - len(members)):
            self._add(group)

    # --- instances

    def _add(self, group: _Group) -> None:
        self._sequence += 1
        identity = self._ids.short()
        while identity in self._members:
            identity = self._ids.short()
        spec = group.record.spec
        record = InstanceRecord(identity, spec.id, self._sequence, spec.endpoint, spec.variant)
        self._records.save_instance(record)
        self._run(self._remember(record, None))
        self._changed.announce()

    def _remember(self, record: InstanceRecord, process: Process | None) -> _Member:
        group = self._groups.get(record.group)
        spec = group.record.spec if group else _unknown_spec(record.group)
        record.endpoint, record.variant = record.endpoint or spec.endpoint, record.variant or spec.variant
        turns = group.turns if group else asyncio.Semaphore()

        def others() -> list[Instance]:
            wanted = self._wanted(group) if group else []
            return [one.life.shown for one in wanted if one.life.record is not record]

        member = _Member(Life(self._around, record, spec, turns, process, others), group)
        self._members[record.id] = member
        return member

    def _run(self, member: _Member) -> None:
        member.running = asyncio.create_task(self._contain(member.life.run(), member.life.record.id))

    def _end(self, member: _Member) -> None:
        if member.ending is None:
            member.life.begin_to_end()
            member.ending = asyncio.create_task(self._contain(self._see_off(member), member.life.record.id))

    async def _see_off(self, member: _Member) -> None:
        await _cancelled(member.running)
        await member.life.end()
        self._records.forget_instance(member.life.record.id)
        del self._members[member.life.record.id]
        self._changed.announce()

    async def _contain(self, work: Coroutine[Any, Any, None], instance: str) -> None:
        try:
            await work
        except Exception:  # one instance's trouble (a full disk) must not end the others
            _logger.exception("Instance %s is no longer looked after", instance)

    async def _every(self, seconds: float, tend: Callable[[], Awaitable[None]], what: str) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await tend()
            except Exception:  # whatever the reason: the next look may succeed, and without any there is no bound
                _logger.exception("The %s of instances could not be looked after", what)


def _unknown_spec(group: str) -> GroupSpec:
    """For an instance that is found without its group: enough to end it."""
    return GroupSpec(id=group, endpoint="", variant="", image="", artifact_dir=None)


async def _cancelled(*tasks: asyncio.Task[None] | None) -> None:
    given = [task for task in tasks if task is not None]
    for task in given:
        task.cancel()
    if given:
        await asyncio.wait(given)  # unlike awaiting a task, this raises only if we are cancelled ourselves
