"""Whether an update of an endpoint is accepted: the decision before a deployment's first, as pure as those after it.

`admit` is given the endpoint as it is, and the request with all that it refers to, as looked up at that moment. It gives back what the deployment is made from,
or raises the refusal. Accepted or refused, the journal holds both arguments whole, and `replay_admission` decides again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from bannister.domain.deployment.plan import Step, steps
from bannister.domain.deployment.policy import UNGUARDED_TYPES, DeploymentPolicy, Unguarded, refusal, without_guardrails
from bannister.domain.endpoint import Endpoint, EndpointConfig, Variant
from bannister.domain.fleet import Fleet, Group
from bannister.errors import Busy, Invalid, NotFound, Refused, Resource, Unsupported


@dataclass(frozen=True, slots=True)
class Retention:
    """What an update keeps from the endpoint instead of taking it from the new configuration (AWS: Retain…)."""

    variant_properties: bool = False
    #: With `variant_properties`: take these from the new configuration after all.
    except_instance_count: bool = False
    except_weight: bool = False
    #: Use the policy of the last accepted update.
    policy: bool = False


@dataclass(frozen=True, slots=True)
class UpdateRequest:
    """An update as it was asked for, with what it refers to."""

    config_name: str
    #: None: there is no such configuration.
    config: EndpointConfig | None
    policy: DeploymentPolicy | None
    retention: Retention
    #: Of the alarms that the update or the endpoint's last policy names, those that do not exist.
    missing_alarms: tuple[str, ...] = ()
    #: Of the models that the configuration names, those that do not exist.
    missing_models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Admitted:
    """What the deployment is made from."""

    #: None: there is nothing in production yet.
    blue: Fleet | None
    config: EndpointConfig
    variants: tuple[Variant, ...]
    policy: DeploymentPolicy
    shadow: Variant | None = None
    #: Why the policy is not the one that was asked for; None: it is.
    unguarded: Unguarded | None = None


def admit(endpoint: Endpoint, asked: UpdateRequest) -> Admitted:
    """What to deploy.

    Raises:
        Refused: Why not.
    """
    if asked.config is None:
        raise NotFound(Resource.ENDPOINT_CONFIG, asked.config_name)
    if asked.config.why_not_served is not None:
        raise Unsupported(asked.config.why_not_served)
    blue = updatable(endpoint)
    policy = _policy(endpoint, asked.policy, asked.retention)
    variants = tuple(_retained(one, blue.group_of(one.name), asked.retention) for one in asked.config.variants)
    _check_weights(asked.config, variants)
    shadow = _retained_shadow(asked.config, blue, asked.retention)
    if is_guarded(policy):
        _check_names(asked.config, blue)
    counts = {variant.name: variant.instance_count for variant in variants}
    why_not = refusal(policy, counts)
    if why_not is not None:
        raise Invalid(why_not)
    for alarm in policy.alarms:
        if alarm in asked.missing_alarms:
            raise Invalid(
                f'Alarm "{alarm}" in AutoRollbackConfiguration does not exist; create it with PutMetricAlarm first.'
            )
    for model in asked.missing_models:
        raise NotFound(Resource.MODEL, model)
    _check_time(steps(policy, counts), policy)
    excluded = _unguarded(policy, blue, variants)
    if excluded is not None:
        policy = without_guardrails(policy)
    return Admitted(blue, asked.config, variants, policy, shadow, excluded)


def replay_admission(body: Mapping[str, Any]) -> str | None:
    """The sentence with which a recorded request is refused when it is judged again; None: it is accepted.

    Args:
        body: Of a journal entry that holds `before` (the endpoint) and `asked`.
    """
    try:
        admit(msgspec.convert(body["before"], Endpoint), msgspec.convert(body["asked"], UpdateRequest))
    except Refused as refused:
        return str(refused)
    return None


def updatable(endpoint: Endpoint) -> Fleet:
    """What is in production, where nothing keeps anybody from changing it.

    Raises:
        Refused: What does.
    """
    if endpoint.changing:
        raise Busy(Resource.ENDPOINT, endpoint.name)
    if endpoint.experiment is not None:
        raise under_experiment(endpoint, "updated")
    if endpoint.blue is None:
        raise Invalid(
            f'Endpoint "{endpoint.name}" is Failed and has nothing in production to update; delete it and create it again.'
        )
    return endpoint.blue


def under_experiment(endpoint: Endpoint, done: str) -> Invalid:
    """Why an endpoint that an experiment holds is not `updated` or `deleted` by anybody else."""
    return Invalid(
        f'Endpoint "{endpoint.name}" cannot be {done}: inference experiment "{endpoint.experiment}" runs on it and restores it '
        "when it ends. Call StopInferenceExperiment, and wait until it is Completed or Cancelled."
    )


def _policy(endpoint: Endpoint, policy: DeploymentPolicy | None, retention: Retention) -> DeploymentPolicy:
    if not retention.policy:
        return policy if policy is not None else DeploymentPolicy(given=False)
    if policy is not None:
        raise Invalid("Give either DeploymentConfig or RetainDeploymentConfig=true, not both.")
    if endpoint.last_policy is None:
        raise Invalid(
            f'Endpoint "{endpoint.name}" has no deployment configuration to retain; give DeploymentConfig instead.'
        )
    return endpoint.last_policy


def _retained(variant: Variant, group: Group | None, retention: Retention) -> Variant:
    """The variant, with what it keeps of the group that it replaces."""
    if group is None or not retention.variant_properties:
        return variant
    if not retention.except_instance_count:
        variant = replace(variant, instance_count=group.instance_count)
    if not retention.except_weight:
        variant = replace(variant, weight=group.weight)
    return variant


def _check_weights(config: EndpointConfig, variants: tuple[Variant, ...]) -> None:
    """The configuration has a weight above 0; what is kept of a variant that was taken out of production has none."""
    if not any(variant.weight > 0 for variant in variants):
        names = ", ".join(variant.name for variant in variants)
        raise Invalid(
            f'With the weights that RetainAllVariantProperties keeps, no variant of endpoint configuration "{config.name}" would get '
            f"requests: {names} has DesiredWeight 0. Take it from the configuration (DesiredWeight in ExcludeRetainedVariantProperties), or give it "
            "one above 0 first (UpdateEndpointWeightsAndCapacities)."
        )


def _retained_shadow(config: EndpointConfig, blue: Fleet, retention: Retention) -> Variant | None:
    if not config.shadow_variants:
        return None
    (shadow,) = config.shadow_variants
    same = blue.shadow is not None and blue.shadow.group.variant == shadow.name
    return _retained(shadow, blue.shadow.group if blue.shadow is not None and same else None, retention)


def is_guarded(policy: DeploymentPolicy) -> bool:
    """Whether the update is a guarded one: the client said how traffic moves, or which alarms stop it."""
    return policy.given or bool(policy.alarms)


def _check_names(config: EndpointConfig, blue: Fleet) -> None:
    """AWS: a guarded update must keep the production variants' names.

    A plain one, all at once, may change them: AWS's own notebook promotes a shadow by a configuration whose only production variant has the shadow's name.
    """
    new = sorted(variant.name for variant in config.variants)
    old = sorted({group.variant for group in blue.groups})
    if new != old:
        raise Invalid(
            f'Endpoint configuration "{config.name}" has the variants {", ".join(new)}; a guarded update must keep the '
            f"endpoint's variant names: {', '.join(old)}."
        )


def _unguarded(policy: DeploymentPolicy, blue: Fleet, variants: tuple[Variant, ...]) -> Unguarded | None:
    """AWS: endpoints with some instance types fall back, in silence, to all at once without a final bake; None: this one does not."""
    if without_guardrails(policy) == policy:
        return None
    types = [(one.name, one.instance_type) for one in variants] + [
        (one.variant, one.instance_type) for one in blue.groups
    ]
    for variant, instance_type in types:
        if instance_type is not None and instance_type.startswith(UNGUARDED_TYPES):
            return Unguarded(variant, instance_type)
    return None


def _check_time(plan: tuple[Step, ...], policy: DeploymentPolicy) -> None:
    waits = sum(step.bake_seconds for step in plan)
    if policy.timeout_seconds is not None and waits >= policy.timeout_seconds:
        raise Invalid(
            f"MaximumExecutionTimeoutInSeconds of {policy.timeout_seconds} cannot hold the waits of this deployment, "
            f"which add up to {waits} seconds."
        )
