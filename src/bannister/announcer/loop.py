"""Tells each configured address of every event, in the journal's order, without anybody waiting for it.

The journal is the queue. Of each address a row says how far it has been told; a delivery moves that on when the address has taken the event. A process that ends in between
leaves the row, and the next one tells the same event again, with the same id: at least once. An address that is new begins with what happens from then on, and
one that is no longer configured is forgotten.

What is bounded: the time of one attempt, the attempts and their waits (`bannister.webhooks.attempts`), and how many events may wait for an address: of more, the oldest are given up.
What is given up is in the journal, and counted in the address's row.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from bannister.address import cut
from bannister.clock import Clock
from bannister.domain.endpoint_event import GIVEN_UP, HAPPENED, event
from bannister.domain.event_delivery import EventDelivery
from bannister.errors import Conflict, Fenced, Unavailable
from bannister.settings import Settings
from bannister.state.store import Entry, Put, Record, Remove, Row, State
from bannister.state.tables import EVENT_DELIVERIES
from bannister.webhooks.attempts import Attempts, Post

log = logging.getLogger(__name__)

#: Events that are told from one reading of the journal.
_AT_ONCE: Final = 20
_GIVEN_UP_AT_ONCE: Final = 200
_TOO_MANY: Final = "Too many others waited."


class Announcer:
    """The only one that writes the rows of addresses. For one event loop."""

    def __init__(
        self, state: State, clock: Clock, settings: Settings, fence: Callable[[], None], post: Post | None = None
    ) -> None:
        """`fence`: called before everything that is said; raises, or does not return, once another process has taken over."""
        self._state = state
        self._clock = clock
        self._settings = settings
        self._attempts = Attempts(settings, fence, post)

    async def run(self) -> None:
        """Tell until cancelled; where no address is configured, nothing is to be done.

        Raises:
            Fenced: Another process has taken over.
        """
        while True:
            try:
                await self._begin()
                break
            except (Conflict, Unavailable) as error:
                log.warning("events.not_begun %s", error)
                await asyncio.sleep(self._settings.report_retry_seconds)
        tasks = [asyncio.create_task(self._follow(url)) for url in self._settings.event_webhooks]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _begin(self) -> None:
        """A row for each address that is configured, and for no other."""
        known = {row.key: row for row in await self._state.rows(EVENT_DELIVERIES)}
        position = await self._state.sequence()
        urls = self._settings.event_webhooks
        writes: list[Put[EventDelivery] | Remove] = [
            Put(EVENT_DELIVERIES, url, EventDelivery(url, position), 0) for url in urls if url not in known
        ]
        writes += [Remove(EVENT_DELIVERIES, key, row.revision) for key, row in known.items() if key not in urls]
        if writes:
            await self._state.commit(writes)

    async def _follow(self, url: str) -> None:
        while True:
            version = self._state.changed.version
            try:
                again = await self._some(url)
            except Fenced:
                raise
            except (Conflict, Unavailable) as error:
                log.warning("events.not_read %s", str(error).replace(url, cut(url)))
                await asyncio.sleep(self._settings.report_retry_seconds)
            except Exception:  # whatever it is: events must not end what decides about rollbacks
                log.exception("events.fault")
                await asyncio.sleep(self._settings.report_retry_seconds)
            else:
                if not again:
                    await self._state.changed.wait_past(version, self._settings.state_read_again_seconds)

    async def _some(self, url: str) -> bool:
        """Tell the next ones; False: there are none."""
        row = await self._state.get(EVENT_DELIVERIES, url)
        assert row is not None, "written in the beginning, and by nobody else"
        row = await self._keep_bound(row)
        waiting = await self._state.journal(after=row.value.position, kind=HAPPENED, limit=_AT_ONCE)
        for entry in waiting:
            row = await self._tell(row, entry)
            if row.value.failing_since is not None:
                break  # that has taken a while: first see how many there are now
        return bool(waiting)

    async def _keep_bound(self, row: Row[EventDelivery]) -> Row[EventDelivery]:
        """Give up the oldest of too many."""
        most = self._settings.webhook_pending_max
        numbers = await self._state.newest_numbers(after=row.value.position, kind=HAPPENED, limit=most + 1)
        while len(numbers) > most:
            surplus = await self._state.journal(
                after=row.value.position, before=numbers[most - 1], kind=HAPPENED, limit=_GIVEN_UP_AT_ONCE
            )
            if not surplus:
                break
            row = await self._give_up(row, surplus, 0, _TOO_MANY)
        return row

    async def _tell(self, row: Row[EventDelivery], entry: Entry) -> Row[EventDelivery]:
        async def failed(error: str) -> None:
            nonlocal row
            since = row.value.failing_since if row.value.failing_since is not None else self._clock.now()
            if row.value.error != error:
                row = await self._write(row, replace(row.value, failing_since=since, error=error))

        try:
            text = self._text(entry)
        except Exception as error:  # one that cannot be read must not keep the others, nor end the process
            log.exception("events.fault sequence=%d", entry.sequence)
            return await self._give_up(row, [entry], 0, f"It cannot be read: {type(error).__name__}.")
        outcome = await self._attempts.tell(row.value.url, text, failed)
        if not outcome.delivered:
            return await self._give_up(row, [entry], outcome.attempts, outcome.error or "")
        now, delivered = self._clock.now(), row.value.delivered + 1
        told = replace(
            row.value,
            position=entry.sequence,
            delivered=delivered,
            delivered_at=now,
            failing_since=None,
            error=None,
        )
        return await self._write(row, told)

    async def _give_up(
        self, row: Row[EventDelivery], entries: Sequence[Entry], attempts: int, why: str
    ) -> Row[EventDelivery]:
        now, url = self._clock.now(), row.value.url
        log.warning("events.given_up %s events=%d: %s", cut(url), len(entries), why)
        failing_since = row.value.failing_since
        if failing_since is None and attempts > 0:
            failing_since = now
        told = replace(
            row.value,
            position=entries[-1].sequence,
            given_up=row.value.given_up + len(entries),
            given_up_at=now,
            given_up_because=why,
            failing_since=failing_since,
            error=row.value.error if attempts == 0 else why,
        )
        body = {
            "address": cut(url),
            "events": len(entries),
            "first": entries[0].sequence,
            "last": entries[-1].sequence,
            "attempts": attempts,
            "error": why,
        }
        return await self._write(row, told, [Record(now, entries[-1].subject, GIVEN_UP, body)])

    async def _write(
        self, row: Row[EventDelivery], after: EventDelivery, records: Sequence[Record] = ()
    ) -> Row[EventDelivery]:
        """Write it down, however long that takes: what was told is not told again because the disk is full."""
        while True:
            try:
                await self._state.commit([Put(EVENT_DELIVERIES, row.key, after, row.revision)], records)
            except Unavailable as error:
                log.warning("events.not_written %s", error)
                await asyncio.sleep(self._settings.report_retry_seconds)
            else:
                return Row(row.key, after, row.revision + 1)

    def _text(self, entry: Entry) -> str:
        settings = self._settings
        told: dict[str, Any] = event(entry.sequence, entry.at, entry.body, settings.region, settings.account_id)
        return json.dumps(told, separators=(",", ":"))
