"""What share of the traffic green may have: counted here from the policy, the step and the instances alone, and held against the proxies' routes.

Nothing of the product's own planning is used, or the product would be measured by itself. The rules are those of DESIGN.md, under "Share": CAPACITY_PERCENT p is exactly p %,
INSTANCE_COUNT k of N is k/N; a linear update adds a step each time, and the last step is everything; a rolling update's share is that of its instances.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from bannister.domain.deployment.deployment import RETURNING, Deployment, Phase
from bannister.domain.deployment.policy import CapacitySize, CapacityType, Routing
from bannister.domain.endpoint import Endpoint
from bannister.domain.fleet import Group
from bannister.domain.routing import Weight
from bannister.domain.traffic import TRAFFIC_PARTS
from bannister.envoy.memory import MemoryProxy

if TYPE_CHECKING:
    from tests.simulation.world import World

#: Shares are whole parts, which add up to the whole: each may be this many beside what it is exactly.
ROUNDING_PARTS = 3
#: AWS allows no linear step that is smaller; what is left below it goes with the step before.
SMALLEST_STEP = Fraction(1, 10)
NOTHING, EVERYTHING = Fraction(0), Fraction(1)
#: A proxy that lacks a share for so long is known to lack it: the control plane is told of what it applies, and of its end, sooner.
KNOWN_SECONDS_MAX = 0.6


def shares(deployment: Deployment, step: int) -> dict[str, Fraction]:
    """By variant: green's share of its traffic at a step, of which the first is 0; before it there is none."""
    policy, counts = deployment.policy, deployment.instance_counts
    if step < 0:
        return dict.fromkeys(counts, NOTHING)
    size = policy.step
    if policy.routing is Routing.ALL_AT_ONCE or size is None:
        return dict.fromkeys(counts, EVERYTHING)
    match policy.routing:
        case Routing.CANARY:
            return {variant: _part(size, count) if step == 0 else EVERYTHING for variant, count in counts.items()}
        case Routing.LINEAR:
            found = {variant: min((step + 1) * _part(size, count), EVERYTHING) for variant, count in counts.items()}
            is_last = all(1 - share < SMALLEST_STEP for share in found.values())
            return dict.fromkeys(counts, EVERYTHING) if is_last else found
        case _:
            batches = {variant: _instances(size, count) for variant, count in counts.items()}
            return {
                variant: Fraction(min((step + 1) * batches[variant], count), count) for variant, count in counts.items()
            }


def _part(size: CapacitySize, count: int) -> Fraction:
    return Fraction(size.value, 100 if size.type is CapacityType.CAPACITY_PERCENT else count)


def _instances(size: CapacitySize, count: int) -> int:
    """Of a batch: a part of an instance is a whole one."""
    whole = -(-count * size.value // 100) if size.type is CapacityType.CAPACITY_PERCENT else size.value
    return min(max(whole, 1), count)


def _on_the_way_back(deployment: Deployment) -> dict[str, Fraction]:
    """A rolling update that is stopped gives blue the share of the instances that blue has."""
    assert deployment.blue is not None
    found = {}
    for one in deployment.retreat:
        whole = sum(group.instance_count for group in deployment.blue.groups if group.variant == one.variant)
        found[one.variant] = Fraction(whole - one.blue, whole)
    return found


def _by_group(deployment: Deployment, green: Mapping[str, Fraction]) -> dict[str, float]:
    """Each group's parts of the whole, where green has these shares of its variants."""
    blue_groups = () if deployment.blue is None else deployment.blue.groups
    # A variant that the new configuration does not have stays with blue until green has everything.
    elsewhere = EVERYTHING if all(share == 1 for share in green.values()) else NOTHING
    blue_weight, green_weight = _weight(blue_groups), _weight(deployment.green.groups)
    found = {
        group.id: float(1 - green.get(group.variant, elsewhere)) * group.weight / blue_weight for group in blue_groups
    }
    found |= {group.id: float(green[group.variant]) * group.weight / green_weight for group in deployment.green.groups}
    return _as_parts(found)


def _weight(groups: Sequence[Group]) -> float:
    return sum(group.weight for group in groups) or 1.0


def _as_parts(weights: Mapping[str, float]) -> dict[str, float]:
    total = sum(weights.values())
    return {group: TRAFFIC_PARTS * weight / total if total else 0.0 for group, weight in weights.items()}


def asked_of(endpoint: Endpoint) -> dict[str, float]:
    """By group: the parts of the endpoint's traffic that it is to have now, exactly; empty: the endpoint cannot be invoked."""
    deployment = endpoint.deployment
    if endpoint.deleting or (deployment is None and endpoint.blue is None):
        return {}
    if deployment is None:
        assert endpoint.blue is not None
        return _as_parts({group.id: group.weight for group in endpoint.blue.groups})
    if deployment.retreat and deployment.phase is not Phase.REMOVING:
        return _by_group(deployment, _on_the_way_back(deployment))
    returns = deployment.phase in RETURNING
    return _by_group(deployment, shares(deployment, -1 if returns else deployment.step))


def named_of(endpoint: Endpoint) -> dict[str, float]:
    """By group: the parts that it is to have of the requests that name its variant, exactly: green's share of the variant, and the rest is blue's."""
    deployment = endpoint.deployment
    if endpoint.deleting or (deployment is None and endpoint.blue is None):
        return {}
    if deployment is None:
        assert endpoint.blue is not None
        return _within_variants(endpoint.blue.groups)
    if deployment.retreat and deployment.phase is not Phase.REMOVING:
        green = _on_the_way_back(deployment)
    else:
        green = shares(deployment, -1 if deployment.phase in RETURNING else deployment.step)
    blue = () if deployment.blue is None else deployment.blue.groups
    of_blue, of_green = _within_variants(blue), _within_variants(deployment.green.groups)
    found = {one.id: of_blue[one.id] * float(1 - green.get(one.variant, NOTHING)) for one in blue}
    return found | {one.id: of_green[one.id] * float(green[one.variant]) for one in deployment.green.groups}


def _within_variants(groups: Sequence[Group]) -> dict[str, float]:
    """The groups of a fleet: of each variant the whole, shared by weight, or by instances where its groups weigh nothing."""
    found = {}
    for one in groups:
        same = [other for other in groups if other.variant == one.variant]
        weight = sum(other.weight for other in same)
        share = one.weight / weight if weight else one.instance_count / sum(other.instance_count for other in same)
        found[one.id] = TRAFFIC_PARTS * share
    return found


def green_at_most(deployment: Deployment) -> float:
    """The parts of the endpoint's traffic that green may have in any proxy, however far that is behind: no step takes any of green's away but the way back."""
    step = -1 if deployment.phase is Phase.REMOVING else deployment.step
    found = _by_group(deployment, shares(deployment, step))
    return sum(found[group.id] for group in deployment.green.groups)


class ShareRules:
    """Part of the checker."""

    def __init__(self, world: World) -> None:
        self._world = world
        #: By proxy (or control plane) and endpoint: what was looked at last. The same again is as right as it was.
        self._looked_at: dict[tuple[str, str], tuple[Endpoint, tuple[Weight, ...]]] = {}
        #: By proxy and deployment: since when green has had less than its share while it bakes.
        self._lacking_since: dict[tuple[str, str], float] = {}

    def look(self, who: str, name: str, weights: tuple[Weight, ...]) -> None:
        """A proxy shares an endpoint's traffic out like this, or a control plane tells proxies to."""
        endpoint = self._world.checker.endpoints.get(name)
        if endpoint is None:
            return  # its route goes
        known = self._looked_at.get((who, name))
        if known is not None and known[0] is endpoint and known[1] is weights:
            return
        self._looked_at[who, name] = endpoint, weights
        deployment = endpoint.deployment
        if deployment is None:
            known_groups = () if endpoint.blue is None else [group.id for group in endpoint.blue.groups]
            strangers = [one for one in weights if one.parts and one.group not in known_groups]
            if strangers:
                self._violated(f"{who} routes {name} to {strangers}; the endpoint is at rest with {known_groups}.")
            return
        if deployment.blue is None:
            return
        groups = {group.id for group in deployment.green.groups}
        has, most = sum(one.parts for one in weights if one.group in groups), green_at_most(deployment)
        if has > most + ROUNDING_PARTS * len(groups) and not self._stands_in(deployment):
            self._violated(
                f"{who} gives green of {deployment.id} {has} parts in {deployment.phase.value} at step {deployment.step}; "
                f"it may have {most:.0f}."
            )

    def tick(self) -> None:
        """Look at who lacks something."""
        before, self._lacking_since = self._lacking_since, {}
        for endpoint in self._world.checker.endpoints.values():
            deployment = endpoint.deployment
            if deployment is None or deployment.phase is not Phase.BAKING:
                continue
            for proxy in self._world.checker.proxies():
                if proxy.connected and self._lacks(proxy, deployment):
                    key = proxy.node, deployment.id
                    self._lacking_since[key] = before.get(key, self._world.loop.time())

    def baked(self, deployment: Deployment) -> None:
        """A bake is over: it was a bake of green with its share."""
        for (node, its), since in self._lacking_since.items():
            lacks = self._world.loop.time() - since
            proxy = self._world.network.proxies[node]
            if its == deployment.id and lacks > KNOWN_SECONDS_MAX and self._lacks(proxy, deployment):
                raise self._world.violated(
                    "8: what has passed was in service",
                    f"{deployment.id} has baked at step {deployment.step}, and {node} has given green less than its share for {lacks:.1f} s.",
                )

    def _lacks(self, proxy: MemoryProxy, deployment: Deployment) -> bool:
        wanted = _by_group(deployment, shares(deployment, deployment.step))
        has = {one.group: one.parts for one in proxy.weights(deployment.endpoint)}
        return any(has.get(one.id, 0) < wanted[one.id] - ROUNDING_PARTS for one in deployment.green.groups)

    def _stands_in(self, deployment: Deployment) -> bool:
        """In a rolling update the fleets share the instances: green has what blue cannot take, where a fault took blue's instances."""
        blue, machine = deployment.blue, self._world.machine
        return blue is not None and _shares(deployment) and any(machine.ever_harmed(one.id) for one in blue.groups)

    def _may_be_stood_in_for(self, deployment: Deployment) -> bool:
        """One that shares the requests of its variant is not there now because of a fault."""
        groups = (*(deployment.blue.groups if deployment.blue is not None else ()), *deployment.green.groups)
        return _shares(deployment) and any(self._world.checker.is_harmed(one.id) for one in groups)

    def acknowledged(self, endpoint: Endpoint) -> None:
        """Every proxy has acknowledged what is asked: its shares are exactly that, but where one that a fault has hit is stood in for."""
        deployment = endpoint.deployment
        if deployment is not None and self._may_be_stood_in_for(deployment):
            return
        for proxy in self._world.checker.proxies():
            wrong = self.wrong(proxy, endpoint)
            if wrong is not None:
                self._violated(wrong)

    def wrong(self, proxy: MemoryProxy, endpoint: Endpoint) -> str | None:
        """How a proxy's shares differ from what they should be; None: they do not."""
        weights = proxy.weights(endpoint.name)
        asked, has = asked_of(endpoint), {one.group: one.parts for one in weights}
        named, has_named = named_of(endpoint), {one.group: one.named_parts for one in weights}
        # Who cannot be invoked yet (a new name) cannot be named, and what green does not have is blue's until it goes.
        variants = Counter(one.variant for one in weights)
        named = {one.group: named[one.group] if variants[one.variant] > 1 else float(TRAFFIC_PARTS) for one in weights}
        for what, exact, given in (("", asked, has), (" named", named, has_named)):
            for group in {**exact, **given}:
                exactly, parts = exact.get(group, 0.0), given.get(group, 0)
                if abs(parts - exactly) > ROUNDING_PARTS or (parts > 0) != (exactly > 0):
                    return f"{proxy.node} gives {group} of {endpoint.name} {parts}{what} parts; it should have {exactly:.1f}."
        return None

    def _violated(self, what: str) -> None:
        raise self._world.violated("11: green's share is what was asked", what)


def _shares(deployment: Deployment) -> bool:
    """Groups of one variant answer for each other."""
    return deployment.blue is not None and (deployment.rolling or deployment.blue.mixed)
