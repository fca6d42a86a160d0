"""Which policies are refused, and which steps the others become."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bannister.domain.deployment.plan import steps
from bannister.domain.deployment.policy import CapacitySize, CapacityType, DeploymentPolicy, Routing, refusal
from bannister.domain.traffic import TRAFFIC_PARTS

PERCENT, COUNT = CapacityType.CAPACITY_PERCENT, CapacityType.INSTANCE_COUNT
CANARY, LINEAR = Routing.CANARY, Routing.LINEAR


def policy(routing: Routing, type_: CapacityType, value: int) -> DeploymentPolicy:
    return DeploymentPolicy(routing, CapacitySize(type_, value), wait_seconds=7, termination_wait_seconds=3)


@pytest.mark.parametrize(
    ("routing", "type_", "value", "instances", "word"),
    [
        (CANARY, PERCENT, 80, 3, "80 %"),
        (CANARY, PERCENT, 51, 3, "at most 50 %"),
        (CANARY, COUNT, 1, 1, "100 %"),
        (CANARY, COUNT, 2, 3, "67 %"),
        (LINEAR, PERCENT, 9, 10, "10 % to 50 %"),
        (LINEAR, PERCENT, 60, 10, "10 % to 50 %"),
        (LINEAR, COUNT, 1, 11, "9 %"),
    ],
)
def test_sizes_outside_the_limits_are_refused_with_the_size(routing, type_, value, instances, word) -> None:
    why = refusal(policy(routing, type_, value), {"AllTraffic": instances})
    assert why is not None
    assert word in why


@pytest.mark.parametrize(
    ("routing", "type_", "value", "instances"),
    [
        (CANARY, PERCENT, 5, 1),
        (CANARY, PERCENT, 50, 2),
        (CANARY, COUNT, 1, 2),
        (LINEAR, COUNT, 1, 10),
        (LINEAR, PERCENT, 10, 1),
    ],
)
def test_sizes_within_the_limits_are_accepted(routing, type_, value, instances) -> None:
    assert refusal(policy(routing, type_, value), {"AllTraffic": instances}) is None


def test_a_canary_or_linear_policy_needs_its_size() -> None:
    assert "CanarySize is required" in (refusal(DeploymentPolicy(CANARY), {"a": 2}) or "")


@pytest.mark.parametrize(
    ("routing", "type_", "value", "instances", "expected"),
    [
        (CANARY, PERCENT, 5, 1, [(5, 1, 7), (100, 1, 3)]),
        (CANARY, PERCENT, 30, 3, [(30, 1, 7), (100, 3, 3)]),
        (CANARY, PERCENT, 34, 3, [(34, 2, 7), (100, 3, 3)]),
        (CANARY, COUNT, 1, 4, [(25, 1, 7), (100, 4, 3)]),
        (LINEAR, COUNT, 1, 4, [(25, 1, 7), (50, 2, 7), (75, 3, 7), (100, 4, 3)]),
        (LINEAR, PERCENT, 33, 3, [(33, 1, 7), (66, 2, 7), (100, 3, 3)]),
        (LINEAR, PERCENT, 30, 10, [(30, 3, 7), (60, 6, 7), (90, 9, 7), (100, 10, 3)]),
    ],
)
def test_a_policy_becomes_steps_of_percent_instances_and_bake(routing, type_, value, instances, expected) -> None:
    found = [
        (
            one.split.variants[0].green_parts * 100 // TRAFFIC_PARTS,
            one.split.variants[0].green_instances,
            one.bake_seconds,
        )
        for one in steps(policy(routing, type_, value), {"AllTraffic": instances})
    ]
    assert found == expected


def test_all_at_once_is_one_step_with_the_termination_wait() -> None:
    (only,) = steps(DeploymentPolicy(wait_seconds=9, termination_wait_seconds=4), {"a": 2, "b": 1})
    assert only.split.all_green
    assert only.bake_seconds == 4


@given(
    routing=st.sampled_from([CANARY, LINEAR]),
    type_=st.sampled_from(list(CapacityType)),
    value=st.integers(1, 100),
    counts=st.dictionaries(st.sampled_from("abc"), st.integers(1, 40), min_size=1),
)
def test_every_accepted_plan_rises_to_all_green_within_the_instances(routing, type_, value, counts) -> None:
    one = policy(routing, type_, value)
    if refusal(one, counts) is not None:
        return
    plan = steps(one, counts)
    assert plan[-1].split.all_green
    assert len(plan) <= 10
    for variant, count in counts.items():
        parts = [step.split.of(variant).green_parts for step in plan]
        instances = [step.split.of(variant).green_instances for step in plan]
        assert parts == sorted(set(parts)) or len(counts) > 1
        assert parts == sorted(parts)
        assert instances == sorted(instances)
        assert instances[-1] == count
        assert all(1 <= number <= count for number in instances)
