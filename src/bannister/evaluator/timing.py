"""When an alarm is evaluated.

Bannister's own timing is each final second, over all that is stored. Under `timing: aws` alarms see what AWS has published by then (`bannister.metrics.published`), and are evaluated once a
minute; those with a period of 10, 20 or 30 s every 10 seconds; those that look back for more than a day once an hour. So periods of minutes begin and end with minutes, and those of days with
hours. No bake waits for an hour: where it ends, such an alarm is taken as it is.
"""

from __future__ import annotations

from typing import Final

from bannister.domain.alarm.alarm import AlarmRule
from bannister.metrics.published import MINUTE
from bannister.settings import Timing

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
