"""CloudWatch over its three protocols against a real server: through the proxy, to the state file and back."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.scenarios.world import World, wait_for

pytestmark = pytest.mark.real


def test_an_alarm_on_metric_data_that_is_put(world: World, cloudwatch_at: Callable[[str], Any], wire: str) -> None:
    """The whole way: data that botocore compresses, statistics, an alarm that trips on them, its history, its end."""
    client = cloudwatch_at(world.server.url)
    now = datetime.fromtimestamp(time.time() // 60 * 60, tz=UTC)
    dimensions = [{"Name": "wire", "Value": wire}]
    orders = {"MetricName": "orders", "Dimensions": dimensions, "Unit": "Count", "StorageResolution": 1}
    others = [{"MetricName": f"other-{number}", "Dimensions": dimensions, "Value": 1.0} for number in range(300)]
    client.put_metric_data(Namespace="shop", MetricData=[{**orders, "Timestamp": now, "Value": 7.25}, *others])
    (point,) = client.get_metric_statistics(
        Namespace="shop",
        MetricName="orders",
        Dimensions=dimensions,
        StartTime=now - timedelta(minutes=5),
        EndTime=now + timedelta(minutes=1),
        Period=60,
        Statistics=["Sum", "SampleCount"],
    )["Datapoints"]
    assert point == {"Timestamp": now, "Sum": 7.25, "SampleCount": 1.0, "Unit": "Count"}

    name = f"ordered <over> & {wire}"
    client.put_metric_alarm(
        AlarmName=name,
        AlarmDescription="",
        Namespace="shop",
        MetricName="orders",
        Dimensions=dimensions,
        Statistic="Maximum",
        Period=10,
        EvaluationPeriods=1,
        Threshold=100,
        ComparisonOperator="GreaterThanThreshold",
    )

    def trips() -> dict[str, Any] | None:
        client.put_metric_data(Namespace="shop", MetricData=[{**orders, "Value": 101.5}])
        (alarm,) = client.describe_alarms(AlarmNames=[name])["MetricAlarms"]
        return dict(alarm) if alarm["StateValue"] == "ALARM" else None

    alarm = wait_for("the alarm", trips)
    assert (alarm["AlarmName"], alarm["AlarmDescription"], alarm["Threshold"]) == (name, "", 100.0)
    assert "[101.5 (" in alarm["StateReason"]
    assert datetime.now(UTC) - alarm["StateUpdatedTimestamp"] < timedelta(minutes=1)
    assert world.alarm(name)["StateReason"], "the same in JSON"

    client.delete_alarms(AlarmNames=[name])
    summaries = [item["HistorySummary"] for item in client.describe_alarm_history(AlarmName=name)["AlarmHistoryItems"]]
    assert (summaries[0], summaries[-1]) == (f'Alarm "{name}" deleted', f'Alarm "{name}" created')
    with pytest.raises(client.exceptions.ResourceNotFound) as raised:
        client.set_alarm_state(AlarmName=name, StateValue="OK", StateReason="")
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404


def test_an_error_through_the_proxy(world: World, cloudwatch_at: Callable[[str], Any]) -> None:
    client = cloudwatch_at(world.server.url)
    with pytest.raises(ClientError) as raised:
        client.get_dashboard(DashboardName="d")
    response = raised.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert response["ResponseMetadata"]["RequestId"]
    assert response["Error"]["Code"] in ("UnknownOperationException", "InvalidAction")
    assert "does not support the operation GetDashboard" in response["Error"]["Message"]
