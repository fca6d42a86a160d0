"""The control plane's ends of the sockets on which other processes report: telemetry its summaries, the capture process its tallies."""

from __future__ import annotations

from collections.abc import Callable

from bannister.clock import Clock
from bannister.domain.capture.instructions import Instructions
from bannister.domain.comparison.report import Account, ComparisonReport, Directive, Greeting
from bannister.domain.metric.summary import Report, SkippedAccount, TelemetryGreeting, TelemetryWord
from bannister.reporting.feed import ReportFeed
from bannister.settings import Settings


class TelemetryFeed(ReportFeed[Report]):
    """All reports of telemetry, in order; one sent again is counted once by `MetricStore.record`."""

    def __init__(self, settings: Settings, clock: Clock, account: Callable[[], SkippedAccount | None]) -> None:
        """`account` gives the newest that was stored (`MetricStore.skipped_account`)."""
        super().__init__(
            settings.telemetry_socket,
            Report,
            "telemetry",
            clock,
            word=lambda acknowledgement: TelemetryWord(acknowledgement=acknowledgement),
            greet=lambda: TelemetryWord(TelemetryGreeting(account())),
        )
        #: Entries of the proxy's log that telemetry never got, since this feed was made.
        self.dropped_entries = 0
        #: The run, and how many it said last.
        self._dropped: tuple[str, int] | None = None

    def _note(self, report: Report) -> None:
        super()._note(report)
        # What a run says that was there before us was dropped then; a later one's was dropped since.
        run, before = self._dropped or (report.run, report.dropped_entries)
        before = before if run == report.run else 0
        self.dropped_entries += max(report.dropped_entries - before, 0)
        self._dropped = report.run, max(report.dropped_entries, before)


class CaptureFeed(ReportFeed[ComparisonReport]):
    """All reports of the capture process, in order; and the other way, what it is to capture and to compare."""

    def __init__(self, settings: Settings, clock: Clock, account: Callable[[], Account | None]) -> None:
        """`account` gives the newest that was stored (`MetricStore.capture_account`)."""
        super().__init__(
            settings.capture_socket,
            ComparisonReport,
            "the capture process",
            clock,
            word=lambda acknowledgement: Directive(acknowledgement=acknowledgement),
            greet=lambda: Directive(Greeting(account()), instructions=self._instructions),
        )
        self._instructions: Instructions | None = None

    async def instruct(self, instructions: Instructions) -> None:
        """Say what to do from now on, now and at the beginning of every later connection."""
        if instructions != self._instructions:
            self._instructions = instructions
            await self.send(Directive(instructions=instructions))
