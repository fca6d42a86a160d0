"""Exchanges that the proxy did not tell of. It counts them for each of the clusters by which it tells; of which group they were nobody knows."""

from __future__ import annotations

import re
from typing import Final

from bannister.reporting.counters import Increments

#: Counters of the two clusters (`bannister.envoy.resources.names`).
UNTOLD: Final = "^cluster\\.capture(-large)?\\.upstream_rq_.*(overflow|eject)$"
_COUNTER: Final = re.compile(
    r"^(?P<name>cluster\.capture(?P<large>-large)?\.upstream_rq_((active|pending)_overflow|(?P<away>pending_failure_eject))): (?P<value>\d+)$"
)

BUSY: Final = "capture was busy"
BUSY_LARGE: Final = "capture was busy with large bodies"
AWAY: Final = "capture was away"


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
