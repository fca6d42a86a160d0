"""Events of endpoints, read from the journal; and how far the configured addresses have been told of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bannister.address import cut
from bannister.domain.endpoint_event import HAPPENED, event
from bannister.errors import NotFound, Resource
from bannister.operations.context import Context
from bannister.operations.listing import Page
from bannister.operations.story import position
from bannister.state.tables import ENDPOINTS, EVENT_DELIVERIES


@dataclass(frozen=True, slots=True)
class ToldEvent:
    """One event."""

    #: Its place in the journal.
    sequence: int
    at: float
    endpoint: str
    #: As it is posted: JSON-like.
    event: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Webhook:
    """One configured address, and what became of the events it was to be told of. Times in seconds since 1970."""

    #: Its scheme and host: the rest is often a secret.
    address: str
    #: Events that it has not been told of yet; at most as many as may wait.
    waiting: int
    delivered: int
    given_up: int
    delivered_at: float | None
    given_up_at: float | None
    given_up_because: str | None
    #: It has not taken what it is told since then; None: nothing is wrong.
    failing_since: float | None
    error: str | None


async def list_events(
    context: Context,
    *,
    endpoint: str | None = None,
    after: int = 0,
    limit: int,
    token: str | None = None,
    newest_first: bool = False,
) -> Page[ToldEvent]:
    """The events after a place in the journal, the oldest first unless asked otherwise. `endpoint`: only those of it, also when it does not exist any more.

    Raises:
        NotFound: There is no such endpoint, and nothing is known of one.
    """
    state, settings = context.state, context.settings
    reached = position(token)
    begin = after if newest_first else max(after, reached)
    before = reached if newest_first and token is not None else None
    subject = f"endpoint/{endpoint}" if endpoint is not None else None
    found = await state.journal(
        after=begin, before=before, subject=subject, kind=HAPPENED, limit=limit + 1, newest_first=newest_first
    )
    if not found and endpoint is not None and not await _known(context, endpoint):
        raise NotFound(Resource.ENDPOINT, endpoint)
    shown = found[:limit]
    events = tuple(
        ToldEvent(
            one.sequence,
            one.at,
            one.subject.removeprefix("endpoint/"),
            event(one.sequence, one.at, one.body, settings.region, settings.account_id),
        )
        for one in shown
    )
    return Page(events, str(shown[-1].sequence) if len(found) > limit else None)


async def _known(context: Context, endpoint: str) -> bool:
    if await context.state.get(ENDPOINTS, endpoint) is not None:
        return True
    return bool(await context.state.journal(subject=f"endpoint/{endpoint}", kind=HAPPENED, limit=1))


async def describe_webhooks(context: Context) -> list[Webhook]:
    """The configured addresses, in the order of the setting."""
    found = []
    for url in context.settings.event_webhooks:
        row = await context.state.get(EVENT_DELIVERIES, url)
        if row is None:
            continue  # the server has only just started
        one = row.value
        waiting = await context.state.newest_numbers(
            after=one.position, kind=HAPPENED, limit=context.settings.webhook_pending_max
        )
        found.append(
            Webhook(
                cut(url),
                len(waiting),
                one.delivered,
                one.given_up,
                one.delivered_at,
                one.given_up_at,
                one.given_up_because,
                one.failing_since,
                one.error,
            )
        )
    return found
