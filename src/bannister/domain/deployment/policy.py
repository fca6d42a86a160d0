"""Deployment policies: all at once, canary, linear and rolling, and what each must satisfy.

AWS states the limits (a canary takes at most half of a variant, a linear step 10 % to 50 %, a rolling batch 5 % to 50 %) in prose only, so clients do
not check them; `refusal` does. Sources: DeploymentConfig, BlueGreenUpdatePolicy, TrafficRoutingConfig, RollingUpdatePolicy, AutoRollbackConfig in the
API reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

CANARY_PERCENT_MAX = 50
LINEAR_PERCENT_MIN = 10
LINEAR_PERCENT_MAX = 50
ROLLING_PERCENT_MIN = 5
ROLLING_PERCENT_MAX = 50
#: AWS excludes instances of these types from guardrails.
UNGUARDED_TYPES: Final = "ml.inf1."
#: What a deployment says of that, in a few words, and what to do about it.
UNGUARDED_KIND: Final = "guardrails do not apply"
UNGUARDED_REMEDY: Final = "Give the variant another InstanceType to release it as asked."


class Routing(StrEnum):
    """How traffic moves from blue to green; AWS's TrafficRoutingConfig.Type, and its other kind of policy."""

    ALL_AT_ONCE = "ALL_AT_ONCE"
    CANARY = "CANARY"
    LINEAR = "LINEAR"
    #: RollingUpdatePolicy: instances are replaced batch by batch, and traffic follows.
    ROLLING = "ROLLING"


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
    #: The canary, one linear step, or one rolling batch; None for all at once.
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
    #: The batches in which a rolling update goes back; None: all at once.
    rollback_step: CapacitySize | None = None


@dataclass(frozen=True, slots=True)
class Unguarded:
    """Why guardrails do not apply to an update that asked for them: a variant has instances that AWS excludes."""

    variant: str
    instance_type: str

    def __str__(self) -> str:
        return (
            f'Variant "{self.variant}" has instances of type {self.instance_type}, which AWS excludes from deployment guardrails: the update is '
            "all at once and without a final bake, whatever policy it asked for. Its alarms still hold it, and stop it while the old instances are there."
        )


def without_guardrails(policy: DeploymentPolicy) -> DeploymentPolicy:
    """What AWS makes of a policy where guardrails do not apply: all at once, and nothing bakes. Alarms stay; here they watch without a bake, too."""
    return replace(
        policy, routing=Routing.ALL_AT_ONCE, step=None, wait_seconds=0, termination_wait_seconds=0, rollback_step=None
    )


#: By routing: the member that holds the size, and its least and most per cent of a variant's instances.
_BOUNDS = {
    Routing.CANARY: ("CanarySize", 0, CANARY_PERCENT_MAX),
    Routing.LINEAR: ("LinearStepSize", LINEAR_PERCENT_MIN, LINEAR_PERCENT_MAX),
    Routing.ROLLING: ("MaximumBatchSize", ROLLING_PERCENT_MIN, ROLLING_PERCENT_MAX),
}


def refusal(policy: DeploymentPolicy, instance_counts: Mapping[str, int]) -> str | None:
    """Why this policy cannot be used for variants of these sizes, as a sentence; None: it can.

    Args:
        policy: What was asked.
        instance_counts: Green's instances by variant.
    """
    if policy.routing is Routing.ALL_AT_ONCE:
        return None
    name, lowest, highest = _BOUNDS[policy.routing]
    if policy.step is None:
        return f"{name} is required when the traffic routing type is {policy.routing.value}."
    allowed = f"at most {highest} %" if lowest == 0 else f"{lowest} % to {highest} %"
    back = policy.rollback_step
    if back is not None and back.type is CapacityType.CAPACITY_PERCENT and back.value > 100:
        return f"RollbackMaximumBatchSize of {back.value} % is not allowed: it must be at most 100 % of the variant's instances."
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
