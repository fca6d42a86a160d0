"""The one way in which a deployment is put together: for an update that somebody asked for, and for an experiment."""

from __future__ import annotations

from dataclasses import replace

from bannister.domain.deployment.deployment import Deployment
from bannister.domain.deployment.plan import steps
from bannister.domain.deployment.policy import DeploymentPolicy
from bannister.domain.endpoint import EndpointConfig, Variant
from bannister.domain.fleet import Fleet, Group, Shadow
from bannister.domain.model import Container


def new_group(
    variant: Variant,
    model: str,
    container: Container,
    *,
    endpoint: str,
    config_name: str,
    deployment: str,
    startup_timeout_seconds: float,
) -> Group:
    """The group of a variant, with its own copy of the model.

    Args:
        variant: Of the configuration.
        model: The model's name.
        container: How the model is run.
        endpoint: Where.
        config_name: Of which configuration.
        deployment: The deployment that brings it; makes the group's id unique.
        startup_timeout_seconds: Where the variant sets none.
    """
    return Group(
        id=_group_id(endpoint, variant.name, deployment),
        endpoint=endpoint,
        variant=variant.name,
        config_name=config_name,
        model_name=model,
        container=container,
        instance_count=variant.instance_count,
        weight=variant.weight,
        startup_timeout_seconds=variant.startup_timeout_seconds or startup_timeout_seconds,
        instance_type=variant.instance_type,
        routing=variant.routing,
    )


def new_deployment(
    identifier: str,
    endpoint: str,
    policy: DeploymentPolicy,
    blue: Fleet | None,
    green: Fleet,
    now: float,
    timeout_seconds: float,
) -> Deployment:
    """A deployment at its beginning. `timeout_seconds`: beside its bakes, where the policy sets no time for all."""
    plan = steps(policy, {group.variant: group.instance_count for group in green.groups})
    allowed = policy.timeout_seconds or timeout_seconds + sum(step.bake_seconds for step in plan)
    return Deployment(
        id=identifier,
        endpoint=endpoint,
        policy=policy,
        blue=blue,
        green=green,
        steps=plan,
        started_at=now,
        deadline_at=now + allowed,
        phase_since=now,
    )


def regrouped(fleet: Fleet, deployment: str, now: float) -> Fleet:
    """The same fleet once more: all that makes it up is equal, and its instances are new ones that this deployment brings."""

    def again(group: Group) -> Group:
        return replace(group, id=_group_id(group.endpoint, group.variant, deployment))

    shadow = fleet.shadow
    return replace(
        fleet,
        groups=tuple(again(group) for group in fleet.groups),
        since=now,
        shadow=None if shadow is None else Shadow(again(shadow.group), shadow.sampled_parts),
    )


def brought_by(fleet: Fleet | None, deployment: str) -> bool:
    """Whether this deployment brought this fleet."""
    return fleet is not None and all(group.id.endswith(f".{deployment}") for group in fleet.groups)


def same_but_instances(one: Fleet, other: Fleet) -> bool:
    """Whether two fleets are equal in all but which instances they are, and since when."""
    return regrouped(one, "", 0.0) == regrouped(other, "", 0.0)


def config_of(fleet: Fleet, now: float) -> EndpointConfig:
    """The endpoint configuration that describes a fleet."""
    return EndpointConfig(
        fleet.config_name,
        tuple(_variant(group) for group in fleet.groups),
        now,
        shadow_variants=() if fleet.shadow is None else (_variant(fleet.shadow.group),),
        data_capture=fleet.capture,
    )


def _variant(group: Group) -> Variant:
    return Variant(
        group.variant,
        group.model_name,
        group.instance_count,
        group.weight,
        group.instance_type,
        group.startup_timeout_seconds,
        routing=group.routing,
    )


def _group_id(endpoint: str, variant: str, deployment: str) -> str:
    return f"{endpoint}.{variant}.{deployment}"
