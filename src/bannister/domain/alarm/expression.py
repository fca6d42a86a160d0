"""Alarms on expressions: an alarm's `Metrics` as queries of metric math, and the values that the alarm judges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from bannister.domain.alarm.alarm import AlarmQuery
from bannister.domain.expression.queries import Queries, Query, alarm_slots, for_alarm

#: Checked sets of queries that are kept; one is needed at every evaluation.
_KEPT: Final = 1024


@lru_cache(_KEPT)
def queries_of(asked: tuple[AlarmQuery, ...]) -> Queries:
    """The queries, checked.

    Raises:
        Invalid: They are not what an alarm may have.
    """
    return for_alarm([Query(one.id, one.expression, one.return_data, one.period_seconds) for one in asked])


def watched(asked: tuple[AlarmQuery, ...]) -> AlarmQuery:
    """The one that the alarm watches."""
    return next(one for one in asked if one.return_data)


def values(
    asked: tuple[AlarmQuery, ...], slots: Mapping[str, Sequence[float | None]], start: int, period_seconds: int
) -> list[float | None]:
    """What the alarm judges: one value for each period, oldest first; None: no data.

    Args:
        asked: The alarm's queries.
        slots: The same of each metric, by id.
        start: When the oldest period begins.
        period_seconds: The period of all.
    """
    return alarm_slots(queries_of(asked), slots, start=start, period_seconds=period_seconds)
