"""The proxy's own counters, asked for over its admin socket: what it counts of that it did not do, and nobody else sees."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

_TIMEOUT_SECONDS: Final = 5.0
_ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024
#: The name of the counter that tells proxies apart.
UPTIME: Final = "server\\.uptime"
_UPTIME: Final = re.compile(f"^{UPTIME}: (\\d+)$", re.MULTILINE)
#: The proxy says how long it has run in whole seconds, and a little late.
_UPTIME_LATE_SECONDS_MAX: Final = 20.0


class ProxyStart(NamedTuple):
    """When a proxy started, by which it is known again.

    The proxy says how long it has run, and means the wall clock: when that is set, its start by the wall clock is where it was, but by the other clock it has moved. Until it says a new number, a few
    seconds later, it is the other way round. So one of the two stays where it was, whatever becomes of the clock, and however long the machine sleeps.
    """

    #: By the machine's clock that nobody sets.
    monotonic: float
    #: Seconds since the epoch; None: an earlier version did not say.
    wall: float | None

    def is_same(self, other: ProxyStart) -> bool:
        """Whether these are the start of one proxy. After a restart of the machine times repeat themselves: that its counters have only grown must be looked at too."""
        return _is_near(self.monotonic, other.monotonic) or _is_near(self.wall, other.wall)

    def follow(self, other: ProxyStart) -> ProxyStart:
        """The same start, where the clocks see it now. Where only the wall clock differs the proxy has not followed it yet, and this one still holds."""
        is_still = self.wall is not None and _is_near(self.monotonic, other.monotonic)
        return self if is_still else other


def _is_near(one: float | None, other: float | None) -> bool:
    return one is not None and other is not None and abs(one - other) <= _UPTIME_LATE_SECONDS_MAX


def proxy_start(counters: str, monotonic: float, now: float) -> ProxyStart | None:
    """When the proxy that gave these counters started; None: they do not say.

    Args:
        counters: Its answer, `UPTIME` included.
        monotonic: `Clock.monotonic`, which all processes of the machine share.
        now: `Clock.now`.
    """
    found = _UPTIME.search(counters)
    if found is None:
        return None
    uptime = int(found[1])
    uptime -= 2**64 if uptime >= 2**63 else 0  # the wall clock is before its start
    return ProxyStart(monotonic - uptime, now - uptime)


class Increments:
    """Turns counters, which only grow, into what was added since the last look."""

    def __init__(self, last: Mapping[str, int] | None = None) -> None:
        #: None: not looked yet, so nobody knows which part of the counters is new.
        self._last = last

    def of(self, counters: Mapping[str, int]) -> dict[str, int]:
        """By name, where there are any."""
        last, self._last = self._last, counters
        if last is None:
            return {}
        found = {}
        for name, value in counters.items():
            before = last.get(name, 0)
            # A proxy that was started again counts from zero.
            more = value - before if value >= before else value
            if more:
                found[name] = more
        return found


async def counters_of(admin_socket: Path, names: str) -> str | None:
    """The counters whose names match a regular expression, one `name: value` a line; None: the proxy does not answer."""
    request = f"GET /stats?filter={names} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n"
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            reader, writer = await asyncio.open_unix_connection(str(admin_socket), limit=_ANSWER_BYTES_MAX)
            try:
                writer.write(request.encode())
                head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return None
    if not head.startswith(b"HTTP/1.1 200"):
        return None
    whole = _unchunked(body) if b"transfer-encoding: chunked" in head.lower() else body
    return whole.decode(errors="replace")


def _unchunked(body: bytes) -> bytes:
    whole = bytearray()
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size or b"0", 16)
        if length == 0:
            break
        whole += rest[:length]
        body = rest[length + 2 :]
    return bytes(whole)
