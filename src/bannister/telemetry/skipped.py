"""Copies for shadows that the proxy did not make, because as many were under way as are allowed.

There is no log entry of what was not done. The proxy counts it for each hop cluster (`bannister.envoy.resources.shadow`), whose name holds the shadow's group; so its
counters are asked for once in a while over its admin socket, and what was added since is skipped copies. They belong to the second in which they were noticed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from bannister.reporting.counters import Increments, counters_of

#: Of hop clusters for shadows, small and large; a noise copy that is not made is nobody's.
_COUNTER: Final = re.compile(
    r"^cluster\.shadow/(?P<group>.+)/(small|large)\.upstream_rq_(active|pending)_overflow: (?P<value>\d+)$"
)
_NAMES: Final = "^cluster\\.shadow/.*overflow$"


class SkippedCopies:
    """Turns the proxy's counters, which only grow, into what was added since the last look."""

    def __init__(self) -> None:
        self._increments = Increments()

    def added(self, counters: str) -> dict[str, int]:
        """By group, where there are any: skipped copies since the last look.

        Args:
            counters: The proxy's answer, one `name: value` a line.
        """
        matches = {match[0].rpartition(": ")[0]: match for match in map(_COUNTER.match, counters.splitlines()) if match}
        found: dict[str, int] = {}
        for name, more in self._increments.of({name: int(one["value"]) for name, one in matches.items()}).items():
            group = matches[name]["group"]
            found[group] = found.get(group, 0) + more
        return found


async def overflow_counters(admin_socket: Path) -> str | None:
    """The proxy's counters of copies not made; None: it does not answer."""
    return await counters_of(admin_socket, _NAMES)
