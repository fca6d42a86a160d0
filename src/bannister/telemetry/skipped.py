"""Copies for shadows that the proxy did not make, because as many were under way as are allowed.

There is no log entry of what was not done. The proxy counts it for each hop cluster (`bannister.envoy.resources.shadow`), whose name holds the shadow's group; so its
counters are asked for once in a while over its admin socket, and what was added since is skipped copies. They belong to the second in which they were noticed.

A process that ends takes nothing with it. How far the counters are accounted for goes with the reports that account for it (`SkippedAccount`), and is stored with them, all or nothing. The control plane
greets the next process with what it has, and that goes on from there. Where there is no account of a proxy, nothing of it is accounted for. As the capture process does (`bannister.capture.untold`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from bannister.domain.metric.summary import SkippedAccount
from bannister.reporting.counters import Increments, ProxyStart, proxy_start

#: Of hop clusters for shadows, small and large; a noise copy that is not made is nobody's.
_COUNTER: Final = re.compile(
    r"^(?P<name>cluster\.shadow/(?P<group>.+)/(small|large)\.upstream_rq_(active|pending)_overflow): (?P<value>\d+)$"
)
#: The names of the counters, as a regular expression.
SKIPPED_COPIES: Final = "cluster\\.shadow/.*overflow"

#: Nothing is accounted for.
_NOTHING: Final = SkippedAccount(0.0, {})


class SkippedCopies:
    """`go_on_from` what was stored, then `look` at the proxy's counters, and put an `account` into each report."""

    def __init__(self) -> None:
        self._greeted = False
        self._earlier: SkippedAccount | None = None
        #: None: it was never asked.
        self._proxy: ProxyStart | None = None
        self._seen: Mapping[str, int] = {}
        self._increments = Increments({})
        self._last: SkippedAccount | None = None

    def go_on_from(self, account: SkippedAccount | None) -> Mapping[str, int]:
        """What is stored when this process begins; by group, what the one before took with it. What is said again on later connections is known."""
        if self._greeted:
            return {}
        self._greeted = True
        self._earlier = account
        return account.pending if account is not None else {}

    def look(self, counters: str | None, monotonic: float, now: float) -> dict[str, int]:
        """By group, where there are any: skipped copies that are not accounted for; before the greeting nobody can tell.

        Args:
            counters: The proxy's answer, one `name: value` a line; None: it did not answer.
            monotonic: `Clock.monotonic`.
            now: `Clock.now`.
        """
        start = proxy_start(counters or "", monotonic, now)
        if not self._greeted or counters is None or start is None:
            return {}
        matches = {match["name"]: match for match in map(_COUNTER.match, counters.splitlines()) if match}
        seen = {name: int(one["value"]) for name, one in matches.items()}
        if self._proxy is None and self._earlier is not None and _has_grown(self._earlier, seen):
            earlier = self._earlier
            self._proxy = ProxyStart(earlier.proxy_began_at, earlier.proxy_began_at_wall)
            self._increments = Increments(earlier.seen)
        if self._proxy is None or not self._proxy.is_same(start):
            self._proxy = start
            self._increments = Increments({})
        self._proxy = self._proxy.follow(start)
        self._seen = seen
        found: dict[str, int] = {}
        for name, more in self._increments.of(seen).items():
            group = matches[name]["group"]
            found[group] = found.get(group, 0) + more
        return found

    def account(self, pending: Mapping[str, int]) -> SkippedAccount | None:
        """For a report with all that `look` has found so far, but for what is pending (by group); None: it says nothing new."""
        if not self._greeted:
            return None
        before = self._last or self._earlier or _NOTHING
        if self._proxy is None:  # the proxy has not answered yet
            account = replace(before, pending=pending)
        else:
            account = SkippedAccount(self._proxy.monotonic, self._seen, pending, self._proxy.wall)
        if account == before or (not account.seen and not account.pending and not before.seen and not before.pending):
            return None  # another proxy that has skipped nothing is nothing new
        self._last = account
        return account


def _has_grown(known: SkippedAccount, seen: Mapping[str, int]) -> bool:
    """Of the account's counters those that are still there have only grown: it may be of this proxy."""
    return all(value <= seen.get(name, value) for name, value in known.seen.items())
