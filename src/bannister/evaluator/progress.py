"""How far each alarm has been evaluated, what is to be made up for, and what was given up.

Every alarm has a position of its own. One that cannot be evaluated at some second keeps its position and has a *fault* from that second on: it is tried again at every pass from
there, each second of its own, so that no transition is missed, however short. Only what is beyond the bound on a backlog is given up, and counted. A new alarm
has no position; its fault says alone from when on it is to be evaluated.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from bannister.domain.alarm.alarm import Alarm
from bannister.domain.alarm.judgement import Datapoint
from bannister.evaluator.timing import evaluation_step
from bannister.settings import Timing
from bannister.state.store import Row

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Position:
    """How far one configuration of an alarm has been evaluated."""

    #: Tells a configuration from the one before it: an update starts anew.
    configured_at: float
    until: int
    #: What the newest evaluation looked at, by period, oldest first; None: no data.
    slots: tuple[Datapoint | None, ...] = ()


@dataclass(frozen=True, slots=True)
class _Fault:
    """An alarm that could not be evaluated."""

    #: As in `Position`.
    configured_at: float
    #: The oldest second that is to be made up for.
    since: int
    #: Evaluations before that which were given up.
    given_up: int = 0


class Progress:
    """The positions and faults of all metric alarms."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._positions: dict[str, Position] = {}
        self._faults: dict[str, _Fault] = {}
        #: Evaluations that were given up, since start.
        self.given_up = 0

    @property
    def faulty(self) -> int:
        """Alarms that could not be evaluated when that was tried last."""
        return len(self._faults)

    @property
    def evaluated(self) -> Collection[str]:
        """The alarms that have a position."""
        return self._positions.keys()

    def of(self, name: str) -> Position | None:
        """An alarm's position; None: it has not been evaluated since it was put, or since the start."""
        return self._positions.get(name)

    def slots(self, name: str) -> tuple[Datapoint | None, ...]:
        """What an alarm's newest evaluation looked at, by period, oldest first (None: no data); empty: as `of`."""
        position = self._positions.get(name)
        return () if position is None else position.slots

    def next_second(self, alarm: Alarm, passed: int | None, end: int) -> int:
        """From when on an alarm is to be evaluated, where the last pass ended at `passed` (None: there was none) and this one ends at `end`."""
        fault, position = self._faults.get(alarm.name), self._positions.get(alarm.name)
        if fault is not None:
            return fault.since
        if self._timing is Timing.AWS and passed is not None:
            # Positions stay behind until the next minute: what matters is which seconds were looked at.
            return passed + 1
        if self._timing is Timing.AWS and alarm.rule is not None:
            # The last time that it was to be evaluated may have come while nobody did.
            last = end - end % evaluation_step(alarm.rule, self._timing)
            return last if last > alarm.configured_at else end
        # A new alarm starts at the newest second: it has no past.
        return end if position is None else position.until + 1

    def is_due(self, alarm: Alarm, second: int, end: int) -> bool:
        """Whether an alarm is to be evaluated at a second of a pass that ends at `end`."""
        if alarm.rule is None or second % evaluation_step(alarm.rule, self._timing):
            return False
        position = self._positions.get(alarm.name)
        if position is not None:
            return second > position.until
        return second == end or alarm.name in self._faults or self._timing is Timing.AWS

    def reach(self, name: str, position: Position) -> None:
        """An alarm was evaluated."""
        self._positions[name] = position
        fault = self._faults.pop(name, None)
        if fault is not None:
            level = logging.WARNING if fault.given_up else logging.INFO
            log.log(level, 'Alarm "%s" is evaluated again; %d of its evaluations were given up.', name, fault.given_up)

    def fail(self, alarm: Alarm, second: int) -> bool:
        """An alarm cannot be evaluated at this second; True: it could be until now."""
        if alarm.name in self._faults:
            return False
        self._faults[alarm.name] = _Fault(alarm.configured_at, second)
        return True

    def give_up(self, alarms: Iterable[Alarm], oldest: int) -> None:
        """What these alarms have to make up for before a second is given up, and counted."""
        for alarm in alarms:
            fault = self._faults.get(alarm.name)
            if fault is not None and alarm.rule is not None and fault.since < oldest:
                step = evaluation_step(alarm.rule, self._timing)
                count = (oldest - 1) // step - (fault.since - 1) // step
                self.given_up += count
                self._faults[alarm.name] = replace(fault, since=oldest, given_up=fault.given_up + count)

    def forget(self, name: str) -> None:
        """An alarm is gone, or starts anew."""
        self._positions.pop(name, None)
        self._faults.pop(name, None)

    def keep(self, alarms: Mapping[str, Row[Alarm]]) -> None:
        """Forget what is not of these alarms in their present configurations."""

        def is_present(name: str, one: Position | _Fault) -> bool:
            row = alarms.get(name)
            return row is not None and row.value.configured_at == one.configured_at

        for name, position in list(self._positions.items()):
            if not is_present(name, position):
                del self._positions[name]
        for name, fault in list(self._faults.items()):
            if not is_present(name, fault):
                del self._faults[name]
