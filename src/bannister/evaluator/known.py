"""The alarms as they were last read, and what follows from which there are: who is looked at with whom, who is looked at first.

They are read again when anything was written since. Whoever writes one himself says so with `put`, and goes on with what he wrote.
"""

from __future__ import annotations

from collections.abc import Iterable

from bannister.domain.alarm.alarm import Alarm
from bannister.domain.alarm.cascade import led_to, seen_together
from bannister.domain.comparison.metrics import watches_comparisons
from bannister.evaluator.watched import watched_alarms
from bannister.state.store import Row, State
from bannister.state.tables import ALARMS


class KnownAlarms:
    """For one evaluator."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.rows: dict[str, Row[Alarm]] = {}
        #: Alarms that stop a running deployment, themselves or through a composite alarm: they are decided as soon as it is certain.
        self.watched: frozenset[str] = frozenset()
        #: These and what must be seen in the same step with them: they are looked at first.
        self.urgent: frozenset[str] = frozenset()
        #: The metric alarms on compared answers (True), and all others.
        self.names: dict[bool, list[str]] = {False: [], True: []}
        self._version = -1
        #: The configurations, by the time that they are of, of which `names` was made.
        self._configurations: dict[str, float] = {}

    def __getitem__(self, name: str) -> Row[Alarm]:
        return self.rows[name]

    def __contains__(self, name: object) -> bool:
        return name in self.rows

    def alarm(self, name: str) -> Alarm | None:
        row = self.rows.get(name)
        return None if row is None else row.value

    def leaves(self, name: str) -> list[str]:
        """The metric alarms that decide about an alarm: itself, or those that its rule leads to."""
        alarm = self.alarm(name)
        if alarm is None or alarm.composite is None:
            return [name]
        found = [(one, self.alarm(one)) for one in led_to(self.alarm, [name])]
        return [one for one, alarm in found if alarm is None or alarm.composite is None]

    def family(self, names: Iterable[str]) -> frozenset[str]:
        """What must be seen in the same step with these."""
        return seen_together(self.alarm, names)

    async def refresh(self) -> bool:
        """Read the alarms if anything was written since they were read; True: there are others now, or some have another configuration."""
        version = self._state.changed.version
        if version == self._version:
            return False
        self.rows = {row.key: row for row in await self._state.rows(ALARMS)}
        self.watched = await watched_alarms(self._state, self.alarm)
        self.urgent = self.family(self.watched)
        configurations = {name: row.value.configured_at for name, row in self.rows.items()}
        others = configurations != self._configurations
        if others:
            self.names = {False: [], True: []}
            for name, row in self.rows.items():
                if row.value.rule is not None:
                    self.names[watches_comparisons(*row.value.rule.metrics)].append(name)
            self._configurations = configurations
        self._version = version
        return others

    def forget_version(self) -> None:
        """Somebody wrote an alarm at the same time: they are to be read again."""
        self._version = -1

    async def read(self, names: Iterable[str]) -> None:
        """Read some that were written by the evaluator itself."""
        for name in names:
            row = await self._state.get(ALARMS, name)
            if row is not None:
                self.rows[name] = row
