"""Who the caller is, as boto3's STS and IAM clients read it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.aws.door import ACCOUNT, Door, code_and_text, opened

from bannister.aws import identity


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    with opened(identity.services()) as door:
        yield door


def test_the_caller_is_in_a_role_of_the_one_account(door: Door) -> None:
    found = door.client("sts").get_caller_identity()
    assert found["Account"] == ACCOUNT
    assert found["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/BannisterExecutionRole/local"
    assert re.fullmatch(r"AROA[A-Z2-7]{17}:local", found["UserId"])


def test_the_callers_role_is_found_as_sagemakers_sdk_finds_it(door: Door) -> None:
    arn = door.client("sts").get_caller_identity()["Arn"]
    named = re.sub(r"^(.+)sts::(\d+):assumed-role/(.+?)/.*$", r"\1iam::\2:role/\3", arn).rpartition("/")[2]
    role = door.client("iam").get_role(RoleName=named)["Role"]
    assert role["Arn"] == f"arn:aws:iam::{ACCOUNT}:role/BannisterExecutionRole"
    assert door.client("sts").get_caller_identity()["UserId"].startswith(f"{role['RoleId']}:")


def test_every_role_exists_and_is_always_the_same(door: Door) -> None:
    client = door.client("iam")
    one, again, other = (client.get_role(RoleName=name)["Role"] for name in ("one", "one", "another+=,.@-"))
    assert one == again
    assert (other["Path"], other["RoleName"]) == ("/", "another+=,.@-")
    assert other["RoleId"] != one["RoleId"]


@pytest.mark.parametrize(
    ("name", "says"),
    [("no spaces", "regular expression"), ("x" * 65, "length less than or equal to 64")],
)
def test_a_name_that_no_role_can_have_is_refused(door: Door, name: str, says: str) -> None:
    with pytest.raises(ClientError, match=says) as refused:
        door.client("iam").get_role(RoleName=name)
    code, text, status = code_and_text(refused)
    assert (code, status) == ("ValidationError", 400)
    assert "1 validation error detected: Value '" in text
    assert "' at 'roleName' failed to satisfy constraint: Member must" in text


def test_a_role_may_do_everything_since_there_are_no_policies(door: Door) -> None:
    client, role = door.client("iam"), f"arn:aws:iam::{ACCOUNT}:role/service-role/any"
    actions = [f"sagemaker:Describe{number}" for number in range(5)]
    asked = {"PolicySourceArn": role, "ActionNames": actions}
    (whole,) = client.get_paginator("simulate_principal_policy").paginate(**asked)
    assert [(each["EvalActionName"], each["EvalDecision"]) for each in whole["EvaluationResults"]] == [
        (action, "allowed") for action in actions
    ]
    pages = list(client.get_paginator("simulate_principal_policy").paginate(**asked, PaginationConfig={"PageSize": 2}))
    assert [len(page["EvaluationResults"]) for page in pages] == [2, 2, 1]
    assert [each for page in pages for each in page["EvaluationResults"]] == whole["EvaluationResults"]
    buckets = ["arn:aws:s3:::one", "arn:aws:s3:::two/*"]
    (found,) = client.simulate_principal_policy(PolicySourceArn=role, ActionNames=["s3:Get*"], ResourceArns=buckets)[
        "EvaluationResults"
    ]
    assert [each["EvalResourceName"] for each in found["ResourceSpecificResults"]] == buckets
    assert {each["EvalResourceDecision"] for each in found["ResourceSpecificResults"]} == {"allowed"}


@pytest.mark.parametrize(
    ("given", "code", "says"),
    [
        ({"PolicySourceArn": f"arn:aws:iam::{ACCOUNT}:user/anybody"}, "NoSuchEntity", "there are only roles here"),
        (
            {"PolicySourceArn": f"arn:aws:sts::{ACCOUNT}:assumed-role/any/local"},
            "NoSuchEntity",
            "not the ARN of a role",
        ),
        ({"ActionNames": ["InvokeEndpoint"]}, "InvalidInput", "give service:action"),
        ({"Marker": "nope"}, "InvalidInput", "start again without it"),
        ({"Marker": "OTk5OTk5OTk5"}, "InvalidInput", "start again without it"),
        ({"PolicyInputList": ["{}"]}, "ValidationError", "policies are not evaluated"),
    ],
)
def test_what_cannot_be_simulated_is_refused(door: Door, given: dict[str, Any], code: str, says: str) -> None:
    asked = {"PolicySourceArn": f"arn:aws:iam::{ACCOUNT}:role/any", "ActionNames": ["s3:GetObject"], **given}
    with pytest.raises(ClientError, match=says) as refused:
        door.client("iam").simulate_principal_policy(**asked)
    found, _, status = code_and_text(refused)
    assert (found, status) == (code, 404 if code == "NoSuchEntity" else 400)


@pytest.mark.parametrize(
    ("service", "operation", "arguments"),
    [
        ("sts", "assume_role", {"RoleArn": f"arn:aws:iam::{ACCOUNT}:role/r", "RoleSessionName": "session"}),
        ("iam", "list_roles", {}),
        ("iam", "create_role", {"RoleName": "r", "AssumeRolePolicyDocument": "{}"}),
    ],
)
def test_other_operations_are_refused_in_the_services_own_form(
    door: Door, service: str, operation: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(ClientError) as refused:
        getattr(door.client(service), operation)(**arguments)
    code, text, status = code_and_text(refused)
    assert (code, status) == ("InvalidAction", 400)
    supported = {"sts": "GetCallerIdentity", "iam": "GetRole, SimulatePrincipalPolicy"}[service]
    assert text.endswith(f"of {service}. It supports: {supported}.")


def test_a_role_is_asked_for_by_name(door: Door) -> None:
    headers = {
        "content-type": "application/x-www-form-urlencoded",
        "authorization": "AWS4-HMAC-SHA256 Credential=AKID/20261123/us-east-1/iam/aws4_request, Signature=x",
    }
    status, found, body = door.request("POST", "/", b"Action=GetRole&Version=2010-05-08", headers)
    assert (status, found["content-type"]) == (400, "text/xml")
    assert b"<Code>ValidationError</Code>" in body
    assert b"Value null at 'roleName' failed to satisfy constraint: Member must not be null" in body
    assert b'xmlns="https://iam.amazonaws.com/doc/2010-05-08/"' in body
