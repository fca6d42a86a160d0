"""Composite alarms, alarms on expressions, tags and history as unmodified boto3 meets them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.aws.cloudwatch.test_cloudwatch import ALARM, client, refused

__all__ = ["client"]

ARN = "arn:aws:cloudwatch:us-east-1:000000000000:alarm:"
METRICS: list[dict[str, Any]] = [
    {
        "Id": "m1",
        "MetricStat": {
            "Metric": {
                "Namespace": "AWS/SageMaker",
                "MetricName": name,
                "Dimensions": [{"Name": "EndpointName", "Value": "e"}],
            },
            "Period": 10,
            "Stat": "Sum",
            "Unit": "Count",
        },
        "ReturnData": False,
    }
    | {"Id": id_}
    for id_, name in (("m1", "Invocation5XXErrors"), ("m2", "Invocations"))
] + [{"Id": "rate", "Expression": "100 * m1 / m2", "Label": "percent that fail", "ReturnData": True}]
RATE: dict[str, Any] = {
    "AlarmName": "rate",
    "Metrics": METRICS,
    "EvaluationPeriods": 1,
    "Threshold": 5,
    "ComparisonOperator": "GreaterThanThreshold",
}


def put(client: Any, *names: str) -> None:
    for name in names:
        client.put_metric_alarm(AlarmName=name, **ALARM)


def test_a_composite_comes_back_as_it_was_put(client: Any) -> None:
    put(client, "a", "s")
    client.put_composite_alarm(
        AlarmName="c",
        AlarmRule=f'ALARM("{ARN}a") AND NOT FALSE',
        AlarmDescription="all in one",
        ActionsEnabled=False,
        AlarmActions=["arn:x"],
        ActionsSuppressor=f"{ARN}s",
        ActionsSuppressorWaitPeriod=60,
        ActionsSuppressorExtensionPeriod=30,
    )
    assert client.describe_alarms()["CompositeAlarms"] == []
    found = client.describe_alarms(AlarmTypes=["CompositeAlarm"])
    assert found["MetricAlarms"] == []
    (alarm,) = found["CompositeAlarms"]
    assert {key: value for key, value in alarm.items() if not key.endswith("Timestamp")} == {
        "AlarmName": "c",
        "AlarmArn": f"{ARN}c",
        "AlarmDescription": "all in one",
        "AlarmRule": f'ALARM("{ARN}a") AND NOT FALSE',
        "ActionsEnabled": False,
        "OKActions": [],
        "AlarmActions": ["arn:x"],
        "InsufficientDataActions": [],
        "StateValue": "OK",
        "StateReason": f"{ARN}c was created and its alarm rule evaluates to OK",
        "ActionsSuppressor": f"{ARN}s",
        "ActionsSuppressorWaitPeriod": 60,
        "ActionsSuppressorExtensionPeriod": 30,
        # It went from INSUFFICIENT_DATA to OK: that is a transition like any other.
        "ActionsSuppressedBy": "WaitPeriod",
        "ActionsSuppressedReason": "Actions suppressed by WaitPeriod",
    }
    client.set_alarm_state(AlarmName="s", StateValue="ALARM", StateReason="maintenance")
    client.set_alarm_state(AlarmName="a", StateValue="ALARM", StateReason="a drill")
    (alarm,) = client.describe_alarms(AlarmTypes=["CompositeAlarm"])["CompositeAlarms"]
    assert (alarm["StateValue"], alarm["ActionsSuppressedBy"]) == ("ALARM", "Alarm")
    assert alarm["ActionsSuppressedReason"] == "Actions suppressed by Alarm"
    assert alarm["StateReason"].startswith(f"{ARN}a transitioned to ALARM at ")
    triggers = json.loads(alarm["StateReasonData"])["triggeringAlarms"]
    assert [(one["arn"], one["state"]["value"]) for one in triggers] == [(f"{ARN}a", "ALARM")]


@pytest.mark.parametrize("depth", [975, 5000])
def test_data_of_any_depth_are_refused_or_read_back(client: Any, depth: int) -> None:
    put(client, "a")
    data = "[" * depth + "]" * depth
    try:
        client.set_alarm_state(AlarmName="a", StateValue="ALARM", StateReason="deep", StateReasonData=data[:4000])
    except client.exceptions.ClientError as error:
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400  # noqa: PT017
    client.set_alarm_state(AlarmName="a", StateValue="OK", StateReason="odd", StateReasonData='{"a": NaN}')
    items = client.describe_alarm_history(AlarmName="a")["AlarmHistoryItems"]
    assert items
    for item in items:
        json.loads(item["HistoryData"], parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_relatives_tell_little(client: Any) -> None:
    put(client, "a", "b")
    client.put_composite_alarm(AlarmName="c", AlarmRule="ALARM(a) OR ALARM(b)")
    client.put_composite_alarm(AlarmName="d", AlarmRule="ALARM(c) OR ALARM(b)")
    children = client.describe_alarms(ChildrenOfAlarmName="d")
    assert [one["AlarmName"] for one in children["MetricAlarms"]] == ["b"]
    (child,) = children["CompositeAlarms"]
    assert sorted(child) == ["AlarmArn", "AlarmName", "StateUpdatedTimestamp", "StateValue"]
    parents = client.describe_alarms(ParentsOfAlarmName="b", MaxRecords=1)
    assert parents["CompositeAlarms"] == [{"AlarmName": "c", "AlarmArn": f"{ARN}c"}]
    more = client.describe_alarms(ParentsOfAlarmName="b", NextToken=parents["NextToken"])
    assert [one["AlarmName"] for one in more["CompositeAlarms"]] == ["d"]
    for others in ({"AlarmNames": ["a"]}, {"ParentsOfAlarmName": "b"}, {"AlarmTypes": ["MetricAlarm"]}):
        code, status, _ = refused(client.describe_alarms, ChildrenOfAlarmName="d", **others)
        assert (code, status) == ("ValidationError", 400)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ({"AlarmRule": "()"}, "ValidationError", "Error in AlarmRule [Unsupported token ')' at char 1]"),
        ({"AlarmRule": "ALARM(x)"}, "ValidationError", f"alarms [{ARN}x] in the alarm rule do not exist"),
        ({"AlarmRule": "ALARM(c)"}, "ValidationError", "depend on itself: c -> c"),
        ({"AlarmRule": "TRUE", "ActionsSuppressor": "a"}, "ValidationError", "ActionsSuppressorWaitPeriod"),
        ({"AlarmRule": "TRUE", "AlarmActions": ["http://"]}, "ValidationError", "not an address"),
        ({"AlarmRule": "TRUE" + " " * 10240}, "ValidationError", "alarmRule"),
        ({"AlarmRule": "TRUE", "Tags": [{"Key": "aws:x", "Value": ""}]}, "InvalidParameterValue", "reserved"),
    ],
)
def test_a_wrong_composite(client: Any, arguments: dict[str, Any], code: str, says: str) -> None:
    put(client, "a")
    found, status, message = refused(client.put_composite_alarm, AlarmName="c", **arguments)
    assert (found, status) == (code, 400)
    assert says in message
    assert client.describe_alarms(AlarmTypes=["CompositeAlarm"])["CompositeAlarms"] == []


def test_deleting_what_is_needed(client: Any) -> None:
    put(client, "a", "b")
    client.put_composite_alarm(AlarmName="c", AlarmRule="ALARM(a) OR ALARM(b)")
    assert refused(client.delete_alarms, AlarmNames=["a", "b"]) == (
        "ValidationError",
        400,
        "Cannot delete a,b as there are composite alarm(s) depending on them.",
    )
    assert refused(client.put_metric_alarm, AlarmName="c", **ALARM)[:2] == ("ResourceConflict", 409)
    client.delete_alarms(AlarmNames=["a", "b", "c"])
    assert client.describe_alarms(AlarmTypes=["CompositeAlarm", "MetricAlarm"])["MetricAlarms"] == []


def test_an_alarm_on_an_expression_comes_back_as_it_was_put(client: Any) -> None:
    client.put_metric_alarm(**RATE)
    (alarm,) = client.describe_alarms()["MetricAlarms"]
    assert alarm["Metrics"] == METRICS
    assert not alarm.keys() & {"MetricName", "Namespace", "Dimensions", "Period", "Statistic", "Unit"}
    found = client.describe_alarms_for_metric(
        Namespace="AWS/SageMaker", MetricName="Invocations", Dimensions=[{"Name": "EndpointName", "Value": "e"}]
    )
    assert found["MetricAlarms"] == []


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        ({"Metrics": METRICS[:2]}, "ValidationError", "Exactly one element of the metrics list should return data."),
        ({"Metrics": METRICS[1:]}, "ValidationError", "Error in expression 'rate'"),
        ({"Period": 60}, "InvalidParameterCombination", "With Metrics"),
        ({"Namespace": "N", "MetricName": "m"}, "InvalidParameterCombination", "With Metrics"),
        ({"Dimensions": [{"Name": "a", "Value": "b"}]}, "InvalidParameterCombination", "Dimensions"),
        ({"Metrics": [{"Id": "q", "Expression": "SELECT AVG(x) FROM N"}]}, "ValidationError", "Metrics Insights"),
        (
            {"Metrics": [{**METRICS[0], "AccountId": "123456789012"}, METRICS[2]]},
            "InvalidParameterValue",
            "there is only 000000000000 here",
        ),
        ({"ThresholdMetricId": "rate"}, "InvalidParameterValue", "anomaly detection is not supported"),
        ({"ComparisonOperator": "LessThanLowerOrGreaterThanUpperThreshold"}, "InvalidParameterValue", "anomaly"),
    ],
)
def test_a_wrong_expression_alarm(client: Any, changes: dict[str, Any], code: str, says: str) -> None:
    found, status, message = refused(client.put_metric_alarm, **{**RATE, **changes})
    assert (found, status) == (code, 400)
    assert says in message
    assert client.describe_alarms()["MetricAlarms"] == []


def test_tags(client: Any) -> None:
    client.put_metric_alarm(AlarmName="a", Tags=[{"Key": "team", "Value": "x"}], **ALARM)
    client.put_metric_alarm(AlarmName="a", Tags=[{"Key": "ignored", "Value": "by an update"}], **ALARM)
    client.put_composite_alarm(AlarmName="c", AlarmRule="TRUE", Tags=[{"Key": "k", "Value": ""}])
    client.tag_resource(ResourceARN=f"{ARN}a", Tags=[{"Key": "team", "Value": "y"}, {"Key": "cost", "Value": "1"}])
    found = client.list_tags_for_resource(ResourceARN=f"{ARN}a")["Tags"]
    assert found == [{"Key": "team", "Value": "y"}, {"Key": "cost", "Value": "1"}]
    client.untag_resource(ResourceARN=f"{ARN}a", TagKeys=["team", "nothing"])
    assert client.list_tags_for_resource(ResourceARN=f"{ARN}a")["Tags"] == [{"Key": "cost", "Value": "1"}]
    assert client.list_tags_for_resource(ResourceARN=f"{ARN}c")["Tags"] == [{"Key": "k", "Value": ""}]
    history = client.describe_alarm_history(AlarmName="a")["AlarmHistoryItems"]
    assert len(history) == 2  # tags are no configuration


def test_what_tags_are_refused(client: Any) -> None:
    put(client, "a")
    many = [{"Key": str(number), "Value": ""} for number in range(51)]
    for tags in (many, [{"Key": "AWS:x", "Value": ""}], [{"Key": "k", "Value": "1"}, {"Key": "k", "Value": "2"}]):
        code, status, _ = refused(client.tag_resource, ResourceARN=f"{ARN}a", Tags=tags)
        assert (code, status) == ("InvalidParameterValue", 400)
        assert refused(client.put_metric_alarm, AlarmName="b", Tags=tags, **ALARM)[0] == "InvalidParameterValue"
    client.tag_resource(ResourceARN=f"{ARN}a", Tags=many[:50])
    assert refused(client.tag_resource, ResourceARN=f"{ARN}a", Tags=many[50:])[0] == "InvalidParameterValue"
    assert refused(client.list_tags_for_resource, ResourceARN=f"{ARN}x")[:2] == ("ResourceNotFoundException", 404)
    assert refused(client.untag_resource, ResourceARN="arn:x", TagKeys=["k"])[0] == "InvalidParameterValue"
    assert len(client.list_tags_for_resource(ResourceARN=f"{ARN}a")["Tags"]) == 50


def test_history_by_kind_of_alarm_and_of_item(client: Any) -> None:
    put(client, "a")
    client.put_composite_alarm(AlarmName="c", AlarmRule="ALARM(a)", AlarmActions=["arn:aws:sns:us-east-1:1:topic"])
    client.set_alarm_state(AlarmName="a", StateValue="ALARM", StateReason="a drill")
    assert client.describe_alarm_history(AlarmName="c")["AlarmHistoryItems"] == []
    items = client.describe_alarm_history(AlarmTypes=["CompositeAlarm"])["AlarmHistoryItems"]
    assert [(one["AlarmType"], one["HistoryItemType"], one["HistorySummary"]) for one in items] == [
        (
            "CompositeAlarm",
            "Action",
            "Recorded action arn:aws:sns:us-east-1:1:topic, which Bannister does not execute",
        ),
        ("CompositeAlarm", "StateUpdate", "Alarm updated from OK to ALARM"),
        ("CompositeAlarm", "StateUpdate", "Alarm updated from INSUFFICIENT_DATA to OK"),
        ("CompositeAlarm", "ConfigurationUpdate", 'Alarm "c" created'),
    ]
    created = json.loads(items[3]["HistoryData"])["createdAlarm"]
    assert created["AlarmRule"] == "ALARM(a)"
    assert json.loads(items[1]["HistoryData"])["newState"]["stateReasonData"]["triggeringAlarms"]
    (action,) = client.describe_alarm_history(AlarmTypes=["MetricAlarm", "CompositeAlarm"], HistoryItemType="Action")[
        "AlarmHistoryItems"
    ]
    assert json.loads(action["HistoryData"])["notificationResource"] == "arn:aws:sns:us-east-1:1:topic"


def test_the_examples_of_the_page(client: Any) -> None:
    page = (Path(__file__).parents[3] / "docs" / "alarms.md").read_text()
    found: dict[str, Any] = {"cloudwatch": client}
    for example in re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        exec(example, found)
    assert [one["AlarmName"] for one in found["children"]] == ["iris-failing", "iris-slow"]
    assert [one["AlarmName"] for one in found["parents"]] == ["iris-unwell"]
    assert [one["AlarmName"] for one in found["unwell"]] == ["iris-unwell"]
    assert [one["HistorySummary"] for one in found["history"]] == ["Alarm updated from INSUFFICIENT_DATA to OK"]
    assert found["tags"] == [{"Key": "team", "Value": "flowers"}]
