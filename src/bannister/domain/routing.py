"""From endpoints to what the proxies should do: which instances may take traffic, and how it is shared.

`plan_of` is the only place that turns an endpoint and its deployment into weights.
"""

from __future__ import annotations

from dataclasses import dataclass

from bannister.domain.deployment.machine import asked_split, wants_blue, wants_green
from bannister.domain.endpoint import Endpoint
from bannister.domain.fleet import Fleet
from bannister.domain.traffic import TRAFFIC_PARTS, apportion


@dataclass(frozen=True, slots=True)
class Membership:
    """How many instances of a group may take traffic."""

    group: str
    #: At most this many ready instances are in rotation.
    in_rotation: int
    #: So many must be healthy in every proxy before the group's weight may rise; 0: never wait (going back to blue).
    required: int


@dataclass(frozen=True, slots=True)
class Weight:
    """One group's share of the endpoint's traffic."""

    group: str
    variant: str
    #: Parts of TRAFFIC_PARTS; over one endpoint they add up to the whole.
    parts: int


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """What the proxies should do for one endpoint. Without weights the endpoint is not invocable."""

    endpoint: str
    memberships: tuple[Membership, ...] = ()
    weights: tuple[Weight, ...] = ()


def plan_of(endpoint: Endpoint) -> RoutePlan:
    """What the proxies should do for this endpoint now."""
    if endpoint.deleting:
        return RoutePlan(endpoint.name)
    deployment = endpoint.deployment
    if deployment is None:
        return _steady(endpoint.name, endpoint.blue) if endpoint.blue is not None else RoutePlan(endpoint.name)
    split = asked_split(deployment)
    memberships: list[Membership] = []
    weighted: list[tuple[str, str, float]] = []
    if deployment.blue is not None and wants_blue(deployment):
        whole = sum(group.weight for group in deployment.blue.groups) or 1.0
        for group in deployment.blue.groups:
            memberships.append(Membership(group.id, group.instance_count, required=0))
            variant = split.of(group.variant)
            green = variant.green_parts / TRAFFIC_PARTS if variant is not None else (1.0 if split.all_green else 0.0)
            weighted.append((group.id, group.variant, group.weight / whole * (1 - green)))
    if wants_green(deployment):
        warming = deployment.steps[max(deployment.step, 0)].split
        whole = sum(group.weight for group in deployment.green.groups) or 1.0
        for group in deployment.green.groups:
            variant = split.of(group.variant)
            ahead = warming.of(group.variant)
            in_rotation = max(variant.green_instances if variant else 0, ahead.green_instances if ahead else 0)
            # Once blue retires green has all the traffic: whatever is left of it must keep it, also after a restart.
            required = in_rotation if wants_blue(deployment) else 0
            memberships.append(Membership(group.id, in_rotation, required))
            green = variant.green_parts / TRAFFIC_PARTS if variant is not None else 0.0
            weighted.append((group.id, group.variant, group.weight / whole * green))
    parts = apportion([weight for _, _, weight in weighted])
    weights = tuple(Weight(group, variant, part) for (group, variant, _), part in zip(weighted, parts, strict=True))
    if not any(parts):
        weights = ()
    return RoutePlan(endpoint.name, tuple(memberships), weights)


#: Of more endpoints than this, plans are made again and again.
PLANS_KEPT_MAX = 1000


class Plans:
    """The plans of endpoints, made again only for an endpoint that has changed."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Endpoint, RoutePlan]] = {}

    def of(self, endpoint: Endpoint) -> RoutePlan:
        """As `plan_of`."""
        known = self._known.get(endpoint.name)
        if known is None or known[0] != endpoint:
            known = endpoint, plan_of(endpoint)
            self._known.pop(endpoint.name, None)
            self._known[endpoint.name] = known
            if len(self._known) > PLANS_KEPT_MAX:
                del self._known[next(iter(self._known))]
        return known[1]


def _steady(endpoint: str, fleet: Fleet) -> RoutePlan:
    parts = apportion([group.weight for group in fleet.groups])
    return RoutePlan(
        endpoint,
        tuple(Membership(group.id, group.instance_count, required=0) for group in fleet.groups),
        tuple(Weight(group.id, group.variant, part) for group, part in zip(fleet.groups, parts, strict=True)),
    )


def wanted_groups(endpoint: Endpoint) -> set[str]:
    """The groups whose instances should exist for this endpoint; all others of it are to be retired."""
    if endpoint.deleting:
        return set()
    deployment = endpoint.deployment
    if deployment is None:
        return {group.id for group in endpoint.blue.groups} if endpoint.blue is not None else set()
    wanted: set[str] = set()
    if deployment.blue is not None and wants_blue(deployment):
        wanted |= {group.id for group in deployment.blue.groups}
    if wants_green(deployment):
        wanted |= {group.id for group in deployment.green.groups}
    return wanted
