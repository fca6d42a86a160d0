"""One alarm at one second: read its range, judge it, and write the transition down before anybody acts on it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bannister.clock import Clock
from bannister.domain.alarm.alarm import Alarm, AlarmState
from bannister.domain.alarm.evaluation import evaluate
from bannister.domain.alarm.judgement import Datapoint
from bannister.errors import Conflict
from bannister.evaluator.windows import Windows
from bannister.state.store import Put, Record, Row, State
from bannister.state.tables import ALARMS

#: Each failure means that the alarm's row was written by somebody else in between.
_ATTEMPTS_MAX = 5


async def assess(
    state: State, clock: Clock, row: Row[Alarm], windows: Windows, *, early: bool = False
) -> Row[Alarm] | None:
    """Evaluate an alarm on the ranges that end at `windows.end`; `early`: also on those that end later, where these are certain.

    Returns:
        The alarm's row afterwards; None: the alarm was deleted in the meantime.

    Raises:
        Conflict: The row changed at every attempt.
    """
    current: Row[Alarm] | None = row
    for _ in range(_ATTEMPTS_MAX):
        if current is None:
            return None
        alarm = current.value
        slots = await windows.slots(alarm.rule)
        unseen = windows.unseen(alarm, slots)
        ahead = await windows.foreseen(alarm.rule) if early else None
        after = evaluate(alarm.rule, slots, alarm.state, clock.now(), unseen=unseen, ahead=ahead)
        if after is alarm.state:
            return current
        records = [transition(alarm, after, windows.end, slots)] if after.value is not alarm.state.value else []
        try:
            await state.commit([Put(ALARMS, alarm.name, replace(alarm, state=after), current.revision)], records)
        except Conflict:
            pass  # Its rule or its state is another one now: decide again.
        else:
            return await state.get(ALARMS, alarm.name)
        current = await state.get(ALARMS, alarm.name)
    raise Conflict(f'Alarm "{row.key}" changed {_ATTEMPTS_MAX} times while it was evaluated.')


def transition(alarm: Alarm, after: AlarmState, end: int, slots: list[Datapoint | None]) -> Record:
    """The journal entry of a transition, with the evidence: what was looked at, and what was found there."""
    period = alarm.rule.period_seconds
    body: dict[str, Any] = {
        "from": alarm.state.value.value,
        "to": after.value.value,
        "reason": after.reason,
        "reason_data": after.reason_data,
        "from_reason": alarm.state.reason,
        "from_reason_data": alarm.state.reason_data,
        "evaluated_until": end,
        "window": {"start": end - len(slots) * period, "end": end, "period_seconds": period},
        #: One for each period of the window, oldest first; None: no data.
        "values": [None if slot is None else slot.value for slot in slots],
        "samples": [0 if slot is None else slot.samples for slot in slots],
    }
    return Record(after.updated_at, f"alarm/{alarm.name}", "alarm.transitioned", body)
