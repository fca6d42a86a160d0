"""A deployment's story: the journal's entries about it, in the order in which they happened."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

from bannister.domain.deployment.deployment import Deployment
from bannister.domain.deployment.recorder import DECIDED, STARTED, WAITED, WARNED
from bannister.errors import Invalid, Unavailable
from bannister.operations.context import Context
from bannister.state.store import Entry, Record

#: An update was refused.
REFUSED: Final = "deployment.refused"
#: A person asked to roll back.
ROLLBACK_REQUESTED: Final = "deployment.rollback_requested"
#: A person asked to roll back, too late.
ROLLBACK_REFUSED: Final = "deployment.rollback_refused"
STORY: Final = frozenset({STARTED, DECIDED, WAITED, WARNED, REFUSED, ROLLBACK_REQUESTED, ROLLBACK_REFUSED})

_JOURNAL_PAGE: Final = 500
#: The one that is looked for is mostly among the last.
_BEGINNINGS_PAGE: Final = 20


async def story(context: Context, endpoint: str, after: int = 0) -> AsyncIterator[Entry]:
    """The entries that tell what became of an endpoint's deployments, oldest first."""
    while True:
        page = await context.state.journal(after=after, subject=f"endpoint/{endpoint}", kind=STORY, limit=_JOURNAL_PAGE)
        for entry in page:
            yield entry
        if len(page) < _JOURNAL_PAGE:
            return
        await asyncio.sleep(0)
        after = page[-1].sequence


async def story_of(context: Context, deployment: Deployment, after: int = 0) -> AsyncIterator[Entry]:
    """The entries of one deployment, oldest first. An endpoint has one after the other, so only its part of the journal is read while its beginning is there."""
    began = await _beginning(context, deployment)
    async for entry in story(context, deployment.endpoint, max(after, began - 1 if began is not None else 0)):
        if entry.body.get("deployment") == deployment.id:
            yield entry
        elif entry.kind == STARTED and began is not None:
            return  # the next one


async def _beginning(context: Context, deployment: Deployment) -> int | None:
    """The number of the entry with which it began; None: that is older than history is kept."""
    before = None
    while True:
        page = await context.state.journal(
            before=before,
            subject=f"endpoint/{deployment.endpoint}",
            kind=STARTED,
            limit=_BEGINNINGS_PAGE,
            newest_first=True,
        )
        for entry in page:
            if entry.body.get("deployment") == deployment.id:
                return entry.sequence
        if len(page) < _BEGINNINGS_PAGE:
            return None
        await asyncio.sleep(0)
        before = page[-1].sequence


async def journal_refusal(context: Context, endpoint: str, kind: str, body: dict[str, Any]) -> None:
    """What is refused is a decision too. Where it cannot be written down, or only in what is kept for rollbacks, the caller is still told."""
    with contextlib.suppress(Unavailable):
        context.check_room()
        await context.state.commit(records=[Record(context.clock.now(), f"endpoint/{endpoint}", kind, body)])


def position(token: str | None) -> int:
    """The journal's position that a page's token stands for.

    Raises:
        Invalid: It is not one that a page gave.
    """
    if token is None:
        return 0
    if not token.isdecimal():
        raise Invalid("NextToken is not one that this listing gave; start again without it.")
    return int(token)
