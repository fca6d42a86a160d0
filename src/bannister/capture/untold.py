"""Exchanges that the proxy did not tell of, or whose story was over before it was heard. Of which group they were nobody knows.

    the proxy wants to tell ──▶ it finds a connection ──▶ a stream is open ──▶ something of it is heard here
       └ as many are open         └ nobody listens           └ it ends while this process stands still, and is taken back before it was ever sent
         as may be: BUSY            here: AWAY                 or this process is killed: UNHEARD

The first loss the proxy counts by itself. The others are differences between two numbers that only grow: how many streams were asked for, how many were opened, how many were
heard. (Its counter of connections that failed does not tell these two apart.)

**A process that ends takes nothing with it silently.** How far these numbers are accounted for is written down once the control plane has the report of it (`Account`), and the next
process goes on from there: what nobody took meanwhile, and what the one before had heard and not reported, is counted as lost.
"""

from __future__ import annotations

import contextlib
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from bannister.reporting.counters import Increments

#: The proxy's counters that are read: of the filter on both listeners, and of the two clusters (`bannister.envoy.resources.names`).
UNTOLD: Final = "^(http\\.[a-z]+\\.ext_proc\\.streams_started|cluster\\.capture(-large)?\\.upstream_rq_(.*overflow|total)|server\\.uptime)$"
_ASKED: Final = re.compile(r"^http\.[a-z]+\.ext_proc\.streams_started: (\d+)$", re.MULTILINE)
_OPENED: Final = re.compile(r"^cluster\.capture(?:-large)?\.upstream_rq_total: (\d+)$", re.MULTILINE)
_OVERFLOW: Final = re.compile(
    r"^(?P<name>cluster\.capture(?P<large>-large)?\.upstream_rq_(active|pending)_overflow): (?P<value>\d+)$"
)
_UPTIME: Final = re.compile(r"^server\.uptime: (\d+)$", re.MULTILINE)
#: The proxy says how long it has run in whole seconds, and a little late.
_UPTIME_LATE_SECONDS_MAX: Final = 20.0

BUSY: Final = "capture was busy"
BUSY_LARGE: Final = "capture was busy with large bodies"
AWAY: Final = "capture was away"
UNHEARD: Final = "capture heard of it too late"

#: Accounts that are kept until their reports are acknowledged; the oldest are dropped, for a newer one says more.
_PENDING_MAX: Final = 100
#: What is asked for and not opened, or opened and not heard, may be on its way; what is still missing after so many looks is lost.
LOOKS: Final = 5


class Overflow:
    """Turns the proxy's counters of what was not told into what was added since the last look, by reason."""

    def __init__(self, seen: Mapping[str, int] | None = None) -> None:
        """`seen`: the counters at the last look of the process before; None: nobody knows."""
        self._increments = Increments(seen)
        #: The counters at the last look.
        self.seen: Mapping[str, int] = seen or {}

    def added(self, counters: str) -> dict[str, int]:
        """`counters`: the proxy's answer, one `name: value` a line."""
        matches = {match["name"]: match for match in map(_OVERFLOW.match, counters.splitlines()) if match}
        self.seen = {name: int(one["value"]) for name, one in matches.items()}
        found: dict[str, int] = {}
        for name, more in self._increments.of(self.seen).items():
            reason = BUSY_LARGE if matches[name]["large"] else BUSY
            found[reason] = found.get(reason, 0) + more
        return found


class Missing:
    """Turns how many there were and how many came into how many more are lost since the last look.

    The least difference of the last looks. While requests go on it may come out a few too small, because those that came are counted a moment later
    than those that there were; too large only by what was on its way at every one of these looks.
    """

    def __init__(self, accounted: int | None = None) -> None:
        """`accounted`: what the process before has accounted for; None: nobody knows, so what is there at the first look is nobody's."""
        self._differences: deque[int] = deque(maxlen=LOOKS)
        self._accounted = accounted
        self._there = 0

    def added(self, there: int, came: int) -> int:
        if self._accounted is None or there < self._there:  # the first look, or a proxy that was started again
            self._accounted = there - came
            self._differences.clear()
        self._there = there
        self._differences.append(there - came)
        if len(self._differences) < LOOKS:
            return 0
        more = max(min(self._differences) - self._accounted, 0)
        self._accounted += more
        return more

    @property
    def accounted(self) -> int:
        """Those that did not come and are not looked for any more."""
        return self._accounted or 0


@dataclass(frozen=True, slots=True)
class Account:
    """How far what one proxy counts is accounted for."""

    #: When that proxy started, as seconds since the epoch.
    proxy_began_at: float
    #: Its counters of what was not told, as last seen.
    overflow: Mapping[str, int]
    #: Streams that were asked for and not opened, and are counted as lost, or were there before anybody looked.
    unopened: int
    #: Streams that were opened, and heard to their end, or as above.
    streams: int


class Accounting:
    """All of it, with the account in a file that outlives this process. `look` once a second, `close_books` with each report."""

    def __init__(self, file: Path) -> None:
        self._file = file
        #: Those that are not written down yet, with the number of the report that they belong to.
        self._pending: deque[tuple[int, Account]] = deque(maxlen=_PENDING_MAX)
        #: None: not looked yet.
        self._proxy_began_at: float | None = None
        self._overflow = Overflow()
        self._unopened = Missing()
        self._unheard = Missing()

    def look(self, counters: str | None, heard: int, now: float) -> dict[str, int]:
        """What was lost since the last look, by reason.

        Args:
            counters: The proxy's answer, one `name: value` a line; None: it did not answer.
            heard: Streams of which something came, since this process started.
            now: Seconds since the epoch.
        """
        uptime = _UPTIME.search(counters or "")
        if counters is None or uptime is None:
            return {}
        began_at = now - int(uptime[1])
        if self._proxy_began_at is None and (known := self._known(began_at)) is not None:
            self._overflow = Overflow(known.overflow)
            self._unopened, self._unheard = Missing(known.unopened), Missing(known.streams)
        if self._proxy_began_at is None or not _is_same(self._proxy_began_at, began_at):
            self._proxy_began_at = began_at
        asked, opened = sum(map(int, _ASKED.findall(counters))), sum(map(int, _OPENED.findall(counters)))
        found = self._overflow.added(counters)
        found |= {AWAY: self._unopened.added(asked, opened), UNHEARD: self._unheard.added(opened, heard)}
        return {reason: count for reason, count in found.items() if count}

    def close_books(self, settled: int, report: int) -> None:
        """All that `look` has found so far is in reports up to this number, and so are `settled` streams: heard, and over."""
        if self._proxy_began_at is None:
            return
        account = Account(
            self._proxy_began_at,
            self._overflow.seen,
            self._unopened.accounted,
            self._unheard.accounted + settled,
        )
        self._pending.append((report, account))

    def acknowledged(self, report: int) -> None:
        """The control plane has the reports up to this number: the next process need not count what they account for."""
        account = None
        while self._pending and self._pending[0][0] <= report:
            _, account = self._pending.popleft()
        if account is None:
            return
        partial = self._file.with_suffix(".partial")
        with contextlib.suppress(OSError):  # a full disk: the next process counts some twice
            partial.write_bytes(msgspec.json.encode(account))
            partial.replace(self._file)

    def close(self) -> None:
        """There is no next process."""
        with contextlib.suppress(OSError):
            self._file.unlink(missing_ok=True)

    def _known(self, began_at: float) -> Account | None:
        """What an earlier process has accounted for, if the proxy is still the same."""
        try:
            known = msgspec.json.decode(self._file.read_bytes(), type=Account)
        except (OSError, msgspec.MsgspecError):
            return None
        return known if _is_same(known.proxy_began_at, began_at) else None


def _is_same(began_at: float, other: float) -> bool:
    """Whether these are the start of one proxy."""
    return abs(began_at - other) <= _UPTIME_LATE_SECONDS_MAX
