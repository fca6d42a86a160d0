"""CloudWatch's three protocols at the door: what succeeds, and each error in the shape that the client of that protocol reads."""

from __future__ import annotations

import asyncio
import gzip
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.aws.door import BODY_BYTES_MAX, Backend, Door, code_and_text
from tests.wires import WIRES

from bannister.aws.call import Service
from bannister.aws.gateway import Gateway
from bannister.aws.wire import cbor
from bannister.aws.wire.models import service_model
from bannister.clock import SystemClock
from bannister.errors import Busy, Conflict, Fenced, Invalid, NotFound, Resource, Unavailable
from bannister.ids import RandomIds
from bannister.settings import Settings

TARGET = "GraniteServiceVersion20100801"
CBOR_HEADERS = {"smithy-protocol": "rpc-v2-cbor", "content-type": "application/cbor"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
SIGNED_FOR = "AWS4-HMAC-SHA256 Credential=AKID/20261123/us-east-1/{}/aws4_request, Signature=x"


@pytest.fixture
def client(door: Door, wire_session: boto3.Session) -> Any:
    """Sends whatever it is told to: the door must check."""
    config = Config(retries={"total_max_attempts": 1}, parameter_validation=False)
    return wire_session.client("cloudwatch", endpoint_url=f"http://127.0.0.1:{door.port}", config=config)


def written(wire: str, operation: str, params: dict[str, Any]) -> tuple[str, bytes, dict[str, str]]:
    """The path, body and headers of a request, unsigned, as botocore writes it."""
    serializer = create_serializer(wire, include_validation=False)
    request = serializer.serialize_to_request(params, service_model("cloudwatch").operation_model(operation))
    body = urlencode(request["body"]) if wire == "query" else request["body"]
    headers = {name.lower(): value for name, value in request["headers"].items()}
    return request["url_path"], body.encode() if isinstance(body, str) else bytes(body), headers


def read(wire: str, answer: tuple[int, dict[str, str], bytes]) -> tuple[int, str, str]:
    """Status, code and text of an error, as botocore reads it."""
    status, headers, body = answer
    assert headers["content-type"].startswith(
        {"json": "application/", "query": "text/xml", "smithy-rpc-v2-cbor": "application/cbor"}[wire]
    )
    assert (headers.get("smithy-protocol") == "rpc-v2-cbor") == (wire == "smithy-rpc-v2-cbor")
    error = create_parser(wire).parse({"status_code": status, "headers": headers, "body": body}, None)["Error"]
    return status, error["Code"], error["Message"]


def code(wire: str, shape: str, query: str) -> str:
    """An error's code for a client that is not in query mode."""
    return query if wire == "query" else shape


# --- what succeeds


def test_each_protocol_is_the_one_that_is_spoken(door: Door, client: Any, wire: str) -> None:
    at = datetime(2026, 11, 23, 4, 10, 0, 123000, tzinfo=UTC)
    door.backend.answers["DescribeAlarms"] = {
        "MetricAlarms": [
            {"AlarmName": "<a>", "Threshold": 0.5, "Period": 60, "StateUpdatedTimestamp": at.timestamp(), "Unit": None}
        ],
        "NextToken": "t",
    }
    answer = client.describe_alarms(AlarmNames=["<a>", "b&c"], MaxRecords=5)
    (call,) = door.backend.calls
    assert call.params == {"AlarmNames": ["<a>", "b&c"], "MaxRecords": 5}
    metadata = answer.pop("ResponseMetadata")
    assert metadata["RequestId"] == call.request_id
    assert (
        metadata["HTTPHeaders"]["content-type"]
        == {
            "json": "application/x-amz-json-1.0",
            "query": "text/xml",
            "smithy-rpc-v2-cbor": "application/cbor",
        }[wire]
    )
    assert answer == {
        "MetricAlarms": [{"AlarmName": "<a>", "Threshold": 0.5, "Period": 60, "StateUpdatedTimestamp": at}],
        "NextToken": "t",
    }


def test_an_operation_without_output(door: Door, client: Any, wire: str) -> None:
    answer = client.set_alarm_state(AlarmName="a", StateValue="OK", StateReason="")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert ("content-type" in answer["ResponseMetadata"]["HTTPHeaders"]) == (wire != "smithy-rpc-v2-cbor")
    assert door.backend.calls[0].params == {"AlarmName": "a", "StateValue": "OK", "StateReason": ""}


def test_large_metric_data_arrives_compressed(door: Door, client: Any) -> None:
    at = datetime(2026, 11, 23, 4, 10, 0, 500000, tzinfo=UTC)
    encodings: list[Any] = []
    client.meta.events.register(
        "before-send", lambda request, **_: encodings.append(request.headers.get("Content-Encoding"))
    )
    data = [{"MetricName": f"metric-{index}", "Values": [1.5, 2], "Timestamp": at} for index in range(200)]
    client.put_metric_data(Namespace="flights", MetricData=data)
    assert encodings == [b"gzip"]
    sent = door.backend.calls[0].params["MetricData"]
    assert len(sent) == 200
    assert sent[199] == {"MetricName": "metric-199", "Values": [1.5, 2.0], "Timestamp": at.timestamp()}


@pytest.mark.parametrize("prefix", ["", "/some/prefix"])
def test_a_prefix_of_the_path_is_passed_over(door: Door, wire: str, prefix: str) -> None:
    path, body, headers = written(wire, "DescribeAlarms", {})
    headers["authorization"] = SIGNED_FOR.format("monitoring")
    assert door.request("POST", prefix + path, body, headers)[0] == 200
    assert len(door.backend.calls) == 1


def test_a_form_need_not_be_signed_nor_say_its_version(door: Door) -> None:
    for body in (b"Action=DescribeAlarms&Version=2010-08-01", b"MaxRecords=7&Action=DescribeAlarms"):
        assert door.request("POST", "/", body, FORM)[0] == 200
    assert [call.params for call in door.backend.calls] == [{}, {"MaxRecords": 7}]


# --- what is refused


@pytest.mark.parametrize(
    ("error", "expected", "status", "exception"),
    [
        (NotFound(Resource.ALARM, "a"), "ResourceNotFound", 404, "ResourceNotFound"),
        (Busy(Resource.ALARM, "a"), "ResourceConflict", 409, "ResourceConflict"),
        (Invalid("no & <no>"), "InvalidParameterValue", 400, "InvalidParameterValueException"),
        (
            Invalid("no", code="InvalidParameterCombination"),
            "InvalidParameterCombination",
            400,
            "InvalidParameterCombinationException",
        ),
        (Invalid("no", code="MissingParameter"), "MissingParameter", 400, "MissingRequiredParameterException"),
        (Invalid("no", code="ValidationException"), "ValidationError", 400, None),
        (Invalid("no", code="LimitExceeded"), "LimitExceeded", 400, "LimitExceededFault"),
        (Invalid("no", code="InvalidFormat"), "InvalidFormat", 400, "InvalidFormatFault"),
        (Invalid("no", code="InvalidNextToken"), "InvalidNextToken", 400, "InvalidNextToken"),
        (Conflict("no"), "ConcurrentModificationException", 429, "ConcurrentModificationException"),
        (Unavailable("no"), "ServiceUnavailable", 503, None),
        (Fenced("no"), "ServiceUnavailable", 503, None),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_error_has_the_same_code_status_and_text(
    door: Door, client: Any, error: Exception, expected: str, status: int, exception: str | None
) -> None:
    door.backend.answers["SetAlarmState"] = error
    with pytest.raises(getattr(client.exceptions, exception) if exception else ClientError) as raised:
        client.set_alarm_state(AlarmName="a", StateValue="OK", StateReason="r")
    assert code_and_text(raised) == (expected, str(error), status)
    assert raised.value.response["ResponseMetadata"]["RequestId"] == door.backend.calls[0].request_id


def test_clients_that_are_not_in_query_mode_are_told_the_shape_only(door: Door, wire: str) -> None:
    door.backend.answers["SetAlarmState"] = Invalid("no")
    path, body, headers = written(wire, "SetAlarmState", {"AlarmName": "a", "StateValue": "OK", "StateReason": ""})
    headers.pop("x-amzn-query-mode", None)
    answer = door.request("POST", path, body, headers)
    assert read(wire, answer)[1] == code(wire, "InvalidParameterValueException", "InvalidParameterValue")
    assert "x-amzn-query-error" not in answer[1]


def test_missing_and_invalid_parameters(door: Door, client: Any) -> None:
    with pytest.raises(client.exceptions.MissingRequiredParameterException) as raised:
        client.put_metric_data(Namespace="n", MetricData=[{"MetricName": "m"}, {"Value": 1.0}])
    assert code_and_text(raised) == (
        "MissingParameter",
        "The parameter MetricData.member.2.MetricName is required.",
        400,
    )
    with pytest.raises(ClientError) as raised:
        client.set_alarm_state(AlarmName="a", StateValue="PANIC", StateReason="r")
    found, text, status = code_and_text(raised)
    assert (found, status) == ("ValidationError", 400)
    assert text.endswith("Member must satisfy enum value set: [OK, ALARM, INSUFFICIENT_DATA]")
    assert door.backend.calls == []


def test_a_bug_in_a_handler_leaks_nothing(door: Door, client: Any, caplog: pytest.LogCaptureFixture) -> None:
    door.backend.answers["DescribeAlarms"] = RuntimeError("the secret is 42")
    with caplog.at_level(logging.ERROR), pytest.raises(client.exceptions.InternalServiceFault) as raised:
        client.describe_alarms()
    found, text, status = code_and_text(raised)
    assert (found, status, "secret" in text) == ("InternalServiceError", 500, False)
    assert "the secret is 42" in caplog.text
    door.backend.answers["DescribeAlarms"] = {"MetricAlarm": []}
    with pytest.raises(client.exceptions.InternalServiceFault):
        client.describe_alarms()


MALFORMED = {
    "json": [b"{", b"[]", b'{"AlarmName": 1}'],
    "query": [b"AlarmName=%FF", b"AlarmName=a&AlarmName=b", b"StateValue.x=1"],
    "smithy-rpc-v2-cbor": [b"\xa1", b"\x80", cbor.encode({"AlarmName": 1}), b"\x81" * 1000],
}


def test_a_malformed_body(door: Door, wire: str) -> None:
    path, _, headers = written(wire, "SetAlarmState", {})
    headers.pop("x-amzn-query-mode", None)
    for body in MALFORMED[wire]:
        content = b"Action=SetAlarmState&" + body if wire == "query" else body
        status, found, text = read(wire, door.request("POST", path, content, headers))
        assert (status, found) == (400, code(wire, "SerializationException", "MalformedInput")), body
        assert text.endswith(".")
    assert door.backend.calls == []


def large(wire: str) -> bytes:
    return (
        b"Action=PutMetricData&Namespace=" + b"n" * BODY_BYTES_MAX if wire == "query" else b"\x00" * BODY_BYTES_MAX * 2
    )


@pytest.mark.parametrize("how", ["whole", "in chunks", "compressed"])
def test_a_body_over_the_limit(door: Door, wire: str, how: str) -> None:
    path, _, headers = written(wire, "PutMetricData", {})
    body: bytes | Iterator[bytes] = large(wire)
    if how == "in chunks":
        body = iter([large(wire)])
    elif how == "compressed":
        body, headers["content-encoding"] = gzip.compress(large(wire)), "gzip"
    status, found, _ = read(wire, door.request("POST", path, body, headers))
    assert (status, found) == (413, "RequestEntityTooLarge")


def test_chunked_and_wrongly_compressed_bodies(door: Door, wire: str) -> None:
    path, body, headers = written(wire, "SetAlarmState", {"AlarmName": "a", "StateValue": "OK", "StateReason": ""})
    headers.pop("x-amzn-query-mode", None)
    assert door.request("POST", path, iter([body[:5], body[5:]]), headers)[0] == 200
    for encoding, content in (("gzip", body), ("gzip", gzip.compress(body)[:-9]), ("br", body)):
        answer = door.request("POST", path, content, {**headers, "content-encoding": encoding})
        assert read(wire, answer)[:2] == (400, code(wire, "SerializationException", "MalformedInput"))
    assert len(door.backend.calls) == 1


@pytest.mark.parametrize(
    ("operation", "says"),
    [
        ("PutDashboard", "Bannister does not support the operation PutDashboard of cloudwatch. It supports: Des"),
        ("MakeCoffee", "There is no operation 'MakeCoffee' of cloudwatch."),
    ],
)
def test_an_unknown_operation(door: Door, wire: str, operation: str, says: str) -> None:
    path, body, headers = written(wire, "DescribeAlarms", {})
    headers.pop("x-amzn-query-mode", None)
    headers = {name: value.replace("DescribeAlarms", operation) for name, value in headers.items()}
    path, body = path.replace("DescribeAlarms", operation), body.replace(b"DescribeAlarms", operation.encode())
    status, found, text = read(wire, door.request("POST", path, body, headers))
    assert (status, found) == (400, code(wire, "UnknownOperationException", "InvalidAction"))
    assert text.startswith(says)


@pytest.mark.parametrize(
    ("wire", "path", "headers", "body", "expected", "says"),
    [
        ("query", "/", FORM, b"", "MissingAction", "The request names no operation of cloudwatch."),
        (
            "query",
            "/",
            FORM,
            b"Action=DescribeAlarms&Version=2009-05-15",
            "InvalidAction",
            "There is no version '2009-05-15' of the API of cloudwatch; give Version=2010-08-01.",
        ),
        (
            "query",
            "/",
            {**FORM, "authorization": SIGNED_FOR.format("sqs")},
            b"Action=GetCallerIdentity",
            "InvalidAction",
            "Bannister does not speak the service 'sqs'.",
        ),
        (
            "query",
            "/",
            {**FORM, "authorization": SIGNED_FOR.format("sagemaker")},
            b"Action=ListEndpoints",
            "InvalidAction",
            "The service sagemaker does not speak the protocol query. It speaks: json.",
        ),
        (
            "smithy-rpc-v2-cbor",
            "/service/SageMaker/operation/ListEndpoints",
            CBOR_HEADERS,
            b"\xa0",
            "UnknownOperationException",
            "The service sagemaker does not speak the protocol smithy-rpc-v2-cbor. It speaks: json.",
        ),
        (
            "smithy-rpc-v2-cbor",
            "/service/Other/operation/Do",
            CBOR_HEADERS,
            b"\xa0",
            "UnknownOperationException",
            "Bannister does not speak the service 'Other'.",
        ),
        (
            "smithy-rpc-v2-cbor",
            "/",
            CBOR_HEADERS,
            b"\xa0",
            "UnknownOperationException",
            "The request names no service",
        ),
        (
            "smithy-rpc-v2-cbor",
            f"/service/{TARGET}/operation/DescribeAlarms",
            {"content-type": "application/cbor"},
            b"\xa0",
            "SerializationException",
            "The request needs the header smithy-protocol: rpc-v2-cbor.",
        ),
        (
            "smithy-rpc-v2-cbor",
            f"/service/{TARGET}/operation/DescribeAlarms",
            {**CBOR_HEADERS, "x-amz-target": f"{TARGET}.DescribeAlarms"},
            b"\xa0",
            "SerializationException",
            "A request in RPC v2 must not have the header X-Amz-Target",
        ),
        (
            "json",
            "/",
            {"x-amz-target": "Other.Do", "content-type": "application/x-amz-json-1.0"},
            b"{}",
            "UnknownOperationException",
            "Bannister does not speak the service 'Other'.",
        ),
    ],
    ids=[
        "no action",
        "another version",
        "another service",
        "a service without forms",
        "a service without cbor",
        "an unknown service",
        "no service",
        "no protocol",
        "two protocols",
        "an unknown target",
    ],
)
def test_what_nobody_speaks(
    door: Door, wire: str, path: str, headers: dict[str, str], body: bytes, expected: str, says: str
) -> None:
    status, found, text = read(wire, door.request("POST", path, body, headers))
    assert (status, found) == (400, expected)
    assert text.startswith(says)
    assert door.backend.calls == []


def test_strangers_are_refused_in_their_protocol(door: Door, wire: str) -> None:
    path, body, headers = written(wire, "DescribeAlarms", {})
    for header in ({"host": "evil.example"}, {"origin": "https://evil.example"}):
        status, found, _ = read(wire, door.request("POST", path, body, {**headers, **header}))
        assert (status, found) == (403, "AccessDeniedException")
    assert door.backend.calls == []


def test_an_address_that_a_page_can_make_a_browser_get_does_nothing(door: Door) -> None:
    door.request("GET", "/?Action=SetAlarmState&Version=2010-08-01&AlarmName=a&StateValue=OK&StateReason=")
    door.request("GET", f"/service/{TARGET}/operation/DescribeAlarms", headers=CBOR_HEADERS)
    assert door.backend.calls == []


def test_forms_and_cbor_for_a_model_are_no_operations(door: Door) -> None:
    for content_type in ("application/x-www-form-urlencoded", "application/cbor"):
        headers = {"content-type": content_type, "authorization": SIGNED_FOR.format("sagemaker")}
        status, found, _ = door.request("POST", "/endpoints/e/invocations", b"Action=DescribeAlarms", headers)
        assert (status, found["x-amzn-errortype"]) == (400, "ValidationError")
    s3 = {"authorization": SIGNED_FOR.format("s3"), **FORM}
    assert door.request("POST", "/", b"Action=DescribeAlarms", s3)[0] == 200
    assert door.backend.objects == [("POST", "/")]
    assert door.backend.calls == []


# --- anything at all


def performed(
    path: str, body: bytes, headers: dict[str, str], fenced: bool = False
) -> tuple[int, dict[str, str], bytes]:
    """The gateway's answer, without a server."""
    backend = Backend()

    def fence() -> None:
        if fenced:
            raise Unavailable("The state file does not answer.")

    names = ("PutMetricAlarm", "PutMetricData", "SetAlarmState", "DescribeAlarms")
    gateway = Gateway(
        Settings(Path("/nonexistent")),
        RandomIds(),
        SystemClock(),
        [Service("cloudwatch", dict.fromkeys(names, backend.perform))],
        backend.objects_app,
        backend.still_waits_for,
        fence,
    )
    sent: list[Any] = []
    encoded = [(name.encode(), value.encode()) for name, value in {"host": "localhost", **headers}.items()]
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": encoded}

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(event: Any) -> None:
        sent.append(event)

    asyncio.run(gateway(scope, receive, send))
    answered = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], answered, sent[1]["body"]


def test_a_process_that_may_not_act_says_so_in_each_protocol(wire: str) -> None:
    answer = performed(*written(wire, "DescribeAlarms", {}), fenced=True)
    assert read(wire, answer) == (503, "ServiceUnavailable", "The state file does not answer.")


_MEMBERS = (
    "AlarmName Metrics MetricData Timestamp Threshold Period Dimensions Name Value EvaluationCriteria OKActions Tags"
)
NAMES = st.sampled_from(_MEMBERS.split())
LEAVES = st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.floats() | st.text(max_size=20) | st.binary(max_size=9)
TREES = st.recursive(
    LEAVES | st.floats().map(cbor.Epoch),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(max_size=3), inner, max_size=5),
    max_leaves=20,
)
FIELDS = st.lists(NAMES | st.sampled_from(["member", "1", "2", "0", "entry", "key", ""]), min_size=1, max_size=6)
ANY = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))


@ANY
@given(
    operation=st.sampled_from(["PutMetricAlarm", "PutMetricData", "Do"]) | st.text("ab%/?é ", max_size=3),
    fields=st.lists(st.tuples(FIELDS.map(".".join), LEAVES), max_size=10),
)
def test_no_form_is_a_server_error(operation: str, fields: list[tuple[str, Any]]) -> None:
    answer = performed("/", urlencode([("Action", operation), *fields]).encode(), FORM)
    assert answer[0] == 200 or (answer[0] == 400 and all(read("query", answer)))


def epochs_written(tree: Any) -> Any:
    """Epochs that are no whole or finite number cannot be written as seconds by us."""
    match tree:
        case cbor.Epoch():
            return cbor.Epoch(0.5) if tree.seconds != tree.seconds or abs(tree.seconds) > 1e15 else tree
        case dict():
            return {key: epochs_written(item) for key, item in tree.items()}
        case list():
            return [epochs_written(item) for item in tree]
        case _:
            return tree


@ANY
@given(
    operation=st.sampled_from(["PutMetricAlarm", "PutMetricData"]),
    body=st.dictionaries(NAMES, TREES.map(epochs_written), max_size=8).map(cbor.encode) | st.binary(max_size=50),
)
def test_no_cbor_is_a_server_error(operation: str, body: bytes) -> None:
    answer = performed(f"/service/{TARGET}/operation/{operation}", body, CBOR_HEADERS)
    assert answer[0] == 200 or (answer[0] == 400 and all(read("smithy-rpc-v2-cbor", answer)))


def test_all_three_are_meant() -> None:
    assert set(WIRES) == set(service_model("cloudwatch").metadata["protocols"])
