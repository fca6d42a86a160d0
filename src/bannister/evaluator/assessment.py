"""Alarms at one second: read their ranges, judge them, and write transitions down before anybody acts on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bannister.clock import Clock
from bannister.domain.alarm.alarm import Alarm, AlarmRule, AlarmState
from bannister.domain.alarm.cascade import cascade
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
        after, slots = await judged(alarm, alarm.rule, windows, clock.now(), early=early)
        if after is alarm.state:
            return current
        evidence = {alarm.name: evidence_of(alarm.rule, windows.end, slots)}
        try:
            await settle(state, {alarm.name: current}, {alarm.name: after}, evidence, clock.now(), place)
        except Conflict:
            pass  # Its rule or its state is another one now: decide again.
        else:
            return await state.get(ALARMS, alarm.name)
        current = await state.get(ALARMS, alarm.name)
    raise Conflict(
        f'Alarm "{row.key}" changed {ATTEMPTS_MAX} times while it was evaluated, or is part of a composite now.'
    )


async def judged(
    alarm: Alarm, rule: AlarmRule, windows: Windows, now: float, *, early: bool = False
) -> tuple[AlarmState, Sequence[Datapoint | None]]:
    """The state of a metric alarm on the ranges that end at `windows.end`, and the periods that were looked at; `early` as in `assess`."""
    slots = await windows.slots(rule)
    if awaits_confirmation(rule, alarm.state, windows.end):
        return alarm.state, slots
    unseen = windows.unseen(alarm.configured_at, rule, slots)
    ahead = await windows.foreseen(rule) if early else None
    return evaluate(rule, slots, alarm.state, now, unseen=unseen, ahead=ahead), slots


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


def evidence_of(rule: AlarmRule, end: int, slots: Sequence[Datapoint | None]) -> dict[str, Any]:
    """What the journal's entry of a transition says of what was looked at."""
    period = rule.period_seconds
    return {
        "evaluated_until": end,
        "window": {"start": end - len(slots) * period, "end": end, "period_seconds": period},
        #: One for each period of the window, oldest first; None: no data.
        "values": [None if slot is None else slot.value for slot in slots],
        "samples": [0 if slot is None else slot.samples for slot in slots],
    }
