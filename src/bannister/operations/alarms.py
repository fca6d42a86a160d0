"""Alarms: put, describe, delete, set the state, switch actions on and off.

Whatever changes an alarm is journaled in the same transaction under `alarm/NAME`: deployments read transitions and deletions there, and
the alarm's history is read from there long after the alarm is gone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec

from bannister.domain.alarm.action import check_action
from bannister.domain.alarm.alarm import Alarm, AlarmRule, AlarmState, AlarmValue
from bannister.domain.alarm.cascade import depends_on
from bannister.domain.alarm.caveats import Traffic, of_rule
from bannister.domain.alarm.definition import Definition, rule_of
from bannister.domain.alarm.evaluation import initial_state
from bannister.domain.metric.identity import MetricIdentity
from bannister.domain.tags import check_tags
from bannister.errors import Conflict, Invalid, NotFound, Resource
from bannister.evaluator.assessment import settle
from bannister.evaluator.settlement import Place, subject
from bannister.operations.caveats import renew_caveats, traffics_of
from bannister.operations.context import Context
from bannister.operations.continuation import continued
from bannister.operations.listing import Page
from bannister.state.store import Put, Record, Remove
from bannister.state.tables import ALARMS

#: AWS: MaxRecords where none is given, and its bound.
PAGE_SIZE_DEFAULT: Final = 50

#: Each failure means that another task wrote the same alarm in between; the evaluator does so at most once a second.
ATTEMPTS_MAX: Final = 10
#: AWS: composite alarms in one DeleteAlarms.
COMPOSITES_DELETED_MAX: Final = 1


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
    #: Described again, and without effect.
    as_given: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which alarms to describe; None: any."""

    names: Sequence[str] | None = None
    prefix: str | None = None
    value: AlarmValue | None = None
    #: Of the ARN of any of an alarm's actions.
    action_prefix: str | None = None
    #: Which kinds; AWS: metric alarms, unless others are asked for.
    metric: bool = True
    composite: bool = False
    #: Those in the rule of this composite alarm, or the composite alarms with this one in their rules; of either kind.
    children_of: str | None = None
    parents_of: str | None = None


async def put_metric_alarm(context: Context, name: str, asked: Definition, extras: Extras) -> Alarm:
    """Create an alarm, or give an existing one a new configuration; an update keeps the state.

    Raises:
        Invalid: The definition is wrong; nothing changed.
        Unsupported: CloudWatch can do this and Bannister cannot.
    """
    check_name(name)
    rule = rule_of(asked)
    check_extras(extras)
    traffics = await traffics_of(context, rule)
    for _ in range(ATTEMPTS_MAX):
        row = await context.state.get(ALARMS, name)
        before = None if row is None else row.value
        if before is not None and before.composite is not None:
            raise Invalid(
                f'"{name}" is the name of a composite alarm; choose another name, or delete that one first.',
                code="ResourceConflict",
            )
        alarm = configured(name, rule, extras, before, context.clock.now())
        put = Put(ALARMS, name, alarm, 0 if row is None else row.revision)
        try:
            await context.state.commit([put], [configuration(alarm, before, traffics)])
        except Conflict:
            continue
        await renew_caveats(context, name)
        return alarm
    raise contended(name)


def check_name(name: str) -> None:
    """Whether an alarm may have this name.

    Raises:
        Invalid: It may not.
    """
    if any(one < " " or one == "\x7f" for one in name):
        raise Invalid(
            "AlarmName must not contain ASCII control characters, such as line breaks.", code="ValidationException"
        )


def check_extras(extras: Extras) -> None:
    """Whether actions and tags are acceptable.

    Raises:
        Invalid: They are not.
    """
    for action in extras.ok_actions + extras.alarm_actions + extras.insufficient_data_actions:
        check_action(action)
    check_tags(extras.tags)


def configured(name: str, rule: AlarmRule | None, extras: Extras, before: Alarm | None, now: float) -> Alarm:
    """An alarm with another configuration; what is not configuration stays."""
    return Alarm(
        name=name,
        rule=rule,
        # What was certain by the former rule is not by this one.
        state=initial_state(now) if before is None else replace(before.state, confirmed_at=None),
        configured_at=now,
        description=extras.description,
        actions_enabled=extras.actions_enabled,
        ok_actions=extras.ok_actions,
        alarm_actions=extras.alarm_actions,
        insufficient_data_actions=extras.insufficient_data_actions,
        tags=tuple(dict(extras.tags).items()) if before is None else before.tags,
        parents=() if before is None else before.parents,
        suppresses=() if before is None else before.suppresses,
        as_given=dict(extras.as_given),
    )


def configuration(alarm: Alarm, before: Alarm | None, traffics: Sequence[Traffic] = ()) -> Record:
    """The journal entry of a change of the configuration; `traffics`: what each of the alarm's metrics has had lately."""
    body: dict[str, Any] = {"alarm": msgspec.to_builtins(alarm)}
    if alarm.rule is not None and (caveats := of_rule(alarm.name, alarm.rule, traffics)):
        body["caveats"] = msgspec.to_builtins(caveats)
    if before is not None:
        body["before"] = msgspec.to_builtins(before)
    kind = "alarm.created" if before is None else "alarm.updated"
    return Record(alarm.configured_at, subject(alarm.name), kind, body)


async def describe_alarms(
    context: Context, selection: Selection, *, limit: int = PAGE_SIZE_DEFAULT, token: str | None = None
) -> Page[Alarm]:
    """Alarms by name; names that do not exist are just absent."""
    if selection.names is not None and selection.prefix is not None:
        raise Invalid("Give either AlarmNames or AlarmNamePrefix, not both.", code="ValidationException")
    related = await _related(context, selection)
    if related is not None:
        found = [row.value for name in related if (row := await context.state.get(ALARMS, name)) is not None]
        return continued(found, lambda alarm: alarm.name, limit, token)
    rows = await context.state.rows(ALARMS, selection.prefix or "")
    alarms = [row.value for row in rows if _selected(row.value, selection)]
    return continued(alarms, lambda alarm: alarm.name, limit, token)


async def _related(context: Context, selection: Selection) -> Sequence[str] | None:
    """The children or parents that were asked for; None: neither was."""
    name = selection.children_of if selection.children_of is not None else selection.parents_of
    if name is None:
        return None
    row = await context.state.get(ALARMS, name)
    if row is None:
        raise NotFound(Resource.ALARM, name)
    if selection.parents_of is not None:
        return row.value.parents
    return () if row.value.composite is None else row.value.composite.children


def _selected(alarm: Alarm, selection: Selection) -> bool:
    actions = alarm.ok_actions + alarm.alarm_actions + alarm.insufficient_data_actions
    return (
        (selection.metric if alarm.composite is None else selection.composite)
        and (selection.names is None or alarm.name in selection.names)
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
        if rule is not None
        and rule.metric == metric
        and statistic in (None, rule.statistic)
        and period_seconds in (None, rule.period_seconds)
        and unit in (None, rule.unit)
    ]


async def delete_alarms(context: Context, names: Sequence[str]) -> None:
    """Delete alarms; those that exist go even if others do not.

    Raises:
        Invalid: A composite alarm that stays depends on one of them, or more than one of them is composite; all are still there.
        NotFound: One that does not exist, after the others are gone.
    """
    asked = list(dict.fromkeys(names))
    found = [row.value for name in asked if (row := await context.state.get(ALARMS, name)) is not None]
    composites = [alarm.name for alarm in found if alarm.composite is not None]
    if len(composites) > COMPOSITES_DELETED_MAX:
        raise Invalid(
            f"At most {COMPOSITES_DELETED_MAX} composite alarm can be deleted in one operation, not {len(composites)}: "
            f"{', '.join(composites)}.",
            code="ValidationException",
        )
    held = [alarm.name for alarm in found if not set(alarm.dependents) <= set(composites)]
    if held:
        raise _depended_on(held)
    # A composite alarm first: what it depends on is free then.
    order = composites + [name for name in asked if name not in composites]
    unknown = [name for name in order if not await _delete(context, name)]
    if unknown:
        raise NotFound(Resource.ALARM, unknown[0])


def _depended_on(names: Sequence[str]) -> Invalid:
    them = "it" if len(names) == 1 else "them"
    return Invalid(
        f"Cannot delete {','.join(names)} as there are composite alarm(s) depending on {them}.",
        code="ValidationException",
    )


async def _delete(context: Context, name: str) -> bool:
    for _ in range(ATTEMPTS_MAX):
        row = await context.state.get(ALARMS, name)
        if row is None:
            return False
        if row.value.dependents:
            raise _depended_on([name])
        body = {"alarm": msgspec.to_builtins(row.value)}
        record = Record(context.clock.now(), subject(name), "alarm.deleted", body)
        freed = [found for one in depends_on(row.value.composite) if (found := await context.state.get(ALARMS, one))]
        writes = [Put(ALARMS, one.key, without(one.value, name), one.revision) for one in freed]
        try:
            await context.state.commit([Remove(ALARMS, name, row.revision), *writes], [record])
        except Conflict:
            continue
        return True
    raise contended(name)


def without(alarm: Alarm, dependent: str) -> Alarm:
    """An alarm that a composite alarm does not depend on any more."""
    return replace(
        alarm,
        parents=tuple(one for one in alarm.parents if one != dependent),
        suppresses=tuple(one for one in alarm.suppresses if one != dependent),
    )


async def set_alarm_state(
    context: Context, name: str, value: AlarmValue, reason: str, reason_data: str | None = None
) -> None:
    """Set a state by hand. The next evaluation takes the alarm back to what its data says, yet a transition is a transition.

    Raises:
        NotFound: There is no such alarm.
        Invalid: The reason data is not JSON.
    """
    _check_json(reason_data)
    for _ in range(ATTEMPTS_MAX):
        row = await context.state.get(ALARMS, name)
        if row is None:
            raise NotFound(Resource.ALARM, name)
        concerned = row.value.dependents or row.value.composite is not None
        rows = {one.key: one for one in await context.state.rows(ALARMS)} if concerned else {name: row}
        row = rows.get(name, row)
        now = context.clock.now()
        before = row.value.state
        since = before.transitioned_at if value is before.value else now
        after = AlarmState(value, reason, reason_data, updated_at=now, transitioned_at=since)
        evidence = {name: {"set_by_request": True}}
        try:
            await settle(context.state, rows, {name: after}, evidence, now, Place.of(context.settings))
        except Conflict:
            continue
        return
    raise contended(name)


def _check_json(text: str | None) -> None:
    try:
        if text is not None:
            json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"StateReasonData is not JSON: {error}.", code="InvalidFormatFault") from None


async def enable_alarm_actions(context: Context, names: Sequence[str], *, enabled: bool) -> None:
    """Switch the actions of alarms on or off; names that do not exist are ignored (AWS)."""
    now = context.clock.now()

    def revised(alarm: Alarm) -> tuple[Alarm, list[Record]]:
        if alarm.actions_enabled is enabled:
            return alarm, []
        after = replace(alarm, actions_enabled=enabled)
        return after, [replace(configuration(after, alarm), at=now)]

    for name in dict.fromkeys(names):
        try:
            await revise(context, name, revised)
        except NotFound:
            continue


async def revise(context: Context, name: str, revised: Callable[[Alarm], tuple[Alarm, list[Record]]]) -> None:
    """Write what `revised` makes of the alarm as it is now."""
    for _ in range(ATTEMPTS_MAX):
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
    raise contended(name)


def contended(name: str) -> Conflict:
    """Others were faster at every attempt."""
    return Conflict(f'Alarm "{name}" was changed by others at every attempt; try again.')
