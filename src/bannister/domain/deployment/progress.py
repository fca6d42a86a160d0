"""What DescribeEndpoint, events, and later the console, say about an endpoint and its deployment: the only source of status words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from bannister.domain.deployment.deployment import RETURNING, Deployment, Phase
from bannister.domain.deployment.targets import asked_split, wanted_instances
from bannister.domain.endpoint import Endpoint
from bannister.domain.fleet import Fleet, Group
from bannister.domain.scaling import Scaling, ScalingPhase, gaining
from bannister.domain.traffic import TRAFFIC_PARTS


class EndpointStatus(StrEnum):
    """AWS's EndpointStatus, those that occur here."""

    CREATING = "Creating"
    IN_SERVICE = "InService"
    UPDATING = "Updating"
    ROLLING_BACK = "RollingBack"
    #: A rolling update could not be taken back: both versions serve.
    UPDATE_ROLLBACK_FAILED = "UpdateRollbackFailed"
    DELETING = "Deleting"
    FAILED = "Failed"


class VariantStatus(StrEnum):
    """AWS's VariantStatus.Status, those that occur here."""

    CREATING = "Creating"
    UPDATING = "Updating"
    DELETING = "Deleting"
    ACTIVATING_TRAFFIC = "ActivatingTraffic"
    BAKING = "Baking"


@dataclass(frozen=True, slots=True)
class VariantProgress:
    """One variant of one fleet, as AWS summarises it."""

    group: Group
    #: The group's present share of the variant's weight.
    current_weight: float
    #: Instances that are ready.
    current_instance_count: int
    status: VariantStatus | None = None
    message: str | None = None
    since: float | None = None


def status_of(endpoint: Endpoint) -> EndpointStatus:
    """The endpoint's status."""
    if endpoint.deleting:
        return EndpointStatus.DELETING
    deployment = endpoint.deployment
    if deployment is None:
        if endpoint.scaling is not None:
            return EndpointStatus.UPDATING
        if endpoint.blue is None:
            return EndpointStatus.FAILED
        return EndpointStatus.UPDATE_ROLLBACK_FAILED if endpoint.blue.mixed else EndpointStatus.IN_SERVICE
    if deployment.blue is None:
        return EndpointStatus.CREATING
    if deployment.phase in RETURNING:
        return EndpointStatus.ROLLING_BACK
    return EndpointStatus.UPDATING


def blue_progress(endpoint: Endpoint, ready: dict[str, int]) -> tuple[VariantProgress, ...]:
    """The fleet in production; `ready` counts ready instances by group."""
    if endpoint.blue is None:
        return ()
    deployment = endpoint.deployment
    if deployment is None:
        desired = _desired(endpoint)
        return _by_variant(
            _scaled(
                endpoint.scaling, VariantProgress(desired.get(group.id, group), group.weight, ready.get(group.id, 0))
            )
            for group in endpoint.blue.groups
        )
    share = _green_share(deployment)
    # A variant that green does not have goes when green has everything.
    gone = 1.0 if asked_split(deployment).all_green else 0.0
    found = _by_variant(
        VariantProgress(group, group.weight * (1 - share.get(group.variant, gone)), ready.get(group.id, 0))
        for group in endpoint.blue.groups
    )
    return tuple(_activity_of_blue(deployment, one) for one in found)


def _activity_of_blue(deployment: Deployment, one: VariantProgress) -> VariantProgress:
    """A variant of blue, with what is done to its instances: they go when green has taken over, and come back on a rolling update's way back."""
    before = _blue_instances(replace(deployment, phase=_BLUE_CHANGES.get(deployment.phase, deployment.phase)), one)
    more = _blue_instances(deployment, one) - before
    if more == 0:
        return one
    status = VariantStatus.CREATING if more > 0 else VariantStatus.DELETING
    message = f"{'Launching' if more > 0 else 'Terminating'} {abs(more)} instance(s)."
    return replace(one, status=status, message=message, since=deployment.phase_since)


#: Phases in which blue gets other instances, with one in which it has those of before.
_BLUE_CHANGES: Final = {
    Phase.SHRINKING: Phase.BAKING,
    Phase.RETIRING: Phase.BAKING,
    Phase.RESTORING: Phase.SHEDDING,
}


def _blue_instances(deployment: Deployment, one: VariantProgress) -> int:
    wanted, groups = wanted_instances(deployment), deployment.blue.groups if deployment.blue is not None else ()
    return sum(wanted.get(group.id, 0) for group in groups if group.variant == one.group.variant)


def _scaled(scaling: Scaling | None, one: VariantProgress) -> VariantProgress:
    """A group, with what a change of weights and counts does to it now. AWS documents the message of a scaling out only."""
    if scaling is None:
        return one
    counts = {group.id: group.instance_count for group in scaling.before.groups}
    weights = {group.id: group.weight for group in scaling.before.groups}
    desired, group = one.group.instance_count, one.group
    before = counts.get(group.id, desired)
    if scaling.reason is not None:
        changed = {group.id: group.instance_count for group in scaling.after.groups}.get(group.id, desired)
        message = f"Scaling in desired instance count to {desired}." if changed > desired else None
    elif scaling.phase is ScalingPhase.GROWING:
        message = f"Scaling out desired instance count to {desired}." if desired > before else None
        if message is not None and scaling.shortage is not None:
            message = f"{message} {scaling.shortage.reason}"
        if message is None and one.current_instance_count == 0 and group.id in gaining(scaling):
            message = "No instance is ready; weights change when one is."
    elif scaling.phase is ScalingPhase.WEIGHING:
        message = f"Changing desired weight to {group.weight:g}." if weights.get(group.id) != group.weight else None
    else:
        message = f"Scaling in desired instance count to {desired}." if desired < before else None
    if message is None:
        return one
    return replace(one, status=VariantStatus.UPDATING, message=message, since=scaling.phase_since)


def _by_variant(groups: Iterable[VariantProgress]) -> tuple[VariantProgress, ...]:
    """One for each variant: after a rollback that failed, one has groups of two configurations."""
    found: dict[str, VariantProgress] = {}
    for one in groups:
        before = found.setdefault(one.group.variant, one)
        if before is not one:
            both = replace(
                before.group,
                instance_count=before.group.instance_count + one.group.instance_count,
                weight=before.group.weight + one.group.weight,
            )
            found[one.group.variant] = replace(
                before,
                group=both,
                current_weight=before.current_weight + one.current_weight,
                current_instance_count=before.current_instance_count + one.current_instance_count,
            )
    return tuple(found.values())


def green_progress(deployment: Deployment, ready: dict[str, int]) -> tuple[VariantProgress, ...]:
    """The fleet that is being brought in."""
    return tuple(_green_variant(deployment, group, ready.get(group.id, 0)) for group in deployment.green.groups)


def blue_shadow_progress(endpoint: Endpoint, ready: dict[str, int]) -> tuple[VariantProgress, ...]:
    """The shadow of the fleet in production; its weight is what is sampled now."""
    if endpoint.blue is None or endpoint.blue.shadow is None:
        return ()
    group, deployment = endpoint.blue.shadow.group, endpoint.deployment
    fed = deployment is None or not asked_split(deployment).all_green
    desired = _desired(endpoint).get(group.id, group)
    return (VariantProgress(desired, group.weight if fed else 0.0, ready.get(group.id, 0)),)


def _desired(endpoint: Endpoint) -> dict[str, Group]:
    """The groups as a scaling that is under way wants them in the end."""
    scaling = endpoint.scaling
    if scaling is None:
        return {}
    return {group.id: group for group in (scaling.after if scaling.reason is None else scaling.before).all_groups}


def green_shadow_progress(deployment: Deployment, ready: dict[str, int]) -> tuple[VariantProgress, ...]:
    """The shadow of the fleet that is being brought in."""
    if deployment.green.shadow is None:
        return ()
    group = deployment.green.shadow.group
    weight = group.weight if asked_split(deployment).all_green else 0.0
    progress = VariantProgress(group, weight, ready.get(group.id, 0))
    if deployment.phase is not Phase.PROVISIONING:
        return (progress,)
    message = f"Launching {group.instance_count} instance(s)."
    return (replace(progress, status=VariantStatus.CREATING, message=message, since=deployment.phase_since),)


def _green_variant(deployment: Deployment, group: Group, ready: int) -> VariantProgress:
    share = _green_share(deployment).get(group.variant, 0.0)
    status, message = _activity(deployment, group)
    return VariantProgress(group, group.weight * share, ready, status, message, deployment.phase_since)


def _activity(deployment: Deployment, group: Group) -> tuple[VariantStatus | None, str | None]:
    """AWS's message forms (deployment guardrails guide, "Monitor deployments")."""
    count = group.instance_count
    step = deployment.steps[max(deployment.step, 0)]
    split = step.split.of(group.variant)
    capacity = split.green_instances if split is not None else count
    last = deployment.step == len(deployment.steps) - 1
    kind = "full" if last else ("partial" if deployment.rolling else "canary")
    match deployment.phase:
        case Phase.PROVISIONING:
            return VariantStatus.CREATING, f"Launching {capacity if deployment.rolling else count} instance(s)."
        case Phase.HELD:
            return (
                VariantStatus.CREATING,
                f"{capacity if deployment.rolling else count} instance(s) are ready; an alarm in ALARM holds the first shift.",
            )
        case Phase.SHIFTING:
            return (
                VariantStatus.ACTIVATING_TRAFFIC,
                f"Activating traffic on {kind} capacity of {capacity} instance(s).",
            )
        case Phase.BAKING:
            wait = "TerminationWaitInSeconds" if last and not deployment.rolling else "WaitIntervalInSeconds"
            return (
                VariantStatus.BAKING,
                f"Baking for {step.bake_seconds} seconds ({wait}) with traffic enabled on {kind} capacity of "
                f"{capacity} instance(s).",
            )
        case Phase.GROWING:
            ahead = deployment.steps[deployment.step + 1].split.of(group.variant)
            more = (ahead.green_instances if ahead is not None else count) - capacity
            return (VariantStatus.CREATING, f"Launching {more} instance(s).") if more > 0 else (None, None)
        case Phase.ROLLING_BACK | Phase.SHEDDING | Phase.RESTORING | Phase.REMOVING:
            return VariantStatus.DELETING, f"Terminating {capacity if deployment.rolling else count} instance(s)."
        case _:
            return None, None


def _green_share(deployment: Deployment) -> dict[str, float]:
    return {one.variant: one.green_parts / TRAFFIC_PARTS for one in asked_split(deployment).variants}


def config_name_of(endpoint: Endpoint) -> str:
    """The configuration that DescribeEndpoint names: the one in production, or the one a creation was asked for."""
    fleet: Fleet | None = endpoint.blue
    return fleet.config_name if fleet is not None else endpoint.requested_config
