"""Every constraint, at every depth, in AWS's words."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from botocore.model import ServiceModel

from bannister.aws.wire.models import service_model
from bannister.aws.wire.validate import VIOLATIONS_LISTED_MAX, violations

VARIANT = {"VariantName": "v", "ModelName": "m", "InitialInstanceCount": 1}
CONFIG = {"EndpointConfigName": "c", "ProductionVariants": [VARIANT]}
NAME_PATTERN = "[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"
EXPERIMENT_INSTANCE_TYPES = service_model("sagemaker").shape_for("ProductionVariantInstanceType").metadata["enum"]


def found(service: str, operation: str, params: dict[str, Any]) -> list[str]:
    shape = service_model(service).operation_model(operation).input_shape
    broken = violations(shape, params)
    return [violation.sentence() for violation in broken.listed] if broken else []


def variant(**members: Any) -> dict[str, Any]:
    return {**CONFIG, "ProductionVariants": [VARIANT, {**VARIANT, **members}]}


def guarded(**policy: Any) -> dict[str, Any]:
    return {"EndpointName": "e", "EndpointConfigName": "c", "DeploymentConfig": policy}


def routed(**routing: Any) -> dict[str, Any]:
    complete = {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0, **routing}
    return guarded(BlueGreenUpdatePolicy={"TrafficRoutingConfiguration": complete})


CASES = [
    ("CreateEndpointConfig", CONFIG, []),
    (
        "CreateEndpointConfig",
        {},
        [
            "Value null at 'endpointConfigName' failed to satisfy constraint: Member must not be null",
            "Value null at 'productionVariants' failed to satisfy constraint: Member must not be null",
        ],
    ),
    (
        "CreateEndpointConfig",
        {**CONFIG, "ProductionVariants": []},
        [
            "Value '[]' at 'productionVariants' failed to satisfy constraint: Member must have length greater than or equal to 1"
        ],
    ),
    (
        "CreateEndpointConfig",
        {**CONFIG, "ProductionVariants": [VARIANT, None]},
        ["Value null at 'productionVariants.2.member' failed to satisfy constraint: Member must not be null"],
    ),
    (
        "CreateEndpointConfig",
        variant(VariantName="a_b"),
        [
            "Value 'a_b' at 'productionVariants.2.member.variantName' failed to satisfy constraint: "
            f"Member must satisfy regular expression pattern: {NAME_PATTERN}"
        ],
    ),
    (
        "CreateEndpointConfig",
        variant(InitialVariantWeight=-0.5),
        [
            "Value '-0.5' at 'productionVariants.2.member.initialVariantWeight' failed to satisfy constraint: "
            "Member must have value greater than or equal to 0"
        ],
    ),
    (
        "CreateEndpointConfig",
        variant(ContainerStartupHealthCheckTimeoutInSeconds=3601),
        [
            "Value '3601' at 'productionVariants.2.member.containerStartupHealthCheckTimeoutInSeconds' failed to satisfy "
            "constraint: Member must have value less than or equal to 3600"
        ],
    ),
    (
        "CreateEndpointConfig",
        {**CONFIG, "EndpointConfigName": "x y" * 30},
        [
            f"Value '{'x y' * 30}' at 'endpointConfigName' failed to satisfy constraint: "
            "Member must have length less than or equal to 63",
            f"Value '{'x y' * 30}' at 'endpointConfigName' failed to satisfy constraint: "
            f"Member must satisfy regular expression pattern: {NAME_PATTERN}",
        ],
    ),
    ("UpdateEndpoint", routed(), []),
    (
        "UpdateEndpoint",
        routed(Type="TELEPORT", WaitIntervalInSeconds=3601),
        [
            "Value 'TELEPORT' at 'deploymentConfig.blueGreenUpdatePolicy.trafficRoutingConfiguration.type' failed to satisfy "
            "constraint: Member must satisfy enum value set: [ALL_AT_ONCE, CANARY, LINEAR]",
            "Value '3601' at 'deploymentConfig.blueGreenUpdatePolicy.trafficRoutingConfiguration.waitIntervalInSeconds' "
            "failed to satisfy constraint: Member must have value less than or equal to 3600",
        ],
    ),
    (
        "UpdateEndpoint",
        guarded(AutoRollbackConfiguration={"Alarms": [{"AlarmName": " "}] * 11}),
        [
            "Value '["
            + ", ".join(["{AlarmName= }"] * 11)
            + "]' at 'deploymentConfig.autoRollbackConfiguration.alarms' "
            "failed to satisfy constraint: Member must have length less than or equal to 10",
            *(
                f"Value ' ' at 'deploymentConfig.autoRollbackConfiguration.alarms.{index}.member.alarmName' failed to "
                r"satisfy constraint: Member must satisfy regular expression pattern: (?!\s*$).+"
                for index in range(1, 12)
            ),
        ],
    ),
    (
        "CreateModel",
        {"ModelName": "m", "PrimaryContainer": {"Image": "i", "Environment": {"1x": "y", "OK": "z" * 1025}}},
        [
            "Value '{1x=y, OK=" + "z" * 1014 + "...' at 'primaryContainer.environment' failed to satisfy constraint: "
            "Map keys must satisfy constraint: [Member must have length less than or equal to 1024, "
            "Member must have length greater than or equal to 0, "
            "Member must satisfy regular expression pattern: [a-zA-Z_][a-zA-Z0-9_]*]",
            "Value '{1x=y, OK=" + "z" * 1014 + "...' at 'primaryContainer.environment' failed to satisfy constraint: "
            "Map value must satisfy constraint: [Member must have length less than or equal to 1024, "
            "Member must have length greater than or equal to 0, "
            r"Member must satisfy regular expression pattern: [\S\s]*]",
        ],
    ),
    (
        "CreateModel",
        {"ModelName": "m", "PrimaryContainer": {"Environment": {"A": None}}},
        [
            "Value '{A=null}' at 'primaryContainer.environment' failed to satisfy constraint: Map value must satisfy "
            "constraint: [Member must have length less than or equal to 1024, "
            "Member must have length greater than or equal to 0, "
            r"Member must satisfy regular expression pattern: [\S\s]*, Member must not be null]"
        ],
    ),
    (
        "DeleteTags",
        {"ResourceArn": "arn:aws:sagemaker:us-east-1:000000000000:endpoint/e", "TagKeys": ["fine", "not\tfine", ""]},
        [
            "Value '[fine, not\tfine, ]' at 'tagKeys' failed to satisfy constraint: Member must satisfy constraint: "
            "[Member must have length less than or equal to 128, Member must have length greater than or equal to 1, "
            r"Member must satisfy regular expression pattern: ([\p{L}\p{Z}\p{N}_.:/=+\-@]*)]"
        ],
    ),
    (
        "CreateModel",
        {"ModelName": "m", "VpcConfig": {"SecurityGroupIds": ["sg-1", None], "Subnets": []}},
        [
            "Value '[sg-1, null]' at 'vpcConfig.securityGroupIds' failed to satisfy constraint: Member must satisfy "
            "constraint: [Member must have length less than or equal to 32, Member must have length greater than or equal "
            "to 0, Member must satisfy regular expression pattern: [-0-9a-zA-Z]+, Member must not be null]",
            "Value '[]' at 'vpcConfig.subnets' failed to satisfy constraint: Member must have length greater than or equal "
            "to 1",
        ],
    ),
    (
        "CreateInferenceExperiment",
        {
            "Name": "e",
            "Type": "AB",
            "RoleArn": "arn:aws:iam::000000000000:role/r",
            "EndpointName": "e",
            "ModelVariants": [
                {
                    "ModelName": "m",
                    "VariantName": "v",
                    "InfrastructureConfig": {
                        "InfrastructureType": "RealTimeInference",
                        "RealTimeInferenceConfig": {"InstanceType": "ml.none", "InstanceCount": 1},
                    },
                }
            ],
            "ShadowModeConfig": {
                "SourceModelVariantName": "v",
                "ShadowModelVariants": [{"ShadowModelVariantName": "s", "SamplingPercentage": 101}],
            },
        },
        [
            "Value 'AB' at 'type' failed to satisfy constraint: Member must satisfy enum value set: [ShadowMode]",
            "Value 'ml.none' at 'modelVariants.1.member.infrastructureConfig.realTimeInferenceConfig.instanceType' failed to "
            f"satisfy constraint: Member must satisfy enum value set: [{', '.join(EXPERIMENT_INSTANCE_TYPES)}]",
            "Value '101' at 'shadowModeConfig.shadowModelVariants.1.member.samplingPercentage' failed to satisfy "
            "constraint: Member must have value less than or equal to 100",
        ],
    ),
]


@pytest.mark.parametrize(
    ("operation", "params", "sentences"), CASES, ids=[f"{i}-{case[0]}" for i, case in enumerate(CASES)]
)
def test_violations_of_sagemaker(operation: str, params: dict[str, Any], sentences: list[str]) -> None:
    assert found("sagemaker", operation, params) == sentences


def test_exactly_one_member_of_a_union() -> None:
    alarm = {"AlarmName": "a", "EvaluationPeriods": 1, "ComparisonOperator": "GreaterThanThreshold"}
    (text,) = found("cloudwatch", "PutMetricAlarm", {**alarm, "EvaluationWindow": {}})
    assert text.startswith(
        "Value '{}' at 'evaluationWindow' failed to satisfy constraint: Member must have exactly one of"
    )


def text_of(operation: str, params: dict[str, Any]) -> str:
    broken = violations(service_model("sagemaker").operation_model(operation).input_shape, params)
    assert broken is not None
    return broken.message()


def test_one_error_and_several_are_counted() -> None:
    null = "Value null at '{}' failed to satisfy constraint: Member must not be null"
    name = null.format("endpointName")
    assert text_of("DescribeEndpoint", {}) == f"1 validation error detected: {name}"
    config = null.format("endpointConfigName")
    assert text_of("UpdateEndpoint", {}) == f"2 validation errors detected: {name}; {config}"


def test_a_flood_of_violations_is_counted_and_cut() -> None:
    text = text_of("CreateEndpointConfig", {"EndpointConfigName": "c", "ProductionVariants": [None] * 500})
    assert text.startswith("501 validation errors detected: ")
    assert text.count("; ") == VIOLATIONS_LISTED_MAX
    assert text.endswith(f"; and {501 - VIOLATIONS_LISTED_MAX} more")


def test_a_sensitive_value_is_not_repeated() -> None:
    model = ServiceModel(
        {
            "metadata": {},
            "operations": {},
            "shapes": {
                "Input": {"type": "structure", "members": {"Key": {"shape": "Key"}}},
                "Key": {"type": "string", "max": 3, "sensitive": True},
            },
        }
    )
    broken = violations(model.shape_for("Input"), {"Key": "secret"})
    assert broken is not None
    (violation,) = broken.listed
    assert violation.sentence() == (
        "Value at 'key' failed to satisfy constraint: Member must have length less than or equal to 3"
    )
    assert "secret" not in str(dataclasses.asdict(violation))


def test_nothing_is_repeated_of_what_holds_a_sensitive_value() -> None:
    model = ServiceModel(
        {
            "metadata": {},
            "operations": {},
            "shapes": {
                "Input": {"type": "structure", "members": {"Keys": {"shape": "Keys"}, "Pairs": {"shape": "Pairs"}}},
                "Keys": {"type": "list", "member": {"shape": "Key"}},
                "Pairs": {"type": "list", "max": 0, "member": {"shape": "Pair"}},
                "Pair": {"type": "structure", "members": {"Name": {"shape": "Name"}, "Key": {"shape": "Key"}}},
                "Name": {"type": "string"},
                "Key": {"type": "string", "max": 3, "sensitive": True},
            },
        }
    )
    shape = model.shape_for("Input")
    broken = violations(shape, {"Keys": ["abc", "secret"], "Pairs": [{"Name": "n", "Key": "abc"}]})
    assert broken is not None
    assert [violation.sentence() for violation in broken.listed] == [
        "Value at 'keys' failed to satisfy constraint: Member must satisfy constraint: "
        "[Member must have length less than or equal to 3]",
        "Value at 'pairs' failed to satisfy constraint: Member must have length less than or equal to 0",
    ]
    harmless = violations(shape, {"Pairs": [{"Name": "n"}]})
    assert harmless is not None
    assert harmless.listed[0].shown == "'[{Name=n}]'"


def test_numbers_that_are_none_break_bounds_on_both_sides() -> None:
    texts = found("sagemaker", "CreateEndpointConfig", variant(InitialVariantWeight=float("nan")))
    assert texts == [
        "Value 'nan' at 'productionVariants.2.member.initialVariantWeight' failed to satisfy constraint: "
        "Member must have value greater than or equal to 0"
    ]


def test_an_enormous_name_is_refused_without_matching_it() -> None:
    texts = found("sagemaker", "DescribeEndpoint", {"EndpointName": "a-" * 1_000_000})
    assert len(texts) == 1
    assert texts[0].endswith("Member must have length less than or equal to 63")
    assert len(texts[0]) < 2000
