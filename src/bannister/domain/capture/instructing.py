"""What the capture process is told, from what the endpoints say.

Who is followed does not depend on what the proxies are asked for now: a proxy may still have an earlier split, and what it copied before is still under way. So all groups of all
fleets that an endpoint has are followed and compared, the one that was left included: a deployment knows it until its last instance has drained and is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from bannister.domain.capture.data_capture import DataCapture
from bannister.domain.capture.instructions import CapturedGroup, ComparedGroups, Instructions
from bannister.domain.comparison.rules import Rules
from bannister.domain.endpoint import Endpoint
from bannister.domain.fleet import Fleet, Group
from bannister.domain.routing import RoutePlan, ways_of
from bannister.domain.traffic import TRAFFIC_PARTS


def instructions_of(endpoints: Iterable[tuple[Endpoint, Rules, RoutePlan]]) -> Instructions:
    """Everything that is captured, and who is compared with whom: of all endpoints, by these rules and what the proxies should do (`plan_of`, with the rules' noise)."""
    groups: dict[str, CapturedGroup] = {}
    pairs: list[ComparedGroups] = []
    for endpoint, rules, plan in endpoints:
        fleets = _fleets(endpoint)
        if any(fleet.shadow is not None or _capture(fleet) is not None for fleet in fleets):
            observed = _observed(plan, fleets)
            groups |= {one.group: one for fleet in fleets for one in _captured(fleet, observed)}
            pairs += _compared(plan, fleets, rules)
    return Instructions(tuple(groups.values()), tuple(pairs))


def _fleets(endpoint: Endpoint) -> list[Fleet]:
    """All whose instances may have something under way."""
    deployment = endpoint.deployment
    fleets = [endpoint.blue] if deployment is None else [deployment.blue, deployment.green]
    return [fleet for fleet in fleets if fleet is not None]


def _capture(fleet: Fleet) -> DataCapture | None:
    """What is written of the fleet's exchanges; None: nothing."""
    return fleet.capture if fleet.capture is not None and fleet.capture.enabled else None


def _observed(plan: RoutePlan, fleets: Sequence[Fleet]) -> float:
    """The share of requests that arrives at the capture process; where none is asked for any more, that of what is still under way."""
    parts = plan.captured_parts
    for fleet in fleets if parts <= 0 else ():
        capture = _capture(fleet)
        copied = fleet.shadow.sampled_parts if fleet.shadow is not None else 0
        parts = max(parts, copied, capture.sampling_percent * TRAFFIC_PARTS // 100 if capture is not None else 0)
    return parts / TRAFFIC_PARTS if parts > 0 else 1.0


def _captured(fleet: Fleet, observed: float) -> Iterator[CapturedGroup]:
    for group in fleet.groups:
        yield _group(group, _capture(fleet), observed)
    if fleet.shadow is not None:
        # Every copy is observed.
        yield _group(fleet.shadow.group, _capture(fleet), 1.0)


def _group(group: Group, capture: DataCapture | None, observed: float) -> CapturedGroup:
    """`observed`: the share of the group's requests that arrives at the capture process."""
    share = 0.0 if capture is None else min(capture.sampling_percent / 100 / observed, 1.0)
    return CapturedGroup(group.id, group.endpoint, group.variant, group.config_name, capture, share)


def _compared(plan: RoutePlan, fleets: Sequence[Fleet], rules: Rules) -> list[ComparedGroups]:
    """Every copy that there may be, those that are asked for now first."""
    asked = {(mirror.group, mirror.noise) for mirror in plan.mirrors}
    ways = sorted(
        (mirror for fleet in fleets for mirror in ways_of(fleet)),
        key=lambda mirror: (mirror.group, mirror.noise) not in asked,
    )
    return [ComparedGroups(one.group, one.compared_with, rules, plan.endpoint, one.noise) for one in ways]
