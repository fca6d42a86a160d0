"""What is stored of all that the capture process was to be told, looked at from outside: part of the checker.

The process is killed, the line to it breaks, control planes are replaced, and reports are sent again. Whatever becomes of them, of every exchange and every copy there is one word in the store: what it
was, or that it was lost. A copy that a process had heard of when it was killed is *pending* in the account that was stored last, for its successor to count; an exchange of which nothing is accounted for
the successor counts as lost (`bannister.capture.untold`).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from bannister.capture.assembly import Role
from bannister.capture.folding import counted_in
from bannister.domain.capture.exchange import Exchange
from bannister.domain.comparison.report import Account, CaptureCount, ComparisonReport, Counted

if TYPE_CHECKING:
    from tests.simulation.world import World

ONCE: Final = "4: what capture is told is counted once"

#: An exchange is accounted for so long after it was to be told, if it is over by then: it waits for its group to be named, or is missed, and lines may be slow. What a process that was killed had not
#: accounted for is left to the next one, which takes as long.
DUE_SECONDS: Final = 25.0


class Books:
    """Of all processes, one after another."""

    def __init__(self, world: World) -> None:
        self._world = world
        #: Exchanges that were to be told, now and at the last ticks; and those that are being told to the process that runs now.
        self.asked = self.open = 0
        self._asked: deque[tuple[float, int]] = deque()
        #: When the process that runs now took over, in virtual time.
        self._began_at = 0.0
        #: Copies that this process has heard of, by request and kind; who told it of them; and how often it was told again.
        self._heard: set[tuple[int, bool]] = set()
        self._tellers: set[tuple[int, Role]] = set()
        self._repeats = 0
        #: What these were when a report was made, by run and number.
        self._made: dict[tuple[str, int], tuple[int, int]] = {}
        #: In the store: exchanges, copies, and records of which it is said that they were written.
        self._exchanges = self._copies = self._written = 0
        #: What was told, or left to be told, by those before the one that told last.
        self._told_before = 0
        self._newest: tuple[str, Account | None] = ("", None)

    def begun_anew(self) -> None:
        """Another process."""
        self._began_at = self._world.loop.time()
        self._heard.clear()
        self._tellers.clear()
        self._repeats = self.open = 0

    def heard(self, exchange: Exchange, number: int, role: Role, kinds: list[bool]) -> None:
        """The process takes in an exchange that is compared. `kinds`: of the copies that it tells of (are they for the noise floor?)."""
        if (number, role) in self._tellers:
            self._repeats += len(kinds)
            return
        self._tellers.add((number, role))
        self._heard.update((number, noise) for noise in kinds)

    def reported(self, run: str, sequence: int) -> None:
        """The process makes a report of all that it has heard until now."""
        self._made[run, sequence] = len(self._heard), self._repeats

    def stored(self, report: ComparisonReport, records: int) -> None:
        """A report is in the store now; so many `records` are written."""
        run, account = self._newest
        if report.run != run:
            self._told_before = self._copies + _pending(account)
        self._copies += sum([counted_in(one.tally) for one in report.tallies])
        self._exchanges += sum([one.count for one in report.counts if _is_of_an_exchange(one)])
        self._written += sum([one.count for one in report.counts if one.what is Counted.WRITTEN])
        heard, repeats = self._made.pop((report.run, report.sequence))
        self._newest = report.run, report.account or (account if report.run == run else None) or account
        if self._written > records:
            self._violated(f"{self._written} records are said to be written; there are {records}.")
        if report.account is None:
            return
        accounted = report.account.streams + report.account.unopened
        if not self._exchanges == accounted <= self.asked:
            self._violated(f"Of {self.asked} exchanges {self._exchanges} are counted, {accounted} are accounted for.")
        told, least = self._copies + _pending(report.account), self._told_before + heard
        if not least <= told <= least + repeats:
            self._violated(
                f"{told} copies are counted or to be counted; {heard} were heard of ({repeats} of them again), {self._told_before} before."
            )

    def tick(self) -> None:
        now = self._world.loop.time()
        self._asked.append((now, self.asked))
        while self._asked[0][0] < now - DUE_SECONDS - 1:
            self._asked.popleft()

    def settled(self) -> None:
        """At the end, when all has been told."""
        until = self._world.loop.time() - DUE_SECONDS
        due = [asked for at, asked in self._asked if self._began_at <= until and at <= until]
        self._world.counts["exchanges due at the end"] += due[-1] if due else 0
        if due and self._exchanges < due[-1] - self.open:
            self._violated(
                f"{due[-1]} exchanges were to be told, {self._exchanges} are counted, {self.open} are not over."
            )

    def _violated(self, what: str) -> Any:
        raise self._world.violated(ONCE, what)


def _pending(account: Account | None) -> int:
    return sum(one.count for one in account.pending) if account is not None else 0


def _is_of_an_exchange(one: CaptureCount) -> bool:
    """An exchange is captured, or lost before anybody knew whose it was. What is said of it beyond that is said in addition."""
    return one.what is Counted.CAPTURED or (one.what is Counted.DROPPED and not one.group)
