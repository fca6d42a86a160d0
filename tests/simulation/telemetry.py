"""A model of telemetry: it sees every request, and tells the control plane late, twice, or not at all when it misbehaves.

What is real: the counting of copies that were not made, with its account through restarts (`bannister.telemetry.skipped`).
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Mapping

from tests.simulation.virtual_time import VirtualClock

from bannister.domain.metric.sketch import Sketch
from bannister.domain.metric.summary import Report, SkippedAccount, Summary
from bannister.telemetry.skipped import SkippedCopies

#: The watermark stays this far behind the present.
MARGIN_SECONDS = 0.4


class Telemetry:
    """Counts requests by second and instance, and reports what is final. Outlives the control plane."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.runs = 0
        #: Everything that it ever reported as final, for the checker: the highest watermark that was handed out.
        self.told_until = float("-inf")
        #: Seconds of which a report with errors was handed out, by group.
        self.errors_told: dict[str, list[int]] = {}
        #: By the loop's clock: when a control plane was last told anything, and when the watermark last moved.
        self.heard_at = self.advanced_at = 0.0
        #: By group and second, requests and errors: what reports said that were made, and what of it may not have been stored because telemetry ended.
        self.sent: dict[tuple[str, int], tuple[int, int]] = {}
        self.lost: dict[tuple[str, int], tuple[int, int]] = {}
        self.stands_still = False
        self.running = False
        #: Reports go out this late.
        self.delay_seconds = 0.0
        #: Asks a proxy for its counters of copies that it did not make; None: nothing is copied.
        self.counters: Callable[[], str | None] | None = None
        self._more = asyncio.Event()
        self.start()

    def start(self) -> None:
        """A new run, which knows nothing of what the last one did not deliver."""
        self.runs += 1
        self.running = True
        self.run = f"run-{self.runs}"
        self.sequence = 0
        self.covered_since: float = self._clock.now()
        self.watermark: float | None = None
        self.outbox: list[Report] = []
        self._skipped = SkippedCopies()
        self.is_greeted = False
        #: By second, then by group and address: requests, errors, microseconds, copies that were not made.
        self._open: dict[int, dict[tuple[str, str], list[int]]] = defaultdict(dict)

    def stop(self) -> None:
        self.running = False
        for report in self.outbox:
            _count(report, self.lost)
        self.outbox = []
        self._open.clear()

    def note(self, group: str, address: str, requests: int, errors: int, microseconds: int) -> None:
        """Requests ended just now."""
        if not self.running:
            return
        counts = self._open[int(self._clock.now())].setdefault((group, address), [0, 0, microseconds, 0])
        counts[0] += requests
        counts[1] += errors

    def greeted(self, account: SkippedAccount | None) -> None:
        """A control plane has connected, and says what is stored."""
        self.is_greeted = True
        self._skip(self._skipped.go_on_from(account))

    def _skip(self, copies: Mapping[str, int]) -> None:
        for group, count in copies.items():
            self._open[int(self._clock.now())].setdefault((group, ""), [0, 0, 0, 0])[3] += count

    def _pending(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for of_second in self._open.values():
            for (group, _), counts in of_second.items():
                if counts[3]:
                    found[group] += counts[3]
        return found

    def tick(self) -> None:
        """Report what has become final."""
        if self.running and self.counters is not None:
            self._skip(self._skipped.look(self.counters(), self._clock.monotonic(), self._clock.now()))
        if not self.running or self.stands_still:
            return
        now = self._clock.now()
        before, self.watermark = self.watermark, max(self.watermark or 0.0, now - MARGIN_SECONDS)
        if self.watermark != before:
            self.advanced_at = self._clock.monotonic()
        self.covered_since = min(self.covered_since, self.watermark)
        final = [second for second in self._open if second + 1 <= self.watermark]
        summaries = tuple(
            _summary(group, address, second, *counts)
            for second in sorted(final)
            for (group, address), counts in sorted(self._open.pop(second).items())
        )
        account = self._skipped.account(self._pending()) if self.counters is not None else None
        self.sequence += 1
        report = Report(self.run, self.sequence, self.watermark, self.covered_since, summaries, account)
        _count(report, self.sent)
        self.outbox.append(report)
        self.wake()

    def wake(self) -> None:
        more, self._more = self._more, asyncio.Event()
        more.set()

    async def more(self) -> None:
        await self._more.wait()

    def told(self, report: Report) -> None:
        """A control plane takes this report."""
        self.heard_at = self._clock.monotonic()
        if report.watermark is not None:
            self.told_until = max(self.told_until, report.watermark)
        for one in report.summaries:
            if one.errors_5xx:
                self.errors_told.setdefault(one.group, []).append(one.second)

    def acknowledge(self, run: str, sequence: int) -> None:
        if run == self.run:
            self.outbox = [report for report in self.outbox if report.sequence > sequence]


def _summary(
    group: str, address: str, second: int, requests: int, errors: int, microseconds: int, skipped: int
) -> Summary:
    latency = Sketch.constant(float(microseconds), requests) if requests else None
    return Summary(
        group, address, second, requests, errors_5xx=errors, model_errors=errors, skipped=skipped, model_latency=latency
    )


def _count(report: Report, into: dict[tuple[str, int], tuple[int, int]]) -> None:
    for one in report.summaries:
        requests, errors = into.get((one.group, one.second), (0, 0))
        into[one.group, one.second] = requests + one.invocations, errors + one.errors_5xx


class Feed:
    """One control plane's end; see `bannister.evaluator.loop.Feed`."""

    def __init__(self, telemetry: Telemetry, account: Callable[[], SkippedAccount | None]) -> None:
        """`account` gives the newest that was stored."""
        self._telemetry = telemetry
        self._account = account
        self._sent: tuple[str, int] = ("", 0)
        #: Every report comes twice.
        self.stutters = False

    def reconnect(self) -> None:
        """Everything that was not acknowledged comes again."""
        self._sent = ("", 0)

    async def __aiter__(self) -> AsyncIterator[Report]:
        while True:
            if not self._telemetry.is_greeted:
                self._telemetry.greeted(self._account())
            report = self._next()
            if report is None:
                await self._telemetry.more()
                continue
            if self._telemetry.delay_seconds:
                await asyncio.sleep(self._telemetry.delay_seconds)
            self._sent = (report.run, report.sequence)
            self._telemetry.told(report)
            yield report
            if self.stutters:
                yield report

    def _next(self) -> Report | None:
        run, sequence = self._sent
        for report in self._telemetry.outbox:
            if report.run != run or report.sequence > sequence:
                return report
        return None

    async def acknowledge(self, report: Report) -> None:
        self._telemetry.acknowledge(report.run, report.sequence)
