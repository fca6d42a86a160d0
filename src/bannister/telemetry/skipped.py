"""Copies for shadows that the proxy did not make, because as many were under way as are allowed.

There is no log entry of what was not done. The proxy counts it for each hop cluster (`bannister.envoy.resources.shadow`), whose name holds the shadow's group; so its
counters are asked for once in a while over its admin socket, and what was added since is skipped copies. They belong to the second in which they were noticed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

#: Of hop clusters for shadows, small and large; a noise copy that is not made is nobody's.
_COUNTER: Final = re.compile(
    r"^cluster\.shadow/(?P<group>.+)/(small|large)\.upstream_rq_(active|pending)_overflow: (?P<value>\d+)$"
)
_PATH: Final = "/stats?filter=^cluster\\.shadow/.*overflow$"
_TIMEOUT_SECONDS: Final = 5.0
_ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024


class SkippedCopies:
    """Turns the proxy's counters, which only grow, into what was added since the last look."""

    def __init__(self) -> None:
        #: None: not looked yet, so nobody knows which part of the counters is new.
        self._last: Mapping[str, int] | None = None

    def added(self, counters: str) -> dict[str, int]:
        """By group, where there are any: skipped copies since the last look.

        Args:
            counters: The proxy's answer, one `name: value` a line.
        """
        last, now, found = self._last, {}, dict[str, int]()
        for line in counters.splitlines():
            match = _COUNTER.match(line)
            if match is None:
                continue
            name, value = line.rpartition(": ")[0], int(match["value"])
            now[name] = value
            if last is None:
                continue
            before = last.get(name, 0)
            # A proxy that was started again counts from zero.
            more = value - before if value >= before else value
            if more:
                found[match["group"]] = found.get(match["group"], 0) + more
        self._last = now
        return found


async def overflow_counters(admin_socket: Path) -> str | None:
    """The proxy's counters of copies not made; None: it does not answer."""
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            reader, writer = await asyncio.open_unix_connection(str(admin_socket), limit=_ANSWER_BYTES_MAX)
            try:
                writer.write(f"GET {_PATH} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n".encode())
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
