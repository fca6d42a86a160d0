"""The evaluator: reports in, alarm transitions out.

How it works

Telemetry sends reports. Each carries one-second summaries and a *watermark*: all that ended before it is in the reports up to this one. A second is
*final* once the watermark has passed its end. The evaluator stores a report, evaluates every alarm at each second that it made final, in order, and
only then acknowledges it, so that a control plane that dies in between gets the same report again and goes on where it stood.

An evaluation at second E looks at the periods that end at E: a window that slides by one second. Several seconds that become final at
once (after a pause of the machine, or while a restarted control plane catches up) are evaluated one by one, so a short transition is not
missed; only a backlog beyond `evaluation_backlog_seconds_max` is cut to its newest part, counted and logged.

Composite alarms have no position of their own: they are decided, and written, in the commit of the transitions that they follow from
(`bannister.domain.alarm.cascade`), and are evaluated as far as the alarms in their rules. Alarms that composites depend on are therefore evaluated together, and what one composite
depends on moves in one commit. Otherwise transitions of a second share commits only because a thousand at once must not take a thousand of them (`TOGETHER_MAX`).

Every alarm has its own position (`bannister.evaluator.progress`). An alarm whose evaluation fails is tried again at the next pass from there, and stops no other.

*Blind is not quiet.* While no new watermark arrives nothing is evaluated, missing data is not treated as anything, and positions stand still; whoever needs to
know how long that has lasted asks `silent_seconds`. Afterwards, a period without data that reaches into the blind time counts as unseen, not as missing
(`bannister.domain.alarm.judgement`). A report that cannot be stored is tried again for as long as it takes, for the same reason: judging
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
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from bannister.clock import Clock
from bannister.domain.alarm.alarm import Alarm, AlarmRule, AlarmState
from bannister.domain.alarm.cascade import led_to, released, seen_together
from bannister.domain.alarm.judgement import Datapoint
from bannister.domain.comparison.metrics import watches_comparisons
from bannister.domain.comparison.report import ComparisonReport
from bannister.domain.metric.summary import Report
from bannister.errors import Conflict, Fenced
from bannister.evaluator.assessment import ATTEMPTS_MAX, assess, evidence_of, judged, settle
from bannister.evaluator.horizon import Horizon, View
from bannister.evaluator.progress import Position, Progress
from bannister.evaluator.quiet import Quiet
from bannister.evaluator.readings import Readings
from bannister.evaluator.settlement import Place, written
from bannister.evaluator.tallies import Tallies
from bannister.evaluator.timing import is_seldom_evaluated
from bannister.evaluator.watched import watched_alarms
from bannister.evaluator.windows import Windows
from bannister.metrics.store import Additions, MetricStore
from bannister.settings import Settings, Timing
from bannister.signals import Signal
from bannister.state.store import Row, State
from bannister.state.tables import ALARMS

log = logging.getLogger(__name__)


R = TypeVar("R")

#: Transitions of one second that are written in one commit, where no composite alarm joins more; and alarms that are judged before those of them are written, for so
#: long (some milliseconds) the first one waits.
TOGETHER_MAX: Final = 250


class Feed(Protocol[R]):
    """Where reports come from: each again until it is acknowledged."""

    def __aiter__(self) -> AsyncIterator[R]: ...

    async def acknowledge(self, report: R) -> None:
        """This report, and those of its run before it, are stored and evaluated."""
        ...


@dataclass(frozen=True, slots=True)
class _Look:
    """An alarm judged at one second."""

    state: AlarmState
    evidence: dict[str, Any]
    position: Position
    #: To its metric, until before it was judged: what comes meanwhile makes it be looked at again. None: it is on several.
    additions: Additions | None


_FAULT: Final = 'Alarm "%s" cannot be evaluated; it is tried again at every pass.'


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
        self._state = state
        self._metrics = metrics
        self._feed = feed
        self._comparisons = comparisons
        self._tallies = Tallies(state, clock, settings)
        self._clock = clock
        self._settings = settings
        self._place = Place.of(settings)
        #: Announced when alarms were evaluated at another second, or telemetry covers another time.
        self.changed = Signal()
        #: Seconds of backlog that were not evaluated, since start.
        self.seconds_skipped = 0
        self._telemetry = Horizon(clock)
        self._capture = Horizon(clock)
        #: What alarms look at: what telemetry alone says, and what both together say.
        self._views = (View(self._telemetry), View(self._telemetry, self._capture))
        #: One source's reports are acted on at a time.
        self._turn = asyncio.Lock()
        self._progress = Progress(settings.timing)
        self._alarms: dict[str, Row[Alarm]] = {}
        self._alarms_version = -1
        #: The configurations, by the time that they are of, of which `_sort_out` has made what is kept for each.
        self._sorted_out: dict[str, float] = {}
        #: The metric alarms of each view.
        self._names: dict[View, list[str]] = {view: [] for view in self._views}
        #: Alarms that stop a running deployment, themselves or through a composite alarm: they are decided as soon as it is certain.
        self._watched: frozenset[str] = frozenset()
        #: These and what must be seen in the same step with them: they are looked at first.
        self._urgent: frozenset[str] = frozenset()
        self._quiet = Quiet()
        self._readings = Readings()
        #: The end of the newest range that any alarm was judged on.
        self._judged: float = -math.inf
        self._early = settings.timing is Timing.BANNISTER

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
        for name in self._leaves(alarm_name):
            rule = None if (alarm := self._alarm(name)) is None else alarm.rule
            if rule is not None and is_seldom_evaluated(rule, self._settings.timing):
                continue
            position = self._progress.of(name)
            if position is None:
                return None
            until.append(float(position.until))
        if until:
            return min(until)
        passed = self._views[0].passed  # a rule of nothing but constants, or nothing that anybody waits for
        return None if passed is None or alarm_name not in self._alarms else float(passed)

    def _leaves(self, alarm_name: str) -> list[str]:
        """The metric alarms that decide about an alarm: itself, or those that its rule leads to."""
        alarm = self._alarm(alarm_name)
        if alarm is None or alarm.composite is None:
            return [alarm_name]
        found = [(name, self._alarm(name)) for name in led_to(self._alarm, [alarm_name])]
        return [name for name, alarm in found if alarm is None or alarm.composite is None]

    @property
    def alarms_faulty(self) -> int:
        """Alarms that could not be evaluated when that was tried last."""
        return self._progress.faulty

    @property
    def evaluations_skipped(self) -> int:
        """Evaluations of faulty alarms that were given up, since start."""
        return self._progress.given_up

    def _alarm(self, name: str) -> Alarm | None:
        row = self._alarms.get(name)
        return None if row is None else row.value

    def datapoints(self, alarm_name: str) -> tuple[Datapoint | None, ...]:
        """What the alarm's newest evaluation looked at, by period, oldest first (None: no data); empty: as `evaluated_until`."""
        position = self._progress.of(alarm_name)
        return () if position is None else position.slots

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
        self._quiet, self._readings, self._judged = Quiet(), Readings(), -math.inf
        for view in self._views:
            if view.needs(source):
                view.passed = None
                for name, row in self._alarms.items():
                    if row.value.rule is not None and self._view_of(row.value.rule) is view:
                        self._progress.forget(name)

    async def _pass(self) -> None:
        """Evaluate every alarm at each final second that it has not been evaluated at."""
        if not await self._refreshed():
            return
        for view in self._views:
            if view.end is not None:
                await self._pass_view(view, view.end)

    async def _pass_view(self, view: View, end: int) -> None:
        oldest = self._oldest(view, end)
        # Traffic waits for those that stop a running deployment: what they lead to is done before the others are so much as looked for.
        names = list(self._names[view])
        urgent = self._urgent  # others may be, before this pass is over
        await self._catch_up([name for name in names if name in urgent], view, oldest, end)
        # Somebody may wait for those that have something new to look at, nobody for those that are to find nothing once more.
        quiet = [name for name in names if name not in urgent and name in self._quiet]
        passed_over = urgent.union(quiet)
        await self._catch_up([name for name in names if name not in passed_over], view, oldest, end)
        silent = frozenset(name for name in quiet if self._is_silent(name, view))
        await self._catch_up([name for name in quiet if name not in silent], view, oldest, end)
        await self._catch_up([name for name in quiet if name in silent], view, oldest, end)
        view.passed = end

    def _is_silent(self, name: str, view: View) -> bool:
        row = self._alarms.get(name)
        return row is not None and self._quiet.is_unchanged(row, self._metrics, view.covered_since)

    async def _catch_up(self, names: list[str], view: View, oldest: int, end: int) -> None:
        """Evaluate alarms at each second that they were not evaluated at."""
        failed: set[str] = set()
        self._progress.give_up([self._alarms[name].value for name in names if name in self._alarms], oldest)
        #: By the second from which on they are to be evaluated: one alarm that is behind costs the others nothing.
        joining: dict[int, list[str]] = {}
        for name in names:
            alarm = self._alarm(name)
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
            windows = Windows(self._metrics, self._readings, second, view.covered_since, self._settings.timing)
            unevaluated = await self._evaluate_all(due, windows)
            for name in unevaluated:
                self._fails(name, second)
            failed |= unevaluated
            await asyncio.sleep(0)  # A backlog must not hold up the loops that act on it.

    async def _evaluate_all(self, names: list[str], windows: Windows) -> set[str]:
        """Evaluate alarms at one second; returns those that failed, whose positions stay."""
        failed: set[str] = set()
        present = [name for name in names if name in self._alarms]
        together = {name: None for name in present if self._alarms[name].value.dependents}
        if together:
            failed |= await self._evaluate_together(list(together), windows)
        alone: list[str] = []
        for name in present:
            row = self._alarms.get(name)
            if row is None or row.value.rule is None or name in together:
                continue
            if row.value.dependents:
                failed.add(name)  # part of a composite since a moment ago
            elif self._quiet.is_unchanged(row, self._metrics, windows.covered_since):
                self._progress.reach(name, Position(row.value.configured_at, windows.end, self.datapoints(name)))
            else:
                alone.append(name)
        for first in range(0, len(alone), TOGETHER_MAX):
            failed |= await self._evaluate_alone(alone[first : first + TOGETHER_MAX], windows)
            await asyncio.sleep(0)  # so do many alarms
        return failed

    def _view_of(self, rule: AlarmRule) -> View:
        return self._views[watches_comparisons(*rule.metrics)]

    async def _refreshed(self) -> bool:
        """Whether the alarms could be read."""
        try:
            await self._refresh()
        except Fenced:
            raise
        except Exception:
            log.exception("Alarms cannot be read; their evaluation is made up for at the next pass.")
            return False
        return True

    async def _refresh(self) -> None:
        """Read the alarms if anything was written since they were read, and forget positions that are not theirs."""
        version = self._state.changed.version
        if version != self._alarms_version:
            self._alarms = {row.key: row for row in await self._state.rows(ALARMS)}
            self._watched = await watched_alarms(self._state, self._alarm)
            self._urgent = seen_together(self._alarm, self._watched)
            configurations = {name: row.value.configured_at for name, row in self._alarms.items()}
            if configurations != self._sorted_out:
                self._sort_out()
                self._sorted_out = configurations
            self._alarms_version = version

    def _sort_out(self) -> None:
        """There are other alarms, or some have another configuration."""
        self._names = {view: [] for view in self._views}
        for name, row in self._alarms.items():
            if row.value.rule is not None:
                self._names[self._view_of(row.value.rule)].append(name)
        self._readings.keep(row.value.rule for row in self._alarms.values() if row.value.rule is not None)
        self._progress.keep(self._alarms)
        self._quiet.keep(self._progress.evaluated)

    def _oldest(self, view: View, end: int) -> int:
        """The oldest second that is still evaluated; what is before that is given up, and counted."""
        oldest = end - self._settings.evaluation_backlog_seconds_max + 1
        if self._names[view] and view.passed is not None and view.passed + 1 < oldest:
            skipped = oldest - view.passed - 1
            self.seconds_skipped += skipped
            log.warning("%d seconds became final at once; the oldest %d are not evaluated.", end - view.passed, skipped)
        return oldest

    def _is_due(self, name: str, second: int, end: int) -> bool:
        alarm = self._alarm(name)
        return alarm is not None and self._progress.is_due(alarm, second, end)

    def _is_early(self, name: str) -> bool:
        return self._early and name in self._watched

    async def _evaluate_alone(self, names: list[str], windows: Windows) -> set[str]:
        """Evaluate alarms that no composite depends on at one second, with one commit for all that move; returns those that failed, whose positions stay.

        What cannot be written together is evaluated and written one by one, so that none stops another.
        """
        seen, moves = await self._looks(names, windows)
        failed = set(names) - seen.keys()
        one_by_one: set[str] = set()
        try:
            if moves:
                await self._settle(moves)
        except Fenced:
            raise
        except Exception:  # noqa: BLE001  # whatever the reason: each says its own when it is alone
            one_by_one = set(moves)
        for name, look in seen.items():
            if name not in one_by_one:
                self._quiet.note(self._alarms[name], look.position.slots, windows, look.additions)
                self._progress.reach(name, look.position)
            elif not await self._evaluate(name, windows):
                failed.add(name)
        return failed

    def _additions(self, rule: AlarmRule) -> Additions | None:
        return None if rule.metric is None else self._metrics.additions(rule.metric)

    async def _evaluate(self, name: str, windows: Windows) -> bool:
        """Evaluate one alarm that no composite depends on at one second; False: that failed, and its position stays."""
        before = self._alarms.get(name)
        if before is None or before.value.rule is None:
            return True  # gone since the pass began
        try:
            additions = self._additions(before.value.rule)
            early = self._is_early(name)
            row = await assess(self._state, self._clock, before, before.value.rule, windows, self._place, early=early)
            rule = None if row is None else row.value.rule
            slots = () if rule is None else tuple(await windows.slots(rule))  # read already, kept by `windows`
        except Fenced:
            raise
        except Exception:
            if self._fails(name, windows.end):
                log.exception(_FAULT, name)
            return False
        if row is None:
            del self._alarms[name]
            self._progress.forget(name)
        else:
            self._quiet.note(row, slots, windows, additions)
            self._alarms[name] = row
            self._progress.reach(name, Position(row.value.configured_at, windows.end, slots))
        return True

    async def _evaluate_together(self, names: list[str], windows: Windows) -> set[str]:
        """Evaluate alarms that composites depend on at one second, in one commit with those; returns those that failed, whose positions stay."""
        for _ in range(ATTEMPTS_MAX):
            # Others were deleted in the meantime, or put again as something else.
            present = [name for name in names if name in self._alarms and self._alarms[name].value.rule is not None]
            seen, moves = await self._looks(present, windows)
            try:
                failed = set(present) - seen.keys() | await self._settle_families(moves, windows.end)
            except Conflict:
                self._alarms_version = -1
                if not await self._refreshed():
                    return set(names)
                continue
            for name in seen.keys() - failed:
                self._progress.reach(name, seen[name].position)
            return failed
        log.warning("Alarms changed at every attempt to evaluate them; they are tried again at the next pass.")
        return set(names)

    async def _settle_families(self, moves: dict[str, _Look], second: int) -> set[str]:
        """Write transitions of alarms that composites depend on; returns those that cannot be written.

        Raises:
            Conflict: Somebody else wrote one of them; those that are not written yet are to be decided again, and those that are stay as they are.
        """
        failed: set[str] = set()
        for names in self._in_commits(moves):
            try:
                await self._settle({name: moves[name] for name in names})
            except (Conflict, Fenced):
                raise
            except Exception:
                if {name for name in names if self._fails(name, second)}:
                    log.exception("The transitions of %s cannot be written; tried at every pass.", names)
                failed.update(names)
        return failed

    def _in_commits(self, moves: dict[str, _Look]) -> list[list[str]]:
        """Transitions by the commits that they are written in: few, and never apart from what one composite alarm, or one above it, looks at as well."""
        if len(moves) <= TOGETHER_MAX:
            return [list(moves)] if moves else []
        commits: list[list[str]] = [[]]
        left = dict.fromkeys(moves)
        while left:
            family = sorted(seen_together(self._alarm, [next(iter(left))]) & left.keys())
            if commits[-1] and len(commits[-1]) + len(family) > TOGETHER_MAX:
                commits.append([])
            commits[-1] += family
            for name in family:
                del left[name]
        return commits

    async def _looks(self, names: list[str], windows: Windows) -> tuple[dict[str, _Look], dict[str, _Look]]:
        """Judge alarms at one second and write nothing: those that could be judged, and of these the ones whose state is to be written."""
        looks = [(name, await self._look(self._alarms[name].value, windows)) for name in names]
        seen = {name: look for name, look in looks if look is not None}
        return seen, {name: look for name, look in seen.items() if look.state is not self._alarms[name].value.state}

    async def _look(self, alarm: Alarm, windows: Windows) -> _Look | None:
        """Judge an alarm at one second and write nothing; None: that failed."""
        assert alarm.rule is not None
        try:
            additions = self._additions(alarm.rule)
            early = self._is_early(alarm.name)
            state, slots = await judged(alarm, alarm.rule, windows, self._clock.now(), early=early)
        except Fenced:
            raise
        except Exception:
            if self._fails(alarm.name, windows.end):
                log.exception(_FAULT, alarm.name)
            return None
        evidence = {} if state is alarm.state else evidence_of(alarm.rule, windows.end, slots)
        return _Look(state, evidence, Position(alarm.configured_at, windows.end, tuple(slots)), additions)

    async def _settle(self, moves: dict[str, _Look]) -> None:
        """Write new states with what follows from them in one commit, and read what was written."""
        states = {name: look.state for name, look in moves.items()}
        evidence = {name: look.evidence for name, look in moves.items()}
        names = await settle(self._state, self._alarms, states, evidence, self._clock.now(), self._place)
        for name in names:
            row = await self._state.get(ALARMS, name)
            if row is not None:
                self._alarms[name] = row

    async def end_suppressions(self) -> None:
        """Run the actions of composite alarms whose time of waiting is over; to be called once a second or so.

        Raises:
            Fenced: Another process has taken over.
        """
        async with self._turn:
            await self._refresh()
            now = self._clock.now()
            for name, row in list(self._alarms.items()):
                change = released(row.value, now)
                if change is None:
                    continue
                writes = written([change], lambda _, read=row.revision: read, {}, self._place)  # type: ignore[misc]
                try:
                    await self._state.commit(writes.puts, writes.records)
                except Conflict:
                    continue  # it has changed: next time
                found = await self._state.get(ALARMS, name)
                if found is not None:
                    self._alarms[name] = found

    def _fails(self, name: str, second: int) -> bool:
        """An alarm cannot be evaluated at this second; True: it could be until now."""
        alarm = self._alarm(name)
        return alarm is not None and self._progress.fail(alarm, second)
