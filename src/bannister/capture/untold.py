"""Exchanges that the proxy did not tell of, or whose story was over before it was heard. Of which group they were nobody knows.

    the proxy wants to tell ──▶ it finds a connection ──▶ a stream is open ──▶ something of it is heard here
       └ as many are open         └ nobody listens           └ it ends while this process stands still, and is taken back before it was ever sent
         as may be: BUSY            here: AWAY                 or this process is killed: UNHEARD

The first loss the proxy counts by itself. The others are differences between two numbers that only grow: how many streams were asked for, how many were opened, how many were
heard. (Its counter of connections that failed does not tell these two apart.)

This process's own heartbeats are told of like exchanges, and lost like them. Those that the proxy answered and nobody saw are known by number (`Heartbeats`), and are taken off what is
found lost.

**A process that ends takes nothing with it silently.** How far these numbers are accounted for goes with the reports that account for it (`Account`), and is stored with them, all or
nothing. The control plane greets the next process with what it has, and that goes on from there: what nobody took meanwhile, and what the one before had heard and not reported, is counted as
lost. What it had heard and not yet put into a tally (`Account.pending`: half a pair, a pair that was to be compared, a second that was open) the next one counts as unpaired, under the
right shadow. Where there is no account of a proxy, nothing of it is accounted for: it has just started, or the process that listened to it ended before its first report.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from bannister.domain.comparison.report import Account, Pending
from bannister.reporting.counters import UPTIME, Increments, ProxyStart, proxy_start

#: The proxy's counters that are read: of the filter on both listeners, and of the two clusters (`bannister.envoy.resources.names`).
UNTOLD: Final = f"^(http\\.[a-z]+\\.ext_proc\\.streams_started|cluster\\.capture(-large)?\\.upstream_rq_(.*overflow|total)|{UPTIME})$"
_ASKED: Final = re.compile(r"^http\.[a-z]+\.ext_proc\.streams_started: (\d+)$", re.MULTILINE)
_OPENED: Final = re.compile(r"^cluster\.capture(?:-large)?\.upstream_rq_total: (\d+)$", re.MULTILINE)
_OVERFLOW: Final = re.compile(
    r"^(?P<name>cluster\.capture(-large)?\.upstream_rq_(active|pending)_overflow): (?P<value>\d+)$"
)
_LARGE: Final = "cluster.capture-large."

BUSY: Final = "capture was busy"
BUSY_LARGE: Final = "capture was busy with large bodies"
AWAY: Final = "capture was away"
UNHEARD: Final = "capture heard of it too late"

#: What is asked for and not opened, or opened and not heard, may be on its way; what is still missing after so many looks is lost.
LOOKS: Final = 5

#: Nothing is accounted for.
_NOTHING: Final = Account(0.0, {}, unopened=0, streams=0)


class Overflow:
    """Turns the proxy's counters of what was not told into what was added between two looks, by reason, `LOOKS` later."""

    def __init__(self, seen: Mapping[str, int]) -> None:
        """`seen`: the counters at the last look of the process before."""
        self._increments = Increments(seen)
        self._looks: deque[dict[str, int]] = deque(maxlen=LOOKS)
        #: The counters as far as they are accounted for: by then it is known which heartbeats are among them.
        self.seen = seen

    def added(self, counters: str) -> dict[str, int]:
        """`counters`: the proxy's answer, one `name: value` a line."""
        matches = filter(None, map(_OVERFLOW.match, counters.splitlines()))
        self._looks.append({match["name"]: int(match["value"]) for match in matches})
        found: dict[str, int] = {}
        if len(self._looks) < LOOKS:
            return found
        self.seen = self._looks[0]
        for name, more in self._increments.of(self.seen).items():
            reason = BUSY_LARGE if name.startswith(_LARGE) else BUSY
            found[reason] = found.get(reason, 0) + more
        return found


class Missing:
    """Turns how many there were and how many came into how many more are lost since the last look.

    The least difference of the last looks. While requests go on it may come out a few too small, because those that came are counted a moment later
    than those that there were; too large only by what was on its way at every one of these looks.
    """

    def __init__(self, accounted: int = 0) -> None:
        """`accounted`: those that did not come to this process and are accounted for all the same."""
        self._differences: deque[int] = deque(maxlen=LOOKS)
        #: Those that did not come and are not looked for any more.
        self.accounted = accounted
        self._there = 0

    def added(self, there: int, came: int) -> int:
        if there < self._there:  # a proxy that was started again
            self.accounted = there - came
            self._differences.clear()
        self._there = there
        self._differences.append(there - came)
        if len(self._differences) < LOOKS:
            return 0
        more = max(min(self._differences) - self.accounted, 0)
        self.accounted += more
        return more


class Heartbeats:
    """This process's own heartbeats that were not seen on their way through the proxy."""

    def __init__(self) -> None:
        #: Looks at each, by number.
        self._unseen: dict[int, int] = {}

    def sent(self, number: int) -> None:
        self._unseen[number] = 0

    def over(self, number: int) -> None:
        """It was seen; or the proxy did not answer it, and nobody knows whether it told of it."""
        self._unseen.pop(number, None)

    def lost(self) -> int:
        """How many more are lost since the last look."""
        self._unseen = {number: looks + 1 for number, looks in self._unseen.items()}
        lost = [number for number, looks in self._unseen.items() if looks >= LOOKS]
        for number in lost:
            del self._unseen[number]
        return len(lost)


class Accounting:
    """All of it. `go_on_from` what was stored, then `look` once a second, and `close_books` with each report of it."""

    def __init__(self) -> None:
        self._greeted = False
        #: None: it was never asked.
        self._proxy: ProxyStart | None = None
        self._earlier: Account | None = None
        self._overflow = Overflow({})
        self._unopened = Missing()
        self._unheard = Missing()
        self.heartbeats = Heartbeats()
        #: Heartbeats that are lost, and were not taken off yet.
        self._own = 0
        self._asked = 0
        self._last: Account | None = None

    @property
    def is_greeted(self) -> bool:
        """It is known what is accounted for: before that nothing must be reported."""
        return self._greeted

    def go_on_from(self, account: Account | None) -> tuple[Pending, ...]:
        """What is stored when this process begins; what the one before took with it. What is said again on later connections is known."""
        if self._greeted:
            return ()
        self._greeted = True
        self._earlier = account
        return account.pending if account is not None else ()

    def look(self, counters: str | None, heard: int, monotonic: float, now: float) -> dict[str, int]:
        """What was lost since the last look, by reason; before the greeting nobody can tell.

        Args:
            counters: The proxy's answer, one `name: value` a line; None: it did not answer.
            heard: Streams of which something came, since this process started.
            monotonic: `Clock.monotonic`.
            now: `Clock.now`.
        """
        self._own += self.heartbeats.lost()
        start = proxy_start(counters or "", monotonic, now)
        if not self._greeted or counters is None or start is None:
            return {}
        if self._proxy is None:
            self._proxy = self._go_on(start, counters)
        self._proxy = self._proxy.follow(start)
        asked, opened = _asked(counters), _opened(counters)
        if (
            asked < self._asked
        ):  # a proxy that was started again: what the one before did not tell of is not looked for any more
            self._own, self.heartbeats = 0, Heartbeats()
        self._asked = asked
        found = self._overflow.added(counters)
        found |= {AWAY: self._unopened.added(asked, opened), UNHEARD: self._unheard.added(opened, heard)}
        for reason in (BUSY, AWAY, UNHEARD):
            own = min(self._own, found.get(reason, 0))
            self._own -= own
            found[reason] = found.get(reason, 0) - own
        return {reason: count for reason, count in found.items() if count}

    def _go_on(self, start: ProxyStart, counters: str) -> ProxyStart:
        """With what is accounted for of this proxy: its counters only grow; after a restart of the machine times repeat themselves."""
        known = self._earlier or _NOTHING
        began = ProxyStart(known.proxy_began_at, known.proxy_began_at_wall)
        asked, opened, streams = _asked(counters), _opened(counters), known.unplaced
        is_known = known.unopened <= asked and known.streams <= opened and began.is_same(start)
        if is_known:
            self._overflow = Overflow(known.overflow)
            self._unopened = Missing(known.unopened)
            streams += known.streams
        self._unheard = Missing(min(streams, opened))
        return began if is_known else start

    def close_books(self, settled: int, pending: tuple[Pending, ...] = ()) -> Account | None:
        """The account for a report with all that `look` has found so far; None: it says nothing new.

        Args:
            settled: Streams that were heard, and are over, and whose counts are in this report or one before.
            pending: What came with them and is in no report.
        """
        if not self._greeted:
            return None
        if self._proxy is None:  # the proxy has not answered yet
            known = self._earlier or _NOTHING
            account = replace(known, pending=pending, unplaced=known.unplaced + settled)
        else:
            streams, (began_at, wall) = self._unheard.accounted + settled, self._proxy
            account = Account(began_at, self._overflow.seen, self._unopened.accounted, streams, pending, wall)
        if account == (self._last or self._earlier or _NOTHING):
            return None
        self._last = account
        return account


def _asked(counters: str) -> int:
    return sum(map(int, _ASKED.findall(counters)))


def _opened(counters: str) -> int:
    return sum(map(int, _OPENED.findall(counters)))
