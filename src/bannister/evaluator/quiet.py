"""Alarms that need no evaluation, because nothing can have changed.

Most endpoints are silent most of the time. An alarm that found no data at all in its evaluation range finds none a second later either, unless something was added to
its metric (or was there already, of a later time); so its missing data was treated already, and it is where it is. Three things end that: data, another row (a new rule, a state set by hand), and another stretch of
time that telemetry has seen without a gap, for then what is missing may be unseen or the other way round. An alarm whose range *has* data, or reaches into unseen time, is always evaluated: the
range slides, and what was in it leaves.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

from bannister.domain.alarm.alarm import Alarm
from bannister.domain.alarm.judgement import Datapoint
from bannister.evaluator.windows import Windows
from bannister.metrics.store import Additions, MetricStore
from bannister.state.store import Row


@dataclass(frozen=True, slots=True)
class _Silence:
    """An evaluation that found nothing."""

    revision: int
    #: To the metric until then.
    additions: Additions
    covered_since: float | None


class Quiet:
    """The alarms whose newest evaluation found no data."""

    def __init__(self) -> None:
        self._silent: dict[str, _Silence] = {}

    def __contains__(self, name: object) -> bool:
        """Its newest evaluation found no data."""
        return name in self._silent

    def note(
        self, row: Row[Alarm], slots: Sequence[Datapoint | None], windows: Windows, additions: Additions | None
    ) -> None:
        """An alarm was evaluated and its row is this now; `additions` to its metric were known before; None: it is on several."""
        rule = row.value.rule
        if (
            rule is None
            or additions is None
            or additions.newest_at >= windows.end - len(slots) * rule.period_seconds
            or windows.unseen(row.value.configured_at, rule, slots)
        ):
            self._silent.pop(row.key, None)
        else:
            self._silent[row.key] = _Silence(row.revision, additions, windows.covered_since)

    def is_unchanged(self, row: Row[Alarm], metrics: MetricStore, covered_since: float | None) -> bool:
        """Another evaluation would find what the newest one found: nothing."""
        silence, rule = self._silent.get(row.key), row.value.rule
        return (
            silence is not None
            and rule is not None
            and rule.metric is not None
            and silence.revision == row.revision
            and silence.covered_since == covered_since
            and silence.additions == metrics.additions(rule.metric)
        )

    def keep(self, known: Container[str]) -> None:
        """Forget the alarms that are not among these."""
        for name in [name for name in self._silent if name not in known]:
            del self._silent[name]
