"""AddTags, ListTags, DeleteTags, and tags at creation, on the wire."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.aws.control import Control

PLACE = "us-east-1:000000000000"
VARIANT = {"VariantName": "v", "ModelName": "m", "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
TAGS = [{"Key": "team", "Value": "flights"}]
EXPERIMENT: dict[str, Any] = {
    "Name": "X",
    "Type": "ShadowMode",
    "RoleArn": "arn:aws:iam::000000000000:role/r",
    "EndpointName": "fresh",
    "ModelVariants": [
        {
            "ModelName": "m",
            "VariantName": name,
            "InfrastructureConfig": {
                "InfrastructureType": "RealTimeInference",
                "RealTimeInferenceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
            },
        }
        for name in ("a", "b")
    ],
    "ShadowModeConfig": {
        "SourceModelVariantName": "a",
        "ShadowModelVariants": [{"ShadowModelVariantName": "b", "SamplingPercentage": 50}],
    },
    "Tags": TAGS,
}


@pytest.fixture
async def control(tmp_path: Path) -> Control:
    return Control(tmp_path)


@pytest.fixture
async def arns(control: Control) -> list[str]:
    """One of each kind, with a tag from its creation on."""
    made = [
        await control.done("CreateModel", ModelName="m", PrimaryContainer={"Image": "i"}, Tags=TAGS),
        await control.done("CreateEndpointConfig", EndpointConfigName="C", ProductionVariants=[VARIANT], Tags=TAGS),
        await control.done("CreateEndpoint", EndpointName="E", EndpointConfigName="C", Tags=TAGS),
        await control.done("CreateInferenceExperiment", **EXPERIMENT),
    ]
    return [str(next(iter(one.values()))) for one in made]


async def test_every_kind_has_tags_under_the_arn_that_it_was_given(control: Control, arns: list[str]) -> None:
    assert arns == [
        f"arn:aws:sagemaker:{PLACE}:{kind}"
        for kind in ("model/m", "endpoint-config/c", "endpoint/e", "inference-experiment/x")
    ]
    for arn in arns:
        assert await control.done("ListTags", ResourceArn=arn) == {"Tags": TAGS}
        more = [{"Key": "team", "Value": "weather"}, {"Key": "ö", "Value": ""}]
        assert (await control.done("AddTags", ResourceArn=arn, Tags=more))["Tags"] == more
        assert await control.done("DeleteTags", ResourceArn=arn, TagKeys=["team", "never"]) == {}
        assert await control.done("ListTags", ResourceArn=arn, MaxResults=50) == {"Tags": more[1:]}


@pytest.mark.parametrize(
    ("arn", "says"),
    [
        (f"arn:aws:sagemaker:{PLACE}:endpoint/no", f'Could not find endpoint "arn:aws:sagemaker:{PLACE}:endpoint/no".'),
        (f"arn:aws:sagemaker:{PLACE}:model/no", f'Could not find model "arn:aws:sagemaker:{PLACE}:model/no".'),
        (f"arn:aws:sagemaker:{PLACE}:training-job/e", "cannot have tags here: models, endpoint configurations,"),
        (f"arn:aws:sagemaker:{PLACE}:deployment/e", "cannot have tags here"),
        (f"arn:aws:sagemaker:{PLACE}:endpoint", "cannot have tags here"),
        ("arn:aws:sagemaker:eu-west-1:000000000000:endpoint/e", "this server is region us-east-1"),
        ("arn:aws:sagemaker:us-east-1:111111111111:endpoint/e", "of account 000000000000"),
        ("endpoint/e", "1 validation error detected: Value 'endpoint/e' at 'resourceArn' failed to satisfy"),
    ],
)
async def test_what_is_not_there_is_refused_with_a_sentence(
    control: Control, arns: list[str], arn: str, says: str
) -> None:
    for operation, params in (("AddTags", {"Tags": TAGS}), ("ListTags", {}), ("DeleteTags", {"TagKeys": ["a"]})):
        code, message = await control.refused(operation, ResourceArn=arn, **params)
        assert code == "ValidationException"
        assert says in message


async def test_an_experiment_that_is_not_there_has_the_code_of_its_own_operations(control: Control) -> None:
    arn = f"arn:aws:sagemaker:{PLACE}:inference-experiment/no"
    assert await control.refused("ListTags", ResourceArn=arn) == (
        "ResourceNotFound",
        f'Could not find inference experiment "{arn}".',
    )


@pytest.mark.parametrize(
    ("operation", "params", "says"),
    [
        ("AddTags", {"Tags": [{"Key": f"k{n}", "Value": ""} for n in range(50)]}, "at most 50 tags, not 51"),
        ("AddTags", {"Tags": [{"Key": f"k{n}", "Value": ""} for n in range(51)]}, "length less than or equal to 50"),
        ("AddTags", {"Tags": [{"Key": "aws:x", "Value": ""}]}, "reserved"),
        ("AddTags", {"Tags": [{"Key": "k", "Value": "v" * 257}]}, "at 'tags.1.member.value' failed to satisfy"),
        ("AddTags", {"Tags": [{"Key": "k"}]}, "Value null at 'tags.1.member.value' failed to satisfy"),
        ("ListTags", {"MaxResults": 49}, "Member must have value greater than or equal to 50"),
        ("ListTags", {"NextToken": "x"}, "NextToken"),
        ("DeleteTags", {"TagKeys": []}, "Member must have length greater than or equal to 1"),
    ],
)
async def test_limits(control: Control, arns: list[str], operation: str, params: dict[str, Any], says: str) -> None:
    code, message = await control.refused(operation, ResourceArn=arns[0], **params)
    assert code == "ValidationException"
    assert says in message
    assert await control.done("ListTags", ResourceArn=arns[0]) == {"Tags": TAGS}
