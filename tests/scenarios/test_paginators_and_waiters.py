"""boto3's own paginators and waiters: every one whose operation is supported, against a real server.

The first tests see to it that none is forgotten, also when botocore gains one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from botocore import xform_name
from botocore.exceptions import WaiterError
from botocore.waiter import WaiterModel
from tests.compatibility.shown_by import GROUPS
from tests.scenarios.world import Server, World, wait_for

pytestmark = pytest.mark.real

SERVICES: Final = ("sagemaker", "cloudwatch", "logs", "s3", "iam", "sts")
NAMES: Final = ("page-1", "page-2", "page-3")
GROUP: Final = "/aws/sagemaker/Endpoints/page-1"
SINCE: Final = datetime.now(UTC) - timedelta(hours=1)
UNTIL: Final = datetime.now(UTC) + timedelta(hours=1)
TALKS: Final = b"def model_fn(folder):\n    return print\n\ndef predict_fn(data, model):\n    model(data, flush=True)\n    return data\n"
#: More than a page of ListMetrics, whose size is not the caller's to choose.
METRICS: Final = 501


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Three of everything that can be listed."""
    server = Server(tmp_path_factory.mktemp("server") / "data")
    try:
        made = World(server)
        for name in NAMES:
            made.config(
                name, instances=2 if name == "page-1" else 1, model=made.model(name, files={"code/inference.py": TALKS})
            )
            made.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        put_alarms_and_metrics(server.client("cloudwatch"))
        put_objects(made.s3)
        for name in NAMES:
            made.sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig={"Delay": 1})
        for name in NAMES:
            made.sagemaker.create_inference_experiment(**experiment(name))
        yield made
    finally:
        assert server.stop() == 0
        assert server.leftovers() == []


def put_alarms_and_metrics(cloudwatch: Any) -> None:
    for name in NAMES:
        cloudwatch.put_metric_alarm(
            AlarmName=name,
            Namespace="N",
            MetricName="m0",
            Statistic="Sum",
            Period=60,
            EvaluationPeriods=1,
            Threshold=1.0,
            ComparisonOperator="GreaterThanThreshold",
        )
    cloudwatch.put_composite_alarm(AlarmName="page-both", AlarmRule='ALARM("page-1") OR ALARM("page-2")')
    now = datetime.now(UTC)
    cloudwatch.put_metric_data(
        Namespace="N", MetricData=[{"MetricName": f"m{number}", "Value": 1.0} for number in range(METRICS)]
    )
    for minutes in range(1, 4):
        at = now - timedelta(minutes=minutes)
        cloudwatch.put_metric_data(Namespace="N", MetricData=[{"MetricName": "paged", "Value": 1.0, "Timestamp": at}])


def put_objects(s3: Any) -> None:
    for name in NAMES:
        s3.create_bucket(Bucket=name)
        s3.put_object(Bucket="page-1", Key=f"{name}/a", Body=name.encode())


def experiment(name: str) -> dict[str, Any]:
    """One that does not begin before the tests are over."""

    def variant(called: str, model: str) -> dict[str, Any]:
        real_time = {"InstanceType": "ml.m5.large", "InstanceCount": 1}
        infrastructure = {"InfrastructureType": "RealTimeInference", "RealTimeInferenceConfig": real_time}
        return {"VariantName": called, "ModelName": model, "InfrastructureConfig": infrastructure}

    shadow = {"ShadowModelVariantName": "shadow", "SamplingPercentage": 50}
    return {
        "Name": name,
        "Type": "ShadowMode",
        "RoleArn": "arn:aws:iam::000000000000:role/r",
        "EndpointName": name,
        "Schedule": {"StartTime": UNTIL},
        "ModelVariants": [variant("AllTraffic", name), variant("shadow", "page-1")],
        "ShadowModeConfig": {"SourceModelVariantName": "AllTraffic", "ShadowModelVariants": [shadow]},
    }


def supported(service: str) -> set[str]:
    return {name for group in GROUPS if group.service == service for name in group.operations}


# --- paginators


#: What to ask for, and the size of a page; None: it is not the caller's to choose.
PAGINATORS: Final[dict[tuple[str, str], tuple[dict[str, Any], int | None]]] = {
    ("sagemaker", "ListModels"): ({}, 1),
    ("sagemaker", "ListEndpointConfigs"): ({"SortBy": "Name", "SortOrder": "Ascending"}, 1),
    ("sagemaker", "ListEndpoints"): ({"NameContains": "page-"}, 2),
    ("sagemaker", "ListInferenceExperiments"): ({}, 1),
    ("sagemaker", "ListTags"): ({"ResourceArn": "arn:aws:sagemaker:us-east-1:000000000000:model/page-1"}, 50),
    ("cloudwatch", "DescribeAlarms"): ({"AlarmTypes": ["MetricAlarm"]}, 1),
    ("cloudwatch", "DescribeAlarmHistory"): ({"HistoryItemType": "ConfigurationUpdate"}, 1),
    ("cloudwatch", "GetMetricData"): (
        {
            "StartTime": SINCE,
            "EndTime": UNTIL,
            "MetricDataQueries": [
                {
                    "Id": "m1",
                    "MetricStat": {
                        "Metric": {"Namespace": "N", "MetricName": "paged"},
                        "Period": 60,
                        "Stat": "Sum",
                    },
                }
            ],
        },
        1,
    ),
    ("cloudwatch", "ListMetrics"): ({"Namespace": "N"}, None),
    ("iam", "SimulatePrincipalPolicy"): (
        {
            "PolicySourceArn": "arn:aws:iam::000000000000:role/r",
            "ActionNames": ["s3:GetObject", "s3:PutObject", "sagemaker:CreateModel"],
        },
        1,
    ),
    ("logs", "DescribeLogGroups"): ({}, 1),
    ("logs", "DescribeLogStreams"): ({"logGroupName": GROUP}, 1),
    ("logs", "FilterLogEvents"): ({"logGroupName": GROUP}, 1),
    ("s3", "ListBuckets"): ({"Prefix": "page-"}, 1),
    ("s3", "ListObjects"): ({"Bucket": "page-1"}, 1),
    ("s3", "ListObjectsV2"): ({"Bucket": "page-1", "Delimiter": "/"}, 1),
    ("s3", "ListParts"): ({"Bucket": "page-1", "Key": "parts"}, 1),
}
#: How many there are.
FOUND: Final = {"ListTags": 1, "ListMetrics": METRICS + 1, "DescribeLogStreams": 2}


def test_no_paginator_is_forgotten(world: World) -> None:
    for service in SERVICES:
        client = world.server.client(service)
        paged = {name for name in supported(service) if client.can_paginate(xform_name(name))}
        assert paged == {operation for named, operation in PAGINATORS if named == service}, service


@pytest.mark.parametrize(("service", "operation"), PAGINATORS, ids=[".".join(one) for one in PAGINATORS])
def test_pages_together_are_the_whole(world: World, service: str, operation: str) -> None:
    given, size = PAGINATORS[service, operation]
    client = world.server.client(service)
    if operation == "ListTags":
        client.add_tags(**given, Tags=[{"Key": "team", "Value": "a"}])
    if operation == "ListParts":
        given = {**given, "UploadId": an_upload_of_three_parts(client, given)}
    if operation == "FilterLogEvents":
        for number in range(3):
            world.invoke("page-1", json.dumps({"x": number}).encode())
        wait_for("the lines", lambda: len(client.filter_log_events(**given)["events"]) >= 3)
    paginator = client.get_paginator(xform_name(operation))
    config = {} if size is None else {"PageSize": size}
    pages = list(paginator.paginate(**given, PaginationConfig=config))
    result_keys = [key.expression for key in paginator.result_keys]
    paged = [item for page in pages for key in result_keys for item in items(page, key)]
    whole = getattr(client, xform_name(operation))(**given)
    expected = FOUND.get(operation, 3)
    if operation != "FilterLogEvents":  # instances go on printing
        assert len(paged) == expected
    if size is not None:
        assert all(sum(len(items(page, key)) for key in result_keys) <= size for page in pages)
        assert paged == [item for key in result_keys for item in items(whole, key)] or operation == "FilterLogEvents"
    assert len(pages) > 1 or operation == "ListTags", "which has at most one page"


def items(page: dict[str, Any], key: str) -> list[Any]:
    """Of GetMetricData the points, which are what a page has so many of."""
    found = page.get(key, [])
    return [value for one in found for value in one["Timestamps"]] if key == "MetricDataResults" else list(found)


def an_upload_of_three_parts(s3: Any, given: dict[str, Any]) -> str:
    upload = str(s3.create_multipart_upload(**given)["UploadId"])
    for number in range(1, 4):
        s3.upload_part(**given, UploadId=upload, PartNumber=number, Body=b"x")
    return upload


# --- waiters


def delete_endpoint(world: World) -> None:
    world.config("short", instances=1)
    world.endpoint("short", "short")
    world.sagemaker.delete_endpoint(EndpointName="short")


def delete_bucket(world: World) -> None:
    world.s3.create_bucket(Bucket="short")
    world.s3.delete_bucket(Bucket="short")


#: What makes it come true, and what to wait for.
WAITERS: Final[dict[tuple[str, str], tuple[Callable[[World], None] | None, dict[str, Any]]]] = {
    ("sagemaker", "EndpointInService"): (None, {"EndpointName": "page-1"}),
    ("sagemaker", "EndpointDeleted"): (delete_endpoint, {"EndpointName": "short"}),
    ("cloudwatch", "AlarmExists"): (None, {"AlarmNames": ["page-1"]}),
    ("cloudwatch", "CompositeAlarmExists"): (None, {"AlarmNames": ["page-both"], "AlarmTypes": ["CompositeAlarm"]}),
    ("s3", "BucketExists"): (None, {"Bucket": "page-1"}),
    ("s3", "BucketNotExists"): (delete_bucket, {"Bucket": "short"}),
    ("s3", "ObjectExists"): (None, {"Bucket": "page-1", "Key": "page-1/a"}),
    ("s3", "ObjectNotExists"): (None, {"Bucket": "page-1", "Key": "nope"}),
    ("iam", "RoleExists"): (None, {"RoleName": "BannisterExecutionRole"}),
}
#: Whose operation is supported, and which wait for what there is not: alarms on queries of logs.
NOT_HERE: Final = {("cloudwatch", "LogAlarmExists")}
#: What never comes true.
IN_VAIN: Final = [
    ("sagemaker", "EndpointInService", {"EndpointName": "nope"}, "terminal failure"),
    ("sagemaker", "EndpointDeleted", {"EndpointName": "page-1"}, "Max attempts exceeded"),
    ("cloudwatch", "AlarmExists", {"AlarmNames": ["nope"]}, "Max attempts exceeded"),
    ("s3", "BucketExists", {"Bucket": "nope"}, "Max attempts exceeded"),
    ("s3", "ObjectExists", {"Bucket": "page-1", "Key": "nope"}, "Max attempts exceeded"),
    ("s3", "ObjectNotExists", {"Bucket": "page-1", "Key": "page-1/a"}, "Max attempts exceeded"),
]


def test_no_waiter_is_forgotten(world: World) -> None:
    for service in SERVICES:
        model = WaiterModel(world.server.client(service)._get_waiter_config() or {"version": 2, "waiters": {}})
        names = {name for name in model.waiter_names if model.get_waiter(name).operation in supported(service)}
        assert names == {name for named, name in {*WAITERS, *NOT_HERE} if named == service}, service


@pytest.mark.parametrize(("service", "name"), WAITERS, ids=[".".join(one) for one in WAITERS])
def test_what_is_waited_for_comes(world: World, service: str, name: str) -> None:
    begin, given = WAITERS[service, name]
    if begin is not None:
        begin(world)
    waiter = world.server.client(service).get_waiter(xform_name(name))
    waiter.wait(**given, WaiterConfig={"Delay": 1, "MaxAttempts": 60})


@pytest.mark.parametrize(
    ("service", "name", "given", "says"), IN_VAIN, ids=[f"{service}.{name}" for service, name, *_ in IN_VAIN]
)
def test_what_does_not_come_is_said(world: World, service: str, name: str, given: dict[str, Any], says: str) -> None:
    waiter = world.server.client(service).get_waiter(xform_name(name))
    began = time.monotonic()
    with pytest.raises(WaiterError, match=says):
        waiter.wait(**given, WaiterConfig={"Delay": 1, "MaxAttempts": 2})
    if says == "terminal failure":
        assert time.monotonic() - began < 1, "one answer is enough"


def test_an_endpoint_that_cannot_start_ends_the_wait(world: World) -> None:
    world.config("broken", instances=1, BREAK_ON_LOAD="yes")
    world.sagemaker.create_endpoint(EndpointName="broken", EndpointConfigName="broken")
    with pytest.raises(WaiterError, match="terminal failure") as raised:
        world.sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="broken", WaiterConfig={"Delay": 1})
    assert raised.value.last_response["EndpointStatus"] == "Failed"
    assert "cannot be loaded" in raised.value.last_response["FailureReason"]
    world.sagemaker.delete_endpoint(EndpointName="broken")
    world.sagemaker.get_waiter("endpoint_deleted").wait(EndpointName="broken", WaiterConfig={"Delay": 1})
