"""PutCompositeAlarm as an operation: what is asked for is checked against the alarms that exist, and decided in the same transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from bannister.domain.alarm.alarm import Alarm, CompositeRule, SuppressedBy, Suppression
from bannister.domain.alarm.alarm_rule import children, name_of, parse
from bannister.domain.alarm.cascade import Change, depends_on, leads_back, put_composite
from bannister.errors import Conflict, Invalid
from bannister.evaluator.settlement import Place, written
from bannister.operations.alarms import (
    ATTEMPTS_MAX,
    Extras,
    check_extras,
    check_name,
    configuration,
    configured,
    contended,
    without,
)
from bannister.operations.caveats import renew_caveats
from bannister.operations.context import Context
from bannister.state.store import Row
from bannister.state.tables import ALARMS

#: AWS: composite alarms that have one alarm in their rules.
PARENTS_MAX: Final = 150

_VALIDATION: Final = "ValidationException"


@dataclass(frozen=True, slots=True)
class CompositeDefinition:
    """A composite alarm as it was asked for; None: left out."""

    rule: str
    #: A name or an ARN.
    suppressor: str | None = None
    wait_seconds: int | None = None
    extension_seconds: int | None = None


async def put_composite_alarm(context: Context, name: str, asked: CompositeDefinition, extras: Extras) -> Alarm:
    """Create a composite alarm, or give an existing one a new configuration, and evaluate it.

    Raises:
        Invalid: The rule is wrong, names an alarm that does not exist, or leads back to this alarm; nothing changed.
    """
    check_name(name)
    rule = _rule_of(asked)
    check_extras(extras)
    place = Place.of(context.settings)
    for _ in range(ATTEMPTS_MAX):
        rows = {row.key: row for row in await context.state.rows(ALARMS)}
        alarms = {key: row.value for key, row in rows.items()}
        _check(name, rule, alarms, place)
        before = alarms.get(name)
        now = context.clock.now()
        alarm = replace(
            configured(name, None, extras, before, now), composite=rule, suppression=_suppression(rule, before, now)
        )
        related = _related(name, rule, before, alarms)
        changes = put_composite({**alarms, **related, name: alarm}, alarm, now, place.alarm_arn, created=before is None)
        others = [Change(alarms[key], one) for key, one in related.items()]
        writes = written([*changes, *others], lambda key, read=rows: _revision(read, key), {}, place)  # type: ignore[misc]
        try:
            await context.state.commit(writes.puts, [configuration(alarm, before), *writes.records])
        except Conflict:
            continue
        await renew_caveats(context, name)
        return next(change.after for change in changes if change.after.name == name)
    raise contended(name)


def _revision(rows: Mapping[str, Row[Alarm]], name: str) -> int:
    row = rows.get(name)
    return 0 if row is None else row.revision


def _rule_of(asked: CompositeDefinition) -> CompositeRule:
    named = children(parse(asked.rule))
    if asked.suppressor is None:
        if asked.wait_seconds is not None or asked.extension_seconds is not None:
            raise Invalid(
                "ActionsSuppressorWaitPeriod and ActionsSuppressorExtensionPeriod are for alarms with an ActionsSuppressor.",
                code=_VALIDATION,
            )
        return CompositeRule(asked.rule, named)
    if asked.wait_seconds is None or asked.extension_seconds is None:
        raise Invalid(
            "With ActionsSuppressor, ActionsSuppressorWaitPeriod and ActionsSuppressorExtensionPeriod must be specified.",
            code=_VALIDATION,
        )
    if asked.wait_seconds < 0 or asked.extension_seconds < 0:
        raise Invalid("The periods of an ActionsSuppressor must not be negative.", code=_VALIDATION)
    return CompositeRule(
        asked.rule, named, name_of(asked.suppressor), asked.wait_seconds, asked.extension_seconds, asked.suppressor
    )


def _check(name: str, rule: CompositeRule, alarms: Mapping[str, Alarm], place: Place) -> None:
    if name in alarms and alarms[name].composite is None:
        raise Invalid(
            f'"{name}" is the name of a metric alarm; choose another name, or delete that one first.',
            code="ResourceConflict",
        )
    way = leads_back(alarms, name, depends_on(rule))
    if way is not None:
        raise Invalid(
            f"The composite alarm would depend on itself: {' -> '.join(way)}. Take one of these out of a rule.",
            code=_VALIDATION,
        )
    missing = [child for child in rule.children if child not in alarms]
    if missing:
        listed = ", ".join(place.alarm_arn(one) for one in missing)
        raise Invalid(
            f"Could not save the composite alarm as alarms [{listed}] in the alarm rule do not exist", code=_VALIDATION
        )
    if rule.suppressor is not None and rule.suppressor not in alarms:
        raise Invalid(f"The ActionsSuppressor {rule.suppressor} does not exist.", code=_VALIDATION)
    full = [child for child in rule.children if len({*alarms[child].parents, name}) > PARENTS_MAX]
    if full:
        raise Invalid(
            f"An alarm can be in the rules of at most {PARENTS_MAX} composite alarms; {full[0]} is in as many.",
            code="LimitExceededFault",
        )


def _suppression(rule: CompositeRule, before: Alarm | None, now: float) -> Suppression | None:
    """How actions were held back until now: an update changes nothing in that, and loses none that wait. The step that follows looks at the suppressor.

    Those that another suppressor held back wait for the new one as after a transition.
    """
    held = before.suppression if before is not None else None
    if before is None or before.composite is None or held is None or held.by is not SuppressedBy.ALARM:
        return held
    if before.composite.suppressor == rule.suppressor:
        return held
    return Suppression(SuppressedBy.WAIT, now + rule.wait_seconds, pending=True) if held.pending else None


def _related(name: str, rule: CompositeRule, before: Alarm | None, alarms: Mapping[str, Alarm]) -> dict[str, Alarm]:
    """The alarms that this one depends on now, or did before, with it among their dependents or not."""
    after: dict[str, Alarm] = {}
    for one in dict.fromkeys((*depends_on(before.composite if before is not None else None), *depends_on(rule))):
        alarm = without(alarms[one], name)
        if one in rule.children:
            alarm = replace(alarm, parents=(*alarm.parents, name))
        if one == rule.suppressor:
            alarm = replace(alarm, suppresses=(*alarm.suppresses, name))
        after[one] = alarm
    return {key: alarm for key, alarm in after.items() if alarm != alarms[key]}
