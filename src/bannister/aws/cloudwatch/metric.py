"""PutMetricData, GetMetricStatistics, ListMetrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bannister.aws.call import Call, Handler
from bannister.aws.cloudwatch.dimensions import dimension_members, metric_identity
from bannister.errors import Unsupported
from bannister.operations import metrics
from bannister.operations.context import Context


def handlers(context: Context) -> Mapping[str, Handler]:
    async def put(call: Call) -> dict[str, Any]:
        if call.params.get("EntityMetricData"):
            raise Unsupported("EntityMetricData cannot be used: give the metrics in MetricData.")
        namespace = call.params["Namespace"]
        samples = [_sample(namespace, datum) for datum in call.params.get("MetricData", [])]
        await metrics.put_metric_data(context, samples)
        return {}

    async def statistics(call: Call) -> dict[str, Any]:
        points = await metrics.get_metric_statistics(context, _statistics_request(call.params))
        return {"Label": call.params["MetricName"], "Datapoints": [_point_members(point) for point in points]}

    async def list_(call: Call) -> dict[str, Any]:
        page = await metrics.list_metrics(context, _selection(call.params), token=call.params.get("NextToken"))
        members = [
            {"Namespace": metric.namespace, "MetricName": metric.name, "Dimensions": dimension_members(metric)}
            for metric in page.items
        ]
        return {"Metrics": members, "NextToken": page.token}

    return {"PutMetricData": put, "GetMetricStatistics": statistics, "ListMetrics": list_}


def _sample(namespace: str, datum: dict[str, Any]) -> metrics.Sample:
    given = datum.get("StatisticValues")
    return metrics.Sample(
        metric=metric_identity(namespace, datum["MetricName"], datum.get("Dimensions")),
        at=datum.get("Timestamp"),
        value=datum.get("Value"),
        values=datum.get("Values"),
        counts=datum.get("Counts"),
        statistics=None if given is None else _statistic_set(given),
        unit=datum.get("Unit"),
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


def _selection(params: dict[str, Any]) -> metrics.MetricSelection:
    return metrics.MetricSelection(
        namespace=params.get("Namespace"),
        name=params.get("MetricName"),
        dimensions=[(wanted["Name"], wanted.get("Value")) for wanted in params.get("Dimensions", [])],
        recently_active="RecentlyActive" in params,
    )
