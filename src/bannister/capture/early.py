"""Exchanges of groups that the control plane has not named yet.

The proxies learn of a new group from one side and the capture process from another, so the first requests of a group, and all that come while a new capture process has not been
greeted, may be told of before anybody said what to do with them. They wait for that, a little; what nobody names in time is of a group that is not captured any more.

Pure: the time is given.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container
from dataclasses import dataclass

from bannister.capture.assembly import Assembly


@dataclass(frozen=True, slots=True)
class EarlyExchange:
    """An exchange, with the times of its end."""

    assembly: Assembly
    ended_at: float
    monotonic: float


class EarlyExchanges:
    """Those that wait, the oldest first; bounded in number, bytes of bodies and seconds."""

    def __init__(self, exchanges_max: int, bytes_max: int, seconds_max: float) -> None:
        self._exchanges_max = exchanges_max
        self._bytes_max = bytes_max
        self._seconds_max = seconds_max
        self._waiting: deque[EarlyExchange] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def keep(self, one: EarlyExchange) -> bool:
        """False: there is no room."""
        size = one.assembly.size
        if len(self._waiting) >= self._exchanges_max or self._bytes + size > self._bytes_max:
            return False
        self._waiting.append(one)
        self._bytes += size
        return True

    def take(self, groups: Container[str]) -> list[EarlyExchange]:
        """Those of these groups; they wait no more."""
        found = [one for one in self._waiting if one.assembly.group in groups]
        if found:
            self._waiting = deque(one for one in self._waiting if one.assembly.group not in groups)
            self._bytes -= sum(one.assembly.size for one in found)
        return found

    def expire(self, monotonic: float) -> int:
        """Forget those whose time is over: so many."""
        count = 0
        while self._waiting and self._waiting[0].monotonic + self._seconds_max <= monotonic:
            self._bytes -= self._waiting.popleft().assembly.size
            count += 1
        return count
