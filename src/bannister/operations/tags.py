"""The tags of models, endpoint configurations, endpoints and inference experiments: list, add, take away.

They are kept in what they belong to, so they go with it. They change nothing else of it, its time of modification included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from bannister.domain.tags import Tags, tagged, untagged
from bannister.errors import Conflict, Invalid, NotFound, Resource
from bannister.operations.context import Context
from bannister.operations.listing import Listed, ListRequest, Page, page
from bannister.state.store import Put, Row, Table
from bannister.state.tables import ENDPOINT_CONFIGS, ENDPOINTS, EXPERIMENTS, MODELS

TAGGABLE: Final[Mapping[Resource, Table[Any]]] = {
    Resource.MODEL: MODELS,
    Resource.ENDPOINT_CONFIG: ENDPOINT_CONFIGS,
    Resource.ENDPOINT: ENDPOINTS,
    Resource.EXPERIMENT: EXPERIMENTS,
}

#: Each failure means that somebody else wrote the same row in between.
_ATTEMPTS_MAX: Final = 20


async def list_tags(
    context: Context, kind: Resource, name: str, *, limit: int, token: str | None = None
) -> Page[tuple[str, str]]:
    """The tags of a resource, by key.

    Raises:
        NotFound: There is no such resource.
        Invalid: The name stands for several, or the token is not one that this listing gave.
    """
    row = await _row(context, kind, name)
    request = ListRequest("Name", ascending=True, limit=limit, token=token)
    return page(kind, row.value.tags, lambda tag: Listed(tag[0], 0.0, 0.0), request)


async def add_tags(context: Context, kind: Resource, name: str, tags: Tags) -> Tags:
    """Add tags, or give keys that are there new values; returns all that the resource then has.

    Raises:
        NotFound: There is no such resource.
        Invalid: There would be too many, one is reserved, or the name stands for several resources.
    """
    context.check_room()
    return await _revise(context, kind, name, lambda present: tagged(present, tags))


async def delete_tags(context: Context, kind: Resource, name: str, keys: Sequence[str]) -> None:
    """Take tags away; keys that are not there are ignored.

    Raises:
        NotFound: There is no such resource.
        Invalid: The name stands for several.
    """
    await _revise(context, kind, name, lambda present: untagged(present, keys))


async def _revise(context: Context, kind: Resource, name: str, change: Callable[[Tags], Tags]) -> Tags:
    for _ in range(_ATTEMPTS_MAX):
        row = await _row(context, kind, name)
        tags = change(row.value.tags)
        if tags == row.value.tags:
            return tags
        try:
            await context.state.commit([Put(TAGGABLE[kind], row.key, replace(row.value, tags=tags), row.revision)])
        except Conflict:
            continue
        return tags
    raise Conflict(f'The {kind.value} "{name}" changed at every attempt; try again.')


async def _row(context: Context, kind: Resource, name: str) -> Row[Any]:
    """What an ARN means: it has the name in lower case, while names of most kinds may differ in case only."""
    meant = [row for row in await context.state.rows(TAGGABLE[kind]) if row.key.lower() == name.lower()]
    if not meant:
        raise NotFound(kind, name)
    exact = [row for row in meant if row.key == name and name != name.lower()]
    if len(meant) > 1 and not exact:
        names = ", ".join(f'"{row.key}"' for row in meant)
        raise Invalid(
            f"The ARN could mean each of {names}, for ARNs have names in lower case. Write the name in it in its own case; one that is "
            "all lower case can be meant only when it is the only one."
        )
    return (exact or meant)[0]
