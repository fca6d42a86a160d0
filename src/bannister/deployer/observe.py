"""Gathers what a deployment's next decision may depend on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from bannister.clock import Clock
from bannister.domain.alarm.alarm import AlarmValue
from bannister.domain.alarm.judgement import Datapoint
from bannister.domain.comparison.metrics import watches_comparisons
from bannister.domain.deployment.machine import (
    AlarmObservation,
    Deployment,
    GroupObservation,
    Observation,
    bake_deadline,
)
from bannister.domain.endpoint import Endpoint
from bannister.domain.fleet import Fleet, Group
from bannister.domain.instance import Instance, InstancePhase
from bannister.domain.metric.endpoint import group_metric
from bannister.domain.routing import RoutePlan, Weight, plan_of
from bannister.instances.backend import InstanceBackend
from bannister.metrics.store import MetricStore
from bannister.signals import Signal
from bannister.state.store import State
from bannister.state.tables import ALARMS, COMPARISON_RULES, GROUPS


class Traffic(Protocol):
    """What the deployer asks the publisher."""

    @property
    def changed(self) -> Signal: ...

    def acknowledged(self, plan: RoutePlan) -> bool:
        """Every registered proxy has acknowledged exactly this plan's weights."""
        ...

    def acknowledged_weights(self, endpoint: str) -> tuple[Weight, ...] | None:
        """The weights that every registered proxy has acknowledged; None: there is no proxy, or they differ."""
        ...


class Judge(Protocol):
    """What the deployer asks the evaluator."""

    @property
    def changed(self) -> Signal: ...

    @property
    def covered_since(self) -> float | None: ...

    @property
    def compared_since(self) -> float | None: ...

    def evaluated_until(self, alarm: str) -> float | None: ...

    def datapoints(self, alarm: str) -> tuple[Datapoint | None, ...]: ...

    def silent_seconds(self) -> float: ...

    def uncompared_seconds(self) -> float: ...


class Observer:
    """Sees the world on behalf of the deployer; changes nothing."""

    def __init__(
        self,
        state: State,
        instances: InstanceBackend,
        traffic: Traffic,
        judge: Judge,
        clock: Clock,
        metrics: MetricStore | None = None,
    ) -> None:
        self._state = state
        self._instances = instances
        self._traffic = traffic
        self._judge = judge
        self._clock = clock
        self._metrics = metrics

    async def observe(self, endpoint: Endpoint, deployment: Deployment) -> Observation:
        """Everything that matters for this deployment, now.

        The journal's position is read before the alarms, and acknowledgements after: a transition that comes in between is
        either seen here or has a number above the position, so it is never missed.
        """
        sequence = await self._state.sequence()
        alarms = tuple([await self._alarm(deployment, name) for name in deployment.policy.alarms])
        snapshot = self._instances.snapshot()
        blue_gone = deployment.blue is None or await self._gone(deployment.blue, snapshot)
        rules = await self._state.get(COMPARISON_RULES, endpoint.name)
        plan = plan_of(endpoint, rules.value.noise_parts if rules is not None else 0)
        compared = any(one.rule is not None and watches_comparisons(one.rule.metric) for one in alarms)
        return Observation(
            now=self._clock.now(),
            journal_sequence=sequence,
            split_acknowledged=self._traffic.acknowledged(plan),
            green=await self._fleet(deployment.green, plan, snapshot),
            blue=await self._fleet(deployment.blue, plan, snapshot) if deployment.blue is not None else (),
            alarms=alarms,
            covered_since=self._covered_since(compared=compared),
            silent_seconds=self._judge.silent_seconds(),
            blue_gone=blue_gone,
            green_gone=await self._gone(deployment.green, snapshot),
            stop_requested=deployment.stop_requested,
            uncompared_seconds=self._judge.uncompared_seconds() if compared else 0.0,
            green_requests=await self._green_requests(deployment),
        )

    def _covered_since(self, *, compared: bool) -> float | None:
        """Since when everything was seen that the deployment's alarms look at; `compared`: one looks at compared answers."""
        seen = self._judge.covered_since
        if not compared:
            return seen
        also = self._judge.compared_since
        return None if seen is None or also is None else max(seen, also)

    async def _alarm(self, deployment: Deployment, name: str) -> AlarmObservation:
        row = await self._state.get(ALARMS, name)
        if row is None:
            return AlarmObservation(name, None, self._judge.evaluated_until(name))
        alarm = row.value
        seen = AlarmObservation(
            name,
            alarm.state.value,
            self._judge.evaluated_until(name),
            rule=alarm.rule,
            datapoints=self._judge.datapoints(name),
            reason=alarm.state.reason,
        )
        if deployment.alarms_seen is None:
            return seen
        for entry in await self._state.journal(after=deployment.alarms_seen, subject=f"alarm/{name}"):
            if entry.kind == "alarm.transitioned" and entry.body.get("to") == AlarmValue.ALARM:
                return replace(seen, tripped_at=entry.at, tripped_reason=str(entry.body.get("reason", "")))
            if entry.kind == "alarm.deleted":
                return replace(seen, value=None)  # and made again since: another alarm under the same name
        return seen

    async def _green_requests(self, deployment: Deployment) -> int | None:
        """Requests to green since the present bake began; only counted once its time is over, when they decide something."""
        deadline = bake_deadline(deployment, self._judge.covered_since)
        now = self._clock.now()
        if self._metrics is None or deployment.blue is None or deadline is None or now < deadline:
            return None
        bake_seconds = deployment.steps[deployment.step].bake_seconds
        if not bake_seconds:
            return None
        began = math.floor(deadline - bake_seconds)
        count = 0.0
        for group in deployment.green.groups:
            metric = group_metric("Invocations", group)
            (found,) = await self._metrics.read(metric, began, math.ceil(now) - began, 1)
            count += found.count if found is not None else 0
        return int(count)

    async def _fleet(self, fleet: Fleet, plan: RoutePlan, snapshot: Sequence[Instance]) -> tuple[GroupObservation, ...]:
        weights = self._traffic.acknowledged_weights(plan.endpoint)
        asked = {weight.group: weight.parts for weight in plan.weights}
        acknowledged = None if weights is None else {weight.group: weight.parts for weight in weights}
        production = [await self._group(group, asked, acknowledged, snapshot) for group in fleet.groups]
        if fleet.shadow is None:
            return tuple(production)
        shadow = await self._group(fleet.shadow.group, asked, acknowledged, snapshot)
        return (*production, replace(shadow, shadow=True))

    async def _group(
        self,
        group: Group,
        asked: Mapping[str, int],
        acknowledged: Mapping[str, int] | None,
        snapshot: Sequence[Instance],
    ) -> GroupObservation:
        record = await self._state.get(GROUPS, group.id)
        instances = [instance for instance in snapshot if instance.group == group.id]
        failed = next((one.reason for one in instances if one.phase is InstancePhase.FAILED), None)
        return GroupObservation(
            group=group.id,
            wanted=group.instance_count,
            ready=sum(one.phase is InstancePhase.READY for one in instances),
            restarts=sum(one.restarts for one in instances),
            failure=record.value.failure if record is not None and record.value.failure is not None else failed,
            asked_parts=asked.get(group.id, 0),
            acknowledged_parts=None if acknowledged is None else acknowledged.get(group.id, 0),
        )

    async def _gone(self, fleet: Fleet, snapshot: Sequence[Instance]) -> bool:
        groups = {group.id for group in fleet.all_groups}
        if any(instance.group in groups for instance in snapshot):
            return False
        return not any([await self._state.get(GROUPS, group) for group in groups])
