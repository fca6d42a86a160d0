"""What a webhook is told of a transition: the event that CloudWatch sends to EventBridge.

Known from its documented examples: `detail.state` and `detail.previousState` with value, reason, reasonData and timestamp, `detail.configuration` with the metrics
or the rule.
"""

from __future__ import annotations

from typing import Any, Final

from bannister.domain.alarm.alarm import Alarm, AlarmQuery, AlarmRule, AlarmState
from bannister.domain.alarm.reason import timestamp
from bannister.domain.metric.identity import MetricIdentity

_DETAIL_TYPE: Final = "CloudWatch Alarm State Change"


def state_change(
    before: Alarm, after: Alarm, *, event_id: str, arn: str, account_id: str, region: str
) -> dict[str, Any]:
    """The event of a transition, JSON-like."""
    return {
        "version": "0",
        "id": event_id,
        "detail-type": _DETAIL_TYPE,
        "source": "aws.cloudwatch",
        "account": account_id,
        "time": timestamp(after.state.updated_at)[:19] + "Z",
        "region": region,
        "resources": [arn],
        "detail": {
            "alarmName": after.name,
            "configuration": _configuration(after),
            "previousState": _state(before.state),
            "state": _state(after.state),
        },
    }


def _state(state: AlarmState) -> dict[str, Any]:
    found: dict[str, Any] = {"value": state.value.value, "reason": state.reason}
    if state.reason_data is not None:
        found["reasonData"] = state.reason_data
    return found | {"timestamp": timestamp(state.updated_at)}


def _configuration(alarm: Alarm) -> dict[str, Any]:
    found: dict[str, Any] = {} if alarm.description is None else {"description": alarm.description}
    if alarm.composite is not None:
        found["alarmRule"] = alarm.composite.text
        if alarm.composite.suppressor is not None:
            found["actionsSuppressor"] = alarm.composite.suppressor_reference
            found["actionsSuppressorWaitPeriod"] = alarm.composite.wait_seconds
            found["actionsSuppressorExtensionPeriod"] = alarm.composite.extension_seconds
    if alarm.rule is not None:
        found["metrics"] = _metrics(alarm.rule)
    return found


def _metrics(rule: AlarmRule) -> list[dict[str, Any]]:
    queries = rule.queries or (AlarmQuery("m1", rule.metric, rule.statistic, rule.unit),)
    return [_query(query, rule.period_seconds) for query in queries]


def _query(query: AlarmQuery, period_seconds: int) -> dict[str, Any]:
    found: dict[str, Any] = {"id": query.id, "returnData": query.return_data}
    if query.metric is not None:
        found["metricStat"] = _metric_stat(query.metric, period_seconds, query.statistic, query.unit)
    if query.expression is not None:
        found["expression"] = query.expression
    if query.label is not None:
        found["label"] = query.label
    return found


def _metric_stat(metric: MetricIdentity, period_seconds: int, statistic: str, unit: str | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "metric": {"namespace": metric.namespace, "name": metric.name, "dimensions": dict(metric.dimensions)},
        "period": period_seconds,
        "stat": statistic,
    }
    return found if unit is None else found | {"unit": unit}
