"""The evaluator: reports in, alarm transitions out.

How it works

Telemetry sends reports. Each carries one-second summaries and a *watermark*: all that ended before it is in the reports up to this one. A second is
*final* once the watermark has passed its end. The evaluator stores a report, evaluates every alarm at each second that it made final, in order, and
only then acknowledges it, so that a control plane that dies in between gets the same report again and goes on where it stood.

An evaluation at second E looks at the periods that end at E: a window that slides by one second. Several seconds that become final at
once (after a pause of the machine, or while a restarted control plane catches up) are evaluated one by one, so a short transition is not
missed; only a backlog beyond `evaluation_backlog_seconds_max` is cut to its newest part, counted and logged.

Which alarms there are is known (`bannister.evaluator.known`), and so is how far each has been evaluated (`bannister.evaluator.progress`). The loop says which are due at
which second, in which order; how they are judged and written there is the assessor's (`bannister.evaluator.assessor`). Composite alarms have no position of their own: they are
decided with the alarms that their rules lead to, and are evaluated as far as those.

*Blind is not quiet.* While no new watermark arrives nothing is evaluated, missing data is not treated as anything, and positions stand still; whoever needs to
know how long that has lasted asks `silent_seconds`. Afterwards, a period without data that reaches into the blind time counts as unseen, not as missing
(`bannister.domain.alarm.judgement`), and so does one of which a Sum or a SampleCount knows a part. A report that cannot be stored is tried again for as long as it takes, for the same reason: judging
without it would take its requests for silence.

An alarm that a running deployment names, itself or through the rule of a composite alarm, is looked at before all others, and does not wait for the end of a
period whose outcome is known (`bannister.domain.alarm.certainty`).

The capture process reports in the same way what compared answers say, with a watermark of its own. An alarm on a metric of `/bannister/Shadow` needs both
sources, because what was never captured is not compared: it is evaluated as far as the one that is behind, and covered as far as both were.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator
from typing import Protocol, TypeVar

from bannister.clock import Clock
from bannister.domain.alarm.judgement import Datapoint
from bannister.domain.comparison.report import ComparisonReport
from bannister.domain.metric.summary import Report
from bannister.evaluator.assessor import Assessor
from bannister.evaluator.horizon import Horizon, View
from bannister.evaluator.tallies import Tallies
from bannister.evaluator.timing import is_seldom_evaluated
from bannister.evaluator.windows import Windows
from bannister.metrics.store import MetricStore
from bannister.settings import Settings
from bannister.signals import Signal
from bannister.state.store import State

log = logging.getLogger(__name__)


R = TypeVar("R")


class Feed(Protocol[R]):
    """Where reports come from: each again until it is acknowledged."""

    def __aiter__(self) -> AsyncIterator[R]: ...

    async def acknowledge(self, report: R) -> None:
        """This report, and those of its run before it, are stored and evaluated."""
        ...


class Evaluator:
    """Evaluates all alarms on every newly final second. For one event loop."""

    def __init__(
        self,
        state: State,
        metrics: MetricStore,
        feed: Feed[Report],
        clock: Clock,
        settings: Settings,
        comparisons: Feed[ComparisonReport] | None = None,
    ) -> None:
        """`comparisons`: the capture process's; without it, alarms on compared answers are never evaluated."""
        self._metrics = metrics
        self._feed = feed
        self._comparisons = comparisons
        self._tallies = Tallies(state, clock, settings)
        self._clock = clock
        self._settings = settings
        #: Announced when alarms were evaluated at another second, or telemetry covers another time.
        self.changed = Signal()
        #: Seconds of backlog that were not evaluated, since start.
        self.seconds_skipped = 0
        self._telemetry = Horizon(clock)
        self._capture = Horizon(clock)
        #: What alarms look at: what telemetry alone says, and what both together say.
        self._compared = View(self._telemetry, self._capture)
        self._views = (View(self._telemetry), self._compared)
        #: One source's reports are acted on at a time.
        self._turn = asyncio.Lock()
        self._assessor = Assessor(state, metrics, clock, settings)
        self._known = self._assessor.known
        self._progress = self._assessor.progress
        #: The end of the newest range that any alarm was judged on.
        self._judged: float = -math.inf

    # --- what others may ask

    @property
    def watermark(self) -> float | None:
        """Everything that ended before this moment is stored; None: telemetry has not said yet."""
        return self._telemetry.watermark

    @property
    def covered_since(self) -> float | None:
        """Since when telemetry has seen everything without a gap; None: it has not said yet."""
        return self._telemetry.covered_since

    @property
    def compared_since(self) -> float | None:
        """Since when all captured answers were compared without a gap; None: the capture process has not said yet."""
        return self._capture.covered_since

    def evaluated_until(self, alarm_name: str) -> float | None:
        """The alarm has been evaluated on all data before this moment; None: not since it was put, or since the start.

        A composite alarm: all alarms that it depends on have been. One that is evaluated once an hour: all others could have been.
        """
        until: list[float] = []
        for name in self._known.leaves(alarm_name):
            rule = None if (alarm := self._known.alarm(name)) is None else alarm.rule
            if rule is not None and is_seldom_evaluated(rule, self._settings.timing):
                continue
            position = self._progress.of(name)
            if position is None:
                return None
            until.append(float(position.until))
        if until:
            return min(until)
        passed = self._views[0].passed  # a rule of nothing but constants, or nothing that anybody waits for
        return None if passed is None or alarm_name not in self._known else float(passed)

    @property
    def alarms_faulty(self) -> int:
        """Alarms that could not be evaluated when that was tried last."""
        return self._progress.faulty

    @property
    def evaluations_skipped(self) -> int:
        """Evaluations of faulty alarms that were given up, since start."""
        return self._progress.given_up

    def datapoints(self, alarm_name: str) -> tuple[Datapoint | None, ...]:
        """What the alarm's newest evaluation looked at, by period, oldest first (None: no data); empty: as `evaluated_until`."""
        return self._progress.slots(alarm_name)

    def silent_seconds(self) -> float:
        """How long telemetry's watermark has stood still."""
        return self._telemetry.silent_seconds()

    def uncompared_seconds(self) -> float:
        """How long the capture process's watermark has stood still."""
        return self._capture.silent_seconds()

    # --- the loop

    async def run(self) -> None:
        """Take reports for as long as the feed has any.

        Raises:
            Fenced: Another process has taken over.
        """
        if self._comparisons is None:
            await self._take_summaries()
            return
        both = [
            asyncio.ensure_future(self._take_summaries()),
            asyncio.ensure_future(self._take_tallies(self._comparisons)),
        ]
        try:
            await asyncio.gather(*both)
        finally:
            for one in both:
                one.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            await self._tallies.close()

    async def _take_summaries(self) -> None:
        async for report in self._feed:
            await self.take(report)

    async def _take_tallies(self, feed: Feed[ComparisonReport]) -> None:
        async for report in feed:
            if await self.take_comparisons(report):
                await feed.acknowledge(report)

    async def take(self, report: Report) -> None:
        """Store one report of telemetry, evaluate what it made final, acknowledge it."""
        if not self._telemetry.is_old(report):
            await self._store(report)
            await self._observe(self._telemetry, report)
        await self._feed.acknowledge(report)

    async def take_comparisons(self, report: ComparisonReport) -> bool:
        """Store one report of the capture process, evaluate what it made final; True: it and all before it may be acknowledged."""
        if self._capture.is_old(report):
            return False  # the next one is acknowledged with it
        await self._store(report)
        kept = await self._tallies.add(report)
        await self._observe(self._capture, report)
        return kept

    async def _store(self, report: Report | ComparisonReport) -> None:
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

    async def _observe(self, source: Horizon, report: Report | ComparisonReport) -> None:
        async with self._turn:
            before, covered_since = source.watermark, source.covered_since
            if not source.hear(report):
                return
            after = source.watermark or 0.0
            if before is not None and math.floor(after) < math.floor(before):
                self._go_back(source, before, after)
            passed = [view.passed for view in self._views]
            await self._pass()
            told = passed != [view.passed for view in self._views] or source.covered_since != covered_since
        if told:
            self.changed.announce()

    def _go_back(self, source: Horizon, before: float, after: float) -> None:
        """The machine's clock was set back: positions on the old time must not pass for evaluations of the new one."""
        log.warning("The watermark went back by %.3f seconds; its alarms start anew from there.", before - after)
        self._judged = -math.inf
        for view in self._views:
            if view.needs(source):
                view.passed = None
                self._assessor.start_anew(self._names(view))

    async def _pass(self) -> None:
        """Evaluate every alarm at each final second that it has not been evaluated at."""
        if not await self._assessor.refreshed():
            return
        for view in self._views:
            if view.end is not None:
                await self._pass_view(view, view.end)

    async def _pass_view(self, view: View, end: int) -> None:
        oldest = self._oldest(view, end)
        # Traffic waits for those that stop a running deployment: what they lead to is done before the others are so much as looked for.
        names = list(self._names(view))
        urgent = self._known.urgent  # others may be, before this pass is over
        await self._catch_up([name for name in names if name in urgent], view, oldest, end)
        # Somebody may wait for those that have something new to look at, nobody for those that are to find nothing once more.
        quiet = [name for name in names if name not in urgent and name in self._assessor.quiet]
        passed_over = urgent.union(quiet)
        await self._catch_up([name for name in names if name not in passed_over], view, oldest, end)
        silent = frozenset(name for name in quiet if self._is_silent(name, view))
        await self._catch_up([name for name in quiet if name not in silent], view, oldest, end)
        await self._catch_up([name for name in quiet if name in silent], view, oldest, end)
        view.passed = end

    def _is_silent(self, name: str, view: View) -> bool:
        row = self._known.rows.get(name)
        return row is not None and self._assessor.quiet.is_unchanged(row, self._metrics, view.covered_since)

    async def _catch_up(self, names: list[str], view: View, oldest: int, end: int) -> None:
        """Evaluate alarms at each second that they were not evaluated at."""
        failed: set[str] = set()
        self._progress.give_up([self._known[name].value for name in names if name in self._known], oldest)
        #: By the second from which on they are to be evaluated: one alarm that is behind costs the others nothing.
        joining: dict[int, list[str]] = {}
        for name in names:
            alarm = self._known.alarm(name)
            if alarm is not None:
                joining.setdefault(max(oldest, self._progress.next_second(alarm, view.passed, end)), []).append(name)
        under_way: list[str] = []
        for second in range(min(joining, default=end), end + 1):
            under_way += joining.get(second, ())
            due = [name for name in under_way if name not in failed and self._is_due(name, second, end)]
            if not due:
                continue
            self._judged = max(self._judged, second)
            self._metrics.judged_until(self._judged)
            windows = Windows(
                self._metrics,
                self._assessor.readings,
                second,
                view.covered_since,
                self._settings.timing,
                gaps=view.gaps,
            )
            unevaluated = await self._assessor.evaluate(due, windows)
            for name in unevaluated:
                self._assessor.fails(name, second)
            failed |= unevaluated
            await asyncio.sleep(0)  # A backlog must not hold up the loops that act on it.

    def _oldest(self, view: View, end: int) -> int:
        """The oldest second that is still evaluated; what is before that is given up, and counted."""
        oldest = end - self._settings.evaluation_backlog_seconds_max + 1
        if self._names(view) and view.passed is not None and view.passed + 1 < oldest:
            skipped = oldest - view.passed - 1
            self.seconds_skipped += skipped
            log.warning("%d seconds became final at once; the oldest %d are not evaluated.", end - view.passed, skipped)
        return oldest

    def _is_due(self, name: str, second: int, end: int) -> bool:
        alarm = self._known.alarm(name)
        return alarm is not None and self._progress.is_due(alarm, second, end)

    def _names(self, view: View) -> list[str]:
        """The metric alarms that look at it."""
        return self._known.names[view is self._compared]

    async def end_suppressions(self) -> None:
        """Run the actions of composite alarms whose time of waiting is over; to be called once a second or so.

        Raises:
            Fenced: Another process has taken over.
        """
        async with self._turn:
            await self._assessor.end_suppressions()
