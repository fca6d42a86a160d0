"""Gathers what a deployment's next decision may depend on."""

from __future__ import annotations

import logging
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

from bannister.clock import Clock
from bannister.domain.alarm.alarm import Alarm, AlarmValue
from bannister.domain.alarm.judgement import Datapoint
from bannister.domain.comparison.metrics import watches_comparisons
from bannister.domain.deployment.deployment import Deployment
from bannister.domain.deployment.machine import bake_deadline
from bannister.domain.deployment.observation import AlarmObservation, GroupObservation, Observation
from bannister.domain.deployment.targets import wanted_instances
from bannister.domain.endpoint import Endpoint
from bannister.domain.fleet import Fleet, Group
from bannister.domain.instance import Instance, InstancePhase
from bannister.domain.metric.endpoint import group_metric
from bannister.domain.routing import Plans, RoutePlan, Weight
from bannister.errors import Unavailable
from bannister.instances.backend import InstanceBackend
from bannister.metrics.store import MetricStore
from bannister.signals import Signal
from bannister.state.group_record import GroupRecord
from bannister.state.store import Entry, State
from bannister.state.tables import ALARMS, COMPARISON_RULES, GROUPS

_log = logging.getLogger(__name__)

#: What the journal says of an alarm that stops a deployment.
TRANSITIONED: Final = "alarm.transitioned"
DELETED: Final = "alarm.deleted"
#: Of an alarm so many entries are read at a time.
ENTRIES_AT_ONCE: Final = 500
#: Of so many deployments it is kept how far their alarms' entries were read; of more, they are read again.
DEPLOYMENTS_KEPT_MAX: Final = 1000
#: Of the alarms beneath a composite alarm, the reasons of so many are told.
REASONS_BENEATH_MAX = 3


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

    def healthy(self, group: str) -> int:
        """How many instances of a group every registered proxy has acknowledged and sees healthy."""
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
        self._plans = Plans()
        self._watched_since = clock.now()
        #: By deployment and alarm: up to where the journal says nothing that stops the deployment.
        self._looked_at: OrderedDict[str, dict[str, int]] = OrderedDict()

    async def observe(self, endpoint: Endpoint, deployment: Deployment) -> Observation:
        """Everything that matters for this deployment, now.

        The journal's position is read before the alarms, and acknowledgements after: a transition that comes in between is
        either seen here or has a number above the position, so it is never missed.
        """
        sequence = await self._state.sequence()
        alarms = tuple([await self._alarm(deployment, name) for name in deployment.policy.alarms])
        records = await self._records(deployment)
        snapshot = self._instances.snapshot()
        rules = await self._state.get(COMPARISON_RULES, endpoint.name)
        plan = self._plans.of(endpoint, rules.value.noise_parts if rules is not None else 0)
        compared = any(one.compares for one in alarms)
        wanted = wanted_instances(deployment)
        covered_since = self._covered_since(compared=compared)
        asked, acknowledged = _by_group(plan.weights), _by_group(self._traffic.acknowledged_weights(plan.endpoint))

        def seen(fleet: Fleet | None) -> tuple[GroupObservation, ...]:
            if fleet is None:
                return ()
            return tuple([observed(group, fleet) for group in fleet.all_groups])

        def observed(group: Group, fleet: Fleet) -> GroupObservation:
            return _group(
                group,
                asked,
                acknowledged,
                snapshot,
                records[group.id],
                wanted=wanted.get(group.id, group.instance_count),
                healthy=self._traffic.healthy(group.id) if deployment.rolling else 0,
                shadow=fleet.shadow is not None and group == fleet.shadow.group,
            )

        return Observation(
            now=self._clock.now(),
            journal_sequence=sequence,
            split_acknowledged=self._traffic.acknowledged(plan),
            green=seen(deployment.green),
            blue=seen(deployment.blue),
            alarms=alarms,
            covered_since=covered_since,
            silent_seconds=self._judge.silent_seconds(),
            blue_gone=deployment.blue is None or _gone(deployment.blue, snapshot, records),
            green_gone=_gone(deployment.green, snapshot, records),
            stop_requested=deployment.stop_requested,
            uncompared_seconds=self._judge.uncompared_seconds() if compared else 0.0,
            green_requests=await self._green_requests(deployment, covered_since),
            watched_since=self._watched_since,
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
            composite_rule=None if alarm.composite is None else alarm.composite.text,
            children=await self._children(alarm),
            compares=await self._compares(alarm),
        )
        if deployment.alarms_seen is None:
            return seen
        entry = await self._stopping(deployment.id, name, deployment.alarms_seen)
        if entry is None:
            return seen
        if entry.kind == DELETED:
            return replace(seen, value=None)  # and made again since: another alarm under the same name
        reason = " ".join([str(entry.body.get("reason", "")), *await self._reasons_beneath(alarm)])
        datapoints = _looked_at(entry.body) or seen.datapoints
        return replace(seen, tripped_at=entry.at, tripped_reason=reason, datapoints=datapoints)

    async def _stopping(self, deployment: str, alarm: str, since: int) -> Entry | None:
        """The first entry after a position that says that an alarm went to ALARM, or is gone. However many others there are: one that flaps for hours has thousands."""
        looked_at = self._looked_at.setdefault(deployment, {})
        self._looked_at.move_to_end(deployment)
        if len(self._looked_at) > DEPLOYMENTS_KEPT_MAX:
            self._looked_at.popitem(last=False)
        while True:
            after = max(since, looked_at.get(alarm, 0))
            page = await self._state.journal(
                after=after, subject=f"alarm/{alarm}", kind=(TRANSITIONED, DELETED), limit=ENTRIES_AT_ONCE
            )
            for entry in page:
                if entry.kind == DELETED or entry.body.get("to") == AlarmValue.ALARM:
                    return entry
                looked_at[alarm] = entry.sequence
            if len(page) < ENTRIES_AT_ONCE:
                return None

    async def _reasons_beneath(self, alarm: Alarm) -> list[str]:
        """Why the alarms in a composite alarm's rule are in ALARM: a composite alarm's own reason names them, and no value."""
        names = () if alarm.composite is None else alarm.composite.children
        rows = [await self._state.get(ALARMS, name) for name in names]
        ringing = [row for row in rows if row is not None and row.value.state.value is AlarmValue.ALARM]
        return [f'Alarm "{row.key}", in ALARM now: {row.value.state.reason}' for row in ringing[:REASONS_BENEATH_MAX]]

    async def _children(self, alarm: Alarm) -> dict[str, AlarmValue]:
        """The states of the alarms in a composite alarm's rule."""
        names = () if alarm.composite is None else alarm.composite.children
        rows = [await self._state.get(ALARMS, name) for name in names]
        return {row.key: row.value.state.value for row in rows if row is not None}

    async def _compares(self, alarm: Alarm) -> bool:
        """Whether an alarm looks at compared answers, itself or by an alarm that its rule leads to."""
        pending, known = [alarm], {alarm.name}
        while pending:
            one = pending.pop()
            if one.rule is not None and watches_comparisons(*one.rule.metrics):
                return True
            for name in () if one.composite is None else one.composite.children:
                row = None if name in known else await self._state.get(ALARMS, name)
                if row is not None:
                    pending.append(row.value)
                known.add(name)
        return False

    async def _green_requests(self, deployment: Deployment, covered_since: float | None) -> int | None:
        """Requests to green since the present bake began; only counted once its time is over, when they decide something.

        Where a long bake's cannot be read any more, none were seen: that is evidence which is missing, and no reason not to look at all the others.
        """
        deadline = bake_deadline(deployment, covered_since)
        now = self._clock.now()
        if self._metrics is None or deployment.blue is None or deadline is None or now < deadline:
            return None
        bake_seconds = deployment.steps[deployment.step].bake_seconds
        if not bake_seconds:
            return None
        began = math.floor(deadline - bake_seconds)
        count = 0.0
        seconds = math.ceil(now) - began
        for group in deployment.green.groups:
            metric = group_metric("Invocations", group)
            try:
                (found,) = await self._metrics.read(metric, began, seconds, 1, group=group.id)
            except Unavailable as error:
                _log.warning("The requests to green of %s in its bake cannot be counted: %s", group.endpoint, error)
                return 0
            count += found.count if found is not None else 0
        return int(count)

    async def _records(self, deployment: Deployment) -> dict[str, GroupRecord | None]:
        """What the supervisor brought about for the groups of both fleets."""
        fleets = [fleet for fleet in (deployment.blue, deployment.green) if fleet is not None]
        rows = {group.id: await self._state.get(GROUPS, group.id) for fleet in fleets for group in fleet.all_groups}
        return {group: None if row is None else row.value for group, row in rows.items()}


def _looked_at(transition: Mapping[str, Any]) -> tuple[Datapoint | None, ...]:
    """What a metric alarm's evaluation looked at that brought a transition about; empty: it was set by hand, or is of another kind.

    The newest evaluation may be another one: after a restart there is none yet, and a moment later it may look at other periods.
    """
    if "window" not in transition:
        return ()
    start, period = transition["window"]["start"], transition["window"]["period_seconds"]
    return tuple(
        None if value is None else Datapoint(start + number * period, value, samples)
        for number, (value, samples) in enumerate(zip(transition["values"], transition["samples"], strict=True))
    )


def _by_group(weights: Sequence[Weight] | None) -> dict[str, Weight] | None:
    return None if weights is None else {weight.group: weight for weight in weights}


def _group(
    group: Group,
    asked: Mapping[str, Weight] | None,
    acknowledged: Mapping[str, Weight] | None,
    snapshot: Sequence[Instance],
    record: GroupRecord | None,
    *,
    wanted: int,
    healthy: int,
    shadow: bool,
) -> GroupObservation:
    """In one pass over the instances: it is made of every group, at every turn of the loop."""
    existing = leaving = ready = overdue = unready = restarts = deaths = 0
    warnings: dict[str, None] = {}
    failed: Instance | None = None
    trouble: str | None = None
    for one in snapshot:
        if one.group != group.id:
            continue
        existing += 1
        if one.draining or one.phase is InstancePhase.STOPPING:
            leaving += 1
        if one.draining:
            continue
        restarts += one.restarts
        deaths += one.deaths
        warnings |= dict.fromkeys(one.warnings)
        if one.phase is InstancePhase.READY:
            ready += 1
            overdue += one.overdue
        elif failed is None and one.phase is InstancePhase.FAILED:
            failed = one
        elif one.phase is InstancePhase.UNREADY:
            unready += 1
            trouble = trouble or one.reason
    failure = record.failure if record is not None else None
    none = Weight(group.id, group.variant, 0, 0)
    wants = none if asked is None else asked.get(group.id, none)
    has = None if acknowledged is None else acknowledged.get(group.id, none)
    return GroupObservation(
        group=group.id,
        wanted=wanted,
        ready=ready,
        restarts=restarts,
        failure=failure if failure is not None or failed is None else failed.reason,
        asked_parts=wants.parts,
        acknowledged_parts=None if has is None else has.parts,
        asked_named_parts=wants.named_parts,
        acknowledged_named_parts=None if has is None else has.named_parts,
        existing=existing,
        healthy=healthy,
        leaving=leaving,
        overdue=overdue,
        unready=unready,
        deaths=deaths,
        shadow=shadow,
        trouble=trouble,
        warnings=tuple(warnings),
    )


def _gone(fleet: Fleet, snapshot: Sequence[Instance], records: Mapping[str, GroupRecord | None]) -> bool:
    """Nothing of the fleet is left: no record, and no instance."""
    groups = [group.id for group in fleet.all_groups]
    return all(records[group] is None for group in groups) and not any(one.group in groups for one in snapshot)
