"""The one place that reads the time.

Points in time are `float` seconds since the epoch (UTC), in names that end in `_at`; lengths of time are `float`
seconds, in names that end in `_seconds`. Waiting is asyncio's own (`asyncio.sleep`, `asyncio.timeout`): a simulation
replaces the event loop's time and passes a `Clock` that reads the same time.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> float:
        """Seconds since the epoch; may jump both ways, as a machine's clock does."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed point; never goes back. For lengths of time within one process."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()
