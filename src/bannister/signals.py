"""How one loop tells the others that there is something new to look at.

A `Signal` carries no message, only "look again": the loops are level-triggered and read the truth where it is kept.
A waiter passes the version it has seen, so a change between reading and waiting is never missed.
"""

from __future__ import annotations

import asyncio


class Signal:
    """A version that only grows; waiters wake when it passes the one they have seen. For one event loop."""

    def __init__(self) -> None:
        self._version = 0
        self._changed = asyncio.Event()

    @property
    def version(self) -> int:
        return self._version

    def announce(self) -> None:
        """Wake all who wait."""
        self._version += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait_past(self, seen: int, timeout_seconds: float | None = None) -> int:
        """Wait until the version differs from `seen`, at most `timeout_seconds`; returns the version now."""
        try:
            async with asyncio.timeout(timeout_seconds):
                while self._version == seen:
                    await self._changed.wait()
        except TimeoutError:
            pass
        return self._version


async def wait_any(signals: dict[Signal, int], timeout_seconds: float) -> None:
    """Wait until any of the signals has passed the version given for it, at most `timeout_seconds`."""
    if any(signal.version != seen for signal, seen in signals.items()):
        return
    tasks = [asyncio.create_task(signal.wait_past(seen)) for signal, seen in signals.items()]
    try:
        await asyncio.wait(tasks, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
