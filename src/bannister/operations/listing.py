"""Pages of a listing: sorting, filters and continuation that AWS's List operations have in common."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from bannister.errors import Invalid, Resource

T = TypeVar("T")

#: AWS: MaxResults where none is given.
PAGE_SIZE_DEFAULT = 10


@dataclass(frozen=True, slots=True)
class ListRequest:
    """What to list, and in which order. Times are exclusive before and inclusive after, as AWS documents them.

    They are compared to the millisecond, which is what a client was told: an item is not after itself, and not before.
    """

    sort_by: str = "CreationTime"
    ascending: bool = False
    limit: int = PAGE_SIZE_DEFAULT
    token: str | None = None
    name_contains: str | None = None
    created_before: float | None = None
    created_after: float | None = None
    modified_before: float | None = None
    modified_after: float | None = None
    status: str | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """What a listing needs to know of one item."""

    name: str
    created_at: float
    modified_at: float
    status: str = ""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page, and the token of the next; None: this is the last."""

    items: tuple[T, ...]
    token: str | None


def page(kind: Resource, items: Sequence[T], describe: Callable[[T], Listed], request: ListRequest) -> Page[T]:
    """Filter, sort and cut.

    The token holds the sort key of the last item given, so items that come or go between pages shift nothing; and what it is
    a key of, since keys of another listing or order cannot be compared with it.

    Raises:
        Invalid: The token is not one that was given for this listing.
    """
    order = _order(request.sort_by)
    listed = [(item, describe(item)) for item in items]
    matching = [(order(what), item) for item, what in listed if _matches(what, request)]
    matching.sort(key=lambda pair: pair[0], reverse=not request.ascending)
    if request.token is not None:
        last = _read_token(request.token, kind, request)
        matching = [pair for pair in matching if (pair[0] > last if request.ascending else pair[0] < last)]
    shown = matching[: request.limit]
    more = len(matching) > len(shown)
    token = _write_token(kind, request, shown[-1][0]) if more and shown else None
    return Page(tuple(item for _, item in shown), token)


Key = tuple[str | float, str]


def _order(sort_by: str) -> Callable[[Listed], Key]:
    match sort_by:
        case "Name":
            return lambda what: (what.name, what.name)
        case "Status":
            return lambda what: (what.status, what.name)
        case _:
            return lambda what: (what.created_at, what.name)


def _matches(what: Listed, request: ListRequest) -> bool:
    created_at, modified_at = round(what.created_at, 3), round(what.modified_at, 3)
    return (
        (request.name_contains is None or request.name_contains.lower() in what.name.lower())
        and (request.status is None or what.status == request.status)
        and (request.created_before is None or created_at < request.created_before)
        and (request.created_after is None or created_at >= request.created_after)
        and (request.modified_before is None or modified_at < request.modified_before)
        and (request.modified_after is None or modified_at >= request.modified_after)
    )


def _given_for(kind: Resource, request: ListRequest) -> str:
    return f"{kind.value} by {request.sort_by} {'upwards' if request.ascending else 'downwards'}"


def _write_token(kind: Resource, request: ListRequest, key: Key) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode((_given_for(kind, request), *key))).decode()


def _read_token(token: str, kind: Resource, request: ListRequest) -> Key:
    form: Any = tuple[str, float, str] if request.sort_by == "CreationTime" else tuple[str, str, str]
    try:
        given_for, value, name = msgspec.json.decode(base64.urlsafe_b64decode(token), type=form)
    except (ValueError, msgspec.MsgspecError):
        given_for, value, name = None, "", ""
    if given_for != _given_for(kind, request):
        raise Invalid("NextToken is not one that this listing gave in this order; start again without it.")
    return value, name
