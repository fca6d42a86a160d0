"""Our side of the JSON protocols against botocore's: what one writes, the other reads."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from botocore.model import Shape
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from hypothesis import given
from hypothesis import strategies as st
from tests.aws.wire.drawing import CLOUDWATCH, PROTOCOL, ours, values

from bannister.aws.wire import json as wire
from bannister.aws.wire.models import service_model
from bannister.aws.wire.values import Malformed

OPERATIONS = [
    ("sagemaker", "CreateEndpointConfig"),
    ("sagemaker", "CreateModel"),
    ("sagemaker", "UpdateEndpoint"),
    ("sagemaker", "DescribeEndpoint"),
    ("sagemaker", "DescribeEndpointConfig"),
    ("sagemaker", "ListEndpoints"),
    *(("cloudwatch", name) for name in CLOUDWATCH),
]


@pytest.mark.parametrize(("service", "operation"), OPERATIONS, ids=[name for _, name in OPERATIONS])
@PROTOCOL
@given(data=st.data())
def test_botocore_reads_what_we_write(service: str, operation: str, data: st.DataObject) -> None:
    model = service_model(service).operation_model(operation)
    if model.output_shape is None:
        assert wire.render(model, {}, "id").body == b""
        return
    output = data.draw(values(model.output_shape))
    answer = wire.render(model, ours(output), "id")
    response = {"status_code": answer.status, "headers": {}, "body": answer.body}
    read = create_parser("json").parse(response, model.output_shape)
    del read["ResponseMetadata"]
    assert read == output


@pytest.mark.parametrize(("service", "operation"), OPERATIONS, ids=[name for _, name in OPERATIONS])
@PROTOCOL
@given(data=st.data())
def test_we_read_what_botocore_writes(service: str, operation: str, data: st.DataObject) -> None:
    model = service_model(service).operation_model(operation)
    given_input = data.draw(values(model.input_shape))
    request = create_serializer("json", include_validation=False).serialize_to_request(given_input, model)
    assert wire.parse(model.input_shape, request["body"]) == ours(given_input)


CONFIG = service_model("sagemaker").operation_model("CreateEndpointConfig").input_shape
LIST = service_model("sagemaker").operation_model("ListEndpoints").input_shape
METRICS = service_model("cloudwatch").operation_model("PutMetricData").input_shape


@pytest.mark.parametrize(
    ("shape", "body", "says"),
    [
        (CONFIG, {"EndpointConfigName": 1.5}, "NUMBER_VALUE can not be converted to a String at 'endpointConfigName'."),
        (CONFIG, {"EndpointConfigName": True}, "TRUE_VALUE can not be converted to a String at 'endpointConfigName'."),
        (
            CONFIG,
            {"EndpointConfigName": {}},
            "Start of structure or map found where not expected at 'endpointConfigName'.",
        ),
        (
            CONFIG,
            {"ProductionVariants": {}},
            "Start of structure or map found where not expected at 'productionVariants'.",
        ),
        (
            CONFIG,
            {"ProductionVariants": [{}, []]},
            "Start of list found where not expected at 'productionVariants.2.member'.",
        ),
        (
            CONFIG,
            {"ProductionVariants": [{"InitialInstanceCount": "two"}]},
            "STRING_VALUE can not be converted to an Integer at 'productionVariants.1.member.initialInstanceCount'.",
        ),
        (LIST, {"MaxResults": 1.5}, "NUMBER_VALUE can not be converted to an Integer at 'maxResults'."),
        (LIST, {"MaxResults": 2**31}, "NUMBER_VALUE can not be converted to an Integer at 'maxResults'."),
        (LIST, {"MaxResults": False}, "FALSE_VALUE can not be converted to an Integer at 'maxResults'."),
        (
            LIST,
            {"CreationTimeAfter": "soon"},
            "STRING_VALUE can not be converted to a Timestamp at 'creationTimeAfter'.",
        ),
        (LIST, {"CreationTimeAfter": 1e18}, "NUMBER_VALUE can not be converted to a Timestamp at 'creationTimeAfter'."),
        (
            METRICS,
            {"MetricData": [{"Value": "1"}]},
            "STRING_VALUE can not be converted to a Double at 'metricData.1.member.value'.",
        ),
        (
            METRICS,
            {"MetricData": [{"Value": 10**400}]},
            "NUMBER_VALUE can not be converted to a Double at 'metricData.1.",
        ),
    ],
)
def test_a_wrong_type_is_named_with_its_place(shape: Shape, body: dict[str, Any], says: str) -> None:
    with pytest.raises(Malformed) as raised:
        wire.parse(shape, json.dumps(body).encode())
    assert str(raised.value).startswith(says)


def test_what_is_read_leniently() -> None:
    body = {"MaxResults": 5.0, "CreationTimeAfter": "2026-11-23T04:10:00Z", "NameContains": None, "Unknown": 1}
    assert wire.parse(LIST, json.dumps(body).encode()) == {"MaxResults": 5, "CreationTimeAfter": 1795407000.0}
    assert wire.parse(LIST, b"") == {}


def test_numbers_that_json_cannot_say_are_read_from_strings() -> None:
    operation = service_model("cloudwatch").operation_model("PutMetricData")
    params = {"Namespace": "n", "MetricData": [{"MetricName": "m", "Values": [float("nan"), float("-inf")]}]}
    body = create_serializer("json").serialize_to_request(params, operation)["body"]
    assert str(wire.parse(METRICS, body)["MetricData"][0]["Values"]) == "[nan, -inf]"


def test_numbers_that_json_cannot_say_are_written_as_strings() -> None:
    operation = service_model("cloudwatch").operation_model("GetMetricStatistics")
    answer = wire.render(
        operation, {"Datapoints": [{"Sum": float("inf"), "Minimum": float("-inf"), "Average": math.nan}]}, "id"
    )
    assert json.loads(answer.body) == {"Datapoints": [{"Sum": "Infinity", "Minimum": "-Infinity", "Average": "NaN"}]}


@pytest.mark.parametrize(
    "output",
    [
        {"Endpoints": [{"EndpointName": 1}]},
        {"Endpoints": {"EndpointName": "e"}},
        {"Endpoints": [{"CreationTime": "now"}]},
        {"Endpoints": [{"EndpointNaem": "e"}]},
    ],
)
def test_an_answer_that_is_not_of_the_shape_is_not_sent(output: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"ListEndpoints\.Endpoints"):
        wire.render(service_model("sagemaker").operation_model("ListEndpoints"), output, "id")
