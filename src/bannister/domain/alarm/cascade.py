"""What follows from transitions of some alarms: composite alarms over them go to other states, and composite alarms over those.

It is decided for all of them together and written in one transaction with the transitions that led to it. So a composite alarm misses no transition, however short, wherever a process
ends, and alarms that change in the same second are seen together: `ALARM(a) AND NOT ALARM(b)` does not trip because a was looked at before b.

A composite alarm is evaluated once for each such step, after all alarms in its rule (no rule leads back to itself).
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from bannister.domain.alarm.alarm import Alarm, AlarmState, AlarmValue, CompositeRule
from bannister.domain.alarm.alarm_rule import holds, parse
from bannister.domain.alarm.reason import timestamp
from bannister.domain.alarm.suppression import suppressed

#: Alarms listed as those that led to a transition, so that the text stays within AWS's 4,000 characters.
TRIGGERS_MAX: Final = 10
_REASON_CHARACTERS_MAX: Final = 1023
_REASON_DATA_CHARACTERS_MAX: Final = 4000


@dataclass(frozen=True, slots=True)
class Change:
    """One alarm before and after a step. A composite alarm that was evaluated and stayed as it was is one too: it is written again, so that of two
    steps at the same time, each of which saw half, the second is taken again.
    """

    before: Alarm
    after: Alarm
    #: Actions of the state afterwards are to be run.
    acts: bool = False
    #: For a composite alarm that was evaluated: the states of the alarms in its rule.
    children: Mapping[str, AlarmValue] | None = None

    @property
    def moved(self) -> bool:
        """The state has another value."""
        return self.before.state.value is not self.after.state.value


def cascade(
    alarms: Mapping[str, Alarm], states: Mapping[str, AlarmState], at: float, arn_of: Callable[[str], str]
) -> list[Change]:
    """All changes that follow from new states of some alarms, theirs first.

    Args:
        alarms: All that exist.
        states: New states, by name.
        at: The time of the step.
        arn_of: An alarm's ARN, for the texts.
    """
    step = _Step(alarms, at, arn_of)
    for name, state in states.items():
        step.enter(replace(alarms[name], state=state))
    return step.follow(name for name in states if step.moved(name))


def put_composite(
    alarms: Mapping[str, Alarm], alarm: Alarm, at: float, arn_of: Callable[[str], str], *, created: bool
) -> list[Change]:
    """All changes that follow from a composite alarm that was created or has another rule; `alarms` holds it as it is now."""
    step = _Step(alarms, at, arn_of)
    how = "created" if created else "updated"
    step.evaluate(alarm.name, f"{arn_of(alarm.name)} was {how} and its alarm rule evaluates to")
    return step.follow([alarm.name] if step.moved(alarm.name) else [])


def released(alarm: Alarm, at: float) -> Change | None:
    """What the end of a suppression's time changes; None: it is not over."""
    held = alarm.suppression
    if held is None or held.until is None or held.until > at:
        return None
    after = replace(alarm, suppression=None)
    return Change(alarm, after, acts=held.pending and bool(after.actions))


class _Step:
    """The alarms during one step."""

    def __init__(self, alarms: Mapping[str, Alarm], at: float, arn_of: Callable[[str], str]) -> None:
        self._before = alarms
        self._at = at
        self._arn_of = arn_of
        self._after: dict[str, Alarm] = {}
        self._seen: dict[str, dict[str, AlarmValue]] = {}

    def now(self, name: str) -> Alarm | None:
        return self._after.get(name) or self._before.get(name)

    def value(self, name: str) -> AlarmValue | None:
        alarm = self.now(name)
        return None if alarm is None else alarm.state.value

    def enter(self, alarm: Alarm) -> None:
        self._after[alarm.name] = alarm

    def moved(self, name: str) -> bool:
        return self._after[name].state.value is not self._before[name].state.value

    def follow(self, moved: Iterable[str]) -> list[Change]:
        concerned = dict.fromkeys(moved)
        for name in _in_order(self._before, concerned):
            alarm = self._before[name]
            assert alarm.composite is not None
            if any(child in concerned for child in alarm.composite.children):
                self.evaluate(name, None)
                if self.moved(name):
                    concerned[name] = None
            elif name not in self._after:
                self.enter(alarm)  # one whose actions are suppressed
        return [self._change(name) for name in self._after]

    def evaluate(self, name: str, reason: str | None) -> None:
        """Evaluate a composite alarm; `reason`: why, where no alarm in its rule has moved."""
        alarm = self._before[name]
        assert alarm.composite is not None
        children = alarm.composite.children
        self._seen[name] = {child: value for child in children if (value := self.value(child)) is not None}
        value = AlarmValue.ALARM if holds(parse(alarm.composite.text), self.value) else AlarmValue.OK
        if value is alarm.state.value:
            self.enter(alarm)
            return
        triggers = [child for child in children if child in self._after and self.moved(child)]
        shown = [self._after[child] for child in triggers[:TRIGGERS_MAX]]
        text = self._transitions(shown) if reason is None else f"{reason} {value.value}"
        state = AlarmState(value, text[:_REASON_CHARACTERS_MAX], self._data(shown), self._at, self._at)
        self.enter(replace(alarm, state=state))

    def _transitions(self, triggers: list[Alarm]) -> str:
        moment = datetime.fromtimestamp(self._at, tz=UTC).strftime("%A %d %B, %Y %H:%M:%S UTC")
        first = triggers[0]
        return f"{self._arn_of(first.name)} transitioned to {first.state.value.value} at {moment}"

    def _data(self, triggers: list[Alarm]) -> str | None:
        listed = [
            {
                "arn": self._arn_of(one.name),
                "state": {"value": one.state.value.value, "timestamp": timestamp(one.state.transitioned_at)},
            }
            for one in triggers
        ]
        while listed:
            text = json.dumps({"triggeringAlarms": listed}, separators=(",", ":"))
            if len(text) <= _REASON_DATA_CHARACTERS_MAX:
                return text
            listed.pop()
        return None

    def _change(self, name: str) -> Change:
        before, after = self._before[name], self._after[name]
        moved, rule = self.moved(name), after.composite
        acts = moved
        if rule is not None and (rule.suppressor is not None or after.suppression is not None):
            suppressor = None if rule.suppressor is None else self.value(rule.suppressor)
            held = suppressed(rule, after.suppression, suppressor, self._at, moved=moved)
            pending = moved or (after.suppression is not None and after.suppression.pending)
            acts = held is None and pending
            after = replace(after, suppression=held)
        return Change(before, after, acts=acts and bool(after.actions), children=self._seen.get(name))


def _in_order(alarms: Mapping[str, Alarm], names: Iterable[str]) -> list[str]:
    """The composite alarms that transitions of these may concern, each after all that it depends on."""
    order: list[str] = []
    known: set[str] = set()
    pending = [(name, False) for name in names]
    while pending:
        name, left = pending.pop()
        if left:
            order.append(name)
        elif name not in known and name in alarms:
            known.add(name)
            pending.append((name, True))
            pending += [(dependent, False) for dependent in alarms[name].dependents]
    return [name for name in reversed(order) if alarms[name].composite is not None]


def depends_on(rule: CompositeRule | None) -> tuple[str, ...]:
    """The alarms that a composite alarm needs, each once: those in its rule, and its suppressor, which may be in it, too."""
    if rule is None:
        return ()
    needed = rule.children if rule.suppressor is None else (*rule.children, rule.suppressor)
    return tuple(dict.fromkeys(needed))


def led_to(alarm_of: Callable[[str], Alarm | None], names: Iterable[str]) -> tuple[str, ...]:
    """Alarms and all that their rules lead to, at every depth, each once and before those beneath it; also names of alarms that do not exist.

    Suppressors are not among them: they hold back actions, and no state follows from theirs.
    """
    found: dict[str, None] = {}
    pending = deque(names)
    while pending:
        name = pending.popleft()
        if name not in found:
            found[name] = None
            alarm = alarm_of(name)
            pending += alarm.composite.children if alarm is not None and alarm.composite is not None else ()
    return tuple(found)


def seen_together(alarm_of: Callable[[str], Alarm | None], names: Iterable[str]) -> frozenset[str]:
    """Alarms and all that must be looked at in the same step with them, so that no composite alarm sees half of a second.

    That is whatever depends on the same composite alarm, or has one above it that does, or suppresses its actions. Between alarms that are among them and such that are not nothing
    follows.
    """
    found: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        alarm = alarm_of(name)
        if alarm is not None and name not in found:
            found.add(name)
            pending += [*alarm.dependents, *depends_on(alarm.composite)]
    return frozenset(found)


def leads_back(alarms: Mapping[str, Alarm], name: str, below: Iterable[str]) -> list[str] | None:
    """The way from an alarm over those that it is to depend on (in its rule, or as suppressor) back to itself; None: there is none."""
    pending = [[name, one] for one in below]
    known: set[str] = set()
    while pending:
        way = pending.pop()
        if way[-1] == name:
            return way
        if way[-1] not in known:
            known.add(way[-1])
            alarm = alarms.get(way[-1])
            pending += [[*way, one] for one in (depends_on(alarm.composite) if alarm is not None else ())]
    return None
