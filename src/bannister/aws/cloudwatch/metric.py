"""PutMetricData, GetMetricStatistics, GetMetricData, ListMetrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bannister.aws.call import Call, Handler
from bannister.aws.cloudwatch.dimensions import dimension_members, metric_identity
from bannister.aws.members import Members, Tables
from bannister.errors import Invalid, Unsupported
from bannister.operations import metric_data, metrics
from bannister.operations.context import Context

_MISSING = "MissingRequiredParameterException"
#: CloudWatch's message where not all metrics could be given.
_CUT = {"Code": "MaxMetricsExceeded", "Value": "Maximum number of allowed metrics exceeded"}

MEMBERS: Final[Tables] = {
    "PutMetricDataInput": Members(
        "Namespace MetricData",
        ignored={"StrictEntityValidation": "it is about entities, which are refused"},
        refused={"EntityMetricData": "metrics belong to no entities; give them in MetricData"},
    ),
    "MetricDatum": Members(
        "MetricName Dimensions Timestamp Value StatisticValues Values Counts Unit StorageResolution"
    ),
    "Dimension": Members("Name Value"),
    "StatisticSet": Members("SampleCount Sum Minimum Maximum"),
    "GetMetricStatisticsInput": Members(
        "Namespace MetricName Dimensions StartTime EndTime Period Statistics ExtendedStatistics Unit"
    ),
    "GetMetricDataInput": Members("MetricDataQueries StartTime EndTime NextToken ScanBy MaxDatapoints LabelOptions"),
    "MetricDataQuery": Members("Id MetricStat Expression Label ReturnData Period AccountId"),
    "MetricStat": Members("Metric Period Stat Unit"),
    "Metric": Members("Namespace MetricName Dimensions"),
    "LabelOptions": Members("Timezone"),
    "ListMetricsInput": Members(
        "Namespace MetricName Dimensions NextToken RecentlyActive IncludeLinkedAccounts OwningAccount"
    ),
    "DimensionFilter": Members("Name Value"),
}


def handlers(context: Context) -> Mapping[str, Handler]:
    async def put(call: Call) -> dict[str, Any]:
        namespace = call.params["Namespace"]
        samples = [_sample(namespace, datum) for datum in call.params.get("MetricData", [])]
        await metrics.put_metric_data(context, samples)
        return {}

    async def statistics(call: Call) -> dict[str, Any]:
        points = await metrics.get_metric_statistics(context, _statistics_request(call.params))
        return {"Label": call.params["MetricName"], "Datapoints": [_point_members(point) for point in points]}

    async def data(call: Call) -> dict[str, Any]:
        _refuse_accounts(call)
        page = await metric_data.get_metric_data(
            context,
            _data_request(call.params),
            token=call.params.get("NextToken"),
            region=call.region,
            account_id=call.account_id,
        )
        return {
            "MetricDataResults": [_result_members(result) for result in page.results],
            "Messages": [_CUT] if page.cut else [],
            "NextToken": page.token,
        }

    async def list_(call: Call) -> dict[str, Any]:
        if call.params.get("OwningAccount", call.account_id) != call.account_id:
            return {"Metrics": []}
        page = await metrics.list_metrics(context, _selection(call.params), token=call.params.get("NextToken"))
        members = [
            {"Namespace": metric.namespace, "MetricName": metric.name, "Dimensions": dimension_members(metric)}
            for metric in page.items
        ]
        owners = [call.account_id] * len(members) if call.params.get("IncludeLinkedAccounts") else None
        return {"Metrics": members, "OwningAccounts": owners, "NextToken": page.token}

    return {"PutMetricData": put, "GetMetricStatistics": statistics, "GetMetricData": data, "ListMetrics": list_}


def _sample(namespace: str, datum: dict[str, Any]) -> metrics.Sample:
    given = datum.get("StatisticValues")
    return metrics.Sample(
        metric=metric_identity(namespace, datum["MetricName"], datum.get("Dimensions")),
        at=datum.get("Timestamp"),
        value=datum.get("Value"),
        values=datum.get("Values"),
        counts=datum.get("Counts"),
        statistics=None if given is None else _statistic_set(given),
        unit=datum.get("Unit", "None"),  # AWS: None is a unit, and that of data without one
        resolution_seconds=datum.get("StorageResolution", 60),
    )


def _statistic_set(given: dict[str, Any]) -> metrics.StatisticSet:
    return metrics.StatisticSet(given["SampleCount"], given["Sum"], given["Minimum"], given["Maximum"])


def _statistics_request(params: dict[str, Any]) -> metrics.StatisticsRequest:
    return metrics.StatisticsRequest(
        metric=metric_identity(params["Namespace"], params["MetricName"], params.get("Dimensions")),
        start=params["StartTime"],
        end=params["EndTime"],
        period_seconds=params["Period"],
        statistics=params.get("Statistics", ()),
        percentiles=params.get("ExtendedStatistics", ()),
        unit=params.get("Unit"),
    )


def _point_members(point: metrics.StatisticsPoint) -> dict[str, Any]:
    return {
        "Timestamp": point.at,
        **point.statistics,
        "ExtendedStatistics": dict(point.percentiles) or None,
        "Unit": point.unit or "None",
    }


def _refuse_accounts(call: Call) -> None:
    for query in call.params["MetricDataQueries"]:
        if query.get("AccountId", call.account_id) != call.account_id:
            raise Unsupported(f"AccountId {query['AccountId']} cannot be used: there is only {call.account_id} here.")


def _data_request(params: dict[str, Any]) -> metric_data.DataRequest:
    return metric_data.DataRequest(
        queries=[_data_query(query) for query in params["MetricDataQueries"]],
        start=params["StartTime"],
        end=params["EndTime"],
        newest_first=params.get("ScanBy", "TimestampDescending") == "TimestampDescending",
        datapoints_max=params.get("MaxDatapoints", metric_data.PAGE_DATAPOINTS_MAX),
        time_zone=params.get("LabelOptions", {}).get("Timezone", "+0000"),
    )


def _data_query(query: dict[str, Any]) -> metric_data.DataQuery:
    return metric_data.DataQuery(
        id=query["Id"],
        stat=None if "MetricStat" not in query else _metric_stat(query["MetricStat"]),
        expression=query.get("Expression"),
        label=query.get("Label"),
        return_data=query.get("ReturnData", True),
        period_seconds=query.get("Period"),
    )


def _metric_stat(given: dict[str, Any]) -> metric_data.MetricStat:
    metric = given["Metric"]
    missing = [name for name in ("Namespace", "MetricName") if name not in metric]
    if missing:
        raise Invalid(f"The parameter {missing[0]} of each MetricStat.Metric is required.", code=_MISSING)
    return metric_data.MetricStat(
        metric=metric_identity(metric["Namespace"], metric["MetricName"], metric.get("Dimensions")),
        statistic=given["Stat"],
        period_seconds=given["Period"],
        unit=given.get("Unit"),
    )


def _result_members(result: metric_data.DataResult) -> dict[str, Any]:
    return {
        "Id": result.id,
        "Label": result.label,
        "Timestamps": [at for at, _ in result.points],
        "Values": [value for _, value in result.points],
        "StatusCode": "Complete" if result.complete else "PartialData",
    }


def _selection(params: dict[str, Any]) -> metrics.MetricSelection:
    return metrics.MetricSelection(
        namespace=params.get("Namespace"),
        name=params.get("MetricName"),
        dimensions=[(wanted["Name"], wanted.get("Value")) for wanted in params.get("Dimensions", [])],
        recently_active="RecentlyActive" in params,
    )
