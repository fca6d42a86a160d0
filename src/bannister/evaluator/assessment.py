"""Alarms at one second: read their ranges, judge them, and write transitions down before anybody acts on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bannister.clock import Clock
from bannister.domain.alarm.alarm import Alarm, AlarmRule, AlarmState
from bannister.domain.alarm.cascade import cascade
from bannister.domain.alarm.certainty import Foreseen
from bannister.domain.alarm.evaluation import awaits_confirmation, evaluate
from bannister.domain.alarm.judgement import Datapoint
from bannister.errors import Conflict
from bannister.evaluator.settlement import Place, written
from bannister.evaluator.windows import Windows
from bannister.state.store import Row, State
from bannister.state.tables import ALARMS

#: Each failure means that an alarm's row was written by somebody else in between.
ATTEMPTS_MAX = 5


async def assess(
    state: State, clock: Clock, row: Row[Alarm], rule: AlarmRule, windows: Windows, place: Place, *, early: bool = False
) -> Row[Alarm] | None:
    """Evaluate an alarm that no composite alarm depends on, on the ranges that end at `windows.end`.

    `early`: also on those that end later, where these are certain.

    Returns:
        The alarm's row afterwards; None: the alarm was deleted in the meantime.

    Raises:
        Conflict: The row changed at every attempt, or composite alarms depend on it now.
    """
    current: Row[Alarm] | None = row
    for _ in range(ATTEMPTS_MAX):
        if current is None:
            return None
        alarm = current.value
        if alarm.rule is None or alarm.dependents:
            break
        found = await judged(alarm, alarm.rule, windows, clock.now(), early=early)
        if found.state is alarm.state:
            return current
        evidence = {alarm.name: found.evidence(alarm.rule, windows.end)}
        try:
            await settle(state, {alarm.name: current}, {alarm.name: found.state}, evidence, clock.now(), place)
        except Conflict:
            pass  # Its rule or its state is another one now: decide again.
        else:
            return await state.get(ALARMS, alarm.name)
        current = await state.get(ALARMS, alarm.name)
    raise Conflict(
        f'Alarm "{row.key}" changed {ATTEMPTS_MAX} times while it was evaluated, or is part of a composite now.'
    )


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of judging an alarm at one second."""

    #: The alarm's own where nothing is to be written.
    state: AlarmState
    #: The periods that were looked at, oldest first; None: no data.
    slots: Sequence[Datapoint | None]
    #: The later evaluation that the state is of; None: it is of this second's.
    ahead: Foreseen | None = None

    def evidence(self, rule: AlarmRule, end: int) -> dict[str, Any]:
        """What the journal's entry of a transition says of what it was decided on."""
        if self.ahead is None:
            return evidence_of(rule, end, end, self.slots)
        known = {point.start_at: point for point in self.ahead.breaching}
        first = self.ahead.at - rule.evaluation_periods * rule.period_seconds
        starts = range(first, self.ahead.at, rule.period_seconds)
        return evidence_of(rule, end, self.ahead.at, [known.get(start) for start in starts])


async def judged(alarm: Alarm, rule: AlarmRule, windows: Windows, now: float, *, early: bool = False) -> Judged:
    """Judge a metric alarm on the ranges that end at `windows.end`; `early` as in `assess`."""
    slots = await windows.slots(rule)
    if awaits_confirmation(rule, alarm.state, windows.end):
        return Judged(alarm.state, slots)
    unseen = windows.unseen(alarm.configured_at, rule, slots)
    ahead = await windows.foreseen(rule) if early else None
    state = evaluate(rule, slots, alarm.state, now, unseen=unseen, ahead=ahead)
    is_of_ahead = ahead is not None and state is not alarm.state and state.confirmed_at == ahead.at
    return Judged(state, slots, ahead if is_of_ahead else None)


async def settle(
    state: State,
    rows: Mapping[str, Row[Alarm]],
    states: Mapping[str, AlarmState],
    evidence: Mapping[str, Mapping[str, Any]],
    at: float,
    place: Place,
) -> list[str]:
    """Write new states of some alarms together with all that follows from them; returns the names of all that were written.

    Raises:
        Conflict: One of them was written by somebody else since `rows` were read; nothing was written.
    """
    alarms = {name: row.value for name, row in rows.items()}
    changes = cascade(alarms, states, at, place.alarm_arn)
    writes = written(changes, lambda name: rows[name].revision, evidence, place)
    await state.commit(writes.puts, writes.records)
    return [change.after.name for change in changes]


def evidence_of(rule: AlarmRule, until: int, end: int, slots: Sequence[Datapoint | None]) -> dict[str, Any]:
    """What the journal's entry of a transition says of what was looked at: on data until then, the periods that end there (later, where it was decided early)."""
    period = rule.period_seconds
    return {
        "evaluated_until": until,
        "window": {"start": end - len(slots) * period, "end": end, "period_seconds": period},
        #: One for each period of the window, oldest first; None: no data.
        "values": [None if slot is None else slot.value for slot in slots],
        "samples": [0 if slot is None else slot.samples for slot in slots],
    }
