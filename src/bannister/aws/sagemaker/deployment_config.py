"""DeploymentConfig: AWS's form of a deployment policy, both ways."""

from __future__ import annotations

from typing import Any

from bannister.domain.deployment.policy import CapacitySize, CapacityType, DeploymentPolicy, Routing
from bannister.errors import Invalid, Unsupported

_STEP_MEMBER = {Routing.CANARY: "CanarySize", Routing.LINEAR: "LinearStepSize"}


def policy_of(config: dict[str, Any]) -> DeploymentPolicy:
    """The policy of a DeploymentConfig whose types and bounds have been checked."""
    if "RollingUpdatePolicy" in config:
        if "BlueGreenUpdatePolicy" in config:
            raise Invalid("Give exactly one of BlueGreenUpdatePolicy and RollingUpdatePolicy.")
        raise Unsupported("RollingUpdatePolicy is not supported yet; use BlueGreenUpdatePolicy (LINEAR comes closest).")
    alarms = _alarms(config.get("AutoRollbackConfiguration", {}))
    blue_green = config.get("BlueGreenUpdatePolicy")
    if blue_green is None:
        return DeploymentPolicy(alarms=alarms, given=False)
    traffic = blue_green["TrafficRoutingConfiguration"]
    routing = Routing(traffic["Type"])
    return DeploymentPolicy(
        routing=routing,
        step=_step(routing, traffic),
        wait_seconds=traffic["WaitIntervalInSeconds"],
        termination_wait_seconds=blue_green.get("TerminationWaitInSeconds", 0),
        timeout_seconds=blue_green.get("MaximumExecutionTimeoutInSeconds"),
        alarms=alarms,
    )


def _alarms(rollback: dict[str, Any]) -> tuple[str, ...]:
    """The alarms by name; the model does not require the name."""
    alarms = rollback.get("Alarms", [])
    for number, alarm in enumerate(alarms, start=1):
        if "AlarmName" not in alarm:
            raise Invalid(f"Alarm {number} of AutoRollbackConfiguration has no AlarmName.")
    return tuple(alarm["AlarmName"] for alarm in alarms)


def _step(routing: Routing, traffic: dict[str, Any]) -> CapacitySize | None:
    wanted = _STEP_MEMBER.get(routing)
    for other in set(_STEP_MEMBER.values()) - {wanted}:
        if other in traffic:
            raise Invalid(f"{other} does not go with traffic routing type {routing.value}.")
    size = traffic.get(wanted) if wanted is not None else None
    return CapacitySize(CapacityType(size["Type"]), size["Value"]) if size is not None else None


def members_of(policy: DeploymentPolicy) -> dict[str, Any]:
    """The DeploymentConfig that describes a policy."""
    members: dict[str, Any] = {}
    if policy.given:
        traffic: dict[str, Any] = {"Type": policy.routing.value, "WaitIntervalInSeconds": policy.wait_seconds}
        if policy.step is not None:
            traffic[_STEP_MEMBER[policy.routing]] = {"Type": policy.step.type.value, "Value": policy.step.value}
        members["BlueGreenUpdatePolicy"] = {
            "TrafficRoutingConfiguration": traffic,
            "TerminationWaitInSeconds": policy.termination_wait_seconds,
            "MaximumExecutionTimeoutInSeconds": policy.timeout_seconds,
        }
    if policy.alarms:
        members["AutoRollbackConfiguration"] = {"Alarms": [{"AlarmName": name} for name in policy.alarms]}
    return members
