"""How much of the past is kept: the journal's entries and the deployments that have ended.

AWS keeps the history of alarms for two weeks, and so do we, for everything. What a running deployment still reads (alarm transitions after the
position at its first shift) and what explains it (all since its start) is kept however old it is, and so are events that an address is still to be told of.
"""

from __future__ import annotations

import asyncio

from bannister.domain.deployment.deployment import Deployment
from bannister.domain.endpoint_event import HAPPENED
from bannister.settings import Settings
from bannister.state.store import Remove, Row, State
from bannister.state.tables import DEPLOYMENTS, ENDPOINTS, EVENT_DELIVERIES

_AT_ONCE = 500


async def forget_history(state: State, now: float, settings: Settings) -> int:
    """Forget what is past its time, in small transactions with room for others between them; returns how many entries.

    Raises:
        Unavailable: The store does not answer.
        Fenced: Another process has taken over.
    """
    before = now - settings.history_retention_seconds
    await _forget_deployments(state, before, settings.past_deployments_max)
    running = [row.value.deployment for row in await state.rows(ENDPOINTS) if row.value.deployment is not None]
    needed_since = min([before, *(deployment.started_at for deployment in running)])
    newest = await state.sequence()
    # Later deployments read from a later position than this one.
    up_to = min([newest, *(one.alarms_seen for one in running if one.alarms_seen is not None)])
    for row in await state.rows(EVENT_DELIVERIES):
        waiting = await state.journal(after=row.value.position, kind=HAPPENED, limit=1)
        up_to = min([up_to, *(entry.sequence - 1 for entry in waiting)])
    total = 0
    while count := await state.prune(
        before=needed_since, keep=settings.journal_entries_max, up_to=up_to, limit=_AT_ONCE
    ):
        total += count
        await asyncio.sleep(0)
    return total


async def _forget_deployments(state: State, before: float, keep: int) -> None:
    rows = sorted(await state.rows(DEPLOYMENTS), key=_ended_at, reverse=True)
    outlived = [row for index, row in enumerate(rows) if index >= keep or _ended_at(row) < before]
    for first in range(0, len(outlived), _AT_ONCE):
        removals = [Remove(DEPLOYMENTS, row.key, row.revision) for row in outlived[first : first + _AT_ONCE]]
        await state.commit(removals)
        await asyncio.sleep(0)


def _ended_at(row: Row[Deployment]) -> float:
    return row.value.ended_at or row.value.started_at
