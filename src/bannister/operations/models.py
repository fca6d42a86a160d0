"""Models: create, describe, list, delete."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bannister.domain.model import SUBMIT_DIRECTORY_VARIABLE, Container, Model, paths_of
from bannister.domain.tags import Tags, check_tags
from bannister.domain.warmup import WARMUP_VARIABLE
from bannister.domain.warmup import parse as warmup_requests
from bannister.errors import AlreadyExists, Conflict, Invalid, NotFound, Resource
from bannister.objects.names import bucket_limitation
from bannister.operations.context import Context
from bannister.operations.listing import Listed, ListRequest, Page, page
from bannister.operations.removal import remove
from bannister.state.store import Put
from bannister.state.tables import MODELS


async def create_model(
    context: Context,
    name: str,
    container: Container,
    *,
    execution_role: str | None = None,
    given_as_list: bool = False,
    network_isolation: bool = False,
    tags: Tags = (),
    as_given: Mapping[str, Any] | None = None,
) -> Model:
    """Store a model after checking that its image can be run and its artifact exists. `as_given` is described again, and has no effect."""
    context.check_room()
    check_tags(tags)
    refusal = context.image_refusal(container.image)
    if refusal is not None:
        raise Invalid(refusal)
    unusable = next((key for key, value in container.environment.items() if "\0" in value), None)
    if unusable is not None:
        raise Invalid(
            f"The value of {unusable} in Environment has a NUL character, which no process's environment can hold."
        )
    warmup = container.environment.get(WARMUP_VARIABLE, "")
    warmup_requests(warmup.encode(), WARMUP_VARIABLE, context.settings.warmup_requests_max)
    # What a row of images.toml says later holds for models that are created later.
    container = replace(container, paths=paths_of(context.image_paths(container.image), container.environment))
    if container.artifact_url is not None:
        await _check_artifact(context, container.artifact_url, "model data")
    if container.code_url is not None:
        await _check_artifact(context, container.code_url, f"the code of {SUBMIT_DIRECTORY_VARIABLE} in Environment")
    now = context.clock.now()
    model = Model(name, container, now, execution_role, given_as_list, network_isolation, tags, dict(as_given or {}))
    try:
        await context.state.commit([Put(MODELS, name, model, 0)])
    except Conflict:
        raise AlreadyExists(Resource.MODEL, name) from None
    return model


async def describe_model(context: Context, name: str) -> Model:
    row = await context.state.get(MODELS, name)
    if row is None:
        raise NotFound(Resource.MODEL, name)
    return row.value


async def list_models(context: Context, request: ListRequest) -> Page[Model]:
    rows = await context.state.rows(MODELS)
    return page(
        Resource.MODEL,
        [row.value for row in rows],
        lambda model: Listed(model.name, model.created_at, model.created_at),
        request,
    )


async def delete_model(context: Context, name: str) -> None:
    """Forget a model; what runs has its own copy and is not touched."""
    await remove(context, MODELS, Resource.MODEL, name)


def split_url(url: str) -> tuple[str, str]:
    """The bucket and key of an `s3://bucket/key` URL. Raises `Invalid` for anything else."""
    found = re.fullmatch(r"s3://([^/]+)/(.+)", url, re.DOTALL)
    if found is None or bucket_limitation(found[1]) is not None:
        raise Invalid(f'"{url}" is not an s3://bucket/key URL.')
    return found[1], found[2]


async def _check_artifact(context: Context, url: str, what: str) -> None:
    bucket, key = split_url(url)
    try:
        await context.objects.head(bucket, key)
    except NotFound:
        raise Invalid(f"Could not find {what} at {url}.") from None
