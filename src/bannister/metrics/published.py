"""What of a metric can be seen under `timing: aws`.

AWS publishes endpoint metrics with a resolution of one minute: all that a minute brought is one datapoint that bears the time of the minute's beginning, and is there from its end on. Whoever asks for
shorter periods finds it in one of them, and in the others nothing. Metrics that users put are there when they are put.
"""

from __future__ import annotations

import math
from typing import Final

from bannister.domain.metric.aggregate import Aggregate
from bannister.domain.metric.endpoint import endpoint_of
from bannister.domain.metric.identity import SAGEMAKER_NAMESPACE, MetricIdentity
from bannister.metrics.store import MetricStore
from bannister.settings import Timing

MINUTE: Final = 60
#: Nobody may put data of a time that is further ahead (PutMetricData).
FUTURE_SECONDS_MAX: Final = 2 * 3600.0


def is_published_by_minute(metric: MetricIdentity, timing: Timing) -> bool:
    """Whether only whole minutes of a metric are seen."""
    return timing is Timing.AWS and metric.namespace == SAGEMAKER_NAMESPACE and endpoint_of(metric) is not None


async def read_published(
    metrics: MetricStore,
    timing: Timing,
    metric: MetricIdentity,
    start: float,
    period_seconds: int,
    periods: int,
    unit: str | None,
    now: float,
    *,
    sliding: bool = False,
) -> list[Aggregate | None]:
    """As `MetricStore.read`, of what has been published by now; `sliding` as there. Periods of whole minutes begin with a minute."""
    if not is_published_by_minute(metric, timing):
        future = now + FUTURE_SECONDS_MAX + 1
        return await _read_until(metrics, metric, start, period_seconds, periods, unit, future)
    published_until = math.floor(now / MINUTE) * MINUTE
    if period_seconds % MINUTE:
        return await _read_short(metrics, metric, start, period_seconds, periods, unit, published_until, sliding)
    return await _read_until(metrics, metric, start, period_seconds, periods, unit, published_until)


async def _read_until(
    metrics: MetricStore,
    metric: MetricIdentity,
    start: float,
    period_seconds: int,
    periods: int,
    unit: str | None,
    until: float,
) -> list[Aggregate | None]:
    """Of a period that ends later only what is before that; nobody looks for what cannot be there, through all the years that a period may have."""
    whole = min(max(int((until - start) // period_seconds), 0), periods)
    found = await metrics.read(metric, start, period_seconds, whole, unit) if whole else []
    begun = start + whole * period_seconds
    if whole < periods and begun < until:
        length = math.ceil(until - begun)
        found += await metrics.read(metric, begun, length, 1, unit, shown_to_seconds=period_seconds)
    return found + [None] * (periods - len(found))


async def _read_short(
    metrics: MetricStore,
    metric: MetricIdentity,
    start: float,
    period_seconds: int,
    periods: int,
    unit: str | None,
    published_until: int,
    sliding: bool,
) -> list[Aggregate | None]:
    found: list[Aggregate | None] = []
    for index in range(periods):
        begin = start + index * period_seconds
        minute = math.ceil(begin / MINUTE) * MINUTE
        # A period shorter than a minute has room for the beginning of one at most.
        if minute >= begin + period_seconds or minute + MINUTE > published_until:
            found.append(None)
        else:
            found += await metrics.read(metric, minute, MINUTE, 1, unit, sliding=sliding)
    return found
