"""The evaluator: telemetry's reports in, alarm transitions out.

How it works

Telemetry sends reports. Each carries one-second summaries and a *watermark*: all that ended before it is in the reports up to this one. A second is
*final* once the watermark has passed its end. The evaluator stores a report, evaluates every alarm at each second that it made final, in order, and
only then acknowledges it, so that a control plane that dies in between gets the same report again and goes on where it stood.

An evaluation at second E looks at the periods that end at E: a window that slides by one second. Several seconds that become final at
once (after a pause of the machine, or while a restarted control plane catches up) are evaluated one by one, so a short transition is not
missed; only a backlog beyond `evaluation_backlog_seconds_max` is cut to its newest part, counted and logged.

Every alarm has its own position. An alarm whose evaluation fails keeps its position, is tried again at the next pass from there, and stops no other.

*Blind is not quiet.* While no new watermark arrives nothing is evaluated, missing data is not treated as anything, and positions stand still; whoever needs to
know how long that has lasted asks `silent_seconds`. Afterwards, a period without data that reaches into the blind time counts as unseen, not as missing
(`bannister.domain.alarm.judgement`). A report that cannot be stored is tried again for as long as it takes, for the same reason: judging
without it would take its requests for silence.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from bannister.clock import Clock
from bannister.domain.alarm.alarm import Alarm
from bannister.domain.alarm.judgement import Datapoint
from bannister.domain.metric.summary import Report
from bannister.errors import Fenced
from bannister.evaluator.assessment import assess
from bannister.evaluator.windows import Windows
from bannister.metrics.store import MetricStore
from bannister.settings import Settings
from bannister.signals import Signal
from bannister.state.store import Row, State
from bannister.state.tables import ALARMS

log = logging.getLogger(__name__)


class Feed(Protocol):
    """Where reports come from: each again until it is acknowledged."""

    def __aiter__(self) -> AsyncIterator[Report]: ...

    async def acknowledge(self, report: Report) -> None:
        """This report, and those of its run before it, are stored and evaluated."""
        ...


@dataclass(frozen=True, slots=True)
class Position:
    """How far one configuration of an alarm has been evaluated."""

    #: Tells a configuration from the one before it: an update starts anew.
    configured_at: float
    until: int
    #: What the newest evaluation looked at, by period, oldest first; None: no data.
    slots: tuple[Datapoint | None, ...] = ()


class Evaluator:
    """Evaluates all alarms on every newly final second. For one event loop."""

    def __init__(self, state: State, metrics: MetricStore, feed: Feed, clock: Clock, settings: Settings) -> None:
        self._state = state
        self._metrics = metrics
        self._feed = feed
        self._clock = clock
        self._settings = settings
        #: Announced when alarms were evaluated at another second, or telemetry covers another time.
        self.changed = Signal()
        #: Seconds of backlog that were not evaluated, since start.
        self.seconds_skipped = 0
        self._watermark: float | None = None
        self._covered_since: float | None = None
        self._heard_at = clock.monotonic()
        self._last: tuple[str, int] = ("", 0)
        #: The end of the last pass.
        self._passed: int | None = None
        self._positions: dict[str, Position] = {}
        self._faulty: set[str] = set()
        self._alarms: dict[str, Row[Alarm]] = {}
        self._alarms_version = -1

    # --- what others may ask

    @property
    def watermark(self) -> float | None:
        """Everything that ended before this moment is stored; None: telemetry has not said yet."""
        return self._watermark

    @property
    def covered_since(self) -> float | None:
        """Since when telemetry has seen everything without a gap; None: it has not said yet."""
        return self._covered_since

    def evaluated_until(self, alarm_name: str) -> float | None:
        """The alarm has been evaluated on all data before this moment; None: not since it was put, or since the start."""
        position = self._positions.get(alarm_name)
        return None if position is None else float(position.until)

    def datapoints(self, alarm_name: str) -> tuple[Datapoint | None, ...]:
        """What the alarm's newest evaluation looked at, by period, oldest first (None: no data); empty: as `evaluated_until`."""
        position = self._positions.get(alarm_name)
        return () if position is None else position.slots

    def silent_seconds(self) -> float:
        """How long the watermark has stood still."""
        return self._clock.monotonic() - self._heard_at

    # --- the loop

    async def run(self) -> None:
        """Take reports for as long as the feed has any.

        Raises:
            Fenced: Another process has taken over.
        """
        async for report in self._feed:
            await self.take(report)

    async def take(self, report: Report) -> None:
        """Store one report, evaluate what it made final, acknowledge it."""
        if not self._is_old(report):
            await self._store(report)
            await self._observe(report)
            self._last = (report.run, report.sequence)
        await self._feed.acknowledge(report)

    def _is_old(self, report: Report) -> bool:
        """It was sent again although this process is past it: its watermark would seem to go back."""
        run, sequence = self._last
        return report.run == run and report.sequence <= sequence

    async def _store(self, report: Report) -> None:
        failures = 0
        while True:
            try:
                await self._metrics.record(report)
            except Exception:  # whatever the reason: without this report there is no judging
                failures += 1
                if failures == 1:
                    log.exception("Report %d of run %s cannot be stored; trying again.", report.sequence, report.run)
                await asyncio.sleep(self._settings.report_retry_seconds)
            else:
                return

    async def _observe(self, report: Report) -> None:
        covers_as_before = report.covered_since == self._covered_since
        self._covered_since = report.covered_since
        if report.watermark is None or report.watermark == self._watermark:
            return
        before, self._watermark = self._watermark, report.watermark
        self._heard_at = self._clock.monotonic()
        if before is not None and math.floor(report.watermark) < math.floor(before):
            self._go_back(before, report.watermark)
        passed = self._passed
        await self._pass(math.floor(report.watermark))
        if self._passed != passed or not covers_as_before:
            self.changed.announce()

    def _go_back(self, before: float, after: float) -> None:
        """The machine's clock was set back: positions on the old time must not pass for evaluations of the new one."""
        log.warning("The watermark went back by %.3f seconds; all alarms start anew from there.", before - after)
        self._positions.clear()
        self._passed = None

    async def _pass(self, end: int) -> None:
        """Evaluate every alarm at each second up to `end` that it has not been evaluated at."""
        try:
            await self._refresh()
        except Fenced:
            raise
        except Exception:
            log.exception("Alarms cannot be read; their evaluation is made up for at the next pass.")
            return
        failed: set[str] = set()
        for second in range(self._first_second(end), end + 1):
            windows = Windows(self._metrics, second, self._covered_since)
            for name in [name for name in self._alarms if name not in failed and self._is_due(name, second, end)]:
                if not await self._evaluate(name, windows):
                    failed.add(name)
            await asyncio.sleep(0)  # A backlog must not hold up the loops that act on it.
        self._passed = end

    async def _refresh(self) -> None:
        """Read the alarms if anything was written since they were read, and forget positions that are not theirs."""
        version = self._state.changed.version
        if version != self._alarms_version:
            self._alarms = {row.key: row for row in await self._state.rows(ALARMS)}
            self._alarms_version = version
        for name, position in list(self._positions.items()):
            row = self._alarms.get(name)
            if row is None or row.value.configured_at != position.configured_at:
                del self._positions[name]
        self._faulty &= self._alarms.keys()

    def _first_second(self, end: int) -> int:
        """The oldest second that some alarm needs, within the bound on a backlog."""
        oldest = end - self._settings.evaluation_backlog_seconds_max + 1
        if self._passed is not None and self._passed + 1 < oldest:
            skipped = oldest - self._passed - 1
            self.seconds_skipped += skipped
            log.warning(
                "%d seconds became final at once; the oldest %d are not evaluated.", end - self._passed, skipped
            )
        return max(oldest, min([end, *(position.until + 1 for position in self._positions.values())]))

    def _is_due(self, name: str, second: int, end: int) -> bool:
        position = self._positions.get(name)
        # A new alarm starts at the newest second: it has no past.
        return second == end if position is None else second > position.until

    async def _evaluate(self, name: str, windows: Windows) -> bool:
        """Evaluate one alarm at one second; False: that failed, and its position stays."""
        try:
            row = await assess(self._state, self._clock, self._alarms[name], windows)
            slots = () if row is None else tuple(await windows.slots(row.value.rule))  # read already, kept by `windows`
        except Fenced:
            raise
        except Exception:
            if name not in self._faulty:
                log.exception('Alarm "%s" cannot be evaluated; it is tried again at every pass.', name)
            self._faulty.add(name)
            return False
        self._faulty.discard(name)
        if row is None:
            del self._alarms[name]
            self._positions.pop(name, None)
        else:
            self._alarms[name] = row
            self._positions[name] = Position(row.value.configured_at, windows.end, slots)
        return True
