"""Decides what the proxies should have next: a pure function of what is asked, what exists and what each proxy has confirmed.

Per endpoint, and no endpoint ever waits for another:

* The instances in rotation are the first ready ones of a group, oldest first, as many as its membership allows. They are published at
  once, so that they are warm before traffic comes; an instance that is no longer ready leaves at once.
* Where none of a group is ready, those that were and still run stay: the proxies see for themselves when one answers again, and sooner
  than we do. Taken away, they would leave nobody to take the next request.
* Ready instances beyond those stand by: they are warm too, and get a request only where none in rotation can take it. So the death of
  a canary's one instance loses what was in flight on it, and not all that comes until traffic is back on blue.
* New weights wait until every group they name has its required instances healthy in every registered proxy. A group with `required` 0
  is never waited for: going back to blue is always possible.
* Until then the endpoint keeps the weights it has. If it has none yet (after a restart), the groups that need no waiting, or are
  already usable, take the traffic of their variant.
* An instance that drains, because its group has become smaller, stays in the proxies' lists without getting anything new, until it is evicted.
* A group that no plan names any more keeps its cluster and its ready instances until its instances are gone and no proxy may still
  hold a route to it, so that requests in flight are finished and can be counted.
* A mirror follows the weights it was planned with, and is there only while an instance of its group is ready. Nothing ever waits for a shadow: its instances
  are in rotation as they come, and when the last is gone the mirror goes. The hop clusters on its way stay as long as its group's cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bannister.domain.instance import Instance, InstancePhase
from bannister.domain.routing import Forwarding, Members, Membership, Mirror, RoutePlan, Weight, by_variant
from bannister.envoy.resources.routes import groups_named


@dataclass(frozen=True, slots=True)
class ProxyView:
    """What one registered proxy has confirmed."""

    #: By group: addresses that it has acknowledged and sees healthy.
    healthy: Mapping[str, frozenset[str]] = field(default_factory=dict)
    #: Clusters that its routes may name now.
    routed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Publication:
    """What the proxies should have."""

    #: By group: the addresses in rotation. Every group here is a cluster.
    rotation: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    #: By endpoint: the weights of its routes.
    weights: Mapping[str, tuple[Weight, ...]] = field(default_factory=dict)
    #: By group: ready instances that take over when none in rotation can.
    standby: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    #: By group: instances that are too many for it, and finish what they have.
    draining: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    #: Endpoints whose asked weights wait for instances.
    waiting: frozenset[str] = frozenset()
    #: By endpoint, where there are any: the copies that its routes make.
    mirrors: Mapping[str, tuple[Mirror, ...]] = field(default_factory=dict)
    #: By endpoint, where there are any: the parts of its requests that are captured.
    captured: Mapping[str, int] = field(default_factory=dict)
    #: Mirrors, without their parts, whose hop clusters the proxies have. Ordered.
    hops: tuple[Mirror, ...] = ()
    #: By endpoint, where a group of a variant has no instance and another has: the weights that were asked, and those that stand for them.
    borne: Mapping[str, tuple[tuple[Weight, ...], tuple[Weight, ...]]] = field(default_factory=dict)

    def members(self, group: str) -> Members:
        """The instances of a group."""
        return Members(self.rotation.get(group, ()), self.standby.get(group, ()), self.draining.get(group, ()))

    def forwardings(self) -> dict[str, Forwarding]:
        """By endpoint: what its routes do."""
        return {
            endpoint: Forwarding(weights, self.mirrors.get(endpoint, ()), self.captured.get(endpoint, 0))
            for endpoint, weights in self.weights.items()
        }


def next_publication(
    plans: Sequence[RoutePlan],
    instances: Iterable[Instance],
    published: Publication,
    proxies: Sequence[ProxyView],
) -> Publication:
    """What to publish now, given what is published already."""
    instances = tuple(instances)
    ready = _ready_addresses(instances)
    rotation = _rotation(plans, ready, published, proxies)
    up = InstancePhase.READY
    answering = frozenset(
        one.group for one in instances if one.phase is up and not one.draining and rotation.get(one.group)
    )
    weights: dict[str, tuple[Weight, ...]] = {}
    mirrors: dict[str, tuple[Mirror, ...]] = {}
    borne: dict[str, tuple[tuple[Weight, ...], tuple[Weight, ...]]] = {}
    waiting = set()
    for plan in plans:
        current = published.weights.get(plan.endpoint)
        asked_for = plan.weights
        if plan.shared and (asked_for := _borne(plan.weights, answering)) != plan.weights:
            borne[plan.endpoint] = plan.weights, asked_for
        chosen = asked_for
        if asked_for != current:
            chosen = _chosen(replace(plan, weights=asked_for), current, rotation, proxies)
        if chosen != asked_for:
            waiting.add(plan.endpoint)
        if groups_named(chosen):
            weights[plan.endpoint] = chosen
            for group in groups_named(chosen):  # also one that the plan no longer lists, until its route is gone
                rotation.setdefault(group, ready.get(group, ()))
            asked = plan.mirrors if chosen == asked_for else published.mirrors.get(plan.endpoint, ())
            if plan.endpoint in borne:  # copies are of what the fleet with the shadow answers
                taking = {one.group for one in chosen if one.parts > 0}
                asked = tuple(mirror for mirror in asked if mirror.compared_with in taking)
            if possible := tuple(mirror for mirror in asked if ready.get(mirror.group)):
                mirrors[plan.endpoint] = possible
    standby = {
        one.group: ready[one.group][one.in_rotation :]
        for plan in plans
        for one in plan.memberships
        if one.in_rotation > 0 and len(ready.get(one.group, ())) > one.in_rotation
    }
    return Publication(
        rotation,
        weights,
        standby,
        _draining(instances, rotation),
        frozenset(waiting),
        mirrors,
        captured={plan.endpoint: plan.captured_parts for plan in plans if plan.captured_parts > 0},
        hops=_hops(plans, rotation, published, mirrors),
        borne=borne,
    )


def _borne(weights: tuple[Weight, ...], answering: frozenset[str]) -> tuple[Weight, ...]:
    """The same shares between variants; within one, what a group without an instance would get goes to those that have one."""
    found: dict[str, Weight] = {}
    for groups in by_variant(weights).values():
        able = [one for one in groups if one.group in answering] or groups
        found |= {one.group: replace(one, parts=0, named_parts=0) for one in groups} | {
            one.group: one for one in _taken_over(groups, able)
        }
    return tuple(found[one.group] for one in weights)


def _taken_over(groups: Sequence[Weight], takers: Sequence[Weight]) -> list[Weight]:
    """The takers, some of a variant's groups, with what all of them have: in the ratio of what they have themselves; where none has any, the first has it."""
    parts = _shared_out([one.parts for one in takers], sum(one.parts for one in groups))
    named = _shared_out([one.named_parts for one in takers], sum(one.named_parts for one in groups))
    return [replace(one, parts=part, named_parts=name) for one, part, name in zip(takers, parts, named, strict=True)]


def _shared_out(has: list[int], whole: int) -> list[int]:
    return _apportioned(has if any(has) else [1, *[0] * (len(has) - 1)], whole) if has else []


def _hops(
    plans: Sequence[RoutePlan],
    rotation: Mapping[str, tuple[str, ...]],
    published: Publication,
    mirrors: Mapping[str, tuple[Mirror, ...]],
) -> tuple[Mirror, ...]:
    """The ways that mirrors need now, will need, or may still be taken by a proxy."""
    needed = [mirror for plan in plans for mirror in plan.ways]
    needed += [mirror for some in mirrors.values() for mirror in some]
    needed += [mirror for mirror in published.hops if mirror.group in rotation]
    return tuple(dict.fromkeys([one if one.parts == 0 else replace(one, parts=0) for one in needed]))


def _ready_addresses(instances: Iterable[Instance]) -> dict[str, tuple[str, ...]]:
    """By group, for every group that has an instance: the addresses of its ready ones, or of those that were; oldest first."""
    oldest_first = sorted(instances, key=lambda one: (one.started_at or 0.0, one.id))
    ready: dict[str, list[str]] = {}
    silent: dict[str, list[str]] = {}
    for one in oldest_first:
        addresses = ready.setdefault(one.group, [])
        if one.address is None or one.draining:
            continue
        if one.phase is InstancePhase.READY:
            addresses.append(one.address)
        elif one.phase is InstancePhase.UNREADY and one.answered:
            silent.setdefault(one.group, []).append(one.address)
    return {group: tuple(addresses or silent.get(group, ())) for group, addresses in ready.items()}


def _draining(instances: Iterable[Instance], rotation: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """By group, where there are any: the addresses of those that may still have requests."""
    draining: dict[str, list[str]] = {}
    for one in sorted(instances, key=lambda one: one.id):
        if one.draining and one.address is not None and one.answered and one.phase is not InstancePhase.STOPPING:
            draining.setdefault(one.group, []).append(one.address)
    return {group: tuple(addresses) for group, addresses in draining.items() if group in rotation}


def _rotation(
    plans: Sequence[RoutePlan],
    ready: Mapping[str, tuple[str, ...]],
    published: Publication,
    proxies: Sequence[ProxyView],
) -> dict[str, tuple[str, ...]]:
    memberships = {one.group: one for plan in plans for one in plan.memberships}
    rotation = {group: ready.get(group, ())[: one.in_rotation] for group, one in memberships.items()}
    routed = frozenset[str]().union(*(proxy.routed for proxy in proxies))
    copied = {mirror.group for plan in plans for mirror in plan.ways}
    for group in ready.keys() | copied | (published.rotation.keys() & routed):
        rotation.setdefault(group, ready.get(group, ()))
    return rotation


def _chosen(
    plan: RoutePlan,
    current: tuple[Weight, ...] | None,
    rotation: Mapping[str, tuple[str, ...]],
    proxies: Sequence[ProxyView],
) -> tuple[Weight, ...]:
    usable = {one.group for one in plan.memberships if may_take_traffic(one, rotation[one.group], proxies)}
    if {weight.group for weight in plan.weights if weight.takes_any} <= usable:
        return plan.weights
    return current if current is not None else restricted(plan.weights, _standing_in(plan.weights, usable, rotation))


def _standing_in(
    weights: tuple[Weight, ...], usable: set[str], rotation: Mapping[str, tuple[str, ...]]
) -> frozenset[str]:
    """Who takes requests while what was asked cannot be had of every proxy: of each variant the usable groups.

    Not one that is to have none and has no instance either, for example blue's of a variant that a rolling update has replaced: then the group that is to have them all keeps
    them, for nobody else can take them.
    """
    found: set[str] = set()
    for groups in by_variant(weights).values():
        alone = len(groups) == 1
        able = {
            one.group for one in groups if one.group in usable and (alone or one.takes_any or rotation.get(one.group))
        }
        asked = {one.group for one in groups if one.takes_any}
        found |= able or (asked if len(asked) == 1 and not alone else set())
    return frozenset(found)


def may_take_traffic(membership: Membership, rotation: tuple[str, ...], proxies: Sequence[ProxyView]) -> bool:
    """Whether the group's required instances are healthy in every registered proxy. Nothing required: always."""
    needed = min(membership.in_rotation, membership.required)
    if needed == 0:
        return membership.required == 0
    first = rotation[:needed]
    return (
        len(first) == needed
        and bool(proxies)
        and all(proxy.healthy.get(membership.group, frozenset()).issuperset(first) for proxy in proxies)
    )


def restricted(weights: Iterable[Weight], usable: Iterable[str]) -> tuple[Weight, ...]:
    """The same shares between variants, each variant's taken by its usable groups.

    What nobody of a variant can take is shared by all that are usable: where an update changes the variants' names, each has groups of one fleet only.
    """
    weights, usable = tuple(weights), frozenset(usable)
    result: list[Weight] = []
    for groups in by_variant(weights).values():
        takers = [one for one in groups if one.group in usable]
        result += [one for one in _taken_over(groups, takers) if one.takes_any]
    left = sum(one.parts for one in weights) - sum(one.parts for one in result)
    more = _apportioned([1] * len(result), left)
    return tuple(replace(one, parts=one.parts + extra) for one, extra in zip(result, more, strict=True))


def _apportioned(shares: list[int], whole: int) -> list[int]:
    """`whole` in the ratio of `shares`; the first takes what rounding leaves."""
    if not shares:
        return []
    total = sum(shares)
    parts = [whole * share // total for share in shares]
    parts[0] += whole - sum(parts)
    return parts
