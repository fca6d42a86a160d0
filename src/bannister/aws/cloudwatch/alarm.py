"""PutMetricAlarm, DescribeAlarms, DescribeAlarmsForMetric, DeleteAlarms, SetAlarmState, EnableAlarmActions, DisableAlarmActions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from bannister.aws.arn import arn
from bannister.aws.call import Call, Handler
from bannister.aws.cloudwatch.dimensions import dimension_members, metric_identity
from bannister.aws.members import Members, Tables, as_given
from bannister.domain.alarm.alarm import Alarm, AlarmQuery, AlarmRule, AlarmValue, CompositeRule, Suppression
from bannister.domain.alarm.definition import Definition
from bannister.domain.alarm.suppression import suppression_reason
from bannister.domain.metric.aggregate import SIMPLE_STATISTICS
from bannister.errors import Invalid, Resource, Unsupported
from bannister.operations import alarms
from bannister.operations.context import Context

MEMBERS: Final[Tables] = {
    "PutMetricAlarmInput": Members(
        "AlarmName AlarmDescription ActionsEnabled OKActions AlarmActions InsufficientDataActions MetricName Namespace Statistic "
        "ExtendedStatistic Dimensions Period Unit EvaluationPeriods DatapointsToAlarm Threshold ComparisonOperator "
        "TreatMissingData EvaluateLowSampleCountPercentile Metrics Tags",
        ignored={"EvaluationWindow": "periods slide, as they do by default on AWS"},
        refused={
            "EvaluationCriteria": "alarms on queries are not supported: give MetricName, Namespace, Statistic and Period",
            "EvaluationInterval": "alarms are evaluated every second",
            "ThresholdMetricId": "anomaly detection is not supported: give a Threshold",
            "WarmUpConfiguration": "warm-up is not supported",
            "ActionConfiguration": "actions are addresses to be told, or ARNs that are written down",
        },
    ),
    "EvaluationWindow": Members(
        ignored={"SlidingWindow": "periods slide, as they do by default on AWS"},
        refused={"WallClockWindow": "periods slide; leave EvaluationWindow out"},
    ),
    "DescribeAlarmsInput": Members(
        "AlarmNames AlarmNamePrefix AlarmTypes ChildrenOfAlarmName ParentsOfAlarmName StateValue ActionPrefix MaxRecords "
        "NextToken"
    ),
    "DescribeAlarmsForMetricInput": Members("MetricName Namespace Statistic ExtendedStatistic Dimensions Period Unit"),
    "DeleteAlarmsInput": Members("AlarmNames"),
    "SetAlarmStateInput": Members("AlarmName StateValue StateReason StateReasonData"),
    "EnableAlarmActionsInput": Members("AlarmNames"),
    "DisableAlarmActionsInput": Members("AlarmNames"),
}

#: Members of DescribeAlarms that ask for an alarm's relatives.
_RELATIVES: Final = ("ChildrenOfAlarmName", "ParentsOfAlarmName")


def handlers(context: Context) -> Mapping[str, Handler]:
    async def put(call: Call) -> dict[str, Any]:
        params = call.params
        more = replace(extras(params), as_given=as_given(params, MEMBERS["PutMetricAlarmInput"]) | _low_samples(params))
        await alarms.put_metric_alarm(context, params["AlarmName"], _definition(call), more)
        return {}

    async def describe(call: Call) -> dict[str, Any]:
        params = call.params
        page = await alarms.describe_alarms(
            context,
            _selection(params),
            limit=params.get("MaxRecords", alarms.PAGE_SIZE_DEFAULT),
            token=params.get("NextToken"),
        )
        shown = [(alarm.composite is None, _shown(alarm, call)) for alarm in page.items]
        return {
            "MetricAlarms": [members for metric, members in shown if metric],
            "CompositeAlarms": [members for metric, members in shown if not metric],
            "NextToken": page.token,
        }

    async def describe_for_metric(call: Call) -> dict[str, Any]:
        params = call.params
        found = await alarms.describe_alarms_for_metric(
            context,
            metric_identity(params["Namespace"], params["MetricName"], params.get("Dimensions")),
            statistic=params.get("Statistic") or params.get("ExtendedStatistic"),
            period_seconds=params.get("Period"),
            unit=params.get("Unit"),
        )
        return {"MetricAlarms": [alarm_members(alarm, call) for alarm in found]}

    async def delete(call: Call) -> dict[str, Any]:
        await alarms.delete_alarms(context, call.params["AlarmNames"])
        return {}

    async def set_state(call: Call) -> dict[str, Any]:
        params = call.params
        value = AlarmValue(params["StateValue"])
        data = params.get("StateReasonData")
        await alarms.set_alarm_state(context, params["AlarmName"], value, params["StateReason"], data)
        return {}

    async def enable(call: Call) -> dict[str, Any]:
        await alarms.enable_alarm_actions(context, call.params["AlarmNames"], enabled=True)
        return {}

    async def disable(call: Call) -> dict[str, Any]:
        await alarms.enable_alarm_actions(context, call.params["AlarmNames"], enabled=False)
        return {}

    return {
        "PutMetricAlarm": put,
        "DescribeAlarms": describe,
        "DescribeAlarmsForMetric": describe_for_metric,
        "DeleteAlarms": delete,
        "SetAlarmState": set_state,
        "EnableAlarmActions": enable,
        "DisableAlarmActions": disable,
    }


def _low_samples(params: dict[str, Any]) -> dict[str, Any]:
    """What to do with few samples; described where it was given, also if it is the default."""
    return {name: given for name, given in params.items() if name == "EvaluateLowSampleCountPercentile"}


def _definition(call: Call) -> Definition:
    params = call.params
    if ("MetricName" in params) != ("Namespace" in params):
        raise Invalid("MetricName and Namespace must be specified together.", code="MissingRequiredParameterException")
    metric, queries = None, tuple(_query(one, call.account_id) for one in params.get("Metrics", []))
    if queries and params.get("Dimensions"):
        raise Invalid(
            "With Metrics, Dimensions belong into each MetricStat.", code="InvalidParameterCombinationException"
        )
    if "MetricName" in params:
        metric = metric_identity(params["Namespace"], params["MetricName"], params.get("Dimensions"))
    return Definition(
        metric=metric,
        queries=queries,
        statistic=params.get("Statistic"),
        extended_statistic=params.get("ExtendedStatistic"),
        period_seconds=params.get("Period"),
        evaluation_periods=params.get("EvaluationPeriods"),
        datapoints_to_alarm=params.get("DatapointsToAlarm"),
        threshold=params.get("Threshold"),
        comparison=params.get("ComparisonOperator"),
        missing_data=params.get("TreatMissingData"),
        low_samples=params.get("EvaluateLowSampleCountPercentile"),
        unit=params.get("Unit"),
    )


def _query(given: dict[str, Any], account_id: str) -> AlarmQuery:
    """One element of Metrics."""
    if given.get("AccountId", account_id) != account_id:
        raise Unsupported(f"AccountId {given['AccountId']} cannot be used: there is only {account_id} here.")
    stat = given.get("MetricStat")
    if stat is None:
        return AlarmQuery(
            given["Id"],
            expression=given.get("Expression"),
            period_seconds=given.get("Period"),
            label=given.get("Label"),
            return_data=given.get("ReturnData", True),
            account_id=given.get("AccountId"),
        )
    metric = stat["Metric"]
    if "Namespace" not in metric or "MetricName" not in metric:
        raise Invalid(
            f"The Metric of {given['Id']} must have Namespace and MetricName.", code="MissingRequiredParameterException"
        )
    if given.get("Period", stat["Period"]) != stat["Period"]:
        raise Invalid(f"The element {given['Id']} of Metrics has two Periods.", code="ValidationException")
    return AlarmQuery(
        given["Id"],
        metric=metric_identity(metric["Namespace"], metric["MetricName"], metric.get("Dimensions")),
        statistic=stat["Stat"],
        unit=stat.get("Unit"),
        expression=given.get("Expression"),
        period_seconds=stat["Period"],
        label=given.get("Label"),
        return_data=given.get("ReturnData", True),
        account_id=given.get("AccountId"),
    )


def extras(params: dict[str, Any]) -> alarms.Extras:
    """What every kind of alarm has besides its rule."""
    return alarms.Extras(
        description=params.get("AlarmDescription"),
        actions_enabled=params.get("ActionsEnabled", True),
        ok_actions=tuple(params.get("OKActions", ())),
        alarm_actions=tuple(params.get("AlarmActions", ())),
        insufficient_data_actions=tuple(params.get("InsufficientDataActions", ())),
        tags=tuple((tag["Key"], tag["Value"]) for tag in params.get("Tags", ())),
    )


def _selection(params: dict[str, Any]) -> alarms.Selection:
    relatives = [member for member in _RELATIVES if member in params]
    others = params.keys() - {*_RELATIVES, "MaxRecords", "NextToken"}
    if len(relatives) > 1 or (relatives and others):
        raise Invalid(f"With {relatives[0]}, only MaxRecords and NextToken may be given.", code="ValidationException")
    value = params.get("StateValue")
    kinds = params.get("AlarmTypes") or ["MetricAlarm"]
    return alarms.Selection(
        names=params.get("AlarmNames") or None,  # AWS: an empty list filters nothing
        prefix=params.get("AlarmNamePrefix"),
        value=None if value is None else AlarmValue(value),
        action_prefix=params.get("ActionPrefix"),
        metric="MetricAlarm" in kinds,
        composite="CompositeAlarm" in kinds,
        children_of=params.get("ChildrenOfAlarmName"),
        parents_of=params.get("ParentsOfAlarmName"),
    )


def _shown(alarm: Alarm, call: Call) -> dict[str, Any]:
    """As DescribeAlarms shows it: of relatives, AWS tells little."""
    members = alarm_members(alarm, call)
    if "ParentsOfAlarmName" in call.params:
        return {name: members[name] for name in ("AlarmName", "AlarmArn")}
    if "ChildrenOfAlarmName" in call.params:
        return {name: members[name] for name in ("AlarmName", "AlarmArn", "StateValue", "StateUpdatedTimestamp")}
    return members


def alarm_members(alarm: Alarm, call: Call) -> dict[str, Any]:
    """The shape MetricAlarm or CompositeAlarm."""
    state = alarm.state
    members = {
        "AlarmName": alarm.name,
        "AlarmArn": arn(call.region, call.account_id, Resource.ALARM, alarm.name),
        "AlarmDescription": alarm.description,
        "AlarmConfigurationUpdatedTimestamp": alarm.configured_at,
        "ActionsEnabled": alarm.actions_enabled,
        "OKActions": list(alarm.ok_actions),
        "AlarmActions": list(alarm.alarm_actions),
        "InsufficientDataActions": list(alarm.insufficient_data_actions),
        "StateValue": state.value.value,
        "StateReason": state.reason,
        "StateReasonData": state.reason_data,
        "StateUpdatedTimestamp": state.updated_at,
        "StateTransitionedTimestamp": state.transitioned_at,
    }
    if alarm.rule is not None:
        members |= _rule_members(alarm.rule)
    if alarm.composite is not None:
        members |= _composite_members(alarm.composite, alarm.suppression)
    return members | alarm.as_given


def _composite_members(rule: CompositeRule, held: Suppression | None) -> dict[str, Any]:
    suppressor = rule.suppressor
    return {
        "AlarmRule": rule.text,
        "ActionsSuppressor": rule.suppressor_reference,
        "ActionsSuppressorWaitPeriod": rule.wait_seconds if suppressor is not None else None,
        "ActionsSuppressorExtensionPeriod": rule.extension_seconds if suppressor is not None else None,
        "ActionsSuppressedBy": held.by.value if held is not None else None,
        "ActionsSuppressedReason": suppression_reason(held) if held is not None else None,
    }


def _rule_members(rule: AlarmRule) -> dict[str, Any]:
    watched: dict[str, Any] = {"Metrics": [_query_members(query) for query in rule.queries]}
    if rule.metric is not None:
        watched = {
            "MetricName": rule.metric.name,
            "Namespace": rule.metric.namespace,
            "Dimensions": dimension_members(rule.metric),
            "Statistic" if rule.statistic in SIMPLE_STATISTICS else "ExtendedStatistic": rule.statistic,
            "Period": rule.period_seconds,
            "Unit": rule.unit,
        }
    return {
        **watched,
        "EvaluationPeriods": rule.evaluation_periods,
        "DatapointsToAlarm": rule.datapoints_to_alarm,
        "Threshold": rule.threshold,
        "ComparisonOperator": rule.comparison.value,
        "TreatMissingData": rule.missing_data.value,
        "EvaluateLowSampleCountPercentile": "ignore" if rule.ignore_low_samples else None,
    }


def _query_members(query: AlarmQuery) -> dict[str, Any]:
    """The shape MetricDataQuery."""
    members: dict[str, Any] = {
        "Id": query.id,
        "Label": query.label,
        "ReturnData": query.return_data,
        "AccountId": query.account_id,
    }
    if query.metric is None:
        return members | {"Expression": query.expression, "Period": query.period_seconds}
    metric = {
        "Namespace": query.metric.namespace,
        "MetricName": query.metric.name,
        "Dimensions": dimension_members(query.metric),
    }
    stat = {"Metric": metric, "Period": query.period_seconds, "Stat": query.statistic, "Unit": query.unit}
    return members | {"MetricStat": stat}
