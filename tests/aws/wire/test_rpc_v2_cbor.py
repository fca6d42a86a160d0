"""Our side of Smithy RPC v2 over CBOR against botocore's: what one writes, the other reads."""

from __future__ import annotations

import math
from typing import Any

import pytest
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from hypothesis import given
from hypothesis import strategies as st
from tests.aws.wire.drawing import CLOUDWATCH, PROTOCOL, ours, values

from bannister.aws.wire import cbor
from bannister.aws.wire import rpc_v2_cbor as wire
from bannister.aws.wire.fault import Fault
from bannister.aws.wire.models import service_model
from bannister.aws.wire.values import Malformed

MODEL = service_model("cloudwatch")
PUT = MODEL.operation_model("PutMetricData").input_shape
STATISTICS = MODEL.operation_model("GetMetricStatistics").input_shape


@pytest.mark.parametrize("operation", CLOUDWATCH)
@PROTOCOL
@given(data=st.data())
def test_we_read_what_botocore_writes(operation: str, data: st.DataObject) -> None:
    model = MODEL.operation_model(operation)
    params = data.draw(values(model.input_shape))
    serializer = create_serializer("smithy-rpc-v2-cbor", include_validation=False)
    assert wire.parse(model.input_shape, serializer.serialize_to_request(params, model)["body"]) == ours(params)


@pytest.mark.parametrize("operation", CLOUDWATCH)
@PROTOCOL
@given(data=st.data())
def test_botocore_reads_what_we_write(operation: str, data: st.DataObject) -> None:
    model = MODEL.operation_model(operation)
    if model.output_shape is None:
        answer = wire.render(model, {}, "id")
        assert (answer.body, answer.content_type, answer.headers) == (b"", "", {"smithy-protocol": "rpc-v2-cbor"})
        return
    output = data.draw(values(model.output_shape))
    answer = wire.render(model, ours(output), "id")
    assert (answer.content_type, answer.headers) == ("application/cbor", {"smithy-protocol": "rpc-v2-cbor"})
    read = create_parser("smithy-rpc-v2-cbor").parse(
        {"status_code": answer.status, "headers": {}, "body": answer.body}, model.output_shape
    )
    del read["ResponseMetadata"]
    assert read == output


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([], "The body must be one structure"),
        ({"Namespace": 1}, "NUMBER_VALUE can not be converted to a String at 'namespace'."),
        ({"Namespace": b"n"}, "BLOB_VALUE can not be converted to a String at 'namespace'."),
        ({"Namespace": True}, "TRUE_VALUE can not be converted to a String at 'namespace'."),
        ({"MetricData": {}}, "Start of structure or map found where not expected at 'metricData'."),
        ({"MetricData": [[]]}, "Start of list found where not expected at 'metricData.1.member'."),
        (
            {"MetricData": [{"Value": "1"}]},
            "STRING_VALUE can not be converted to a Double at 'metricData.1.member.value'.",
        ),
        ({"MetricData": [{"StorageResolution": 1.5}]}, "NUMBER_VALUE can not be converted to an Integer at"),
        ({"MetricData": [{"StorageResolution": math.inf}]}, "NUMBER_VALUE can not be converted to an Integer at"),
        ({"MetricData": [{"StorageResolution": math.nan}]}, "NUMBER_VALUE can not be converted to an Integer at"),
        ({"MetricData": [{"Timestamp": 1.0}]}, "NUMBER_VALUE can not be converted to a Timestamp at"),
        (
            {"MetricData": [{"Timestamp": "2026-11-23T04:10:00Z"}]},
            "STRING_VALUE can not be converted to a Timestamp at",
        ),
        ({"MetricData": [{"Timestamp": cbor.Epoch(1e18)}]}, "NUMBER_VALUE can not be converted to a Timestamp at"),
        ({"Namespace": cbor.Epoch(1.0)}, "TIMESTAMP_VALUE can not be converted to a String at 'namespace'."),
    ],
)
def test_a_wrong_type_is_named_with_its_place(value: Any, says: str) -> None:
    with pytest.raises(Malformed) as raised:
        wire.parse(PUT, cbor.encode(value))
    assert str(raised.value).startswith(says)


def test_what_is_read_leniently() -> None:
    assert wire.parse(PUT, b"") == {}
    body = bytes.fromhex("bf") + b"\x66Period\xf9\x53\x80" + b"\x69StartTime\xc1\x00" + b"\x64Unit\xf6\xff"
    assert wire.parse(STATISTICS, body) == {"Period": 60, "StartTime": 0.0}


@pytest.mark.parametrize("query_mode", [False, True])
def test_an_error_is_named_by_its_shape_and_in_query_mode_by_its_query_code(query_mode: bool) -> None:
    fault = Fault("ValidationException", 400, "no", "ValidationError")
    answer = wire.render_fault(MODEL, fault, "id", query_mode=query_mode)
    assert cbor.decode(answer.body) == {"__type": "com.amazonaws.cloudwatch#ValidationException", "message": "no"}
    told = {"x-amzn-query-error": "ValidationError;Sender"} if query_mode else {}
    assert answer.headers == {"smithy-protocol": "rpc-v2-cbor", **told}
    read = create_parser("smithy-rpc-v2-cbor").parse(
        {"status_code": answer.status, "headers": answer.headers, "body": answer.body}, None
    )
    assert read["Error"]["Code"] == ("ValidationError" if query_mode else "ValidationException")
    assert read["Error"]["Message"] == "no"
