"""Endpoints: create, update, describe, list, delete.

Creating and updating only write down what is wanted: a deployment from the present fleet (none, at creation) to a new one. The deployer,
the supervisor and the publisher bring it about.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace

import msgspec

from bannister import __version__
from bannister.domain.deployment.machine import Deployment
from bannister.domain.deployment.plan import Step, steps
from bannister.domain.deployment.policy import DeploymentPolicy, refusal
from bannister.domain.deployment.progress import EndpointStatus, status_of
from bannister.domain.endpoint import Endpoint, EndpointConfig, Variant
from bannister.domain.fleet import Fleet, Group
from bannister.errors import AlreadyExists, Busy, Conflict, Invalid, NotFound, Refused, Resource, Unavailable
from bannister.operations.context import Context
from bannister.operations.endpoint_configs import describe_endpoint_config
from bannister.operations.listing import Listed, ListRequest, Page, page
from bannister.operations.models import describe_model
from bannister.operations.story import REFUSED, STARTED
from bannister.state.store import Put, Record, Row
from bannister.state.tables import ALARMS, ENDPOINTS


@dataclass(frozen=True, slots=True)
class Retention:
    """What an update keeps from the endpoint instead of taking it from the new configuration (AWS: Retain…)."""

    variant_properties: bool = False
    #: With `variant_properties`: take these from the new configuration after all.
    except_instance_count: bool = False
    except_weight: bool = False
    #: Use the policy of the last accepted update.
    policy: bool = False


async def create_endpoint(
    context: Context, name: str, config_name: str, policy: DeploymentPolicy | None = None
) -> Endpoint:
    """Begin to serve a configuration under a name. A policy is only stored, for later updates that retain it (AWS)."""
    context.check_room()
    existing = await context.state.rows(ENDPOINTS)
    # AWS: names are unique regardless of case, and invoked with exactly the case given here.
    if any(row.key.lower() == name.lower() for row in existing):
        raise AlreadyExists(Resource.ENDPOINT, name)
    config = await describe_endpoint_config(context, config_name)
    now = context.clock.now()
    deployment = await _deployment(context, name, config.variants, config, None, DeploymentPolicy(given=False))
    endpoint = Endpoint(
        name, created_at=now, modified_at=now, deployment=deployment, requested_config=config_name, last_policy=policy
    )
    record = _started(deployment, now)
    try:
        await context.state.commit([Put(ENDPOINTS, name, endpoint, 0)], [record])
    except Conflict:
        raise AlreadyExists(Resource.ENDPOINT, name) from None
    return endpoint


async def update_endpoint(
    context: Context,
    name: str,
    config_name: str,
    policy: DeploymentPolicy | None = None,
    retention: Retention | None = None,
) -> Endpoint:
    """Begin a deployment from what is in production to a configuration. Refused or accepted, the journal says so."""
    context.check_room()
    row = await _row(context, name)
    try:
        return await _begin(context, row, config_name, policy, retention or Retention())
    except Refused as refusal:
        await _journal_refusal(context, row.value, config_name, policy, refusal)
        raise


async def _begin(
    context: Context, row: Row[Endpoint], config_name: str, policy: DeploymentPolicy | None, retention: Retention
) -> Endpoint:
    name = row.key
    config = await describe_endpoint_config(context, config_name)
    endpoint = row.value
    blue = _updatable(endpoint)
    policy = _policy(endpoint, policy, retention)
    variants = _retained(config, blue, retention)
    _check_names(config, blue)
    counts = {variant.name: variant.instance_count for variant in variants}
    why_not = refusal(policy, counts)
    if why_not is not None:
        raise Invalid(why_not)
    for alarm in policy.alarms:
        if await context.state.get(ALARMS, alarm) is None:
            raise Invalid(
                f'Alarm "{alarm}" in AutoRollbackConfiguration does not exist; create it with PutMetricAlarm first.'
            )
    deployment = await _deployment(context, name, variants, config, blue, policy)
    _check_time(deployment.steps, policy)
    now = context.clock.now()
    endpoint = replace(endpoint, deployment=deployment, modified_at=now, failure_reason=None, last_policy=policy)
    await _commit(context, row, endpoint, _started(deployment, now))
    return endpoint


async def delete_endpoint(context: Context, name: str) -> None:
    """Begin to take an endpoint away: routes first, then its instances."""
    row = await _row(context, name)
    endpoint = row.value
    if endpoint.deleting or endpoint.deployment is not None:
        raise Busy(Resource.ENDPOINT, name)
    now = context.clock.now()
    record = Record(now, f"endpoint/{name}", "endpoint.deletion_requested")
    await _commit(context, row, replace(endpoint, deleting=True, modified_at=now), record)


async def describe_endpoint(context: Context, name: str) -> Endpoint:
    return (await _row(context, name)).value


async def list_endpoints(context: Context, request: ListRequest) -> Page[Endpoint]:
    rows = await context.state.rows(ENDPOINTS)
    return page(
        [row.value for row in rows],
        lambda endpoint: Listed(endpoint.name, endpoint.created_at, endpoint.modified_at, status_of(endpoint).value),
        request,
    )


# --- parts ------------------------------------------------------------------------------------------


async def _row(context: Context, name: str) -> Row[Endpoint]:
    row = await context.state.get(ENDPOINTS, name)
    if row is None:
        raise NotFound(Resource.ENDPOINT, name)
    return row


async def _commit(context: Context, row: Row[Endpoint], endpoint: Endpoint, record: Record) -> None:
    try:
        await context.state.commit([Put(ENDPOINTS, row.key, endpoint, row.revision)], [record])
    except Conflict:
        # Another request, or a loop, was faster: whatever it began is in progress now.
        raise Busy(Resource.ENDPOINT, row.key) from None


def _updatable(endpoint: Endpoint) -> Fleet:
    if endpoint.deleting or endpoint.deployment is not None:
        raise Busy(Resource.ENDPOINT, endpoint.name)
    if status_of(endpoint) is EndpointStatus.FAILED or endpoint.blue is None:
        raise Invalid(
            f'Endpoint "{endpoint.name}" is Failed and has nothing in production to update; delete it and create it again.'
        )
    return endpoint.blue


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


def _retained(config: EndpointConfig, blue: Fleet, retention: Retention) -> tuple[Variant, ...]:
    if not retention.variant_properties:
        return config.variants
    kept = []
    for variant in config.variants:
        group = blue.group_of(variant.name)
        if group is not None and not retention.except_instance_count:
            variant = replace(variant, instance_count=group.instance_count)
        if group is not None and not retention.except_weight:
            variant = replace(variant, weight=group.weight)
        kept.append(variant)
    return tuple(kept)


def _check_names(config: EndpointConfig, blue: Fleet) -> None:
    """AWS: the new configuration must keep the variant names."""
    new = sorted(variant.name for variant in config.variants)
    old = sorted(group.variant for group in blue.groups)
    if new != old:
        raise Invalid(
            f'Endpoint configuration "{config.name}" has the variants {", ".join(new)}; a guarded update must keep the '
            f"endpoint's variant names: {', '.join(old)}."
        )


def _check_time(plan: tuple[Step, ...], policy: DeploymentPolicy) -> None:
    waits = sum(step.bake_seconds for step in plan)
    if policy.timeout_seconds is not None and waits >= policy.timeout_seconds:
        raise Invalid(
            f"MaximumExecutionTimeoutInSeconds of {policy.timeout_seconds} cannot hold the waits of this deployment, "
            f"which add up to {waits} seconds."
        )


async def _deployment(
    context: Context,
    endpoint: str,
    variants: tuple[Variant, ...],
    config: EndpointConfig,
    blue: Fleet | None,
    policy: DeploymentPolicy,
) -> Deployment:
    now = context.clock.now()
    identifier = context.ids.short()
    groups = tuple([await _group(context, endpoint, variant, config.name, identifier) for variant in variants])
    timeout = policy.timeout_seconds or context.settings.deployment_timeout_seconds_default
    return Deployment(
        id=identifier,
        endpoint=endpoint,
        policy=policy,
        blue=blue,
        green=Fleet(config.name, groups, now),
        steps=steps(policy, {group.variant: group.instance_count for group in groups}),
        started_at=now,
        deadline_at=now + timeout,
        phase_since=now,
    )


async def _group(context: Context, endpoint: str, variant: Variant, config_name: str, deployment: str) -> Group:
    model = await describe_model(context, variant.model_name)
    return Group(
        id=f"{endpoint}.{variant.name}.{deployment}",
        endpoint=endpoint,
        variant=variant.name,
        config_name=config_name,
        model_name=model.name,
        container=model.container,
        instance_count=variant.instance_count,
        weight=variant.weight,
        startup_timeout_seconds=variant.startup_timeout_seconds or context.settings.startup_timeout_seconds_default,
        instance_type=variant.instance_type,
    )


async def _journal_refusal(
    context: Context, endpoint: Endpoint, config_name: str, policy: DeploymentPolicy | None, refusal: Refused
) -> None:
    """A refused update is a decision too. Where it cannot be written down, the caller is still told."""
    running = endpoint.deployment
    body = {
        "deployment": running.id if running is not None else None,
        "phase": running.phase.value if running is not None else None,
        "status": status_of(endpoint).value,
        "to": config_name,
        "policy": msgspec.to_builtins(policy),
        "reason": str(refusal),
        "version": __version__,
    }
    with contextlib.suppress(Unavailable):
        await context.state.commit(records=[Record(context.clock.now(), f"endpoint/{endpoint.name}", REFUSED, body)])


def _started(deployment: Deployment, now: float) -> Record:
    return Record(
        now,
        f"endpoint/{deployment.endpoint}",
        STARTED,
        {
            "deployment": deployment.id,
            "from": deployment.blue.config_name if deployment.blue is not None else None,
            "to": deployment.green.config_name,
            "routing": deployment.policy.routing.value,
            "alarms": list(deployment.policy.alarms),
            "policy": msgspec.to_builtins(deployment.policy),
            "steps": msgspec.to_builtins(deployment.steps),
            "version": __version__,
        },
    )
