"""DeploymentConfig: AWS's form of a deployment policy, both ways."""

from __future__ import annotations

from typing import Any

from bannister.domain.deployment.policy import CapacitySize, CapacityType, DeploymentPolicy, Routing
from bannister.errors import Invalid

_STEP_MEMBER = {Routing.CANARY: "CanarySize", Routing.LINEAR: "LinearStepSize"}


def policy_of(config: dict[str, Any]) -> DeploymentPolicy:
    """The policy of a DeploymentConfig whose types and bounds have been checked."""
    if "RollingUpdatePolicy" in config and "BlueGreenUpdatePolicy" in config:
        raise Invalid("Give exactly one of BlueGreenUpdatePolicy and RollingUpdatePolicy.")
    alarms = _alarms(config.get("AutoRollbackConfiguration", {}))
    rolling = config.get("RollingUpdatePolicy")
    if rolling is not None:
        return DeploymentPolicy(
            routing=Routing.ROLLING,
            step=_size(rolling["MaximumBatchSize"]),
            wait_seconds=rolling["WaitIntervalInSeconds"],
            timeout_seconds=rolling.get("MaximumExecutionTimeoutInSeconds"),
            alarms=alarms,
            rollback_step=_size(rolling.get("RollbackMaximumBatchSize")),
        )
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
    """The alarms by name, each once however often it is given; the model does not require the name."""
    alarms = rollback.get("Alarms", [])
    for number, alarm in enumerate(alarms, start=1):
        if "AlarmName" not in alarm:
            raise Invalid(f"Alarm {number} of AutoRollbackConfiguration has no AlarmName.")
    return tuple(dict.fromkeys(alarm["AlarmName"] for alarm in alarms))


def _step(routing: Routing, traffic: dict[str, Any]) -> CapacitySize | None:
    wanted = _STEP_MEMBER.get(routing)
    for other in set(_STEP_MEMBER.values()) - {wanted}:
        if other in traffic:
            raise Invalid(f"{other} does not go with traffic routing type {routing.value}.")
    return _size(traffic.get(wanted)) if wanted is not None else None


def _size(size: dict[str, Any] | None) -> CapacitySize | None:
    return CapacitySize(CapacityType(size["Type"]), size["Value"]) if size is not None else None


def _members_of_size(size: CapacitySize | None) -> dict[str, Any] | None:
    return {"Type": size.type.value, "Value": size.value} if size is not None else None


def members_of(policy: DeploymentPolicy) -> dict[str, Any]:
    """The DeploymentConfig that describes a policy."""
    members: dict[str, Any] = {}
    if policy.routing is Routing.ROLLING:
        members["RollingUpdatePolicy"] = {
            "MaximumBatchSize": _members_of_size(policy.step),
            "WaitIntervalInSeconds": policy.wait_seconds,
            "MaximumExecutionTimeoutInSeconds": policy.timeout_seconds,
            "RollbackMaximumBatchSize": _members_of_size(policy.rollback_step),
        }
    elif policy.given:
        traffic: dict[str, Any] = {"Type": policy.routing.value, "WaitIntervalInSeconds": policy.wait_seconds}
        if policy.step is not None:
            traffic[_STEP_MEMBER[policy.routing]] = _members_of_size(policy.step)
        members["BlueGreenUpdatePolicy"] = {
            "TrafficRoutingConfiguration": traffic,
            "TerminationWaitInSeconds": policy.termination_wait_seconds,
            "MaximumExecutionTimeoutInSeconds": policy.timeout_seconds,
        }
    if policy.alarms:
        members["AutoRollbackConfiguration"] = {"Alarms": [{"AlarmName": name} for name in policy.alarms]}
    return members
