"""Alarms judged at one second, and what moves written, in few commits.

Judging reads and writes nothing else than what was asked for: an alarm that cannot be judged keeps its position, is tried again at the next pass, and stops no other.

Composite alarms are decided, and written, in the commit of the transitions that they follow from. What one composite alarm depends on is therefore evaluated
together and moves in one commit. All other transitions of a second share commits only because a thousand at once must not take a thousand of them (`TOGETHER_MAX`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from bannister.clock import Clock
from bannister.domain.alarm.alarm import Alarm, AlarmRule, AlarmState
from bannister.domain.alarm.cascade import released
from bannister.errors import Conflict, Fenced
from bannister.evaluator.assessment import ATTEMPTS_MAX, assess, judged, settle
from bannister.evaluator.known import KnownAlarms
from bannister.evaluator.progress import Position, Progress
from bannister.evaluator.quiet import Quiet
from bannister.evaluator.readings import Readings
from bannister.evaluator.settlement import Place, written
from bannister.evaluator.windows import Windows
from bannister.metrics.store import Additions, MetricStore
from bannister.settings import Settings, Timing
from bannister.state.store import State

log = logging.getLogger(__name__)

#: Transitions of one second that are written in one commit, where no composite alarm joins more; and alarms that are judged before those of them are written, for so
#: long (some milliseconds) the first one waits.
TOGETHER_MAX: Final = 250

_FAULT: Final = 'Alarm "%s" cannot be evaluated; it is tried again at every pass.'


@dataclass(frozen=True, slots=True)
class _Look:
    """An alarm judged at one second."""

    state: AlarmState
    evidence: dict[str, Any]
    position: Position
    #: To its metric, until before it was judged: what comes meanwhile makes it be looked at again. None: it is on several.
    additions: Additions | None


class Assessor:
    """Judges the alarms of one evaluator, and knows how far each is. For one pass at a time."""

    def __init__(self, state: State, metrics: MetricStore, clock: Clock, settings: Settings) -> None:
        self._state = state
        self._metrics = metrics
        self._clock = clock
        self._place = Place.of(settings)
        self._early = settings.timing is Timing.BANNISTER
        self.known = KnownAlarms(state)
        self.progress = Progress(settings.timing)
        self.quiet = Quiet()
        self.readings = Readings()

    async def refreshed(self) -> bool:
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
        if await self.known.refresh():
            self.readings.keep(row.value.rule for row in self.known.rows.values() if row.value.rule is not None)
            self.progress.keep(self.known.rows)
            self.quiet.keep(self.progress.evaluated)

    def start_anew(self, names: Iterable[str]) -> None:
        """What was read, and where these alarms are, is of a time that is not anymore."""
        self.quiet, self.readings = Quiet(), Readings()
        for name in names:
            self.progress.forget(name)

    async def evaluate(self, names: list[str], windows: Windows) -> set[str]:
        """Evaluate alarms at one second; returns those that failed, whose positions stay."""
        failed: set[str] = set()
        present = [name for name in names if name in self.known]
        together = {name: None for name in present if self.known[name].value.dependents}
        if together:
            failed |= await self._evaluate_together(list(together), windows)
        alone: list[str] = []
        for name in present:
            row = self.known.rows.get(name)
            if row is None or row.value.rule is None or name in together:
                continue
            if row.value.dependents:
                failed.add(name)  # part of a composite since a moment ago
            elif self.quiet.is_unchanged(row, self._metrics, windows.covered_since):
                self.progress.reach(name, Position(row.value.configured_at, windows.end, self.progress.slots(name)))
            else:
                alone.append(name)
        for first in range(0, len(alone), TOGETHER_MAX):
            failed |= await self._evaluate_alone(alone[first : first + TOGETHER_MAX], windows)
            await asyncio.sleep(0)  # so do many alarms
        return failed

    def _is_early(self, name: str) -> bool:
        return self._early and name in self.known.watched

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
                self.quiet.note(self.known[name], look.position.slots, windows, look.additions)
                self.progress.reach(name, look.position)
            elif not await self._evaluate_one(name, windows):
                failed.add(name)
        return failed

    def _additions(self, rule: AlarmRule) -> Additions | None:
        return None if rule.metric is None else self._metrics.additions(rule.metric)

    async def _evaluate_one(self, name: str, windows: Windows) -> bool:
        """Evaluate one alarm that no composite depends on at one second; False: that failed, and its position stays."""
        before = self.known.rows.get(name)
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
            if self.fails(name, windows.end):
                log.exception(_FAULT, name)
            return False
        if row is None:
            del self.known.rows[name]
            self.progress.forget(name)
        else:
            self.quiet.note(row, slots, windows, additions)
            self.known.rows[name] = row
            self.progress.reach(name, Position(row.value.configured_at, windows.end, slots))
        return True

    async def _evaluate_together(self, names: list[str], windows: Windows) -> set[str]:
        """Evaluate alarms that composites depend on at one second, in one commit with those; returns those that failed, whose positions stay."""
        for _ in range(ATTEMPTS_MAX):
            # Others were deleted in the meantime, or put again as something else.
            present = [name for name in names if name in self.known and self.known[name].value.rule is not None]
            seen, moves = await self._looks(present, windows)
            try:
                failed = set(present) - seen.keys() | await self._settle_families(moves, windows.end)
            except Conflict:
                self.known.forget_version()
                if not await self.refreshed():
                    return set(names)
                continue
            for name in seen.keys() - failed:
                self.progress.reach(name, seen[name].position)
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
                if {name for name in names if self.fails(name, second)}:
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
            family = sorted(self.known.family([next(iter(left))]) & left.keys())
            if commits[-1] and len(commits[-1]) + len(family) > TOGETHER_MAX:
                commits.append([])
            commits[-1] += family
            for name in family:
                del left[name]
        return commits

    async def _looks(self, names: list[str], windows: Windows) -> tuple[dict[str, _Look], dict[str, _Look]]:
        """Judge alarms at one second and write nothing: those that could be judged, and of these the ones whose state is to be written."""
        looks = [(name, await self._look(self.known[name].value, windows)) for name in names]
        seen = {name: look for name, look in looks if look is not None}
        return seen, {name: look for name, look in seen.items() if look.state is not self.known[name].value.state}

    async def _look(self, alarm: Alarm, windows: Windows) -> _Look | None:
        """Judge an alarm at one second and write nothing; None: that failed."""
        assert alarm.rule is not None
        try:
            additions = self._additions(alarm.rule)
            early = self._is_early(alarm.name)
            found = await judged(alarm, alarm.rule, windows, self._clock.now(), early=early)
        except Fenced:
            raise
        except Exception:
            if self.fails(alarm.name, windows.end):
                log.exception(_FAULT, alarm.name)
            return None
        evidence = {} if found.state is alarm.state else found.evidence(alarm.rule, windows.end)
        return _Look(found.state, evidence, Position(alarm.configured_at, windows.end, tuple(found.slots)), additions)

    async def _settle(self, moves: dict[str, _Look]) -> None:
        """Write new states with what follows from them in one commit, and read what was written."""
        states = {name: look.state for name, look in moves.items()}
        evidence = {name: look.evidence for name, look in moves.items()}
        names = await settle(self._state, self.known.rows, states, evidence, self._clock.now(), self._place)
        await self.known.read(names)

    async def end_suppressions(self) -> None:
        """Run the actions of composite alarms whose time of waiting is over.

        Raises:
            Fenced: Another process has taken over.
        """
        await self._refresh()
        now = self._clock.now()
        for name, row in list(self.known.rows.items()):
            change = released(row.value, now)
            if change is None:
                continue
            writes = written([change], lambda _, read=row.revision: read, {}, self._place)  # type: ignore[misc]
            try:
                await self._state.commit(writes.puts, writes.records)
            except Conflict:
                continue  # it has changed: next time
            await self.known.read([name])

    def fails(self, name: str, second: int) -> bool:
        """An alarm cannot be evaluated at this second; True: it could be until now."""
        alarm = self.known.alarm(name)
        return alarm is not None and self.progress.fail(alarm, second)
