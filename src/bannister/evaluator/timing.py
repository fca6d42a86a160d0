"""When an alarm is evaluated, and what of a metric can be seen then.

Bannister's own timing is each final second over all that is stored. `timing: aws` does what AWS does:

* Alarms are evaluated once a minute; those with a period of 10, 20 or 30 s every 10 seconds. So periods of minutes begin and end with minutes. (AWS evaluates alarms that look
  back for more than a day only every hour; that is not done here.)
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
_SHORT_STEP: Final = 10


def evaluation_step(rule: AlarmRule, timing: Timing) -> int:
    """An alarm is evaluated at the seconds that are multiples of this."""
    if timing is Timing.BANNISTER:
        return 1
    return _SHORT_STEP if rule.period_seconds < MINUTE else MINUTE


def is_published_by_minute(rule: AlarmRule, timing: Timing) -> bool:
    """Whether an alarm sees only whole minutes, where its periods are no minutes."""
    if rule.metric is None or timing is Timing.BANNISTER or rule.period_seconds % MINUTE == 0:
        return False
    return rule.metric.namespace == SAGEMAKER_NAMESPACE and endpoint_of(rule.metric) is not None


async def read_by_minute(
    metrics: MetricStore, metric: MetricIdentity, rule: AlarmRule, start: int, periods: int, end: int
) -> list[Aggregate | None]:
    """As `MetricStore.read` of the rule's periods, of what AWS has published at `end`."""
    found: list[Aggregate | None] = []
    for index in range(periods):
        begin = start + index * rule.period_seconds
        minute = math.ceil(begin / MINUTE) * MINUTE
        # A period shorter than a minute has room for the beginning of one at most.
        if minute >= begin + rule.period_seconds or minute + MINUTE > end:
            found.append(None)
        else:
            found += await metrics.read(metric, minute, MINUTE, 1, rule.unit)
    return found
