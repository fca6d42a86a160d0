"""Looks at something once in a while, for ever."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from bannister.errors import Invalid, Unavailable

log = logging.getLogger(__name__)


async def look_repeatedly(look: Callable[[], Awaitable[None]], interval_seconds: float, what: str) -> None:
    """Until cancelled, or fenced by another process. A look that fails is made up for by none; `what` is not published then, which is logged once."""
    failing = False
    while True:
        try:
            await look()
        except (Invalid, Unavailable, OSError) as error:
            if not failing:
                log.warning("%s is not published: %s", what, error)
            failing = True
        else:
            failing = False
        await asyncio.sleep(interval_seconds)
