"""Changing the weights and instance counts of what runs, without another version: no deployment, and still no request may be lost.

The fleet in production walks through three forms, so that capacity comes before the traffic that needs it, and goes after the traffic that used it:

    GROWING    every group has the greater of its two counts, and its old weight
    WEIGHING   what has grown is healthy in every proxy, whoever gets a larger share has an instance that is, and the new weights are asked
    SHRINKING  every group has its new count; what is too many drains and goes

`fleet_of` is the fleet in each. An instance that cannot start takes the change back: the fleet is what it was, and the endpoint says why. As with
deployments, `notice` and `advance` are pure, and what must be so follows from the phase alone.

Source: UpdateEndpointWeightsAndCapacities in the API reference. AWS says nothing of the order, nor of what becomes of a change that cannot be made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import msgspec

from bannister.domain.deployment.room import Shortage
from bannister.domain.fleet import Fleet, Group, Shadow, check_count, check_weight, sampled_parts
from bannister.domain.traffic import apportion
from bannister.errors import Invalid

#: The kind of a journal entry that holds a decision about a scaling.
SCALED = "scaling.decided"
#: The kind of one that says that a scaling began.
SCALING_STARTED = "scaling.started"


class ScalingPhase(StrEnum):
    """Where a scaling is."""

    GROWING = "growing"
    WEIGHING = "weighing"
    SHRINKING = "shrinking"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Desired:
    """What one variant is to have; None: what it has."""

    variant: str
    weight: float | None = None
    instance_count: int | None = None


@dataclass(frozen=True, slots=True)
class Scaling:
    """One change of weights and counts. Immutable; `advance` returns the next one."""

    id: str
    before: Fleet
    after: Fleet
    started_at: float
    #: What has grown must be up by then.
    deadline_at: float
    phase: ScalingPhase = ScalingPhase.GROWING
    phase_since: float = 0.0
    #: Why it was taken back: a sentence; None: it was not.
    reason: str | None = None
    #: Memory that it may miss, as it was before it began; None: it fits, as far as is known.
    shortage: Shortage | None = None


@dataclass(frozen=True, slots=True)
class GroupCount:
    """What is seen of one group's instances."""

    group: str
    ready: int
    #: So many every proxy sees healthy.
    healthy: int
    #: All that exist, those that drain included.
    existing: int
    #: Why an instance was given up; None: none was.
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """Every fact that a decision about a scaling may depend on."""

    now: float
    groups: tuple[GroupCount, ...]
    #: Every proxy has acknowledged the weights that are asked now.
    acknowledged: bool


@dataclass(frozen=True, slots=True)
class Noticed:
    """The phase that follows, with the sentence that explains it."""

    phase: ScalingPhase
    reason: str
    #: The change is taken back.
    back: bool = False


def rescaled(fleet: Fleet, desired: Sequence[Desired], instances_max: int) -> Fleet:
    """The fleet with other weights and counts.

    Raises:
        Invalid: Which of them cannot be, and why.
    """
    if fleet.mixed:
        raise Invalid(
            "The endpoint runs two configurations, because an update could not be rolled back. Call UpdateEndpoint with either first."
        )
    known = {group.variant for group in fleet.all_groups}
    for one in desired:
        if one.variant not in known:
            raise Invalid(f'Variant "{one.variant}" is not one of this endpoint\'s: {", ".join(sorted(known))}.')
        if one.weight is not None:
            check_weight("DesiredWeight", one.variant, one.weight)
        if one.instance_count is None:
            continue
        if one.instance_count < 1:
            raise Invalid(
                f'DesiredInstanceCount of variant "{one.variant}" is {one.instance_count}; it must be 1 or more. To take a variant out '
                "of production give it DesiredWeight 0."
            )
        check_count("DesiredInstanceCount", one.variant, one.instance_count, instances_max)
    by_variant = {one.variant: one for one in desired}
    if len(by_variant) < len(desired):
        raise Invalid("DesiredWeightsAndCapacities names a variant twice.")

    def changed(group: Group) -> Group:
        one = by_variant.get(group.variant, Desired(group.variant))
        return replace(
            group,
            weight=group.weight if one.weight is None else one.weight,
            instance_count=group.instance_count if one.instance_count is None else one.instance_count,
        )

    groups = tuple(changed(group) for group in fleet.groups)
    if sum(group.weight for group in groups) <= 0:
        raise Invalid("The DesiredWeight of at least one production variant must be above 0, or nothing would answer.")
    shadow = fleet.shadow
    if shadow is not None:
        group = changed(shadow.group)
        shadow = Shadow(group, sampled_parts(group.weight, groups[0].weight))
    return replace(fleet, groups=groups, shadow=shadow)


def fleet_of(scaling: Scaling) -> Fleet:
    """The fleet as it must be now."""
    match scaling.phase:
        case ScalingPhase.GROWING:
            return _with_counts(scaling.before, scaling, max)
        case ScalingPhase.WEIGHING:
            return _with_counts(scaling.after, scaling, max)
        case ScalingPhase.SHRINKING | ScalingPhase.ENDED:
            return scaling.after if scaling.reason is None else scaling.before


def notice(scaling: Scaling, seen: Observation) -> Noticed | None:
    """What these facts amount to, or None: go on waiting."""
    wanted = {group.id: group for group in fleet_of(scaling).all_groups}
    if scaling.phase is ScalingPhase.SHRINKING:
        if any(one.existing > wanted[one.group].instance_count for one in seen.groups):
            return None
        return Noticed(ScalingPhase.ENDED, "Every group has as many instances as it should.")
    before = {group.id: group.instance_count for group in scaling.before.all_groups}
    growing = [one for one in seen.groups if wanted[one.group].instance_count > before[one.group]]
    helpless = [one for one in seen.groups if min(one.ready, one.healthy) == 0 and one.group in gaining(scaling)]
    awaited = [one for one in seen.groups if one in growing or one in helpless]
    for one in awaited:
        if one.failure is not None:
            return Noticed(ScalingPhase.SHRINKING, one.failure, back=True)
    done = _done(scaling, seen, growing, helpless, wanted)
    if done is None and seen.now >= scaling.deadline_at:
        return Noticed(ScalingPhase.SHRINKING, _too_late(scaling, awaited, wanted), back=True)
    return done


def gaining(scaling: Scaling) -> frozenset[str]:
    """The production groups that are to get a larger share of the requests than they have."""
    if scaling.phase is not ScalingPhase.GROWING:
        return frozenset()
    before, after = (apportion([group.weight for group in fleet.groups]) for fleet in (scaling.before, scaling.after))
    parts = zip(scaling.after.groups, before, after, strict=True)
    return frozenset(group.id for group, had, gets in parts if gets > had)


def _done(
    scaling: Scaling,
    seen: Observation,
    growing: Sequence[GroupCount],
    helpless: Sequence[GroupCount],
    wanted: Mapping[str, Group],
) -> Noticed | None:
    if scaling.phase is ScalingPhase.WEIGHING:
        acknowledged = "Every proxy has acknowledged the weights."
        return Noticed(ScalingPhase.SHRINKING, acknowledged) if seen.acknowledged else None
    if helpless or any(min(one.ready, one.healthy) < wanted[one.group].instance_count for one in growing):
        return None
    return Noticed(
        ScalingPhase.WEIGHING,
        "Every instance that was added is ready, and healthy in every proxy." if growing else "No instance was added.",
    )


def _too_late(scaling: Scaling, awaited: Sequence[GroupCount], wanted: Mapping[str, Group]) -> str:
    counts = [
        f"of {wanted[one.group].instance_count} instances of {wanted[one.group].variant} {one.ready} are ready, and every proxy sees "
        f"{one.healthy} healthy"
        for one in awaited
    ]
    why = "; ".join(counts) or "the proxies did not acknowledge the weights"
    return f"It was not done within {scaling.deadline_at - scaling.started_at:.0f} seconds: {why}."


def advance(scaling: Scaling, noticed: Noticed, now: float) -> Scaling:
    """The scaling after this decision."""
    reason = noticed.reason if noticed.back else scaling.reason
    return replace(scaling, phase=noticed.phase, phase_since=now, reason=reason)


def evidence(before: Scaling, noticed: Noticed, seen: Observation, version: str) -> dict[str, Any]:
    """The body of a decision's journal entry: all that it depends on, so that it can be taken again."""
    return {
        "scaling": before.id,
        "from": before.phase.value,
        "to": noticed.phase.value,
        "reason": noticed.reason,
        "before": msgspec.to_builtins(before),
        "observation": msgspec.to_builtins(seen),
        "version": version,
    }


def disagreements(bodies: Iterable[Mapping[str, Any]]) -> list[str]:
    """As of deployments (`domain.deployment.recorder`): a sentence for each recorded decision that is another one when it is taken again."""
    found = []
    left: dict[str, Scaling] = {}
    for body in bodies:
        name = f"Decision {body['from']!r} to {body['to']!r} of scaling {body['scaling']}"
        before, seen = msgspec.convert(body["before"], Scaling), msgspec.convert(body["observation"], Observation)
        noticed = notice(before, seen)
        if noticed is None or (noticed.phase.value, noticed.reason) != (body["to"], body["reason"]):
            found.append(f"{name} ({body['reason']!r}) is {noticed!r} when taken again.")
            continue
        if left.get(before.id, before) != before:
            found.append(f"{name} did not start from what the decision before it left.")
        left[before.id] = advance(before, noticed, seen.now)
    return found


def _with_counts(fleet: Fleet, scaling: Scaling, chosen: Callable[[int, int], int]) -> Fleet:
    """The fleet with a count chosen from the one before and the one after."""
    before = {group.id: group.instance_count for group in scaling.before.all_groups}
    after = {group.id: group.instance_count for group in scaling.after.all_groups}

    def counted(group: Group) -> Group:
        return replace(group, instance_count=chosen(before[group.id], after[group.id]))

    shadow = fleet.shadow
    return replace(
        fleet,
        groups=tuple(counted(group) for group in fleet.groups),
        shadow=None if shadow is None else replace(shadow, group=counted(shadow.group)),
    )
