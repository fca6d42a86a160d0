"""Tells an address until it takes what it is told, with waits that double, or gives up.

What is bounded: the time of one attempt, the attempts and their waits, and how many addresses are told at the same time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from bannister.address import cut
from bannister.errors import Fenced, Unavailable
from bannister.settings import Settings
from bannister.webhooks.post import Webhooks

log = logging.getLogger(__name__)

#: From an address, a body and a time limit in seconds to the status of the answer. Raises Unavailable: there was none.
Post = Callable[[str, str, float], Awaitable[int]]
#: What to do after an attempt that failed and is not the last one, given why.
Failed = Callable[[str], Awaitable[None]]

_ERROR_CHARACTERS_MAX = 500


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of it."""

    delivered: bool
    attempts: int
    #: Of the last answer; None: there was none.
    status: int | None = None
    #: Why the last attempt failed: a sentence; None: it did not.
    error: str | None = None

    def body(self) -> dict[str, Any]:
        """As the journal has it."""
        found: dict[str, Any] = {"outcome": "delivered" if self.delivered else "failed", "attempts": self.attempts}
        if self.status is not None:
            found["status"] = self.status
        return found if self.error is None else found | {"error": self.error}


async def _nothing(_error: str) -> None:
    pass


class Attempts:
    """Tells addresses, several at the same time. For one event loop."""

    def __init__(self, settings: Settings, fence: Callable[[], None], post: Post | None = None) -> None:
        """`fence`: called before everything that is said; raises, or does not return, once another process has taken over."""
        self._settings = settings
        self._fence = fence
        self._post = Webhooks(settings.webhook_parallel_max).post if post is None else post
        self._places = asyncio.Semaphore(settings.webhook_parallel_max)

    async def tell(self, url: str, body: str, failed: Failed = _nothing) -> Outcome:
        """Tell an address until it takes it, or all attempts are made.

        Raises:
            Fenced: Another process has taken over.
        """
        settings = self._settings
        wait = settings.webhook_retry_seconds_min
        outcome = Outcome(delivered=False, attempts=0)
        for attempt in range(1, settings.webhook_attempts_max + 1):
            if attempt > 1:
                await failed(outcome.error or "")
                await asyncio.sleep(wait)
                wait = min(2 * wait, settings.webhook_retry_seconds_max)
            try:
                async with self._places:
                    self._fence()
                    status = await self._post(url, body, settings.webhook_timeout_seconds)
            except Unavailable as error:
                outcome = Outcome(delivered=False, attempts=attempt, error=str(error)[:_ERROR_CHARACTERS_MAX])
                continue
            except Fenced:
                raise
            except Exception as error:  # whatever it is, it concerns this address alone
                log.exception("webhook.fault %s", cut(url))
                return Outcome(delivered=False, attempts=attempt, error=type(error).__name__)
            if 200 <= status < 300:
                return Outcome(delivered=True, attempts=attempt, status=status)
            outcome = Outcome(delivered=False, attempts=attempt, status=status, error=f"It answered {status}.")
        return outcome
