"""What the world must look like for a deployment as it is: the split, and the instances of both fleets.

All of it follows from the deployment alone and is absolute, so that the publisher and the supervisor may bring it about as often as they like. Most of what is here is about
rolling updates, in which the fleets change size (`capacity`); in all others each has all its instances.
"""

from __future__ import annotations

from dataclasses import replace

from bannister.domain.deployment.capacity import Retreat, allotted, batch, left, split_beside, whole
from bannister.domain.deployment.deployment import RETURNING, Deployment, Phase
from bannister.domain.deployment.plan import all_blue
from bannister.domain.fleet import Fleet
from bannister.domain.traffic import TRAFFIC_PARTS, Split


def asked_split(deployment: Deployment) -> Split:
    """The split that the proxies should have."""
    if deployment.retreat and deployment.phase is not Phase.REMOVING:
        return Split(
            tuple(
                split_beside(one.variant, one.blue, blue_whole(deployment, one.variant), one.green)
                for one in deployment.retreat
            )
        )
    if deployment.step < 0 or deployment.phase in RETURNING or deployment.phase is Phase.ROLLED_BACK:
        return all_blue(deployment.instance_counts)
    return deployment.steps[deployment.step].split


def wanted_instances(deployment: Deployment) -> dict[str, int]:
    """By group of both fleets, how many instances should exist; a fleet that should not is left out."""
    wanted: dict[str, int] = {}
    if deployment.blue is not None and wants_blue(deployment):
        wanted |= {group.id: group.instance_count for group in deployment.blue.all_groups}
        for variant in {group.variant for group in deployment.blue.groups} if deployment.rolling else ():
            wanted |= allotted(deployment.blue.groups, variant, _blue_wanted(deployment, variant))
    if wants_green(deployment):
        wanted |= {group.id: group.instance_count for group in deployment.green.all_groups}
        for group in deployment.green.groups if deployment.rolling else ():
            wanted[group.id] = _green_now(deployment, group.variant, group.instance_count)
    return wanted


def mixed_fleet(deployment: Deployment) -> Fleet:
    """What serves after a rollback that has failed: both fleets, with the instances and the shares that they have."""
    assert deployment.blue is not None
    blue, split, kept = deployment.blue, asked_split(deployment), []
    counts = wanted_instances(replace(deployment, phase=Phase.ROLLING_BACK))
    for group in (*blue.groups, *deployment.green.groups):
        variant = split.of(group.variant)
        green = 0 if variant is None else variant.green_parts / TRAFFIC_PARTS
        of_blue = group in blue.groups
        if counts[group.id] > 0:
            weight = sum(one.weight for one in blue.groups if one.variant == group.variant)
            share = (1 - green) * group.weight if of_blue else green * weight
            kept.append(replace(group, instance_count=counts[group.id], weight=share))
    return replace(blue, groups=tuple(kept))


def blue_whole(deployment: Deployment, variant: str) -> int:
    return whole(deployment.blue.groups, variant) if deployment.blue is not None else 0


def shifted_to(deployment: Deployment, variant: str) -> int:
    """Green's instances at the split that is asked."""
    split = deployment.steps[max(deployment.step, 0)].split.of(variant)
    return split.green_instances if split is not None else 0


def _blue_now(deployment: Deployment, variant: str) -> int:
    """Forwards: the blue instances of a rolling update that are still wanted."""
    baked = deployment.step if deployment.phase in (Phase.SHRINKING, Phase.GROWING) else deployment.step - 1
    split = deployment.steps[baked].split.of(variant) if baked >= 0 else None
    green = split.green_instances if split is not None else 0
    return left(blue_whole(deployment, variant), green, deployment.instance_counts.get(variant, 1))


def _blue_wanted(deployment: Deployment, variant: str) -> int:
    back = next((one for one in deployment.retreat if one.variant == variant), None)
    if back is None:
        return _blue_now(deployment, variant)
    return restoring_to(deployment, back) if deployment.phase is Phase.RESTORING else back.blue


def restoring_to(deployment: Deployment, back: Retreat) -> int:
    whole_count = blue_whole(deployment, back.variant)
    return min(whole_count, back.blue + batch(deployment.policy.rollback_step, whole_count))


def _green_now(deployment: Deployment, variant: str, count: int) -> int:
    """The green instances of a rolling update that are wanted."""
    back = next((one for one in deployment.retreat if one.variant == variant), None)
    if back is not None:
        return back.green
    if deployment.phase in (Phase.RETIRING, Phase.COMPLETED):
        return count
    ahead = deployment.step + 1 if deployment.phase is Phase.GROWING else max(deployment.step, 0)
    split = deployment.steps[ahead].split.of(variant)
    return split.green_instances if split is not None else count


def wants_green(deployment: Deployment) -> bool:
    """Whether green's instances should exist."""
    return deployment.phase not in (Phase.REMOVING, Phase.ROLLED_BACK)


def wants_blue(deployment: Deployment) -> bool:
    """Whether blue's instances should exist."""
    return deployment.phase not in (Phase.RETIRING, Phase.COMPLETED)


# --- a rolling update on its way back


def retreat(deployment: Deployment) -> tuple[Retreat, ...]:
    """Where a rolling update stands when it is stopped."""
    if not deployment.rolling:
        return ()
    return tuple(
        Retreat(variant, _blue_now(deployment, variant), _green_now(deployment, variant, count))
        for variant, count in deployment.instance_counts.items()
    )


def with_batch(deployment: Deployment) -> tuple[Retreat, ...]:
    """After a batch of blue is back."""
    return tuple(replace(one, blue=restoring_to(deployment, one)) for one in deployment.retreat)


def without_surplus(deployment: Deployment) -> tuple[Retreat, ...]:
    """Without the green instances that are not needed beside what blue has."""
    counts = deployment.instance_counts
    return tuple(
        replace(
            one,
            green=min(one.green, left(counts[one.variant], one.blue, blue_whole(deployment, one.variant))),
        )
        for one in deployment.retreat
    )
