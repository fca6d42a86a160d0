"""The door as clients meet it: unmodified boto3 and plain HTTP against the gateway behind uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import http.client
import json
import logging
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.aws.door import ACCOUNT, BODY_BYTES_MAX, Backend, Door, code_and_text

from bannister.aws.call import Service
from bannister.aws.gateway import _SCOPE, Gateway
from bannister.clock import SystemClock
from bannister.errors import AlreadyExists, Busy, Conflict, Fenced, Invalid, NotFound, Resource, Unavailable
from bannister.ids import RandomIds
from bannister.settings import Settings

# --- operations that succeed


def test_an_operation_reaches_its_handler_parsed_and_its_answer_reaches_the_client(door: Door) -> None:
    created = datetime(2026, 11, 23, 4, 10, 0, 123000, tzinfo=UTC)
    door.backend.answers["DescribeEndpoint"] = {
        "EndpointName": "flights",
        "EndpointArn": f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:endpoint/flights",
        "EndpointStatus": "InService",
        "CreationTime": created.timestamp() + 0.0004,
        "LastModifiedTime": int(created.timestamp()),
        "FailureReason": None,
        "ProductionVariants": [{"VariantName": "AllTraffic", "CurrentWeight": 1, "CurrentInstanceCount": 2}],
    }
    answer = door.client("sagemaker").describe_endpoint(EndpointName="flights")
    call = door.backend.calls[0]
    assert (call.service, call.operation, call.params) == ("sagemaker", "DescribeEndpoint", {"EndpointName": "flights"})
    assert (call.region, call.account_id) == ("us-east-1", ACCOUNT)
    metadata = answer.pop("ResponseMetadata")
    assert metadata["RequestId"] == call.request_id
    assert metadata["HTTPHeaders"]["content-type"] == "application/x-amz-json-1.1"
    assert answer["CreationTime"] == created, "milliseconds, and not more"
    assert "FailureReason" not in answer
    assert answer["ProductionVariants"] == [
        {"VariantName": "AllTraffic", "CurrentWeight": 1.0, "CurrentInstanceCount": 2}
    ]


def test_an_operation_without_output_answers_with_an_empty_body(door: Door) -> None:
    status, headers, _ = door.operation("SageMaker.DeleteEndpoint", b'{"EndpointName":"e"}')
    assert (status, headers["content-length"]) == (200, "0")


def test_timestamps_arrive_as_seconds_and_large_bodies_compressed(door: Door) -> None:
    at = datetime(2026, 11, 23, 4, 10, tzinfo=UTC)
    data = [{"MetricName": f"metric-{index}", "Value": 1.5, "Timestamp": at} for index in range(300)]
    door.client("cloudwatch").put_metric_data(Namespace="flights", MetricData=data)
    sent = door.backend.calls[0].params["MetricData"]
    assert len(sent) == 300
    assert sent[0] == {"MetricName": "metric-0", "Value": 1.5, "Timestamp": at.timestamp()}


def test_cloudwatch_answers_in_json_1_0(door: Door) -> None:
    door.backend.answers["DescribeAlarms"] = {"MetricAlarms": [{"AlarmName": "a", "Threshold": 0.5}]}
    answer = door.client("cloudwatch").describe_alarms()
    assert answer["MetricAlarms"] == [{"AlarmName": "a", "Threshold": 0.5}]
    assert answer["ResponseMetadata"]["HTTPHeaders"]["content-type"] == "application/x-amz-json-1.0"


def test_no_signature_takes_long_to_read() -> None:
    began = time.process_time()
    for begun in ("Credential=", "Credential=a/", "Credential=/a/", "Credential=a/b/c/"):
        assert _SCOPE.search(begun * (60_000 // len(begun))) is None
    assert time.process_time() - began < 0.5
    key = "A" * 512
    found = _SCOPE.search(f"AWS4-HMAC-SHA256 Credential={key}/20261123/us-east-1/sagemaker/aws4_request, Signature=x")
    assert found is not None
    assert found[1] == "sagemaker"


# --- operations that are refused


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (
            NotFound(Resource.ENDPOINT, "Flights"),
            "ValidationException",
            f'Could not find endpoint "arn:aws:sagemaker:us-east-1:{ACCOUNT}:endpoint/flights".',
        ),
        (
            NotFound(Resource.ENDPOINT_CONFIG, "c"),
            "ValidationException",
            f'Could not find endpoint configuration "arn:aws:sagemaker:us-east-1:{ACCOUNT}:endpoint-config/c".',
        ),
        (
            AlreadyExists(Resource.MODEL, "m"),
            "ValidationException",
            f'Cannot create already existing model "arn:aws:sagemaker:us-east-1:{ACCOUNT}:model/m".',
        ),
        (
            Busy(Resource.ENDPOINT, "e"),
            "ValidationException",
            f'Cannot update in-progress endpoint "arn:aws:sagemaker:us-east-1:{ACCOUNT}:endpoint/e".',
        ),
        (Invalid("A canary is at most 50 %."), "ValidationException", "A canary is at most 50 %."),
        (Invalid("Too many.", code="ResourceLimitExceeded"), "ResourceLimitExceeded", "Too many."),
        (Conflict("The endpoint changed meanwhile."), "ConflictException", "The endpoint changed meanwhile."),
    ],
)
def test_sagemaker_refuses_in_its_own_words(door: Door, error: Exception, code: str, text: str) -> None:
    door.backend.answers["DescribeEndpoint"] = error
    with pytest.raises(ClientError) as raised:
        door.client("sagemaker").describe_endpoint(EndpointName="e")
    assert code_and_text(raised) == (code, text, 400)


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (NotFound(Resource.ALARM, "a"), "ResourceNotFound", 404),
        (Invalid("no"), "InvalidParameterValue", 400),
        (Invalid("no", code="InvalidParameterCombination"), "InvalidParameterCombination", 400),
        (Invalid("no", code="LimitExceeded"), "LimitExceeded", 400),
        (Invalid("no", code="InvalidNextToken"), "InvalidNextToken", 400),
        (Unavailable("no"), "ServiceUnavailable", 503),
        (Fenced("no"), "ServiceUnavailable", 503),
    ],
)
def test_cloudwatch_refuses_with_its_query_codes(door: Door, error: Exception, code: str, status: int) -> None:
    door.backend.answers["SetAlarmState"] = error
    with pytest.raises(ClientError) as raised:
        door.client("cloudwatch").set_alarm_state(AlarmName="a", StateValue="OK", StateReason="r")
    assert code_and_text(raised) == (code, str(error), status)


def test_clients_can_catch_cloudwatchs_modelled_errors(door: Door) -> None:
    door.backend.answers["SetAlarmState"] = NotFound(Resource.ALARM, "a")
    client = door.client("cloudwatch")
    with pytest.raises(client.exceptions.ResourceNotFound):
        client.set_alarm_state(AlarmName="a", StateValue="OK", StateReason="r")


def test_all_violations_are_named_and_nothing_is_called(door: Door) -> None:
    with pytest.raises(ClientError) as raised:
        door.client("sagemaker").create_endpoint_config(
            EndpointConfigName="c",
            ProductionVariants=[
                {"VariantName": "v", "ModelName": "m", "InitialInstanceCount": 1},
                {"VariantName": "v", "ModelName": "x y", "InitialInstanceCount": 0},
            ],
        )
    code, text, status = code_and_text(raised)
    assert (code, status) == ("ValidationException", 400)
    assert text.startswith(
        "2 validation errors detected: Value 'x y' at 'productionVariants.2.member.modelName' failed"
    )
    assert "Value '0' at 'productionVariants.2.member.initialInstanceCount'" in text
    assert door.backend.calls == []


def test_cloudwatch_names_missing_and_invalid_parameters_by_its_own_codes(door: Door) -> None:
    client = door.client("cloudwatch")
    with pytest.raises(ClientError) as raised:
        client.put_metric_alarm(
            AlarmName="a", ComparisonOperator="GreaterThanThreshold", EvaluationPeriods=1, Metrics=[{}]
        )
    assert code_and_text(raised) == ("MissingParameter", "The parameter Metrics.member.1.Id is required.", 400)
    with pytest.raises(ClientError) as raised:
        client.set_alarm_state(AlarmName="a", StateValue="PANIC", StateReason="r")
    code, text, _ = code_and_text(raised)
    assert code == "ValidationError"
    assert text.endswith("Member must satisfy enum value set: [OK, ALARM, INSUFFICIENT_DATA]")


@pytest.mark.parametrize(
    ("operation", "says"),
    [
        (
            "CreateTrainingJob",
            "Bannister does not support the operation CreateTrainingJob of sagemaker. It supports: Cr",
        ),
        ("MakeCoffee", "There is no operation 'MakeCoffee' of sagemaker."),
        ("", "The request names no operation of sagemaker. JSON names it in X-Amz-Target"),
    ],
)
def test_an_unknown_operation_is_refused_with_a_sentence(door: Door, operation: str, says: str) -> None:
    status, headers, content = door.operation(f"SageMaker.{operation}", b"{}")
    assert (status, content["__type"]) == (400, "UnknownOperationException")
    assert content["message"].startswith(says)
    assert headers["content-type"] == "application/x-amz-json-1.1"


def test_a_service_that_is_not_spoken_is_refused_with_those_that_are(door: Door) -> None:
    with pytest.raises(ClientError) as raised:
        door.client("dynamodb").list_tables()
    code, text, status = code_and_text(raised)
    assert (code, status) == ("UnknownOperationException", 400)
    assert text.endswith("It speaks: cloudwatch, s3, sagemaker, sagemaker-runtime.")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "The body is not valid JSON"),
        (b"\xff\xfe", "The body is not valid JSON"),
        (b"[" * 20_000, "The body is not valid JSON"),
        (b'{"EndpointName": "\\ud800"}', "The body is not valid JSON"),
        (b"[]", "The body must be a JSON object."),
        (b'{"EndpointName": 1}', "NUMBER_VALUE can not be converted to a String at 'endpointName'."),
    ],
)
def test_a_malformed_body_is_a_serialization_exception(door: Door, body: bytes, says: str) -> None:
    status, _, content = door.operation("SageMaker.DescribeEndpoint", body)
    assert (status, content["__type"]) == (400, "SerializationException")
    assert content["message"].startswith(says)


def test_a_bug_in_a_handler_leaks_nothing_and_is_logged(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    door.backend.answers["DescribeEndpoint"] = RuntimeError("the secret is 42")
    with caplog.at_level(logging.ERROR):
        status, headers, content = door.operation("SageMaker.DescribeEndpoint", b'{"EndpointName":"e"}')
    assert (status, content["__type"]) == (500, "InternalFailure")
    assert "secret" not in json.dumps(content)
    assert "the secret is 42" in caplog.text
    assert headers["x-amzn-requestid"] in caplog.text


def test_an_answer_that_the_model_does_not_know_is_our_bug(door: Door) -> None:
    door.backend.answers["DescribeEndpoint"] = {"EndpointNaem": "e"}
    status, _, content = door.operation("SageMaker.DescribeEndpoint", b'{"EndpointName":"e"}')
    assert (status, content["__type"]) == (500, "InternalFailure")


# --- bodies


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_refused_and_the_connection_kept(door: Door, chunked: bool) -> None:
    """A connection closed on a client that still sends would cost it the answer."""
    body = b" " * (20 * BODY_BYTES_MAX)
    target = {"X-Amz-Target": "SageMaker.DescribeEndpoint"}
    connection = http.client.HTTPConnection("127.0.0.1", door.port, timeout=30)
    with contextlib.closing(connection):
        for _ in range(3):
            connection.request("POST", "/", iter([body]) if chunked else body, target)
            response = connection.getresponse()
            assert response.status == 413
            assert json.load(response)["__type"] == "RequestEntityTooLargeException"
            assert not response.will_close


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (gzip.compress(b'{"EndpointName":"e"}'), 200, None),
        (gzip.compress(b'{"EndpointName":"e"}') + gzip.compress(b" "), 400, "SerializationException"),
        (gzip.compress(b" " * (BODY_BYTES_MAX + 1)), 413, "RequestEntityTooLargeException"),
        (gzip.compress(b'{"EndpointName":"e"}')[:-9], 400, "SerializationException"),
        (b'{"EndpointName":"e"}', 400, "SerializationException"),
    ],
    ids=["whole", "two parts", "too large", "cut", "not compressed"],
)
def test_compressed_bodies(door: Door, body: bytes, status: int, code: str | None) -> None:
    found, _, content = door.operation("SageMaker.DeleteEndpoint", body, **{"Content-Encoding": "gzip"})
    assert (found, content.get("__type")) == (status, code)


# --- what is not an operation


def test_an_endpoint_without_a_route_is_not_found_in_the_runtimes_shape(door: Door) -> None:
    runtime = door.client("sagemaker-runtime")
    for call in (runtime.invoke_endpoint, runtime.invoke_endpoint_with_response_stream):
        with pytest.raises(runtime.exceptions.ValidationError) as raised:
            call(EndpointName="nope", Body=b"1,2,3")
        assert code_and_text(raised) == ("ValidationError", f"Endpoint nope of account {ACCOUNT} not found.", 400)


@pytest.mark.parametrize(
    "name", ["a/b", "../x", "a b", "%2e", "é", "a?b", "a_b", "-", "arn:aws:sagemaker:x:y:endpoint/e"]
)
def test_a_name_that_no_endpoint_can_have_is_refused_by_the_model(door: Door, name: str) -> None:
    runtime = door.client("sagemaker-runtime")
    with pytest.raises(runtime.exceptions.ValidationError) as raised:
        runtime.invoke_endpoint(EndpointName=name, Body=b"1,2,3")
    assert code_and_text(raised) == (
        "ValidationError",
        f"1 validation error detected: Value '{name}' at 'endpointName' failed to satisfy constraint: Member must satisfy "
        "regular expression pattern: ^[a-zA-Z0-9](-*[a-zA-Z0-9])*",
        400,
    )


def test_members_in_headers_are_checked_too_and_all_are_named(door: Door) -> None:
    runtime = door.client("sagemaker-runtime")
    with pytest.raises(runtime.exceptions.ValidationError) as raised:
        runtime.invoke_endpoint(
            EndpointName="e" * 64,
            Body=b"1",
            CustomAttributes="secret" * 200,
            InferenceId="i" * 65,
            TargetVariant="a_b",
            SessionId="NEW_SESSION",
            ContentType="text/csv",
        )
    code, text, status = code_and_text(raised)
    assert (code, status) == ("ValidationError", 400)
    assert text.startswith("4 validation errors detected: ")
    for where in (
        f"Value '{'e' * 64}' at 'endpointName' failed to satisfy constraint: Member must have length less than or equal to 63",
        "Value at 'customAttributes' failed to satisfy constraint: Member must have length less than or equal to 1024",
        f"Value '{'i' * 65}' at 'inferenceId' failed",
        "Value 'a_b' at 'targetVariant' failed to satisfy constraint: Member must satisfy regular expression pattern",
    ):
        assert where in text
    assert "secret" not in text


def test_other_ways_to_invoke_say_that_they_are_not_supported(door: Door) -> None:
    runtime = door.client("sagemaker-runtime")
    with pytest.raises(ClientError) as raised:
        runtime.invoke_endpoint_async(EndpointName="flights", InputLocation="s3://bucket/key")
    code, text, status = code_and_text(raised)
    assert (code, status) == ("UnknownOperationException", 400)
    assert "does not support the operation InvokeEndpointAsync" in text
    assert "InvokeEndpointWithResponseStream" in text


def test_an_unread_body_does_not_disturb_the_next_request_on_the_connection(door: Door) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", door.port, timeout=30)
    with contextlib.closing(connection):
        for _ in range(3):
            connection.request("POST", "/endpoints/nope/invocations", b"x" * 1_000_000)
            response = connection.getresponse()
            assert response.status == 400
            assert b"not found" in response.read()


def test_signed_s3_and_unsigned_paths_go_to_the_objects(door: Door) -> None:
    s3 = door.client("s3")
    s3.put_object(Bucket="endpoints", Key="e/invocations", Body=b"data")
    door.request("GET", "/bucket/key")
    presigned = s3.generate_presigned_url("get_object", Params={"Bucket": "b", "Key": "k"})
    door.request("POST", presigned.removeprefix(f"http://127.0.0.1:{door.port}"), b"")
    assert door.backend.objects == [("PUT", "/endpoints/e/invocations"), ("GET", "/bucket/key"), ("POST", "/b/k")]


def test_a_service_that_is_only_named_by_its_signature_is_refused_with_a_sentence(door: Door) -> None:
    authorization = "AWS4-HMAC-SHA256 Credential=AKID/20261123/us-east-1/{}/aws4_request, Signature=x"
    for name, says in (
        ("monitoring", "The request names no operation of cloudwatch. JSON names it in X-Amz-Target"),
        ("sqs", "Bannister does not speak the service 'sqs'."),
    ):
        status, _, content = door.request("POST", "/", b"Action=X", {"Authorization": authorization.format(name)})
        assert status == 400
        assert json.loads(content)["message"].startswith(says)
    assert door.request("POST", "/", b"")[0] == 400
    assert door.backend.objects == []


def test_readiness(door: Door) -> None:
    assert door.request("GET", "/-/ready")[::2] == (200, b'{"status":"ready"}')
    door.backend.waits_for = "the proxy's first acknowledgement"
    status, _, content = door.request("GET", "/-/ready")
    assert (status, json.loads(content)["waits_for"]) == (503, "the proxy's first acknowledgement")


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:3594", "LocalHost", "bucket.localhost:3594"])
def test_names_of_this_machine_are_let_in(door: Door, host: str) -> None:
    assert door.request("GET", "/-/ready", headers={"Host": host, "Origin": f"http://{host}"})[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:3594"},
        {"Host": "localhost@evil.example"},
        {"Host": ""},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost.evil.example"},
    ],
)
@pytest.mark.parametrize("path", ["/", "/-/ready", "/bucket/key", "/endpoints/e/invocations"])
def test_strangers_are_refused_with_a_sentence(door: Door, headers: dict[str, str], path: str) -> None:
    status, found, content = door.request("POST", path, b"{}", headers)
    assert (status, found["content-type"]) == (403, "application/json")
    assert len(json.loads(content)["message"].split()) > 5
    assert door.backend.objects == []


# --- anything at all

SUPPORTED = ("CreateEndpointConfig", "CreateModel", "PutMetricAlarm", "PutMetricData", "ListEndpoints")
TARGETS = st.builds(
    "{}.{}".format,
    st.sampled_from(["SageMaker", "GraniteServiceVersion20100801", "DynamoDB_20120810", ""]),
    st.sampled_from(SUPPORTED) | st.text(max_size=5),
)
_MEMBERS = """
    EndpointConfigName ProductionVariants VariantName ModelName Tags Key Value PrimaryContainer Environment Metrics
    MetricData Timestamp Threshold Period EvaluationCriteria MaxResults
"""
NAMES = st.sampled_from(_MEMBERS.split())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=6),
    max_leaves=30,
)


def test_a_process_that_cannot_tell_whether_it_may_act_does_nothing_and_says_so() -> None:
    backend = Backend()

    def fence() -> None:
        raise Unavailable("The state file does not answer: disk I/O error.")

    gateway = Gateway(
        Settings(Path("/nonexistent")),
        RandomIds(),
        SystemClock(),
        [Service("sagemaker", {"ListEndpoints": backend.perform})],
        backend.objects_app,
        backend.still_waits_for,
        fence,
    )
    sent: list[Any] = []
    asyncio.run(gateway(*exchange("SageMaker.ListEndpoints", b"{}", sent)))
    assert sent[0]["status"] == 503
    assert json.loads(sent[1]["body"])["message"] == "The state file does not answer: disk I/O error."
    assert not backend.calls


@settings(max_examples=300, deadline=None)
@given(target=TARGETS, content=st.dictionaries(NAMES, JSON, max_size=8).map(json.dumps).map(str.encode) | st.binary())
def test_no_body_is_a_server_error(served: Door, target: str, content: bytes) -> None:
    backend = Backend()
    names = dict.fromkeys(SUPPORTED, backend.perform)
    gateway = Gateway(
        Settings(Path("/nonexistent")),
        RandomIds(),
        SystemClock(),
        [Service("sagemaker", names), Service("cloudwatch", names)],
        backend.objects_app,
        backend.still_waits_for,
    )
    sent: list[Any] = []
    asyncio.run(gateway(*exchange(target, content, sent)))
    assert sent[0]["status"] < 500
    if sent[0]["status"] != 200:
        assert json.loads(sent[1]["body"])["message"]


def exchange(target: str, content: bytes, sent: list[Any]) -> tuple[Any, Any, Any]:
    headers = [(b"host", b"localhost"), (b"x-amz-target", target.encode("utf-8"))]
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": headers}

    async def receive() -> Any:
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(event: Any) -> None:
        sent.append(event)

    return scope, receive, send
