"""Entries of the proxy's log that never came: it keeps a bounded part of them (`access_log_backlog_bytes_max`) for a telemetry that does not take them, and drops the rest.

Nothing else tells of it: the stream goes on, and the heartbeats that come next are seen. The proxy counts what it drops, so its counter is looked at once in a while.
What was added is a gap, of which nobody knows which requests it hides.
"""

from __future__ import annotations

import re
from typing import Final

from bannister.reporting.counters import Increments, ProxyStart, proxy_start

#: The name of the counter, as a regular expression.
DROPPED_ENTRIES: Final = "access_logs\\.grpc_access_log\\.logs_dropped"
_COUNTER: Final = re.compile(f"^{DROPPED_ENTRIES}: (?P<value>\\d+)$", re.MULTILINE)


class DroppedEntries:
    """Give it every answer of the proxy, from the start of this process on. What the first one says was dropped before."""

    def __init__(self) -> None:
        self._increments = Increments()
        #: None: it has not answered yet.
        self._proxy: ProxyStart | None = None
        #: Since the first look, heartbeats among them.
        self.total = 0

    def look(self, counters: str | None, monotonic: float, now: float) -> int:
        """How many more there are.

        Args:
            counters: The proxy's answer, `UPTIME` included, one `name: value` a line; None: it did not answer.
            monotonic: `Clock.monotonic`.
            now: `Clock.now`.
        """
        start = proxy_start(counters or "", monotonic, now)
        if counters is None or start is None:
            return 0
        if self._proxy is not None and not self._proxy.is_same(start):
            self._increments = Increments({})  # another process, which counts from zero
            self._proxy = start
        self._proxy = start if self._proxy is None else self._proxy.follow(start)
        found = _COUNTER.search(counters)  # it is not there before there is a log
        more = sum(self._increments.of({"dropped": int(found["value"]) if found else 0}).values())
        self.total += more
        return more
