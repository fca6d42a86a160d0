"""Pages of a listing in the order of a key, whose token holds the last key given: what comes or goes between pages shifts nothing."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import TypeVar

from bannister.errors import Invalid
from bannister.operations.listing import Page

T = TypeVar("T")


def continued(
    items: Sequence[T], key: Callable[[T], str], limit: int, token: str | None, *, descending: bool = False
) -> Page[T]:
    """Sort by a key that no two items share, and cut one page.

    Raises:
        Invalid: The token is not one that a listing gave.
    """
    ordered = sorted(items, key=key, reverse=descending)
    if token is not None:
        last = key_of(token)
        ordered = [item for item in ordered if (key(item) < last if descending else key(item) > last)]
    shown = tuple(ordered[:limit])
    return Page(shown, token_of(key(shown[-1])) if len(ordered) > limit else None)


def token_of(key: str) -> str:
    """The token with which a listing goes on after this key."""
    return base64.urlsafe_b64encode(key.encode()).decode()


def key_of(token: str) -> str:
    """The key after which a listing goes on.

    Raises:
        Invalid: The token is not one that a listing gave.
    """
    try:
        return base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True).decode()
    except (UnicodeError, binascii.Error):
        raise Invalid(
            "NextToken is not one that this listing gave; start again without it.", code="InvalidNextToken"
        ) from None
