"""The evaluation of an alarm: from the datapoints of its evaluation range and its state until now to its state afterwards.

`judgement` holds the rule, `reason` the texts; here is what counts as a change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bannister.domain.alarm.alarm import AlarmRule, AlarmState, AlarmValue
from bannister.domain.alarm.certainty import Foreseen
from bannister.domain.alarm.judgement import Datapoint, judge
from bannister.domain.alarm.reason import (
    INITIAL_REASON,
    foreseen_reason,
    foreseen_reason_data,
    reason,
    reason_data,
)


def initial_state(at: float) -> AlarmState:
    """The state of a new alarm."""
    return AlarmState(AlarmValue.INSUFFICIENT_DATA, INITIAL_REASON, None, updated_at=at, transitioned_at=at)


def awaits_confirmation(rule: AlarmRule, state: AlarmState, end: int) -> bool:
    """Whether an ALARM was decided early for an evaluation that is later than the one at `end`, and so stands until then, whoever asked for it to be early.

    A deployment may end before the period does: without this the alarm would go to OK in between, and back to ALARM.
    """
    # None is foreseen more than a period ahead: a later time is from before the clock was set back.
    return state.confirmed_at is not None and end < state.confirmed_at <= end + rule.period_seconds


def evaluate(
    rule: AlarmRule,
    slots: Sequence[Datapoint | None],
    previous: AlarmState,
    at: float,
    *,
    unseen: bool = False,
    ahead: Foreseen | None = None,
) -> AlarmState:
    """The state after an evaluation; `previous` itself where nothing is to be written.

    A state is written when its value changes. A reason that would read differently for the same value is not written, as in
    CloudWatch, except that the first evaluation always replaces the reason of a new alarm.

    Args:
        rule: The alarm's configuration.
        slots: The periods of the evaluation range, oldest first; None: no data.
        previous: The state until now.
        at: The time of the evaluation, for the texts and timestamps.
        unseen: As in `judge`. A new alarm has no state to keep, so its first evaluation takes what is unseen for missing.
        ahead: An evaluation still to come that is certain to say ALARM: the alarm goes there now, and stays until it has come (`awaits_confirmation`).
    """
    judgement = judge(rule, slots, unseen=unseen and previous.reason != INITIAL_REASON)
    if ahead is not None and judgement.value is not AlarmValue.ALARM:
        return _foreseen(rule, ahead, previous, at)
    if judgement.value is None:
        return previous
    changed = judgement.value is not previous.value
    if not changed and previous.reason != INITIAL_REASON:
        return previous
    return AlarmState(
        value=judgement.value,
        reason=reason(rule, judgement),
        reason_data=reason_data(rule, judgement, at),
        updated_at=at,
        transitioned_at=at if changed else previous.transitioned_at,
    )


def _foreseen(rule: AlarmRule, ahead: Foreseen, previous: AlarmState, at: float) -> AlarmState:
    if previous.value is AlarmValue.ALARM:
        # From here on it stands for this evaluation, whatever brought it about.
        return previous if previous.confirmed_at == ahead.at else replace(previous, confirmed_at=ahead.at)
    return AlarmState(
        value=AlarmValue.ALARM,
        reason=foreseen_reason(rule, ahead),
        reason_data=foreseen_reason_data(rule, ahead, at),
        updated_at=at,
        transitioned_at=at,
        confirmed_at=ahead.at,
    )
