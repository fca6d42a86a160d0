"""The texts that Envoy sends by itself are whole JSON documents, whatever is filled in."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bannister.aws.runtime_errors import HEADER_LIMITS, runtime_texts, unknown_endpoint
from bannister.aws.wire.models import operation_model
from bannister.domain.runtime_texts import ModelErrorText, Reply

TEXTS = runtime_texts("000000000000", 25 * 1024 * 1024)
REPLIES = [
    (field.name, getattr(TEXTS, field.name))
    for field in dataclasses.fields(TEXTS)
    if isinstance(getattr(TEXTS, field.name), Reply)
]


@pytest.mark.parametrize(("name", "reply"), REPLIES, ids=[name for name, _ in REPLIES])
def test_every_reply_is_json_with_a_message_and_an_error_status(name: str, reply: Reply) -> None:
    body = json.loads(reply.about(endpoint="flights", variant="blue-2").body)
    assert "{" not in body["Message"], name
    assert "%" not in reply.body, "a percent sign would be a command in Envoy's format strings"
    assert reply.status >= 400
    assert reply.error_type


def test_names_are_filled_in() -> None:
    body = json.loads(TEXTS.unknown_variant.about(endpoint="flights", variant="green").body)
    assert body["Message"] == "Variant green not found on endpoint flights of account 000000000000."


def test_an_unknown_endpoint_reads_as_on_aws() -> None:
    reply = unknown_endpoint("nope", "123456789012")
    assert (reply.status, reply.error_type) == (400, "ValidationError")
    assert json.loads(reply.body) == {"Message": "Endpoint nope of account 123456789012 not found."}


def test_a_timeout_says_so_and_has_no_status_of_the_model() -> None:
    body = json.loads(TEXTS.timed_out.about(endpoint="flights").body)
    assert TEXTS.timed_out.status == 424
    assert body["OriginalStatusCode"] == 0
    assert body["Message"].startswith(
        'Received server error (0) from primary with message "Your invocation timed out while waiting for a response'
    )
    assert body["Message"].endswith("/aws/sagemaker/Endpoints/flights in account 000000000000 for more information.")


@pytest.mark.parametrize(
    ("text", "status", "kind", "code"),
    [
        (TEXTS.model_client_error, 422, "client", "CLIENT_ERROR_FROM_MODEL"),
        (TEXTS.model_server_error, 500, "server", "INTERNAL_FAILURE_FROM_MODEL"),
    ],
)
@given(answer=st.text())
def test_a_models_own_error_is_repeated_whole(
    text: ModelErrorText, status: int, kind: str, code: str, answer: str
) -> None:
    filled = text.about(endpoint="flights", status=str(status))
    inside = json.dumps(answer)[1:-1]
    body = json.loads(filled.opening + inside + filled.middle + inside + filled.closing)
    logs = "See the log group /aws/sagemaker/Endpoints/flights in account 000000000000 for more information."
    assert body == {
        "ErrorCode": code,
        "LogStreamArn": "",
        "Message": f'Received {kind} error ({status}) from primary with message "{answer}". {logs}',
        "OriginalMessage": answer,
        "OriginalStatusCode": status,
    }


#: Members that are refused, or looked for, whatever their length.
ELSEWHERE = {
    "TargetModel",
    "TargetContainerHostname",
    "EnableExplanations",
    "InferenceComponentName",
    "TargetVariant",
    "SessionId",
}


@pytest.mark.parametrize("operation", ["InvokeEndpoint", "InvokeEndpointWithResponseStream"])
def test_every_member_in_a_header_has_the_length_and_the_pattern_that_aws_gives_it(operation: str) -> None:
    model = operation_model("sagemaker-runtime", operation)
    assert model is not None
    asked = {
        shape.serialization["name"].lower(): (
            name[0].lower() + name[1:],
            shape.metadata["max"],
            shape.metadata["pattern"],
        )
        for name, shape in model.input_shape.members.items()
        if shape.serialization.get("location") == "header" and name not in ELSEWHERE
    }
    assert asked.items() <= HEADER_LIMITS.items()


@pytest.mark.parametrize("header", HEADER_LIMITS)
def test_what_is_beyond_a_limit_is_said_in_the_form_of_awss_constraints(header: str) -> None:
    member, most, pattern = HEADER_LIMITS[header]
    limit = TEXTS.header_limits[header]
    for reply, constraint in (
        (limit.too_long, f"Member must have length less than or equal to {most}"),
        (limit.malformed, f"Member must satisfy regular expression pattern: {pattern}"),
    ):
        assert (reply.status, reply.error_type) == (400, "ValidationError")
        assert json.loads(reply.body)["Message"] == (
            f"1 validation error detected: Value at '{member}' failed to satisfy constraint: {constraint}"
        )
