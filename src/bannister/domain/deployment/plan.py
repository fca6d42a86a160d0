"""A policy becomes a plan: the splits a deployment passes through, each with its bake; the last is all green.

CAPACITY_PERCENT p sends exactly p % of the traffic to green; INSTANCE_COUNT k of N sends k/N. Either way it goes to
k = max(1, ceil(N * p / 100)) instances, so that a canary instance carries about what a production instance carries.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from bannister.domain.deployment.policy import (
    LINEAR_PERCENT_MIN,
    CapacitySize,
    CapacityType,
    DeploymentPolicy,
    Routing,
)
from bannister.domain.traffic import TRAFFIC_PARTS, Split, VariantSplit


@dataclass(frozen=True, slots=True)
class Step:
    """One split to shift to, and how long to watch it."""

    split: Split
    bake_seconds: int


def steps(policy: DeploymentPolicy, instance_counts: Mapping[str, int]) -> tuple[Step, ...]:
    """The ordered steps of a policy that `refusal` has accepted, for green variants of these sizes."""
    last = Step(_split(1.0, None, instance_counts), policy.termination_wait_seconds)
    if policy.routing is Routing.ALL_AT_ONCE or policy.step is None:
        return (last,)
    first = Step(_split(1.0, policy.step, instance_counts), policy.wait_seconds)
    if policy.routing is Routing.CANARY:
        return (first, last)
    ladder = [first]
    while True:
        split = _split(len(ladder) + 1, policy.step, instance_counts)
        # What is left may be a smaller step, but never one below the smallest that AWS allows: 33 % is three steps.
        if all(TRAFFIC_PARTS - one.green_parts < LINEAR_PERCENT_MIN * TRAFFIC_PARTS // 100 for one in split.variants):
            return (*ladder, last)
        ladder.append(Step(split, policy.wait_seconds))


def _split(multiple: float, size: CapacitySize | None, instance_counts: Mapping[str, int]) -> Split:
    """`multiple` times the size, at most everything; no size: everything."""
    variants = []
    for variant, count in instance_counts.items():
        if size is None:
            share = 1.0
        elif size.type is CapacityType.CAPACITY_PERCENT:
            share = min(1.0, multiple * size.value / 100)
        else:
            share = min(1.0, multiple * size.value / count)
        instances = max(1, math.ceil(round(count * share, 6)))
        variants.append(VariantSplit(variant, round(share * TRAFFIC_PARTS), instances))
    return Split(tuple(variants))


def all_blue(instance_counts: Mapping[str, int]) -> Split:
    """Everything to blue; green keeps no instance in rotation."""
    return Split(tuple(VariantSplit(variant, 0, 0) for variant in instance_counts))
