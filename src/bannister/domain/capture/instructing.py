"""What the capture process is told, from what the endpoints say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bannister.domain.capture.data_capture import DataCapture
from bannister.domain.capture.instructions import CapturedGroup, ComparedGroups, Instructions
from bannister.domain.comparison.rules import Rules
from bannister.domain.endpoint import Endpoint
from bannister.domain.fleet import Fleet, Group
from bannister.domain.routing import RoutePlan, plan_of
from bannister.domain.traffic import TRAFFIC_PARTS


def instructions_of(endpoints: Iterable[tuple[Endpoint, Rules]]) -> Instructions:
    """Everything that is captured, and who is compared with whom."""
    groups: list[CapturedGroup] = []
    pairs: list[ComparedGroups] = []
    for endpoint, rules in endpoints:
        plan = plan_of(endpoint, rules.noise_parts)
        if plan.captured_parts <= 0:
            continue
        copied = {mirror.group for mirror in plan.mirrors if not mirror.noise}
        for fleet in _fleets(endpoint):
            groups += _captured(fleet, plan, copied)
        pairs += _compared(plan, rules)
    return Instructions(tuple(groups), tuple(pairs))


def _fleets(endpoint: Endpoint) -> list[Fleet]:
    deployment = endpoint.deployment
    fleets = [endpoint.blue] if deployment is None else [deployment.blue, deployment.green]
    return [fleet for fleet in fleets if fleet is not None]


def _captured(fleet: Fleet, plan: RoutePlan, copied: set[str]) -> Iterator[CapturedGroup]:
    capture = fleet.capture if fleet.capture is not None and fleet.capture.enabled else None
    for group in fleet.groups:
        yield _group(group, capture, plan.captured_parts / TRAFFIC_PARTS)
    if fleet.shadow is not None and fleet.shadow.group.id in copied:
        # Every copy is observed.
        yield _group(fleet.shadow.group, capture, 1.0)


def _group(group: Group, capture: DataCapture | None, observed: float) -> CapturedGroup:
    """`observed`: the share of the group's requests that arrives at the capture process."""
    share = 0.0 if capture is None else min(capture.sampling_percent / 100 / observed, 1.0)
    return CapturedGroup(group.id, group.endpoint, group.variant, group.config_name, capture, share)


def _compared(plan: RoutePlan, rules: Rules) -> Iterator[ComparedGroups]:
    for mirror in plan.mirrors:
        yield ComparedGroups(mirror.group, mirror.compared_with, rules, plan.endpoint, mirror.noise)
