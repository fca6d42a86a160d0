"""Alarms: put, describe, delete, set the state, switch actions on and off.

Whatever changes an alarm is journaled in the same transaction under `alarm/NAME`: deployments read transitions and deletions there, and
the alarm's history is read from there long after the alarm is gone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from bannister.domain.alarm.alarm import Alarm, AlarmRule, AlarmState, AlarmValue
from bannister.domain.alarm.caveats import of_rule
from bannister.domain.alarm.definition import Definition, rule_of
from bannister.domain.alarm.evaluation import initial_state
from bannister.domain.metric.identity import MetricIdentity
from bannister.errors import Conflict, Invalid, NotFound, Resource
from bannister.operations.context import Context
from bannister.operations.continuation import continued
from bannister.operations.listing import Page
from bannister.state.store import Put, Record, Remove
from bannister.state.tables import ALARMS

#: AWS: MaxRecords where none is given, and its bound.
PAGE_SIZE_DEFAULT: Final = 50

#: Each failure means that another task wrote the same alarm in between; the evaluator does so at most once a second.
_ATTEMPTS_MAX: Final = 10


@dataclass(frozen=True, slots=True)
class Extras:
    """What an alarm has besides its rule."""

    description: str | None = None
    actions_enabled: bool = True
    ok_actions: tuple[str, ...] = ()
    alarm_actions: tuple[str, ...] = ()
    insufficient_data_actions: tuple[str, ...] = ()
    #: Taken when the alarm is created, ignored by an update (AWS).
    tags: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Selection:
    """Which alarms to describe; None: any."""

    names: Sequence[str] | None = None
    prefix: str | None = None
    value: AlarmValue | None = None
    #: Of the ARN of any of an alarm's actions.
    action_prefix: str | None = None


async def put_metric_alarm(context: Context, name: str, asked: Definition, extras: Extras) -> Alarm:
    """Create an alarm, or give an existing one a new configuration; an update keeps the state.

    Raises:
        Invalid: The definition is wrong; nothing changed.
        Unsupported: CloudWatch can do this and Bannister cannot.
    """
    rule = rule_of(asked)
    for _ in range(_ATTEMPTS_MAX):
        row = await context.state.get(ALARMS, name)
        before = None if row is None else row.value
        alarm = _configured(name, rule, extras, before, context.clock.now())
        put = Put(ALARMS, name, alarm, 0 if row is None else row.revision)
        try:
            await context.state.commit([put], [_configuration(alarm, before)])
        except Conflict:
            continue
        return alarm
    raise _contended(name)


def _configured(name: str, rule: AlarmRule, extras: Extras, before: Alarm | None, now: float) -> Alarm:
    return Alarm(
        name=name,
        rule=rule,
        state=initial_state(now) if before is None else before.state,
        configured_at=now,
        description=extras.description,
        actions_enabled=extras.actions_enabled,
        ok_actions=extras.ok_actions,
        alarm_actions=extras.alarm_actions,
        insufficient_data_actions=extras.insufficient_data_actions,
        tags=extras.tags if before is None else before.tags,
    )


def _configuration(alarm: Alarm, before: Alarm | None) -> Record:
    body: dict[str, Any] = {"alarm": msgspec.to_builtins(alarm)}
    if caveats := of_rule(alarm.name, alarm.rule):
        body["caveats"] = msgspec.to_builtins(caveats)
    if before is not None:
        body["before"] = msgspec.to_builtins(before)
    kind = "alarm.created" if before is None else "alarm.updated"
    return Record(alarm.configured_at, _subject(alarm.name), kind, body)


async def describe_alarms(
    context: Context, selection: Selection, *, limit: int = PAGE_SIZE_DEFAULT, token: str | None = None
) -> Page[Alarm]:
    """Alarms by name; names that do not exist are just absent."""
    if selection.names is not None and selection.prefix is not None:
        raise Invalid("Give either AlarmNames or AlarmNamePrefix, not both.", code="ValidationException")
    rows = await context.state.rows(ALARMS, selection.prefix or "")
    alarms = [row.value for row in rows if _selected(row.value, selection)]
    return continued(alarms, lambda alarm: alarm.name, limit, token)


def _selected(alarm: Alarm, selection: Selection) -> bool:
    actions = alarm.ok_actions + alarm.alarm_actions + alarm.insufficient_data_actions
    return (
        (selection.names is None or alarm.name in selection.names)
        and (selection.value is None or alarm.state.value is selection.value)
        and (selection.action_prefix is None or any(action.startswith(selection.action_prefix) for action in actions))
    )


async def describe_alarms_for_metric(
    context: Context,
    metric: MetricIdentity,
    *,
    statistic: str | None = None,
    period_seconds: int | None = None,
    unit: str | None = None,
) -> list[Alarm]:
    """The alarms on exactly this metric; None: any."""
    rules = [(row.value, row.value.rule) for row in await context.state.rows(ALARMS)]
    return [
        alarm
        for alarm, rule in rules
        if rule.metric == metric
        and statistic in (None, rule.statistic)
        and period_seconds in (None, rule.period_seconds)
        and unit in (None, rule.unit)
    ]


async def delete_alarms(context: Context, names: Sequence[str]) -> None:
    """Delete alarms; those that exist go even if others do not.

    Raises:
        NotFound: One that does not exist, after the others are gone.
    """
    unknown = [name for name in dict.fromkeys(names) if not await _delete(context, name)]
    if unknown:
        raise NotFound(Resource.ALARM, unknown[0])


async def _delete(context: Context, name: str) -> bool:
    for _ in range(_ATTEMPTS_MAX):
        row = await context.state.get(ALARMS, name)
        if row is None:
            return False
        body = {"alarm": msgspec.to_builtins(row.value)}
        record = Record(context.clock.now(), _subject(name), "alarm.deleted", body)
        try:
            await context.state.commit([Remove(ALARMS, name, row.revision)], [record])
        except Conflict:
            continue
        return True
    raise _contended(name)


async def set_alarm_state(
    context: Context, name: str, value: AlarmValue, reason: str, reason_data: str | None = None
) -> None:
    """Set a state by hand. The next evaluation takes the alarm back to what its data says, yet a transition is a transition.

    Raises:
        NotFound: There is no such alarm.
        Invalid: The reason data is not JSON.
    """
    _check_json(reason_data)
    now = context.clock.now()

    def revised(alarm: Alarm) -> tuple[Alarm, list[Record]]:
        before = alarm.state
        moved = value is not before.value
        since = now if moved else before.transitioned_at
        after = AlarmState(value, reason, reason_data, updated_at=now, transitioned_at=since)
        return replace(alarm, state=after), [_set_by_request(name, before, after)] if moved else []

    await _revise(context, name, revised)


def _check_json(text: str | None) -> None:
    try:
        if text is not None:
            json.loads(text)
    except ValueError as error:
        raise Invalid(f"StateReasonData is not JSON: {error}.", code="InvalidFormatFault") from None


def _set_by_request(name: str, before: AlarmState, after: AlarmState) -> Record:
    body = {
        "from": before.value.value,
        "to": after.value.value,
        "reason": after.reason,
        "reason_data": after.reason_data,
        "from_reason": before.reason,
        "from_reason_data": before.reason_data,
        "set_by_request": True,
    }
    return Record(after.updated_at, _subject(name), "alarm.transitioned", body)


async def enable_alarm_actions(context: Context, names: Sequence[str], *, enabled: bool) -> None:
    """Switch the actions of alarms on or off; names that do not exist are ignored (AWS)."""
    now = context.clock.now()

    def revised(alarm: Alarm) -> tuple[Alarm, list[Record]]:
        if alarm.actions_enabled is enabled:
            return alarm, []
        after = replace(alarm, actions_enabled=enabled)
        return after, [replace(_configuration(after, alarm), at=now)]

    for name in dict.fromkeys(names):
        try:
            await _revise(context, name, revised)
        except NotFound:
            continue


async def _revise(context: Context, name: str, revised: Callable[[Alarm], tuple[Alarm, list[Record]]]) -> None:
    """Write what `revised` makes of the alarm as it is now."""
    for _ in range(_ATTEMPTS_MAX):
        row = await context.state.get(ALARMS, name)
        if row is None:
            raise NotFound(Resource.ALARM, name)
        alarm, records = revised(row.value)
        if alarm == row.value:
            return
        try:
            await context.state.commit([Put(ALARMS, name, alarm, row.revision)], records)
        except Conflict:
            continue
        return
    raise _contended(name)


def _contended(name: str) -> Conflict:
    return Conflict(f'Alarm "{name}" was changed by others at every attempt; try again.')


def _subject(name: str) -> str:
    return f"alarm/{name}"
