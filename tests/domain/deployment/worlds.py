"""Deployments and observations to start tests from."""

from dataclasses import replace

from bannister.domain.alarm.alarm import AlarmValue
from bannister.domain.deployment.deployment import Deployment
from bannister.domain.deployment.observation import AlarmObservation, GroupObservation, Observation
from bannister.domain.deployment.plan import steps
from bannister.domain.deployment.policy import CapacitySize, CapacityType, DeploymentPolicy, Routing
from bannister.domain.fleet import Fleet, Group
from bannister.domain.model import Container

CANARY = DeploymentPolicy(
    Routing.CANARY,
    CapacitySize(CapacityType.CAPACITY_PERCENT, 10),
    wait_seconds=30,
    termination_wait_seconds=20,
    alarms=("errors",),
)


def fleet(
    config: str, *, instances: int = 2, variants: tuple[str, ...] = ("AllTraffic",), weights: tuple[float, ...] = ()
) -> Fleet:
    groups = tuple(
        Group(
            f"e.{name}.{config}",
            "e",
            name,
            config,
            f"model-{config}",
            Container("bannister/python"),
            instances,
            weight,
            60.0,
        )
        for name, weight in zip(variants, weights or [1.0] * len(variants), strict=True)
    )
    return Fleet(config, groups, 0.0)


def deployment(
    policy: DeploymentPolicy = CANARY, *, blue: Fleet | None = None, creation: bool = False, instances: int = 2
) -> Deployment:
    green = fleet("v2", instances=instances)
    counts = {group.variant: group.instance_count for group in green.groups}
    return Deployment(
        id="d1",
        endpoint="e",
        policy=policy,
        blue=None if creation else blue or fleet("v1", instances=instances),
        green=green,
        steps=steps(policy, counts),
        started_at=1000.0,
        deadline_at=5000.0,
        phase_since=1000.0,
    )


def observation(now: float, **changes: object) -> Observation:
    """Green ready, the split acknowledged, the alarm OK and evaluated to now: nothing in the way."""
    seen = Observation(
        now=now,
        journal_sequence=7,
        split_acknowledged=True,
        green=(GroupObservation("e.AllTraffic.v2", wanted=2, ready=2, restarts=0),),
        alarms=(AlarmObservation("errors", AlarmValue.OK, evaluated_until=now),),
        covered_since=0.0,
    )
    return replace(seen, **changes)
