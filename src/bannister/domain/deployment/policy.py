"""Deployment policies: all at once, canary and linear, and what each must satisfy.

AWS states the limits (a canary takes at most half of a variant, a linear step 10 % to 50 %) in prose only, so clients do not
check them; `refusal` does. Sources: DeploymentConfig, BlueGreenUpdatePolicy, TrafficRoutingConfig, AutoRollbackConfig in the API reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

CANARY_PERCENT_MAX = 50
LINEAR_PERCENT_MIN = 10
LINEAR_PERCENT_MAX = 50


class Routing(StrEnum):
    """How traffic moves from blue to green; AWS's TrafficRoutingConfig.Type."""

    ALL_AT_ONCE = "ALL_AT_ONCE"
    CANARY = "CANARY"
    LINEAR = "LINEAR"


class CapacityType(StrEnum):
    """What a capacity size counts."""

    INSTANCE_COUNT = "INSTANCE_COUNT"
    CAPACITY_PERCENT = "CAPACITY_PERCENT"


@dataclass(frozen=True, slots=True)
class CapacitySize:
    """A number of instances, or a percentage of them."""

    type: CapacityType
    value: int


@dataclass(frozen=True, slots=True)
class DeploymentPolicy:
    """How one deployment proceeds, and which alarms stop it."""

    routing: Routing = Routing.ALL_AT_ONCE
    #: The canary, or one linear step; None for all at once.
    step: CapacitySize | None = None
    #: Bake after each step but the last.
    wait_seconds: int = 0
    #: Bake after the last step, before blue is retired.
    termination_wait_seconds: int = 0
    #: None: the setting `deployment_timeout_seconds_default`.
    timeout_seconds: int | None = None
    alarms: tuple[str, ...] = ()
    #: The client gave a BlueGreenUpdatePolicy; without one, describing the policy leaves it out again.
    given: bool = True


def refusal(policy: DeploymentPolicy, instance_counts: Mapping[str, int]) -> str | None:
    """Why this policy cannot be used for variants of these sizes, as a sentence; None: it can.

    Args:
        policy: What was asked.
        instance_counts: Green's instances by variant.
    """
    if policy.routing is Routing.ALL_AT_ONCE:
        return None
    name = "CanarySize" if policy.routing is Routing.CANARY else "LinearStepSize"
    if policy.step is None:
        return f"{name} is required when the traffic routing type is {policy.routing.value}."
    lowest, highest = (
        (0, CANARY_PERCENT_MAX) if policy.routing is Routing.CANARY else (LINEAR_PERCENT_MIN, LINEAR_PERCENT_MAX)
    )
    allowed = f"at most {highest} %" if lowest == 0 else f"{lowest} % to {highest} %"
    value = policy.step.value
    if policy.step.type is CapacityType.CAPACITY_PERCENT:
        if not lowest <= value <= highest:
            return f"{name} of {value} % is not allowed: it must be {allowed} of the variant's instances."
        return None
    for variant, count in sorted(instance_counts.items()):
        if not lowest * count <= value * 100 <= highest * count:
            return (
                f"{name} of {value} instance(s) is {value * 100 / count:.0f} % of the {count} instance(s) of variant "
                f'"{variant}": it must be {allowed}. Use CAPACITY_PERCENT, or give the variant more instances.'
            )
    return None
