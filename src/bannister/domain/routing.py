"""From endpoints to what the proxies should do: which instances may take traffic, and how it is shared.

`plan_of` is the only place that turns an endpoint and its deployment into weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from bannister.domain.deployment.targets import asked_split, wants_blue, wants_green
from bannister.domain.deployment.targets import wanted_instances as wanted_of
from bannister.domain.endpoint import Endpoint
from bannister.domain.fleet import Fleet, Group
from bannister.domain.traffic import TRAFFIC_PARTS, apportion

#: Production is copied to itself only where another instance can most often take the copy.
NOISE_INSTANCES_MIN: Final = 2


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
    #: Parts of TRAFFIC_PARTS of the requests that name no variant; over one endpoint they add up to the whole.
    parts: int
    #: Parts of TRAFFIC_PARTS of those that name its variant (`TargetVariant`); over the groups of one variant they add up to the whole. Not in the ratio of `parts`:
    #: green's share of a variant is the step's, whatever the variant weighs in each of the fleets, also where that is nothing.
    named_parts: int

    @property
    def takes_any(self) -> bool:
        """Whether a request may go there, were it only one that names the variant."""
        return self.parts > 0 or self.named_parts > 0


def by_variant(weights: Iterable[Weight]) -> dict[str, list[Weight]]:
    """The weights of each variant."""
    found: dict[str, list[Weight]] = {}
    for one in weights:
        found.setdefault(one.variant, []).append(one)
    return found


@dataclass(frozen=True, slots=True)
class Mirror:
    """Copies of an endpoint's requests for a group whose answers no caller sees."""

    #: The shadow's group; for a noise copy, production's own.
    group: str
    variant: str
    #: Parts of TRAFFIC_PARTS of the endpoint's requests.
    parts: int
    #: The production group whose answers its answers are compared with.
    compared_with: str
    #: A copy for production's own group, to measure how much it differs from itself; it is no invocation of the group.
    noise: bool = False


@dataclass(frozen=True, slots=True)
class Forwarding:
    """What an endpoint's routes do with a request: who answers it, who gets a copy, and whether it is observed."""

    weights: tuple[Weight, ...] = ()
    mirrors: tuple[Mirror, ...] = ()
    #: Parts of TRAFFIC_PARTS of the requests that are observed for capture, answers included. Those that are mirrored are among them.
    captured_parts: int = 0


@dataclass(frozen=True, slots=True)
class Members:
    """The instances of one group as the proxies have them, by address."""

    #: Those that share the group's traffic.
    rotation: tuple[str, ...] = ()
    #: Ready ones that take over where none in rotation can.
    standby: tuple[str, ...] = ()
    #: They finish what they have and get nothing new; known to the proxies so that what they still have can be counted.
    draining: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """What the proxies should do for one endpoint. Without weights the endpoint is not invocable."""

    endpoint: str
    #: Of the production groups. A shadow's instances are all in rotation, and nothing ever waits for them.
    memberships: tuple[Membership, ...] = ()
    weights: tuple[Weight, ...] = ()
    mirrors: tuple[Mirror, ...] = ()
    #: Every mirror that a fleet of the endpoint may have, whatever its share is now (here it is 0). One that is not among `mirrors` may have been asked for
    #: before, or will be next: the way that its copies take exists from before its first to after its last, also where the endpoint is deleted or the fleet is leaving.
    ways: tuple[Mirror, ...] = ()
    #: As `Forwarding.captured_parts`.
    captured_parts: int = 0
    #: The groups of a variant share its instances between them: what a group without any cannot take goes to the others.
    shared: bool = False
    #: On the way back: blue's groups. That they have more than was asked, because green's have no instance, is as good as what was asked; forwards, and where it
    #: is blue's that have none, the asked weights themselves are waited for.
    returning_to: frozenset[str] = frozenset()


def plan_of(endpoint: Endpoint, noise_parts: int = 0) -> RoutePlan:
    """What the proxies should do for this endpoint now.

    Args:
        endpoint: As stored.
        noise_parts: Share of the requests that is also copied to production's own group (`Rules.noise_parts`), where there is a shadow.
    """
    plan, fleet = _production_plan(endpoint), fed_fleet(endpoint)
    ways = tuple([mirror for each in _fleets(endpoint) for mirror in ways_of(each)])
    if fleet is None or not plan.weights:
        return replace(plan, ways=ways) if ways else plan
    mirrors = _mirrors(fleet, noise_parts)
    captured = [one.parts for one in mirrors] + [_captured_parts(one) for one in wanted_fleets(endpoint)]
    return replace(plan, ways=ways, mirrors=mirrors, captured_parts=max(captured, default=0))


def fed_fleet(endpoint: Endpoint) -> Fleet | None:
    """The fleet whose shadow gets copies: blue until all traffic is on green, then green. None: there is no fleet in production."""
    deployment = endpoint.deployment
    if deployment is None:
        return None if endpoint.deleting else endpoint.blue
    return deployment.green if asked_split(deployment).all_green else deployment.blue


def _mirrors(fleet: Fleet, noise_parts: int) -> tuple[Mirror, ...]:
    """Copies for the fleet's shadow, and of as many requests or fewer for production's own group."""
    if fleet.shadow is None or fleet.shadow.sampled_parts <= 0:
        return ()
    production, shadow, parts = fleet.groups[0], fleet.shadow.group, fleet.shadow.sampled_parts
    copies = [Mirror(shadow.id, shadow.variant, parts, compared_with=production.id)]
    # One instance alone would take every such request twice.
    if noise_parts > 0 and production.instance_count >= NOISE_INSTANCES_MIN:
        copies.append(
            Mirror(production.id, production.variant, min(noise_parts, TRAFFIC_PARTS), production.id, noise=True)
        )
    return tuple(copies)


def ways_of(fleet: Fleet) -> tuple[Mirror, ...]:
    """What `_mirrors` may ask for as long as the fleet exists: shares change, and a proxy may still have an earlier one."""
    if fleet.shadow is None:
        return ()
    production, shadow = fleet.groups[0], fleet.shadow.group
    return (
        Mirror(shadow.id, shadow.variant, 0, compared_with=production.id),
        Mirror(production.id, production.variant, 0, production.id, noise=True),
    )


def _captured_parts(fleet: Fleet) -> int:
    """The share of requests that the fleet's configuration has observed, to write them to storage."""
    capture = fleet.capture
    return capture.sampling_percent * TRAFFIC_PARTS // 100 if capture is not None and capture.enabled else 0


def _production_plan(endpoint: Endpoint) -> RoutePlan:
    if endpoint.deleting:
        return RoutePlan(endpoint.name)
    deployment = endpoint.deployment
    if deployment is None:
        return _steady(endpoint.name, endpoint.blue) if endpoint.blue is not None else RoutePlan(endpoint.name)
    split, wanted = asked_split(deployment), wanted_of(deployment)
    memberships: list[Membership] = []
    weighted: list[_Share] = []
    if deployment.blue is not None and wants_blue(deployment):
        for share in _shares(deployment.blue.groups):
            group = share.group
            memberships.append(Membership(group.id, wanted[group.id], required=0))
            variant = split.of(group.variant)
            green = variant.green_parts / TRAFFIC_PARTS if variant is not None else (1.0 if split.all_green else 0.0)
            # A variant that green does not have is blue's until blue goes, by name.
            weighted.append(share.times(1 - green, 1.0 if variant is None else 1 - green))
    if wants_green(deployment):
        warming = deployment.steps[max(deployment.step, 0)].split
        for share in _shares(deployment.green.groups):
            group = share.group
            variant = split.of(group.variant)
            ahead = warming.of(group.variant)
            in_rotation = max(variant.green_instances if variant else 0, ahead.green_instances if ahead else 0)
            # Once blue retires green has all the traffic: whatever is left of it must keep it, also after a restart.
            # And on the way back nothing waits for green: it may be green that is broken.
            required = in_rotation if wants_blue(deployment) and not deployment.retreat else 0
            if deployment.rolling and deployment.step > 0:
                required = 0  # GROWING has seen them healthy in every proxy, and blue can no longer stand in for them
            if deployment.rolling:  # there are no more than these; those that are on their way join as they come
                in_rotation = max(in_rotation, wanted[group.id])
            memberships.append(Membership(group.id, in_rotation, required))
            green = variant.green_parts / TRAFFIC_PARTS if variant is not None else 0.0
            # A variant that is new by name cannot be invoked, also not by name, before green has the traffic.
            if green > 0 or deployment.blue is None or deployment.blue.group_of(group.variant) is not None:
                weighted.append(share.times(green, green))
    blue = () if deployment.blue is None or not deployment.retreat else deployment.blue.groups
    returning_to = frozenset(group.id for group in blue)
    return RoutePlan(
        endpoint.name,
        tuple(memberships),
        _weights(weighted),
        shared=deployment.rolling or _is_mixed(deployment.blue),
        returning_to=returning_to,
    )


@dataclass(frozen=True, slots=True)
class _Share:
    """A group's share of its fleet's requests, and of those that name its variant; of a whole of 1."""

    group: Group
    of_all: float
    of_named: float

    def times(self, of_all: float, of_named: float) -> _Share:
        """Its share where the fleet has only these parts."""
        return _Share(self.group, self.of_all * of_all, self.of_named * of_named)


def _shares(groups: Sequence[Group]) -> list[_Share]:
    """How the groups of one fleet share its requests: by weight. Several of one variant (in a mixed fleet) that weigh nothing share what names it by their instances."""
    whole = sum(group.weight for group in groups) or 1.0
    found = []
    for group in groups:
        same = [one for one in groups if one.variant == group.variant]
        weight = sum(one.weight for one in same)
        count = sum(one.instance_count for one in same)
        named = group.weight / weight if weight else group.instance_count / count if count else 1 / len(same)
        found.append(_Share(group, group.weight / whole, named))
    return found


def _weights(shares: Sequence[_Share]) -> tuple[Weight, ...]:
    """In whole parts; none, where nobody is to have anything."""
    parts = apportion([one.of_all for one in shares])
    if not any(parts):
        return ()
    named: dict[str, int] = {}
    for variant in {one.group.variant for one in shares}:
        same = [one for one in shares if one.group.variant == variant]
        asked = [one.of_named for one in same] if any(one.of_named for one in same) else [1.0] * len(same)
        named |= zip([one.group.id for one in same], apportion(asked), strict=True)
    return tuple(
        Weight(one.group.id, one.group.variant, part, named[one.group.id])
        for one, part in zip(shares, parts, strict=True)
    )


def _is_mixed(fleet: Fleet | None) -> bool:
    return fleet is not None and fleet.mixed


#: Of more endpoints than this, plans are made again and again.
PLANS_KEPT_MAX = 1000


class Plans:
    """The plans of endpoints, made again only for an endpoint that has changed."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[Endpoint, int], RoutePlan]] = {}

    def of(self, endpoint: Endpoint, noise_parts: int = 0) -> RoutePlan:
        """As `plan_of`."""
        known = self._known.get(endpoint.name)
        if known is None or known[0] != (endpoint, noise_parts):
            known = (endpoint, noise_parts), plan_of(endpoint, noise_parts)
            self._known.pop(endpoint.name, None)
            self._known[endpoint.name] = known
            if len(self._known) > PLANS_KEPT_MAX:
                del self._known[next(iter(self._known))]
        return known[1]


def _steady(endpoint: str, fleet: Fleet) -> RoutePlan:
    return RoutePlan(
        endpoint,
        tuple(Membership(group.id, group.instance_count, required=0) for group in fleet.groups),
        _weights(_shares(fleet.groups)),
        shared=fleet.mixed,
    )


def wanted_instances(endpoint: Endpoint) -> dict[str, int]:
    """By group, how many instances should exist for this endpoint; all other groups of it are to be retired."""
    if endpoint.deployment is not None and not endpoint.deleting:
        return wanted_of(endpoint.deployment)
    return {group.id: group.instance_count for fleet in wanted_fleets(endpoint) for group in fleet.all_groups}


def wanted_fleets(endpoint: Endpoint) -> tuple[Fleet, ...]:
    """The fleets whose instances should exist for this endpoint, blue first."""
    deployment = endpoint.deployment
    if endpoint.deleting:
        return ()
    if deployment is None:
        return _fleets(endpoint)
    blue = deployment.blue if wants_blue(deployment) else None
    green = deployment.green if wants_green(deployment) else None
    return tuple(fleet for fleet in (blue, green) if fleet is not None)


def _fleets(endpoint: Endpoint) -> tuple[Fleet, ...]:
    """All fleets of the endpoint, those included that are leaving, blue first."""
    deployment = endpoint.deployment
    fleets = (endpoint.blue,) if deployment is None else (deployment.blue, deployment.green)
    return tuple(fleet for fleet in fleets if fleet is not None)
