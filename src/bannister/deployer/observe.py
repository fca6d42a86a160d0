"""Gathers what a deployment's next decision may depend on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bannister.clock import Clock
from bannister.domain.alarm.alarm import AlarmValue
from bannister.domain.deployment.machine import AlarmObservation, Deployment, GroupObservation, Observation
from bannister.domain.endpoint import Endpoint
from bannister.domain.fleet import Fleet
from bannister.domain.instance import Instance, InstancePhase
from bannister.domain.routing import RoutePlan, plan_of
from bannister.instances.backend import InstanceBackend
from bannister.signals import Signal
from bannister.state.store import State
from bannister.state.tables import ALARMS, GROUPS


class Traffic(Protocol):
    """What the deployer asks the publisher."""

    @property
    def changed(self) -> Signal: ...

    def acknowledged(self, plan: RoutePlan) -> bool:
        """Every registered proxy has acknowledged exactly this plan's weights."""
        ...


class Judge(Protocol):
    """What the deployer asks the evaluator."""

    @property
    def changed(self) -> Signal: ...

    @property
    def covered_since(self) -> float | None: ...

    def evaluated_until(self, alarm: str) -> float | None: ...

    def silent_seconds(self) -> float: ...


class Observer:
    """Sees the world on behalf of the deployer; changes nothing."""

    def __init__(self, state: State, instances: InstanceBackend, traffic: Traffic, judge: Judge, clock: Clock) -> None:
        self._state = state
        self._instances = instances
        self._traffic = traffic
        self._judge = judge
        self._clock = clock

    async def observe(self, endpoint: Endpoint, deployment: Deployment) -> Observation:
        """Everything that matters for this deployment, now.

        The journal's position is read before the alarms, and acknowledgements after: a transition that comes in between is
        either seen here or has a number above the position, so it is never missed.
        """
        sequence = await self._state.sequence()
        alarms = tuple([await self._alarm(deployment, name) for name in deployment.policy.alarms])
        snapshot = self._instances.snapshot()
        blue_gone = deployment.blue is None or await self._gone(deployment.blue, snapshot)
        return Observation(
            now=self._clock.now(),
            journal_sequence=sequence,
            split_acknowledged=self._traffic.acknowledged(plan_of(endpoint)),
            green=tuple([await self._group(deployment, group.id, snapshot) for group in deployment.green.groups]),
            alarms=alarms,
            covered_since=self._judge.covered_since,
            silent_seconds=self._judge.silent_seconds(),
            blue_gone=blue_gone,
            green_gone=await self._gone(deployment.green, snapshot),
        )

    async def _alarm(self, deployment: Deployment, name: str) -> AlarmObservation:
        row = await self._state.get(ALARMS, name)
        value = row.value.state.value if row is not None else None
        evaluated_until = self._judge.evaluated_until(name)
        if deployment.alarms_seen is None:
            return AlarmObservation(name, value, evaluated_until)
        for entry in await self._state.journal(after=deployment.alarms_seen, subject=f"alarm/{name}"):
            if entry.kind == "alarm.transitioned" and entry.body.get("to") == AlarmValue.ALARM:
                reason = str(entry.body.get("reason", ""))
                return AlarmObservation(name, value, evaluated_until, entry.at, reason)
            if entry.kind == "alarm.deleted":
                return AlarmObservation(name, None, evaluated_until)
        return AlarmObservation(name, value, evaluated_until)

    async def _group(self, deployment: Deployment, group: str, snapshot: Sequence[Instance]) -> GroupObservation:
        record = await self._state.get(GROUPS, group)
        wanted = next(one.instance_count for one in deployment.green.groups if one.id == group)
        instances = [instance for instance in snapshot if instance.group == group]
        failed = next((one.reason for one in instances if one.phase is InstancePhase.FAILED), None)
        return GroupObservation(
            group=group,
            wanted=wanted,
            ready=sum(one.phase is InstancePhase.READY for one in instances),
            restarts=sum(one.restarts for one in instances),
            failure=record.value.failure if record is not None and record.value.failure is not None else failed,
        )

    async def _gone(self, fleet: Fleet, snapshot: Sequence[Instance]) -> bool:
        groups = {group.id for group in fleet.groups}
        if any(instance.group in groups for instance in snapshot):
            return False
        return not any([await self._state.get(GROUPS, group) for group in groups])
