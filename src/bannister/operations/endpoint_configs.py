"""Endpoint configurations: create, describe, list, delete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from bannister.domain.capture.data_capture import DataCapture
from bannister.domain.endpoint import EndpointConfig, Variant
from bannister.domain.fleet import check_count, check_weight
from bannister.domain.tags import Tags, check_tags
from bannister.domain.unserved import AsyncInference
from bannister.errors import AlreadyExists, Conflict, Invalid, NotFound, Resource
from bannister.operations.context import Context
from bannister.operations.listing import Listed, ListRequest, Page, page
from bannister.operations.removal import remove
from bannister.state.store import Put
from bannister.state.tables import ENDPOINT_CONFIGS, MODELS

#: AWS: the memory of a serverless variant is so much, or two to six times as much.
MEMORY_STEP_MEGABYTES: Final = 1024


async def create_endpoint_config(
    context: Context,
    name: str,
    variants: Sequence[Variant],
    shadow_variants: Sequence[Variant] = (),
    data_capture: DataCapture | None = None,
    tags: Tags = (),
    async_inference: AsyncInference | None = None,
    as_given: Mapping[str, Any] | None = None,
) -> EndpointConfig:
    """Store a configuration; its models must exist. `as_given` is described again, and has no effect."""
    context.check_room()
    check_tags(tags)
    _check_shadow(variants, shadow_variants)
    everyone = (*variants, *shadow_variants)
    if any(variant.serverless is not None for variant in everyone):
        _check_serverless(everyone, data_capture, async_inference)
    names = [variant.name for variant in everyone]
    repeated = sorted({one for one in names if names.count(one) > 1})
    if repeated:
        raise Invalid(f'Variant name "{repeated[0]}" is used more than once; variant names must be unique.')
    for variant in everyone:
        check_weight("InitialVariantWeight", variant.name, variant.weight)
    if not any(variant.weight for variant in variants):
        raise Invalid("At least one variant must have an InitialVariantWeight above 0.")
    for variant in everyone:
        most = context.settings.instances_per_variant_max
        check_count("InitialInstanceCount", variant.name, variant.instance_count, most)
        if await context.state.get(MODELS, variant.model_name) is None:
            raise NotFound(Resource.MODEL, variant.model_name)
    config = EndpointConfig(
        name,
        tuple(variants),
        context.clock.now(),
        tuple(shadow_variants),
        data_capture,
        tags,
        async_inference,
        dict(as_given or {}),
    )
    try:
        await context.state.commit([Put(ENDPOINT_CONFIGS, name, config, 0)])
    except Conflict:
        raise AlreadyExists(Resource.ENDPOINT_CONFIG, name) from None
    return config


def _check_shadow(variants: Sequence[Variant], shadow_variants: Sequence[Variant]) -> None:
    """AWS: where there is a shadow variant, there is one, and one production variant."""
    if shadow_variants and (len(variants), len(shadow_variants)) != (1, 1):
        raise Invalid(
            f"A configuration with a shadow variant has exactly one production variant and one shadow variant; "
            f"ProductionVariants has {len(variants)} and ShadowProductionVariants {len(shadow_variants)}."
        )


def _check_serverless(
    everyone: Sequence[Variant], data_capture: DataCapture | None, async_inference: AsyncInference | None
) -> None:
    """AWS: serverless inference has one production variant and neither shadow, nor data capture, nor asynchronous invocations."""
    if len(everyone) != 1:
        raise Invalid(f"A configuration with a ServerlessConfig has exactly one variant, not {len(everyone)}.")
    for member, given in (("DataCaptureConfig", data_capture), ("AsyncInferenceConfig", async_inference)):
        if given is not None:
            raise Invalid(f"{member} does not go with a ServerlessConfig.")
    (variant,) = everyone
    serverless = variant.serverless
    if serverless is None:
        return
    if serverless.memory_megabytes % MEMORY_STEP_MEGABYTES:
        raise Invalid(
            f'MemorySizeInMB of variant "{variant.name}" is {serverless.memory_megabytes}; it must be a multiple of '
            f"{MEMORY_STEP_MEGABYTES}."
        )
    provisioned = serverless.provisioned_concurrency
    if provisioned is not None and provisioned > serverless.concurrency_max:
        raise Invalid(
            f'ProvisionedConcurrency of variant "{variant.name}" is {provisioned}; it must not be above MaxConcurrency, '
            f"{serverless.concurrency_max}."
        )


async def describe_endpoint_config(context: Context, name: str) -> EndpointConfig:
    row = await context.state.get(ENDPOINT_CONFIGS, name)
    if row is None:
        raise NotFound(Resource.ENDPOINT_CONFIG, name)
    return row.value


async def list_endpoint_configs(context: Context, request: ListRequest) -> Page[EndpointConfig]:
    rows = await context.state.rows(ENDPOINT_CONFIGS)
    return page(
        Resource.ENDPOINT_CONFIG,
        [row.value for row in rows],
        lambda config: Listed(config.name, config.created_at, config.created_at),
        request,
    )


async def delete_endpoint_config(context: Context, name: str) -> None:
    """Forget a configuration; what runs has its own copy and is not touched."""
    await remove(context, ENDPOINT_CONFIGS, Resource.ENDPOINT_CONFIG, name)
