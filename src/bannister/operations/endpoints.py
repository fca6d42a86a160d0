"""Endpoints: create, update, describe, list, delete.

Creating and updating only write down what is wanted: a deployment from the present fleet (none, at creation) to a new one. The deployer,
the supervisor and the publisher bring it about.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec

from bannister import __version__
from bannister.domain.deployment.admission import Admitted, Retention, UpdateRequest, admit, under_experiment, updatable
from bannister.domain.deployment.construction import new_deployment, new_group
from bannister.domain.deployment.deployment import Deployment
from bannister.domain.deployment.policy import DeploymentPolicy, refusal
from bannister.domain.deployment.progress import status_of
from bannister.domain.deployment.recorder import STARTED, started
from bannister.domain.endpoint import Endpoint, Variant
from bannister.domain.fleet import Fleet, Group, Shadow, sampled_parts
from bannister.domain.scaling import SCALING_STARTED, Desired, Scaling, fleet_of, rescaled
from bannister.domain.tags import Tags, check_tags
from bannister.errors import (
    AlreadyExists,
    Busy,
    Conflict,
    Invalid,
    NotFound,
    Refused,
    Resource,
    Unsupported,
)
from bannister.operations.caveats import with_caveats
from bannister.operations.context import Context
from bannister.operations.endpoint_configs import describe_endpoint_config
from bannister.operations.listing import Listed, ListRequest, Page, page
from bannister.operations.models import describe_model
from bannister.operations.room import shortage_of_scaling, with_shortage
from bannister.operations.story import REFUSED, journal_refusal
from bannister.settings import Settings
from bannister.state.endpoint_change import endpoint_change
from bannister.state.store import Record, Row
from bannister.state.tables import ALARMS, ENDPOINT_CONFIGS, ENDPOINTS, MODELS

#: Each failure means that another request, or a loop, wrote the endpoint in between.
_ATTEMPTS_MAX: Final = 20


async def create_endpoint(
    context: Context, name: str, config_name: str, policy: DeploymentPolicy | None = None, tags: Tags = ()
) -> Endpoint:
    """Begin to serve a configuration under a name. A policy is only stored, for later updates that retain it (AWS)."""
    context.check_room()
    check_tags(tags)
    # What no configuration allows. The rest depends on the one of the update that retains it.
    why_not = refusal(policy, {}) if policy is not None else None
    if why_not is not None:
        raise Invalid(why_not)
    await _check_is_free(context, name)
    config = await describe_endpoint_config(context, config_name)
    if config.why_not_served is not None:
        raise Unsupported(config.why_not_served)
    now = context.clock.now()
    shadow = config.shadow_variants[0] if config.shadow_variants else None
    admitted = Admitted(None, config, config.variants, DeploymentPolicy(given=False), shadow)
    deployment = await with_shortage(context, await _deployment(context, name, admitted))
    endpoint = Endpoint(
        name,
        created_at=now,
        modified_at=now,
        deployment=deployment,
        requested_config=config_name,
        last_policy=policy,
        tags=tags,
    )
    change = endpoint_change(None, endpoint, now, context.ready_instances())
    # Names that differ in case only are rows of their own: the look and the write are one step.
    async with context.naming:
        await _check_is_free(context, name)
        try:
            await context.state.commit([change.write], [_started(deployment, now), *change.events])
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
    for _ in range(_ATTEMPTS_MAX):
        row = await _row(context, name)
        asked = await _request(context, row.value, config_name, policy, retention or Retention())
        try:
            admitted = admit(row.value, asked)
        except Refused as refusal:
            await _journal_refusal(context, row.value, asked, refusal)
            raise
        deployment = await with_caveats(context, await _deployment(context, name, admitted))
        deployment = await with_shortage(context, deployment)
        now = context.clock.now()
        # An update that names no policy is all at once and without alarms; it does not forget the one to retain.
        retained = policy if policy is not None else row.value.last_policy
        endpoint = replace(row.value, deployment=deployment, modified_at=now, failure_reason=None, last_policy=retained)
        if await _written(context, row, endpoint, _started(deployment, now, _evidence(row.value, asked))):
            return endpoint
    raise Conflict(f'Endpoint "{name}" changed at every attempt; try again.')


async def update_weights_and_capacities(context: Context, name: str, desired: Sequence[Desired]) -> Endpoint:
    """Begin to change the weights and instance counts of what is in production."""
    context.check_room()
    for _ in range(_ATTEMPTS_MAX):
        row = await _row(context, name)
        endpoint, now = row.value, context.clock.now()
        blue = updatable(endpoint)
        after = rescaled(blue, desired, context.settings.instances_per_variant_max)
        deadline = now + _seconds_to_scale(context.settings, blue, after)
        short = await shortage_of_scaling(context, name, blue, after)
        scaling = Scaling(context.ids.short(), blue, after, now, deadline, phase_since=now, shortage=short)
        record = Record(
            now,
            f"endpoint/{name}",
            SCALING_STARTED,
            {
                "scaling": scaling.id,
                "desired": msgspec.to_builtins(tuple(desired)),
                "shortage": msgspec.to_builtins(short),
                "version": __version__,
            },
        )
        scaled = replace(endpoint, blue=fleet_of(scaling), scaling=scaling, modified_at=now, failure_reason=None)
        if await _written(context, row, scaled, record):
            return scaled
    raise Conflict(f'Endpoint "{name}" changed at every attempt; try again.')


def _seconds_to_scale(settings: Settings, before: Fleet, after: Fleet) -> float:
    """So long may a change of instance counts take: of a group so many start at a time, and each may take as long as one may; then what goes drains."""
    had = {group.id: group.instance_count for group in before.all_groups}
    startup = max(
        group.startup_timeout_seconds
        * max(1, math.ceil((group.instance_count - had[group.id]) / settings.startup_parallel_max))
        for group in after.all_groups
    )
    return startup + max(settings.drain_timeout_seconds, settings.stream_drain_timeout_seconds)


async def delete_endpoint(context: Context, name: str) -> None:
    """Begin to take an endpoint away: routes first, then its instances.

    AWS says nothing of an endpoint under an experiment; here it is refused, as an update is, until the experiment has ended.
    """
    for _ in range(_ATTEMPTS_MAX):
        row = await _row(context, name)
        endpoint = row.value
        if endpoint.changing:
            raise Busy(Resource.ENDPOINT, name)
        if endpoint.experiment is not None:
            raise under_experiment(endpoint, "deleted")
        now = context.clock.now()
        record = Record(now, f"endpoint/{name}", "endpoint.deletion_requested")
        if await _written(context, row, replace(endpoint, deleting=True, modified_at=now), record):
            return
    raise Conflict(f'Endpoint "{name}" changed at every attempt; try again.')


async def describe_endpoint(context: Context, name: str) -> Endpoint:
    return (await _row(context, name)).value


async def list_endpoints(context: Context, request: ListRequest) -> Page[Endpoint]:
    rows = await context.state.rows(ENDPOINTS)
    return page(
        Resource.ENDPOINT,
        [row.value for row in rows],
        lambda endpoint: Listed(endpoint.name, endpoint.created_at, endpoint.modified_at, status_of(endpoint).value),
        request,
    )


# --- parts ------------------------------------------------------------------------------------------


async def _check_is_free(context: Context, name: str) -> None:
    """AWS: names are unique regardless of case, and invoked with exactly the case that was given."""
    if any(row.key.lower() == name.lower() for row in await context.state.rows(ENDPOINTS)):
        raise AlreadyExists(Resource.ENDPOINT, name)


async def _row(context: Context, name: str) -> Row[Endpoint]:
    row = await context.state.get(ENDPOINTS, name)
    if row is None:
        raise NotFound(Resource.ENDPOINT, name)
    return row


async def _written(context: Context, row: Row[Endpoint], endpoint: Endpoint, record: Record) -> bool:
    """False: another request, or a loop, was faster, and the request is to be judged on what that wrote."""
    change = endpoint_change(row, endpoint, record.at, context.ready_instances())
    try:
        await context.state.commit([change.write], [record, *change.events])
    except Conflict:
        return False
    return True


async def _deployment(context: Context, endpoint: str, admitted: Admitted) -> Deployment:
    now, config = context.clock.now(), admitted.config
    identifier = context.ids.short()
    groups = tuple([await _group(context, endpoint, variant, config.name, identifier) for variant in admitted.variants])
    shadow = None
    if admitted.shadow is not None:
        group = await _group(context, endpoint, admitted.shadow, config.name, identifier)
        shadow = Shadow(group, sampled_parts(group.weight, groups[0].weight))
    green = Fleet(config.name, groups, now, shadow, config.data_capture)
    timeout = context.settings.deployment_timeout_seconds_default
    deployment = new_deployment(identifier, endpoint, admitted.policy, admitted.blue, green, now, timeout)
    return replace(deployment, unguarded=admitted.unguarded)


async def _group(context: Context, endpoint: str, variant: Variant, config_name: str, deployment: str) -> Group:
    model = await describe_model(context, variant.model_name)
    return new_group(
        variant,
        model.name,
        model.container,
        endpoint=endpoint,
        config_name=config_name,
        deployment=deployment,
        startup_timeout_seconds=context.settings.startup_timeout_seconds_default,
    )


async def _request(
    context: Context, endpoint: Endpoint, config_name: str, policy: DeploymentPolicy | None, retention: Retention
) -> UpdateRequest:
    """The request with all that it refers to, as it is now."""
    row = await context.state.get(ENDPOINT_CONFIGS, config_name)
    config = row.value if row is not None else None
    policies = [one for one in (policy, endpoint.last_policy) if one is not None]
    alarms = dict.fromkeys(alarm for one in policies for alarm in one.alarms)
    variants = (*config.variants, *config.shadow_variants) if config is not None else ()
    models = dict.fromkeys(variant.model_name for variant in variants)
    return UpdateRequest(
        config_name,
        config,
        policy,
        retention,
        missing_alarms=tuple([one for one in alarms if await context.state.get(ALARMS, one) is None]),
        missing_models=tuple([one for one in models if await context.state.get(MODELS, one) is None]),
    )


def _evidence(endpoint: Endpoint, asked: UpdateRequest) -> dict[str, Any]:
    """What `admit` was given, for the journal."""
    return {"before": msgspec.to_builtins(endpoint), "asked": msgspec.to_builtins(asked)}


async def _journal_refusal(context: Context, endpoint: Endpoint, asked: UpdateRequest, refusal: Refused) -> None:
    running = endpoint.deployment
    body = {
        "deployment": running.id if running is not None else None,
        "phase": running.phase.value if running is not None else None,
        "status": status_of(endpoint).value,
        "to": asked.config_name,
        "reason": str(refusal),
        "version": __version__,
        **_evidence(endpoint, asked),
    }
    await journal_refusal(context, endpoint.name, REFUSED, body)


def _started(deployment: Deployment, now: float, decided_on: dict[str, Any] | None = None) -> Record:
    return Record(now, f"endpoint/{deployment.endpoint}", STARTED, started(deployment, __version__, decided_on))
