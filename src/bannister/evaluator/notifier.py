"""Tells addresses of alarms' transitions, after these were committed, without anybody waiting for it.

A transition's commit leaves a row for each address that is to be told. The notifier takes rows of one alarm and one address in their order, and several such
in parallel; a row goes in the commit that says in the alarm's history what became of it. A process that ends in between leaves the row, and the next one tells
the address again: at least once.

What is bounded: the time of one attempt, the attempts and their waits, how many are told at once, and how many rows there may be (the oldest are given up,
which is in the history too).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from bannister.clock import Clock
from bannister.domain.alarm.action import PendingAction
from bannister.errors import Conflict, Fenced, Unavailable
from bannister.evaluator.settlement import acted
from bannister.settings import Settings
from bannister.state.store import Remove, Row, State
from bannister.state.tables import ACTIONS
from bannister.webhooks.attempts import Attempts, Post

log = logging.getLogger(__name__)


class Notifier:
    """The only one that takes rows from the table of actions. For one event loop."""

    def __init__(
        self,
        state: State,
        clock: Clock,
        settings: Settings,
        end_suppressions: Callable[[], Awaitable[None]],
        fence: Callable[[], None],
        post: Post | None = None,
    ) -> None:
        """`fence`: called before everything that is said; raises, or does not return, once another process has taken over."""
        self._state = state
        self._clock = clock
        self._settings = settings
        self._end_suppressions = end_suppressions
        self._attempts = Attempts(settings, fence, post)
        #: By alarm and address: who tells it.
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Tell until cancelled.

        Raises:
            Fenced: Another process has taken over.
        """
        try:
            check_at = self._clock.monotonic()
            while True:
                version = self._state.changed.version
                try:
                    if self._clock.monotonic() >= check_at:
                        check_at = self._clock.monotonic() + self._settings.suppression_check_seconds
                        await self._end_suppressions()
                    await self._turn()
                except (Unavailable, Conflict) as error:
                    log.warning("actions.not_read %s", error)
                await self._state.changed.wait_past(version, self._settings.suppression_check_seconds)
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _turn(self) -> None:
        """Begin to tell whoever is not being told."""
        for ended in [key for key, task in self._tasks.items() if task.done()]:
            self._tasks.pop(ended).result()  # an error that nobody planned for, or Fenced, ends the loop
        rows = await self._state.rows(ACTIONS)
        surplus = len(rows) - self._settings.webhook_pending_max
        for row in rows[: max(0, surplus)]:
            await self._end(row, {"outcome": "failed", "attempts": 0, "error": "Too many others waited."})
        for row in rows[max(0, surplus) :]:
            key = row.value.alarm, row.value.url
            if key not in self._tasks:
                waiting = [one for one in rows if (one.value.alarm, one.value.url) == key]
                self._tasks[key] = asyncio.create_task(self._tell(waiting))

    async def _tell(self, rows: list[Row[PendingAction]]) -> None:
        for row in rows:
            outcome = await self._attempts.tell(row.value.url, row.value.body)
            await self._end(row, outcome.body())

    async def _end(self, row: Row[PendingAction], outcome: dict[str, Any]) -> None:
        """Take the row away and say what became of it; one that another turn took is no matter."""
        action = row.value
        body = {"action": action.url, "state": action.state, **outcome}
        record = acted(action.alarm, self._clock.now(), body, composite=action.composite)
        while True:
            try:
                await self._state.commit([Remove(ACTIONS, row.key, row.revision)], [record])
            except Conflict:
                return
            except Fenced:
                raise
            except Unavailable as error:
                log.warning("actions.not_written %s", error)
                await asyncio.sleep(self._settings.report_retry_seconds)
            else:
                return
