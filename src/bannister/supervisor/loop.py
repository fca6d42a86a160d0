"""The supervisor's loop: which groups should exist, which do, and the way from one to the other.

A group is *wanted* while an endpoint's fleet or deployment needs it (`bannister.domain.routing.wanted_instances`). What is wanted is prepared
(its artifact fetched and unpacked) and its instances are ensured. Those that it then has too many drain: they are evicted once no proxy
sends them anything new and their requests in flight have ended, or the drain time-out has passed. What is no longer wanted retires, in this order:

1. no proxy routes to it any more (every registered proxy has acknowledged routes without it),
2. its requests in flight have ended, or the time that they are given has passed. After `drain_timeout_seconds` only streams can be left of those
   that are counted, and these are given `stream_drain_timeout_seconds`. Copies are waited for by no caller: a shadow is given `shadow_timeout_seconds`,
   however long it goes on,
3. its instances are stopped,
4. its record is removed, and its artifact when no other group uses it.

An endpoint that is being deleted is removed when its last group is gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from bannister.clock import Clock
from bannister.domain.endpoint import Endpoint
from bannister.domain.fleet import Fleet, Group
from bannister.domain.instance import GroupSpec, Instance, InstancePhase
from bannister.domain.routing import wanted_instances
from bannister.errors import BannisterError, Conflict, Fenced, Refused, Unavailable
from bannister.instances.backend import InstanceBackend
from bannister.metrics.store import GroupDimensions, MetricStore
from bannister.settings import Settings
from bannister.signals import Signal, wait_any
from bannister.state.endpoint_change import endpoint_removal
from bannister.state.group_record import GroupRecord
from bannister.state.store import Put, Record, Remove, Row, State
from bannister.state.tables import ENDPOINTS, GROUPS
from bannister.supervisor.artifacts import Artifacts

log = logging.getLogger(__name__)


class Routes(Protocol):
    """What the supervisor asks the publisher."""

    @property
    def changed(self) -> Signal: ...

    def unrouted(self, group: str) -> bool:
        """No route of any registered proxy names the group."""
        ...

    async def active_requests(self, group: str) -> int:
        """Requests in flight on the group, over all proxies."""
        ...

    async def held(self, group: str) -> bool:
        """Whether a proxy may hold requests for a group that is unrouted, which nobody counts yet."""
        ...

    def spared(self, group: str, address: str) -> bool:
        """No registered proxy sends an instance that drains anything new."""
        ...

    async def active_requests_on(self, group: str, address: str) -> int:
        """Requests in flight on one instance, over all proxies."""
        ...


class Supervisor:
    """Brings about the groups that endpoints want. One per data directory; `run` it as a task."""

    def __init__(
        self,
        state: State,
        instances: InstanceBackend,
        routes: Routes,
        metrics: MetricStore,
        artifacts: Artifacts,
        clock: Clock,
        settings: Settings,
        epoch: int,
    ) -> None:
        self._state = state
        self._instances = instances
        self._routes = routes
        self._metrics = metrics
        self._artifacts = artifacts
        self._clock = clock
        self._settings = settings
        self._epoch = epoch
        self._preparing: dict[str, asyncio.Task[None]] = {}
        #: By group: how many instances it was told to have.
        self._ensured: dict[str, int] = {}
        #: By instance: since when we have known that it drains (monotonic seconds).
        self._draining_since: dict[str, float] = {}
        #: By group that nobody wants: since when we have known it unrouted (monotonic seconds). The machine's clock may be set while requests are in flight.
        self._retiring_since: dict[str, float] = {}
        self._removed: set[str] = set()
        #: Removes the artifacts that no group uses, beside the loop: what is unpacked meanwhile holds it up for as long as that takes.
        self._sweeping: asyncio.Task[None] | None = None
        self._sweep_again = False
        #: As they were at the last turn, and what they ask for.
        self._endpoint_rows: list[Row[Endpoint]] = []
        self._wanted = _wanted(())

    async def run(self) -> None:
        """Until cancelled, or fenced by another process."""
        signals = (self._state.changed, self._instances.changed, self._routes.changed)
        await self._artifacts.sweep(self._artifacts_in_use)
        try:
            while True:
                seen = {signal: signal.version for signal in signals}
                draining = await self._turn()
                await wait_any(seen, self._settings.drain_poll_seconds if draining else self._settings.turn_seconds)
        finally:
            for task in (*self._preparing.values(), self._sweeping):
                if task is not None:
                    task.cancel()

    async def _turn(self) -> bool:
        """Look at every group that is not as it should be; True: something is draining."""
        endpoint_rows = await self._state.rows(ENDPOINTS)
        if endpoint_rows != self._endpoint_rows:  # most turns are for other reasons
            self._endpoint_rows, self._wanted = endpoint_rows, _wanted([row.value for row in endpoint_rows])
        wanted, groups, shadows = self._wanted.counts, self._wanted.groups, self._wanted.shadows
        records = {row.key: row for row in await self._state.rows(GROUPS)}
        for name in sorted(wanted.keys() - records.keys()):
            await self._contained(name, self._adopt(groups[name], is_shadow=name in shadows))
        draining = await self._evict_drained(wanted.keys(), records)
        for name, row in records.items():
            if name in wanted:
                if self._ensured.get(name) != wanted[name]:
                    await self._contained(
                        name, self._keep(row, wanted[name], groups[name].instance_count, is_shadow=name in shadows)
                    )
            else:
                draining = True
                await self._contained(name, self._retire(row))
        for endpoint_row in endpoint_rows:
            if endpoint_row.value.deleting and not any(
                row.value.group.endpoint == endpoint_row.key for row in records.values()
            ):
                await self._contained(endpoint_row.key, self._forget_endpoint(endpoint_row))
        return draining

    async def _contained(self, name: str, work: object) -> None:
        try:
            await work  # type: ignore[misc]  # a coroutine of this class
        except Fenced:
            raise
        except Conflict:
            log.debug("supervisor.row_changed group=%s", name)
        except Exception:  # one group's fault must not stop the others
            log.exception("supervisor.turn_failed group=%s", name)

    # --- wanted -------------------------------------------------------------------------------------

    async def _adopt(self, group: Group, *, is_shadow: bool) -> None:
        record = GroupRecord(group, prepared=group.container.artifact_url is None, is_shadow=is_shadow)
        await self._register(group, group.instance_count)
        await self._state.commit([Put(GROUPS, group.id, record, 0)])

    async def _register(self, group: Group, count: int) -> None:
        await self._metrics.register(GroupDimensions(group.id, group.endpoint, group.variant, group.config_name, count))

    async def _keep(self, row: Row[GroupRecord], count: int, whole: int, *, is_shadow: bool) -> None:
        record = row.value
        if record.failure is not None:
            return
        if record.is_shadow is not is_shadow:  # an earlier version did not write it down
            await self._state.commit([Put(GROUPS, row.key, replace(record, is_shadow=is_shadow), row.revision)])
            return
        if not record.prepared:
            if row.key not in self._preparing:
                self._preparing[row.key] = asyncio.create_task(self._prepare(row))
            return
        try:
            await self._register(record.group, whole)
            await self._instances.ensure(_spec(record, is_shadow), count, self._epoch)
        except Refused as refusal:
            await self._state.commit([Put(GROUPS, row.key, replace(record, failure=str(refusal)), row.revision)])
            return
        self._ensured[row.key] = count

    async def _prepare(self, row: Row[GroupRecord]) -> None:
        """Fetch and unpack the artifact; what goes wrong is written where FailureReason finds it."""
        record = row.value
        url = record.group.container.artifact_url
        assert url is not None
        try:
            await self._unpack(row, url)
        except BannisterError as error:
            await self._prepared(row, replace(record, failure=f"The artifact {url} cannot be used: {error}"))
        except Exception as error:  # a full disk, say: the group fails with the reason, the supervisor goes on
            log.exception("supervisor.artifact_failed group=%s", row.key)
            await self._prepared(row, replace(record, failure=f"The artifact {url} could not be unpacked: {error}"))
        finally:
            self._preparing.pop(row.key, None)

    async def _unpack(self, row: Row[GroupRecord], url: str) -> None:
        """What may pass, as a full disk, is waited for as long as the instances may take to start; not when nobody wants them any more."""
        deadline = self._clock.monotonic() + row.value.group.startup_timeout_seconds
        pause = self._settings.restart_backoff_seconds_min
        while row.key in self._wanted.counts:
            try:
                async with self._artifacts.obtained(url, row.value.group.container.code_url) as folder:
                    await self._prepared(row, replace(row.value, artifact_dir=str(folder), prepared=True))
                return
            except Unavailable as error:
                if self._clock.monotonic() + pause > deadline:
                    raise
                log.warning("supervisor.artifact_put_off group=%s by %g s: %s", row.key, pause, error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, self._settings.restart_backoff_seconds_max)

    async def _prepared(self, row: Row[GroupRecord], record: GroupRecord) -> None:
        try:
            await self._state.commit([Put(GROUPS, row.key, record, row.revision)])
        except Conflict:
            log.debug("supervisor.row_changed group=%s", row.key)

    # --- too many of what is wanted -----------------------------------------------------------------

    async def _evict_drained(self, wanted: Collection[str], records: Mapping[str, Row[GroupRecord]]) -> bool:
        """Evict the instances that drain and have nothing left to answer; True: there are some that do."""
        draining = [one for one in self._instances.snapshot() if one.draining and one.group in wanted]
        now = self._clock.monotonic()
        self._draining_since = {one.id: self._draining_since.get(one.id, now) for one in draining}
        for one in draining:
            if (row := records.get(one.group)) is not None and one.phase is not InstancePhase.STOPPING:
                await self._contained(one.group, self._evict_when_idle(one, row))
        return bool(draining)

    async def _evict_when_idle(self, one: Instance, row: Row[GroupRecord]) -> None:
        if one.address is not None and one.answered:
            if not self._routes.spared(one.group, one.address):
                return
            counted, there_may_be_more = await self._in_flight_on(one, one.address)
            if counted or there_may_be_more:
                waited = self._clock.monotonic() - self._draining_since[one.id]
                if waited < self._given(row.value, counted):
                    return
                await self._cut(row, None if there_may_be_more else counted, self._clock.now(), one.id)
        await self._instances.evict(one.id, self._epoch)

    async def _in_flight_on(self, one: Instance, address: str) -> tuple[int, bool]:
        """Requests in flight on an instance that the proxies count, and whether there may be some that none counts."""
        try:
            return await self._routes.active_requests_on(one.group, address), self._may_have_more(one)
        except Unavailable as error:
            log.debug("instance.drain_unknown instance=%s: %s", one.id, error)
            return 0, True

    def _given(self, record: GroupRecord, counted: int) -> float:
        """How long what is in flight may take, in seconds: what is counted when no plain request can be left is a stream."""
        if record.is_shadow:
            return self._settings.shadow_timeout_seconds
        given = self._settings.drain_timeout_seconds
        return max(given, self._settings.stream_drain_timeout_seconds) if counted else given

    # --- no longer wanted ---------------------------------------------------------------------------

    async def _retire(self, row: Row[GroupRecord]) -> None:
        record, now = row.value, self._clock.now()
        if not self._routes.unrouted(row.key):
            return
        since = self._retiring_since.setdefault(row.key, self._clock.monotonic())
        if record.retiring_since is None:
            await self._state.commit([Put(GROUPS, row.key, replace(record, retiring_since=now), row.revision)])
            return
        if row.key not in self._removed:
            counted, there_may_be_more = await self._in_flight(row.key)
            if counted or there_may_be_more:
                if self._clock.monotonic() - since < self._given(record, counted):
                    return
                await self._cut(row, None if there_may_be_more else counted, now)
            await self._instances.remove(row.key, self._epoch)
            self._removed.add(row.key)
        if not any(instance.group == row.key for instance in self._instances.snapshot()):
            await self._forget(row)

    async def _in_flight(self, group: str) -> tuple[int, bool]:
        """Requests in flight that the proxies count, and whether there may be some that none counts."""
        there_may_be_more = any(one.group == group and self._may_have_more(one) for one in self._instances.snapshot())
        try:
            # Those that are held first: in between they may only become those that are counted.
            there_may_be_more = await self._routes.held(group) or there_may_be_more
            return await self._routes.active_requests(group), there_may_be_more
        except Unavailable as error:
            log.debug("group.drain_unknown group=%s: %s", group, error)
            return 0, True

    def _may_have_more(self, one: Instance) -> bool:
        """Whether it may have requests in flight that no proxy counts: one that falls silent leaves the proxies' lists, not so its requests.

        When it answers again and joins them anew, only new ones are counted; the old ones may take as long as a request can.
        """
        if not one.answered:
            return False
        if one.phase is InstancePhase.UNREADY:
            return True
        passed = None if one.silent_until is None else self._clock.now() - one.silent_until
        return passed is not None and passed < self._settings.invocation_timeout_seconds

    async def _cut(self, row: Row[GroupRecord], in_flight: int | None, now: float, instance: str | None = None) -> None:
        log.warning("group.drain_cut group=%s instance=%s requests=%s", row.key, instance or "all", in_flight)
        body = {"group": row.key, "requests": in_flight} | ({} if instance is None else {"instance": instance})
        await self._state.commit(records=[Record(now, f"endpoint/{row.value.group.endpoint}", "group.drain_cut", body)])

    async def _forget(self, row: Row[GroupRecord]) -> None:
        await self._state.commit([Remove(GROUPS, row.key, row.revision)])
        self._ensured.pop(row.key, None)
        self._removed.discard(row.key)
        self._retiring_since.pop(row.key, None)
        self._sweep_again = True
        if self._sweeping is None or self._sweeping.done():
            self._sweeping = asyncio.create_task(self._sweep())

    async def _sweep(self) -> None:
        while self._sweep_again:
            self._sweep_again = False
            try:
                await self._artifacts.sweep(self._artifacts_in_use)
            except Fenced:
                return  # the loop learns of it when it writes next
            except Exception:  # what stays goes with the next group
                log.exception("supervisor.sweep_failed")

    async def _artifacts_in_use(self) -> set[str]:
        return {row.value.artifact_dir for row in await self._state.rows(GROUPS) if row.value.artifact_dir is not None}

    async def _forget_endpoint(self, row: Row[Endpoint]) -> None:
        now = self._clock.now()
        change = endpoint_removal(row, now)
        record = Record(now, f"endpoint/{row.key}", "endpoint.deleted")
        await self._state.commit([change.write], [record, *change.events])


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What endpoints ask for."""

    #: By group: how many instances.
    counts: dict[str, int]
    #: By id: all that their fleets have, also those that are not wanted any more.
    groups: dict[str, Group]
    shadows: frozenset[str]


def _wanted(endpoints: Sequence[Endpoint]) -> _Wanted:
    fleets = [fleet for endpoint in endpoints for fleet in _fleets(endpoint)]
    return _Wanted(
        {name: count for endpoint in endpoints for name, count in wanted_instances(endpoint).items()},
        {group.id: group for fleet in fleets for group in fleet.all_groups},
        frozenset(fleet.shadow.group.id for fleet in fleets if fleet.shadow is not None),
    )


def _fleets(endpoint: Endpoint) -> list[Fleet]:
    """Blue and green, as far as there are any."""
    green = endpoint.deployment.green if endpoint.deployment is not None else None
    return [fleet for fleet in (endpoint.blue, green) if fleet is not None]


def _spec(record: GroupRecord, is_shadow: bool) -> GroupSpec:
    group = record.group
    return GroupSpec(
        id=group.id,
        endpoint=group.endpoint,
        variant=group.variant,
        image=group.container.image,
        artifact_dir=record.artifact_dir,
        environment=group.container.environment,
        startup_timeout_seconds=group.startup_timeout_seconds,
        paths=group.container.paths,
        is_shadow=is_shadow,
        instance_type=group.instance_type,
    )
