"""CloudWatch as boto3 meets it: over HTTP, through the gateway, on the in-memory stores, in each of its three protocols."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.aws.cloudwatch.serving import served

from bannister.domain.alarm.alarm import Comparison
from bannister.operations.metrics import UNITS

ALARM: dict[str, Any] = {
    "Namespace": "AWS/SageMaker",
    "MetricName": "ModelLatency",
    "Dimensions": [{"Name": "VariantName", "Value": "v"}, {"Name": "EndpointName", "Value": "e"}],
    "ExtendedStatistic": "p99",
    "Period": 10,
    "EvaluationPeriods": 2,
    "Threshold": 5000,
    "ComparisonOperator": "GreaterThanThreshold",
}


@pytest.fixture
def client(tmp_path: Path, cloudwatch_at: Callable[[str], Any]) -> Iterator[Any]:
    with served(tmp_path) as url:
        yield cloudwatch_at(url)


def test_an_alarm_comes_back_as_it_was_put(client: Any) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    client.put_metric_alarm(AlarmName="Slow", AlarmDescription="too slow", AlarmActions=["arn:x"], **ALARM)
    (alarm,) = client.describe_alarms(AlarmNames=["Slow"])["MetricAlarms"]
    moments = [alarm.pop(name) for name in list(alarm) if name.endswith("Timestamp")]
    assert len(moments) == 3
    assert all(before <= moment <= datetime.now(UTC) for moment in moments)
    assert alarm == {
        **ALARM,
        "AlarmName": "Slow",
        "AlarmArn": "arn:aws:cloudwatch:us-east-1:000000000000:alarm:Slow",
        "AlarmDescription": "too slow",
        "ActionsEnabled": True,
        "OKActions": [],
        "AlarmActions": ["arn:x"],
        "InsufficientDataActions": [],
        "StateValue": "INSUFFICIENT_DATA",
        "StateReason": "Unchecked: Initial alarm creation",
        "Dimensions": [{"Name": "EndpointName", "Value": "e"}, {"Name": "VariantName", "Value": "v"}],
        "DatapointsToAlarm": 2,
        "Threshold": 5000.0,
        "TreatMissingData": "missing",
    }
    dimensions = ALARM["Dimensions"]
    found = client.describe_alarms_for_metric(
        Namespace="AWS/SageMaker", MetricName="ModelLatency", Dimensions=dimensions
    )
    assert [one["AlarmName"] for one in found["MetricAlarms"]] == ["Slow"]


def test_the_waiter_and_the_paginator_of_boto3(client: Any) -> None:
    for number in range(5):
        client.put_metric_alarm(AlarmName=f"a{number}", **ALARM)
    client.get_waiter("alarm_exists").wait(AlarmNames=["a3"])
    pages = client.get_paginator("describe_alarms").paginate(PaginationConfig={"PageSize": 2})
    assert [alarm["AlarmName"] for page in pages for alarm in page["MetricAlarms"]] == [f"a{n}" for n in range(5)]
    assert client.describe_alarms(AlarmTypes=["CompositeAlarm"])["MetricAlarms"] == []
    assert len(client.describe_alarms(AlarmNames=[])["MetricAlarms"]) == 5


def test_a_state_set_by_hand_and_the_history_after_deletion(client: Any) -> None:
    client.put_metric_alarm(AlarmName="a", **ALARM)
    client.set_alarm_state(AlarmName="a", StateValue="ALARM", StateReason="a drill", StateReasonData='{"drill": 1}')
    client.disable_alarm_actions(AlarmNames=["a"])
    assert client.describe_alarms()["MetricAlarms"][0]["ActionsEnabled"] is False
    client.delete_alarms(AlarmNames=["a"])
    items = client.describe_alarm_history(AlarmName="a")["AlarmHistoryItems"]
    assert [(item["HistoryItemType"], item["HistorySummary"]) for item in items] == [
        ("ConfigurationUpdate", 'Alarm "a" deleted'),
        ("ConfigurationUpdate", 'Alarm "a" updated'),
        ("StateUpdate", "Alarm updated from INSUFFICIENT_DATA to ALARM"),
        ("ConfigurationUpdate", 'Alarm "a" created'),
    ]
    assert json.loads(items[2]["HistoryData"]) == {
        "version": "1.0",
        "oldState": {"stateValue": "INSUFFICIENT_DATA", "stateReason": "Unchecked: Initial alarm creation"},
        "newState": {"stateValue": "ALARM", "stateReason": "a drill", "stateReasonData": {"drill": 1}},
    }
    created = json.loads(items[3]["HistoryData"])
    assert (created["type"], created["createdAlarm"]["MetricName"]) == ("Create", "ModelLatency")
    pages = client.get_paginator("describe_alarm_history").paginate(
        AlarmName="a", ScanBy="TimestampAscending", PaginationConfig={"PageSize": 3}
    )
    assert [item["Timestamp"] for page in pages for item in page["AlarmHistoryItems"]] == [
        item["Timestamp"] for item in reversed(items)
    ]


def test_a_long_history_item_stays_json_within_bounds(client: Any) -> None:
    data = json.dumps({"text": "x" * 3900})
    client.put_metric_alarm(AlarmName="a", **ALARM)
    for value in ("ALARM", "OK"):
        client.set_alarm_state(AlarmName="a", StateValue=value, StateReason="r" * 1000, StateReasonData=data)
    (newest, *_) = client.describe_alarm_history(HistoryItemType="StateUpdate")["AlarmHistoryItems"]
    assert len(newest["HistoryData"]) <= 4095
    assert json.loads(newest["HistoryData"])["newState"]["stateValue"] == "OK"


def refused(call: Any, **arguments: Any) -> tuple[str, int, str]:
    with pytest.raises(ClientError) as found:
        call(**arguments)
    response = found.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Message"]


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        ({"Period": 15}, "ValidationError", "Period must be"),
        ({"Period": None}, "MissingParameter", "Period"),
        ({"Statistic": "Sum"}, "InvalidParameterCombination", "Exactly one"),
        ({"DatapointsToAlarm": 3}, "ValidationError", "DatapointsToAlarm"),
        ({"TreatMissingData": "perhaps"}, "ValidationError", "TreatMissingData"),
        ({"MetricName": None}, "MissingParameter", "MetricName"),
        (
            {"Dimensions": [{"Name": "a", "Value": "1"}, {"Name": "a", "Value": "2"}]},
            "InvalidParameterValue",
            "more than once",
        ),
        ({"Metrics": [{"Id": "m1", "Expression": "1"}]}, "InvalidParameterCombination", "With Metrics"),
        ({"ThresholdMetricId": "m1"}, "InvalidParameterValue", "anomaly"),
        ({"ComparisonOperator": "LessThanLowerThreshold"}, "InvalidParameterValue", "anomaly"),
        ({"AlarmActions": ["arn"] * 6}, "ValidationError", "alarmActions"),
    ],
)
def test_a_wrong_alarm_gets_cloudwatchs_code_and_changes_nothing(client: Any, changes, code, says) -> None:
    arguments = {name: value for name, value in {**ALARM, **changes}.items() if value is not None}
    found, status, message = refused(client.put_metric_alarm, AlarmName="a", **arguments)
    assert (found, status) == (code, 400)
    assert says in message
    assert client.describe_alarms()["MetricAlarms"] == []


def test_unknown_alarms_and_tokens(client: Any) -> None:
    client.put_metric_alarm(AlarmName="a", **ALARM)
    assert refused(client.delete_alarms, AlarmNames=["nobody", "a"])[:2] == ("ResourceNotFound", 404)
    assert client.describe_alarms()["MetricAlarms"] == []
    assert refused(client.set_alarm_state, AlarmName="a", StateValue="OK", StateReason="")[:2] == (
        "ResourceNotFound",
        404,
    )
    assert refused(client.describe_alarms, NextToken="?")[:2] == ("InvalidNextToken", 400)
    client.put_metric_alarm(AlarmName="a", **ALARM)
    code, _, _ = refused(client.set_alarm_state, AlarmName="a", StateValue="OK", StateReason="", StateReasonData="{")
    assert code == "InvalidFormat"
    code, _, _ = refused(client.set_alarm_state, AlarmName="a", StateValue="GREEN", StateReason="")
    assert code == "ValidationError"


def test_metric_data_comes_back_as_statistics(client: Any) -> None:
    now = datetime.fromtimestamp(time.time() // 60 * 60, tz=UTC)
    dimensions = [{"Name": "country", "Value": "de"}]
    orders = {"MetricName": "orders", "Dimensions": dimensions, "Timestamp": now, "Unit": "Count"}
    client.put_metric_data(
        Namespace="shop",
        MetricData=[
            {**orders, "Values": [1.0, 5.0], "Counts": [3.0, 1.0]},
            {**orders, "StatisticValues": {"SampleCount": 1, "Sum": 9, "Minimum": 9, "Maximum": 9}},
            {"MetricName": "visits", "Value": 1.0},
        ],
    )
    span = {"StartTime": now - timedelta(minutes=5), "EndTime": now + timedelta(minutes=1), "Period": 60}
    metric = {"Namespace": "shop", "MetricName": "orders", "Dimensions": dimensions}
    answer = client.get_metric_statistics(**metric, **span, Statistics=["Average", "Maximum", "SampleCount"])
    assert answer["Label"] == "orders"
    assert answer["Datapoints"] == [
        {"Timestamp": now, "Average": 17 / 5, "Maximum": 9.0, "SampleCount": 5.0, "Unit": "Count"}
    ]
    answer = client.get_metric_statistics(**metric, **span, ExtendedStatistics=["p50", "p100"])
    assert answer["Datapoints"][0]["ExtendedStatistics"] == {"p50": 1.0, "p100": 9.0}
    visits = {**metric, "MetricName": "visits", "Dimensions": [], **span, "EndTime": now + timedelta(minutes=2)}
    (without_unit,) = client.get_metric_statistics(**visits, Unit="None", Statistics=["Sum"])["Datapoints"]
    assert (without_unit["Sum"], without_unit["Unit"]) == (1.0, "None")
    listed = client.list_metrics(Namespace="shop", RecentlyActive="PT3H")["Metrics"]
    assert [one["MetricName"] for one in listed] == ["orders", "visits"]
    assert client.list_metrics(Dimensions=[{"Name": "country"}])["Metrics"] == [metric]
    assert client.list_metrics(IncludeLinkedAccounts=True)["OwningAccounts"] == ["000000000000"] * 2
    assert client.list_metrics(IncludeLinkedAccounts=True, OwningAccount="123456789012")["Metrics"] == []
    code, _, message = refused(client.get_metric_statistics, **metric, **{**span, "Period": 7}, Statistics=["Sum"])
    assert (code, "Period" in message) == ("InvalidParameterValue", True)


def test_what_came_with_several_units_is_a_datapoint_for_each(client: Any) -> None:
    now = datetime.fromtimestamp(time.time() // 60 * 60, tz=UTC)
    data = [("Seconds", 1.0), ("Milliseconds", 250.0), ("Milliseconds", 750.0), ("Seconds", 3.0)]
    client.put_metric_data(
        Namespace="units",
        MetricData=[{"MetricName": "took", "Timestamp": now, "Value": value, "Unit": unit} for unit, value in data],
    )
    span = {"StartTime": now - timedelta(minutes=5), "EndTime": now + timedelta(minutes=1), "Period": 60}
    metric = {"Namespace": "units", "MetricName": "took", **span, "Statistics": ["Sum", "SampleCount"]}
    points = client.get_metric_statistics(**metric)["Datapoints"]
    assert sorted((one["Unit"], one["Sum"], one["SampleCount"]) for one in points) == [
        ("Milliseconds", 1000.0, 2.0),
        ("Seconds", 4.0, 2.0),
    ]
    (point,) = client.get_metric_statistics(**metric, Unit="Seconds")["Datapoints"]
    assert (point["Timestamp"], point["Sum"]) == (now, 4.0)


def test_the_units_are_those_of_aws(client: Any) -> None:
    assert sorted(UNITS) == sorted(client.meta.service_model.shape_for("StandardUnit").enum)


def test_metric_data_that_is_wrong(client: Any) -> None:
    data = [{"MetricName": "m", "Value": 1.0, "Values": [1.0]}]
    assert refused(client.put_metric_data, Namespace="n", MetricData=data)[0] == "InvalidParameterCombination"
    data = [{"MetricName": "m", "Value": float("nan")}]
    assert refused(client.put_metric_data, Namespace="n", MetricData=data)[0] == "InvalidParameterValue"
    assert refused(client.put_metric_data, Namespace="n", MetricData=[{"MetricName": "m"}])[0] == "MissingParameter"
    assert client.list_metrics()["Metrics"] == []


@pytest.mark.parametrize(
    "changes",
    [
        {"Namespace": "n" * 256},
        {"Namespace": ":n"},
        {"MetricName": "m" * 256},
        {"Unit": "Parsecs"},
        {"Dimensions": [{"Name": f"d{number}", "Value": "v"} for number in range(31)]},
        {"Dimensions": [{"Name": "d", "Value": "v" * 1025}]},
        {"Dimensions": [{"Name": "d" * 256, "Value": "v"}]},
        {"Dimensions": [{"Name": "d", "Value": "v"}, {"Name": "d", "Value": "w"}]},
        {"Namespace": "größe"},
        {"Namespace": " "},
        {"Dimensions": [{"Name": ":d", "Value": "v"}]},
        {"Dimensions": [{"Name": "größe", "Value": "v"}]},
        {"Dimensions": [{"Name": "d", "Value": "größe"}]},
        {"Dimensions": [{"Name": " ", "Value": "v"}]},
        {"Dimensions": [{"Name": "d", "Value": "  "}]},
        {"Dimensions": [{"Name": "d", "Value": "v\x07"}]},
        {"MetricName": "m\x01m"},
        {"StorageResolution": 5},
        {"Value": 2.0**361},
        {"Value": float("-inf")},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_metric_data_beyond_a_limit(client: Any, changes: dict[str, Any]) -> None:
    namespace = changes.get("Namespace", "n")
    datum = {"MetricName": "m", "Value": 1.0, **{name: one for name, one in changes.items() if name != "Namespace"}}
    _, status, message = refused(client.put_metric_data, Namespace=namespace, MetricData=[datum])
    assert status == 400
    assert message
    assert client.list_metrics()["Metrics"] == []


def test_metric_data_at_the_limits(client: Any) -> None:
    dimensions = [{"Name": f"d{number}", "Value": "v" * 1024} for number in range(30)]
    values = [float(number) for number in range(150)]
    datum = {"MetricName": "m" * 255, "Dimensions": dimensions, "Values": values, "StorageResolution": 1}
    client.put_metric_data(Namespace="n" * 255, MetricData=[datum])
    [listed] = client.list_metrics(Dimensions=[{"Name": "d7", "Value": "v" * 1024}])["Metrics"]
    assert len(listed["Dimensions"]) == 30


def test_an_alarm_on_a_trimmed_mean(client: Any) -> None:
    alarm = {name: value for name, value in ALARM.items() if "Statistic" not in name}
    for name in ("tm90", "TM(10%:90%)", "PR(100:2000)", "IQM"):
        client.put_metric_alarm(AlarmName="a", **alarm, ExtendedStatistic=name)
        [found] = client.describe_alarms(AlarmNames=["a"])["MetricAlarms"]
        assert found["ExtendedStatistic"] == name
    code, _, message = refused(client.put_metric_alarm, AlarmName="b", **alarm, ExtendedStatistic="PR(10%:90%)")
    assert (code, "not a statistic" in message) == ("ValidationError", True)


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        ({"AlarmName": "two\nlines"}, "ValidationError", "must not contain ASCII control characters"),
        ({"Namespace": "größe"}, "InvalidParameterValue", "for parameter Namespace contains non-ASCII characters"),
        (
            {"Dimensions": [{"Name": "a", "Value": "v"}, {"Name": ":b", "Value": "v"}]},
            "InvalidParameterValue",
            "The value ':b' for parameter Dimensions.member.2.Name must not begin with a colon.",
        ),
        ({"AlarmActions": ["pager"]}, "ValidationError", "Invalid arn syntax: pager. Give an ARN, or an address"),
    ],
)
def test_what_the_model_does_not_say(client: Any, changes: dict[str, Any], code: str, says: str) -> None:
    found, status, message = refused(client.put_metric_alarm, **{"AlarmName": "a", **ALARM, **changes})
    assert (found, status) == (code, 400)
    assert says in message
    if "AlarmName" in changes:
        assert refused(client.put_composite_alarm, AlarmRule="TRUE", **changes)[:2] == (code, 400)
    assert client.describe_alarms(AlarmTypes=["MetricAlarm", "CompositeAlarm"])["MetricAlarms"] == []


def test_metrics_of_ones_own_account_may_be_named(client: Any) -> None:
    stat = {"Metric": {"Namespace": "n", "MetricName": "m"}, "Period": 60, "Stat": "Sum"}
    common = {"EvaluationPeriods": 1, "Threshold": 1, "ComparisonOperator": "GreaterThanThreshold"}

    def queries(account: str) -> list[dict[str, Any]]:
        return [{"Id": "a", "MetricStat": stat, "AccountId": account}]

    client.put_metric_alarm(AlarmName="a", Metrics=queries("000000000000"), **common)
    code, status, message = refused(client.put_metric_alarm, AlarmName="b", Metrics=queries("123456789012"), **common)
    assert (code, status) == ("InvalidParameterValue", 400)
    assert message == "AccountId 123456789012 cannot be used: there is only 000000000000 here."


def test_every_operator_of_aws_is_taken_or_refused_with_what_to_do(client: Any) -> None:
    operators = client.meta.service_model.shape_for("ComparisonOperator").enum
    assert set(Comparison) < set(operators)
    for operator in operators:
        alarm = {**ALARM, "ComparisonOperator": operator}
        if operator in set(Comparison):
            client.put_metric_alarm(AlarmName=operator, **alarm)
            continue
        # Those of anomaly detection, with the band that they are for and without.
        code, status, message = refused(client.put_metric_alarm, AlarmName=operator, **alarm)
        assert (code, status) == ("InvalidParameterValue", 400)
        assert message == (
            f"ComparisonOperator {operator} belongs to anomaly detection, which is not supported; "
            f"use one of {', '.join(Comparison)} with a Threshold."
        )
        band = {name: value for name, value in alarm.items() if name in ("EvaluationPeriods", "ComparisonOperator")}
        stat = {"Metric": {"Namespace": "n", "MetricName": "m"}, "Period": 60, "Stat": "Sum"}
        queries = [{"Id": "m", "MetricStat": stat}, {"Id": "band", "Expression": "ANOMALY_DETECTION_BAND(m, 2)"}]
        code, status, message = refused(
            client.put_metric_alarm, AlarmName=operator, **band, Metrics=queries, ThresholdMetricId="band"
        )
        assert (code, status) == ("InvalidParameterValue", 400)
        assert message == "ThresholdMetricId cannot be used: anomaly detection is not supported: give a Threshold."
    found = client.describe_alarms()["MetricAlarms"]
    assert {one["AlarmName"]: one["ComparisonOperator"] for one in found} == {
        one.value: one.value for one in Comparison
    }
