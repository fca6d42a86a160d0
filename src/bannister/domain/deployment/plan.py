"""A policy becomes a plan: the splits a deployment passes through, each with its bake; the last is all green.

CAPACITY_PERCENT p sends exactly p % of the traffic to green; INSTANCE_COUNT k of N sends k/N. Either way it goes to
k = max(1, ceil(N * p / 100)) instances, so that a canary instance carries about what a production instance carries. A rolling update is about instances: a batch
is so many of them, and its share of the traffic is theirs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from bannister.domain.deployment.capacity import batch
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
    if policy.routing is Routing.ROLLING:
        return _batches(policy, instance_counts)
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


def _batches(policy: DeploymentPolicy, instance_counts: Mapping[str, int]) -> tuple[Step, ...]:
    """One step for each batch; the variants move together, and one with fewer batches waits for the others at the end."""
    sizes = {variant: batch(policy.step, count) for variant, count in instance_counts.items()}
    steps = max((math.ceil(count / sizes[variant]) for variant, count in instance_counts.items()), default=1)

    def split(number: int) -> Split:
        reached = {variant: min(count, number * sizes[variant]) for variant, count in instance_counts.items()}
        return Split(
            tuple(
                VariantSplit(variant, round(TRAFFIC_PARTS * reached[variant] / count), reached[variant])
                for variant, count in instance_counts.items()
            )
        )

    return tuple(Step(split(number), policy.wait_seconds) for number in range(1, steps + 1))


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
