"""When an alarm is evaluated, and what of a metric can be seen then.

Bannister's own timing is each final second over all that is stored. `timing: aws` does what AWS does:

* Alarms are evaluated once a minute; those with a period of 10, 20 or 30 s every 10 seconds; those that look back for more than a day once an hour. So periods of minutes begin and end with
  minutes, and those of days with hours. No bake waits for an hour: where it ends, such an alarm is taken as it is.
* Endpoint metrics have a resolution of one minute: all that a minute brought is one datapoint that bears the time of its beginning and is published at its end. An
  alarm with a shorter period finds it in one of six periods, long after that has passed, and in the others nothing.
"""

from __future__ import annotations

import math
from typing import Final

from bannister.domain.alarm.alarm import AlarmRule
from bannister.domain.metric.aggregate import Aggregate
from bannister.domain.metric.endpoint import endpoint_of
from bannister.domain.metric.identity import SAGEMAKER_NAMESPACE, MetricIdentity
from bannister.metrics.store import MetricStore
from bannister.settings import Timing

MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 24 * _HOUR
_SHORT_STEP: Final = 10


def evaluation_step(rule: AlarmRule, timing: Timing) -> int:
    """An alarm is evaluated at the seconds that are multiples of this."""
    if timing is Timing.BANNISTER:
        return 1
    if is_seldom_evaluated(rule, timing):
        return _HOUR
    return _SHORT_STEP if rule.period_seconds < MINUTE else MINUTE


def is_seldom_evaluated(rule: AlarmRule, timing: Timing) -> bool:
    """Whether it is evaluated too seldom for anybody to wait for it."""
    return timing is Timing.AWS and rule.evaluation_periods * rule.period_seconds > _DAY


def is_published_by_minute(metric: MetricIdentity, period_seconds: int, timing: Timing) -> bool:
    """Whether an alarm sees only whole minutes of a metric, where its periods are no minutes."""
    if timing is Timing.BANNISTER or period_seconds % MINUTE == 0:
        return False
    return metric.namespace == SAGEMAKER_NAMESPACE and endpoint_of(metric) is not None


async def read_by_minute(
    metrics: MetricStore, metric: MetricIdentity, start: int, period_seconds: int, periods: int, unit: str | None
) -> list[Aggregate | None]:
    """As `MetricStore.read`, of what AWS has published when the last of the periods ends."""
    end = start + periods * period_seconds
    found: list[Aggregate | None] = []
    for begin in range(start, end, period_seconds):
        minute = math.ceil(begin / MINUTE) * MINUTE
        # A period shorter than a minute has room for the beginning of one at most.
        if minute >= begin + period_seconds or minute + MINUTE > end:
            found.append(None)
        else:
            found += await metrics.read(metric, minute, MINUTE, 1, unit)
    return found
