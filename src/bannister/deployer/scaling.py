"""Carries changes of weights and instance counts forward: observe, ask `bannister.domain.scaling`, record, as for deployments."""

from __future__ import annotations

import logging
from dataclasses import replace

from bannister import __version__
from bannister.clock import Clock
from bannister.deployer.failure_reason import of_scaling
from bannister.deployer.observe import Traffic
from bannister.domain.endpoint import Endpoint
from bannister.domain.instance import InstancePhase
from bannister.domain.routing import plan_of
from bannister.domain.scaling import (
    SCALED,
    GroupCount,
    Observation,
    Scaling,
    ScalingPhase,
    advance,
    evidence,
    fleet_of,
    notice,
)
from bannister.instances.backend import InstanceBackend
from bannister.state.endpoint_change import endpoint_change
from bannister.state.store import Record, Row, State
from bannister.state.tables import COMPARISON_RULES

log = logging.getLogger(__name__)


class Scaler:
    """Part of the deployer, which calls it for every endpoint that scales."""

    def __init__(self, state: State, instances: InstanceBackend, traffic: Traffic, clock: Clock) -> None:
        self._state = state
        self._instances = instances
        self._traffic = traffic
        self._clock = clock

    async def turn(self, row: Row[Endpoint], scaling: Scaling) -> bool:
        """One decision, if there is one to make; True: look again at once. Faults are the caller's to contain."""
        seen = await self._observe(row.value, scaling)
        noticed = notice(scaling, seen)
        if noticed is None:
            return False
        after = advance(scaling, noticed, seen.now)
        record = Record(seen.now, f"endpoint/{row.key}", SCALED, evidence(scaling, noticed, seen, __version__))
        settled = _settled(row.value, after, seen.now)
        change = endpoint_change(row, settled, seen.now, {group.group: group.ready for group in seen.groups})
        await self._state.commit([change.write], [record, *change.events])
        log.info("scaling.decided endpoint=%s phase=%s reason=%s", row.key, after.phase.value, noticed.reason)
        return True

    async def _observe(self, endpoint: Endpoint, scaling: Scaling) -> Observation:
        snapshot = self._instances.snapshot()
        rules = await self._state.get(COMPARISON_RULES, endpoint.name)
        counts = []
        for group in scaling.after.all_groups:
            instances = [one for one in snapshot if one.group == group.id]
            staying = [one for one in instances if not one.draining]
            counts.append(
                GroupCount(
                    group.id,
                    ready=sum(one.phase is InstancePhase.READY for one in staying),
                    healthy=self._traffic.healthy(group.id),
                    existing=len(instances),
                    failure=next((one.reason for one in staying if one.phase is InstancePhase.FAILED), None),
                )
            )
        plan = plan_of(endpoint, rules.value.noise_parts if rules is not None else 0)
        return Observation(self._clock.now(), tuple(counts), self._traffic.acknowledged(plan))


def _settled(endpoint: Endpoint, scaling: Scaling, now: float) -> Endpoint:
    """The endpoint after a decision about its scaling."""
    ended = scaling.phase is ScalingPhase.ENDED
    failure = None
    if scaling.reason is not None:
        failure = of_scaling(scaling.reason)
    return replace(
        endpoint,
        modified_at=now,
        blue=fleet_of(scaling),
        scaling=None if ended else scaling,
        failure_reason=failure if ended else endpoint.failure_reason,
    )
