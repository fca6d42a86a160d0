"""Our side of the query protocol against botocore's: the form that it writes we read, the XML that we write it reads."""

from __future__ import annotations

import contextlib
import math
from typing import Any
from xml.etree.ElementTree import fromstring

import pytest
from botocore.awsrequest import AWSRequest
from botocore.model import OperationModel, ServiceModel, Shape
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from hypothesis import given
from hypothesis import strategies as st
from tests.aws.wire.drawing import CLOUDWATCH, PROTOCOL, ours, values

from bannister.aws.wire import query as wire
from bannister.aws.wire.fault import Fault
from bannister.aws.wire.models import service_model
from bannister.aws.wire.values import Malformed

MODEL = service_model("cloudwatch")
#: XML has no way to write the others.
WRITABLE = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\r\n\t&<>\"'"), max_size=10)

#: Flattened lists and maps, and names that differ from the members', of which CloudWatch has none.
ODDITIES = ServiceModel(
    {
        "metadata": {
            "protocol": "query",
            "apiVersion": "2020-01-01",
            "xmlNamespace": "http://x/",
            "endpointPrefix": "x",
        },
        "operations": {"Do": {"name": "Do", "http": {}, "input": {"shape": "All"}, "output": {"shape": "All"}}},
        "shapes": {
            "All": {
                "type": "structure",
                "members": {
                    "Flat": {"shape": "Flat"},
                    "Renamed": {"shape": "Renamed", "locationName": "other"},
                    "Deep": {"shape": "Deep"},
                    "FlatMap": {"shape": "FlatMap"},
                    "NamedMap": {"shape": "NamedMap"},
                    "FlatNamed": {"shape": "FlatNamed"},
                    "Float": {"shape": "Float"},
                    "Blob": {"shape": "Blob"},
                },
            },
            "Flat": {"type": "list", "flattened": True, "member": {"shape": "Text"}},
            "FlatNamed": {"type": "list", "flattened": True, "member": {"shape": "Pair", "locationName": "item"}},
            "Renamed": {"type": "list", "member": {"shape": "Number", "locationName": "one"}},
            "Deep": {"type": "list", "member": {"shape": "Renamed"}},
            "FlatMap": {"type": "map", "flattened": True, "key": {"shape": "Text"}, "value": {"shape": "Number"}},
            "NamedMap": {
                "type": "map",
                "key": {"shape": "Text", "locationName": "k"},
                "value": {"shape": "Pair", "locationName": "v"},
            },
            "Pair": {
                "type": "structure",
                "required": ["A"],
                "members": {"A": {"shape": "Text"}, "B": {"shape": "Time"}},
            },
            "Text": {"type": "string"},
            "Number": {"type": "long"},
            "Float": {"type": "float"},
            "Blob": {"type": "blob"},
            "Time": {"type": "timestamp"},
        },
    }
)


def form(operation: OperationModel, params: dict[str, Any]) -> bytes:
    """The body as botocore sends it."""
    request = create_serializer("query", include_validation=False).serialize_to_request(params, operation)
    prepared = AWSRequest("POST", "http://localhost/", request["headers"], request["body"]).prepare()
    return prepared.body.encode() if isinstance(prepared.body, str) else prepared.body


def sent(shape: Shape, value: Any) -> Any:
    """What of a value a form can say: empty structures and maps are not there; None: nothing is."""
    match shape.type_name:
        case "structure":
            said = {name: sent(shape.members[name], item) for name, item in value.items()}
            return {name: item for name, item in said.items() if item is not None} or None
        case "list":
            if not value:
                # botocore writes the empty value under another name than the items, which a reader does not know.
                return None if shape.serialization.get("flattened") and shape.member.serialization else []
            return [item for item in (sent(shape.member, item) for item in value) if item is not None] or None
        case "map":
            return {key: sent(shape.value, item) for key, item in value.items()} or None
        case _:
            return value


OPERATIONS = [*(MODEL.operation_model(name) for name in CLOUDWATCH), ODDITIES.operation_model("Do")]
NAMES = [operation.name for operation in OPERATIONS]


@pytest.mark.parametrize("operation", OPERATIONS, ids=NAMES)
@PROTOCOL
@given(data=st.data())
def test_we_read_what_botocore_writes(operation: OperationModel, data: st.DataObject) -> None:
    params = data.draw(values(operation.input_shape))
    body = form(operation, params)
    assert wire.asked(body) == (operation.name, operation.metadata["apiVersion"])
    assert wire.parse(operation.input_shape, body) == (ours(sent(operation.input_shape, params)) or {})


@pytest.mark.parametrize("operation", OPERATIONS, ids=NAMES)
@PROTOCOL
@given(data=st.data())
def test_botocore_reads_what_we_write(operation: OperationModel, data: st.DataObject) -> None:
    shape = operation.output_shape
    output = data.draw(values(shape, text=WRITABLE)) if shape is not None else {}
    answer = wire.render(operation, ours(output), "the-id")
    assert (answer.status, answer.content_type) == (200, "text/xml")
    if shape is not None and "resultWrapper" not in shape.serialization:
        # botocore takes the wrapper's name from the model, where all services have it.
        root = fromstring(answer.body)
        (result,) = (child for child in root if child.tag.endswith("DoResult"))
        read = create_parser("query")._parse_shape(shape, result)
        output = {name: item for name, item in output.items() if item or "Flat" not in name}
    else:
        read = create_parser("query").parse({"status_code": 200, "headers": {}, "body": answer.body}, shape)
        assert read.pop("ResponseMetadata") == {"RequestId": "the-id", "HTTPStatusCode": 200, "HTTPHeaders": {}}
    assert read == output


def test_the_answer_is_wrapped_as_aws_wraps_it() -> None:
    output = {"MetricAlarms": [{"AlarmName": "a<b", "ActionsEnabled": True, "Threshold": 0.5}], "CompositeAlarms": []}
    assert wire.render(MODEL.operation_model("DescribeAlarms"), output, "id-1").body.decode() == (
        '<DescribeAlarmsResponse xmlns="http://monitoring.amazonaws.com/doc/2010-08-01/"><DescribeAlarmsResult>'
        "<MetricAlarms><member><AlarmName>a&lt;b</AlarmName><ActionsEnabled>true</ActionsEnabled>"
        "<Threshold>0.5</Threshold></member></MetricAlarms><CompositeAlarms></CompositeAlarms></DescribeAlarmsResult>"
        "<ResponseMetadata><RequestId>id-1</RequestId></ResponseMetadata></DescribeAlarmsResponse>\n"
    )
    assert wire.render(MODEL.operation_model("DeleteAlarms"), {}, "id-2").body.decode() == (
        '<DeleteAlarmsResponse xmlns="http://monitoring.amazonaws.com/doc/2010-08-01/">'
        "<ResponseMetadata><RequestId>id-2</RequestId></ResponseMetadata></DeleteAlarmsResponse>\n"
    )


@pytest.mark.parametrize(("status", "blamed"), [(404, "Sender"), (500, "Receiver")])
@pytest.mark.parametrize("query_mode", [False, True])
def test_an_error_has_the_query_code_whatever_the_mode(status: int, blamed: str, query_mode: bool) -> None:
    answer = wire.render_fault(
        MODEL, Fault("ValidationException", status, "a & b", "ValidationError"), "id", query_mode=query_mode
    )
    assert (answer.status, answer.content_type, answer.headers) == (status, "text/xml", {})
    assert answer.body.decode() == (
        '<ErrorResponse xmlns="http://monitoring.amazonaws.com/doc/2010-08-01/">'
        f"<Error><Type>{blamed}</Type><Code>ValidationError</Code><Message>a &amp; b</Message></Error>"
        "<RequestId>id</RequestId></ErrorResponse>\n"
    )
    read = create_parser("query").parse({"status_code": status, "headers": {}, "body": answer.body}, None)
    assert read["Error"] == {"Type": blamed, "Code": "ValidationError", "Message": "a & b"}
    assert read["ResponseMetadata"]["RequestId"] == "id"


def test_what_xml_cannot_say_is_replaced() -> None:
    output = {"MetricAlarms": [{"AlarmName": "a\x00\x1b\ufffeb\r\n"}]}
    body = wire.render(MODEL.operation_model("DescribeAlarms"), output, "id").body
    read = create_parser("query").parse(
        {"status_code": 200, "headers": {}, "body": body}, MODEL.operation_model("DescribeAlarms").output_shape
    )
    assert read["MetricAlarms"][0]["AlarmName"] == "a\ufffd\ufffd\ufffdb\r\n"


PUT = MODEL.operation_model("PutMetricData").input_shape
ALARM = MODEL.operation_model("PutMetricAlarm").input_shape
STATISTICS = MODEL.operation_model("GetMetricStatistics").input_shape


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-11-23T04:10:00Z", 1795407000.0),
        ("2026-11-23T04:10:00.5Z", 1795407000.5),
        ("2026-11-23T04:10:00.123456Z", 1795407000.123456),
        ("2026-11-23T04:10:00.123456789Z", 1795407000.123456),
        ("2026-11-23T04:10:00", 1795407000.0),
        ("2026-11-23T05:10:00%2B01:00", 1795407000.0),
        ("2026-11-23T05:10:00%2B0100", 1795407000.0),
        ("2026-11-22T23:10:00-05:00", 1795407000.0),
        ("20261123T041000Z", 1795407000.0),
        ("2026-11-23", 1795392000.0),
    ],
)
def test_moments_are_read_in_every_form_of_iso_8601(text: str, seconds: float) -> None:
    assert wire.parse(STATISTICS, f"StartTime={text}".encode()) == {"StartTime": seconds}


@pytest.mark.parametrize("text", ["1795407000", "1795407000.5", "1.795e9", "now", "", "Mon, 23 Nov 2026 04:10:00 GMT"])
def test_other_moments_are_refused_in_cloudwatchs_words(text: str) -> None:
    with pytest.raises(Malformed, match=r"^timestamp must follow ISO8601$"):
        wire.parse(STATISTICS, f"StartTime={text}".encode())


@pytest.mark.parametrize(
    ("body", "read"),
    [
        (b"", {}),
        (b"&&", {}),
        (b"Unknown.member.1=x&AWSAccessKeyId=x", {}),
        (b"AlarmName=a+b%20c%2B&AlarmDescription=", {"AlarmName": "a b c+", "AlarmDescription": ""}),
        ("AlarmName=Fl%C3%BCge&AlarmDescription=Flüge".encode(), {"AlarmName": "Flüge", "AlarmDescription": "Flüge"}),
        (b"ActionsEnabled=False", {"ActionsEnabled": False}),
        (b"ActionsEnabled=true", {"ActionsEnabled": True}),
        (b"OKActions=", {"OKActions": []}),
        (b"Threshold=-.5e3&Period=%2B60", {"Threshold": -500.0, "Period": 60}),
        (b"Threshold=-Infinity", {"Threshold": -math.inf}),
        (
            b"OKActions.member.2=b&OKActions.member.10=c&OKActions.member.1=a",
            {"OKActions": ["a", "b", "c"]},
        ),
        (
            b"Dimensions.member.1.Value=v&Dimensions.member.1.Name=n",
            {"Dimensions": [{"Name": "n", "Value": "v"}]},
        ),
    ],
)
def test_what_is_read(body: bytes, read: dict[str, Any]) -> None:
    assert wire.parse(ALARM, body) == read


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"AlarmName=a&AlarmName=b", "The field 'AlarmName' is there twice."),
        (b"AlarmName=a&AlarmName.x=b", "The field 'AlarmName.x' has a part that is both a value and a structure."),
        (b"AlarmName.x=b&AlarmName=a", "The field 'AlarmName' has a part that is both a value and a structure."),
        (b"AlarmName.x=b", "Start of structure or map found where not expected at 'alarmName'."),
        (b"Period=1.5", "STRING_VALUE can not be converted to an Integer at 'period'."),
        (b"Period=", "STRING_VALUE can not be converted to an Integer at 'period'."),
        (b"Period=2147483648", "NUMBER_VALUE can not be converted to an Integer at 'period'."),
        ("Period=٣".encode(), "STRING_VALUE can not be converted to an Integer at 'period'."),
        (b"Threshold=1_0", "STRING_VALUE can not be converted to a Double at 'threshold'."),
        (b"Threshold=1e999", "STRING_VALUE can not be converted to a Double at 'threshold'."),
        (b"ActionsEnabled=1", "STRING_VALUE can not be converted to a Boolean at 'actionsEnabled'."),
        (b"Dimensions=x", "STRING_VALUE can not be converted to a List at 'dimensions'."),
        (b"Dimensions.member.1=x", "STRING_VALUE can not be converted to a Structure at 'dimensions.1.member'."),
        (b"Dimensions.member.0.Name=x", "What is in 'dimensions' is not numbered from 1, as a list is in a form."),
        (b"Dimensions.member.01.Name=x", "What is in 'dimensions' is not numbered"),
        (b"Dimensions.1.Name=x", "What is in 'dimensions' is not numbered"),
        (b"OKActions.member=x", "What is in 'oKActions' is not numbered"),
        (b"AlarmName=%FF", "The form is not UTF-8."),
        (b"AlarmName=\xff", "The form is not UTF-8."),
        (b"AlarmName" + b".a" * 33 + b"=", "The name of a field has more than 32 dots."),
        (b"&" * 200_000, "The form has more than 200000 fields."),
        (b"&".join(b"%d" % n + b".a" * 30 + b"=" for n in range(7000)), "The form has more than 200000 structures"),
    ],
)
def test_a_malformed_form_is_refused(body: bytes, says: str) -> None:
    with pytest.raises(Malformed) as raised:
        wire.parse(ALARM, body)
    assert str(raised.value).startswith(says)


def test_a_blob_and_a_map_that_are_none() -> None:
    shape = ODDITIES.operation_model("Do").input_shape
    for body, says in (
        (b"Blob=%21", "STRING_VALUE can not be converted to a Blob at 'blob'."),
        (b"NamedMap.entry.1.k=a", "An entry of 'namedMap' has not one k and one v."),
        (
            b"FlatMap.1.key=a&FlatMap.1.value=1&FlatMap.2.key=a&FlatMap.2.value=1",
            "The key 'a' comes twice in 'flatMap'.",
        ),
    ):
        with pytest.raises(Malformed) as raised:
            wire.parse(shape, body)
        assert str(raised.value) == says


def test_the_largest_put_metric_data_is_read() -> None:
    datum = {"MetricName": "m", "Dimensions": [{"Name": f"n{n}", "Value": "v"} for n in range(30)], "Value": 1.0}
    params = {"Namespace": "n", "MetricData": [datum] * 1000}
    assert wire.parse(PUT, form(MODEL.operation_model("PutMetricData"), params)) == params


@PROTOCOL
@given(body=st.binary() | st.text("AlarmNeDimsOKctobr.=&1%+", max_size=60).map(str.encode))
def test_no_form_is_more_than_malformed(body: bytes) -> None:
    with contextlib.suppress(Malformed):
        wire.parse(ALARM, body)
