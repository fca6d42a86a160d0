"""CloudWatch: one translation per operation, from AWS's words to ours and back.

Metric alarms and composite alarms, their history and tags, and metric data with expressions over it. Anomaly detection and Metrics
Insights are refused by name; a new kind of alarm is a module beside `alarm`.
"""

from __future__ import annotations

from typing import Final

from bannister.aws.call import Service
from bannister.aws.cloudwatch import alarm, alarm_history, composite_alarm, metric, tags
from bannister.operations.context import Context

#: AWS: 1 MB, 120 KB, and what its refusals of GetMetricData say; K is 1,024 in them.
BODY_BYTES_MAX: Final = {"PutMetricData": 1024 * 1024, "PutMetricAlarm": 120 * 1024, "GetMetricData": 600 * 1024}


def service(context: Context) -> Service:
    """The operations of CloudWatch that Bannister supports."""
    parts = (metric, alarm, composite_alarm, alarm_history, tags)
    return Service(
        "cloudwatch",
        {name: one for each in parts for name, one in each.handlers(context).items()},
        {name: one for each in parts for name, one in each.MEMBERS.items()},
        BODY_BYTES_MAX,
    )
