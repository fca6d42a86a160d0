"""Exchanges that the proxy did not tell of, or whose story was over before it was heard. Of which group they were nobody knows.

The first the proxy counts for each of the clusters by which it tells. The second is the difference between the streams that it counts as opened and
those of which something came: a stream that ends while the process stands still is taken back before it was ever sent.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Final

from bannister.reporting.counters import Increments

#: Counters of the two clusters (`bannister.envoy.resources.names`).
UNTOLD: Final = "^cluster\\.capture(-large)?\\.upstream_rq_(.*(overflow|eject)|total)$"
_OPENED: Final = re.compile(r"^cluster\.capture(?:-large)?\.upstream_rq_total: (\d+)$", re.MULTILINE)
_COUNTER: Final = re.compile(
    r"^(?P<name>cluster\.capture(?P<large>-large)?\.upstream_rq_((active|pending)_overflow|(?P<away>pending_failure_eject))): (?P<value>\d+)$"
)

BUSY: Final = "capture was busy"
BUSY_LARGE: Final = "capture was busy with large bodies"
AWAY: Final = "capture was away"
UNHEARD: Final = "capture heard of it too late"

#: What is opened and not heard may be on its way; what is still missing after so many looks is lost.
LOOKS: Final = 5


class Untold:
    """Turns the proxy's counters into what was added since the last look, by reason."""

    def __init__(self) -> None:
        self._increments = Increments()

    def added(self, counters: str | None) -> dict[str, int]:
        """`counters`: the proxy's answer, one `name: value` a line; None: it did not answer."""
        if counters is None:
            return {}
        matches = {match["name"]: match for match in map(_COUNTER.match, counters.splitlines()) if match}
        found: dict[str, int] = {}
        for name, more in self._increments.of({name: int(one["value"]) for name, one in matches.items()}).items():
            reason = AWAY if matches[name]["away"] else BUSY_LARGE if matches[name]["large"] else BUSY
            found[reason] = found.get(reason, 0) + more
        return found


class Unheard:
    """Turns streams opened and streams heard into how many more are lost since the last look.

    The least difference of the last looks. While requests go on it may come out a few too small, because those heard are counted a moment later than those
    opened; too large only by what was on its way at every one of these looks.
    """

    def __init__(self) -> None:
        self._differences: deque[int] = deque(maxlen=LOOKS)
        self._baseline: int | None = None
        self._opened = 0
        self._given = 0

    def added(self, counters: str | None, heard: int) -> int:
        """`counters`: the proxy's answer, one `name: value` a line; None: it did not answer. `heard`: streams, since the start."""
        if counters is None:
            return 0
        opened = sum(map(int, _OPENED.findall(counters)))
        if self._baseline is None or opened < self._opened:  # the first look, or a proxy that was started again
            self._baseline, self._given = opened - heard, 0
            self._differences.clear()
        self._opened = opened
        self._differences.append(opened - heard - self._baseline)
        if len(self._differences) < LOOKS:
            return 0
        more = max(min(self._differences) - self._given, 0)
        self._given += more
        return more
