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
        self._waiters: dict[asyncio.Future[None], None] = {}

    @property
    def version(self) -> int:
        return self._version

    def announce(self) -> None:
        """Wake all who wait."""
        self._version += 1
        waiters, self._waiters = self._waiters, {}
        for waiter in waiters:
            _wake(waiter)

    async def wait_past(self, seen: int, timeout_seconds: float | None = None) -> int:
        """Wait until the version differs from `seen`, at most `timeout_seconds`; returns the version now."""
        await wait_any({self: seen}, timeout_seconds)
        return self._version

    def enrol(self, waiter: asyncio.Future[None]) -> None:
        """Wake this at the next announcement."""
        self._waiters[waiter] = None

    def dismiss(self, waiter: asyncio.Future[None]) -> None:
        """Forget it."""
        self._waiters.pop(waiter, None)


async def wait_any(signals: dict[Signal, int], timeout_seconds: float | None) -> None:
    """Wait until any of the signals has passed the version given for it, at most `timeout_seconds`."""
    for signal, seen in signals.items():
        if signal.version != seen:
            return
    loop = asyncio.get_running_loop()
    waiter = loop.create_future()
    for signal in signals:
        signal.enrol(waiter)
    timer = None if timeout_seconds is None else loop.call_later(timeout_seconds, _wake, waiter)
    try:
        await waiter
    finally:
        if timer is not None:
            timer.cancel()
        for signal in signals:
            signal.dismiss(waiter)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
