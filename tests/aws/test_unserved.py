"""What is outside the scope: serverless and asynchronous configurations are kept and not served, other operations are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.aws.control import PROTOCOLS, Control
from tests.domain.deployment.worlds import fleet

from bannister.aws.wire.models import service_model
from bannister.domain.endpoint import Endpoint
from bannister.state.store import Put
from bannister.state.tables import ENDPOINT_CONFIGS, ENDPOINTS

REAL_TIME = {"VariantName": "v", "ModelName": "m", "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
SERVERLESS = {
    "VariantName": "v",
    "ModelName": "m",
    "ServerlessConfig": {"MemorySizeInMB": 2048, "MaxConcurrency": 5, "ProvisionedConcurrency": 5},
}
TOPIC = "arn:aws:sns:us-east-1:000000000000:told"
ASYNCHRONOUS: list[dict[str, Any]] = [
    {"OutputConfig": {}},
    {"OutputConfig": {"S3OutputPath": "s3://b/out"}, "ClientConfig": {}},
    {
        "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 4},
        "OutputConfig": {
            "S3OutputPath": "s3://b/out",
            "S3FailurePath": "s3://b/failed",
            "KmsKeyId": "key",
            "NotificationConfig": {
                "SuccessTopic": TOPIC,
                "ErrorTopic": TOPIC,
                "IncludeInferenceResponseIn": ["SUCCESS_NOTIFICATION_TOPIC"],
            },
        },
    },
    {"OutputConfig": {"NotificationConfig": {}}},
]
CAPTURE = {
    "InitialSamplingPercentage": 100,
    "DestinationS3Uri": "s3://captured/e",
    "CaptureOptions": [{"CaptureMode": "Input"}],
}
#: Configurations that are kept, without their names.
UNSERVED = [
    {"ProductionVariants": [SERVERLESS]},
    *({"ProductionVariants": [REAL_TIME], "AsyncInferenceConfig": one} for one in ASYNCHRONOUS),
]


@pytest.fixture
async def control(tmp_path: Path) -> Control:
    made = Control(tmp_path)
    await made.done("CreateModel", ModelName="m", PrimaryContainer={"Image": "i"})
    served = Endpoint("e", 0.0, 0.0, blue=fleet("v1"))
    await made.context.state.commit([Put(ENDPOINTS, "e", served, 0)])
    return made


@pytest.mark.parametrize("config", UNSERVED, ids=lambda one: str(UNSERVED.index(one)))
async def test_it_is_kept_and_described_as_it_was_given(control: Control, config: dict[str, Any]) -> None:
    await control.done("CreateEndpointConfig", EndpointConfigName="c", **config)
    found = await control.done("DescribeEndpointConfig", EndpointConfigName="c")
    (variant,) = found["ProductionVariants"]
    (given,) = config["ProductionVariants"]
    assert variant == {**given, "InitialVariantWeight": 1.0}
    assert found.get("AsyncInferenceConfig") == config.get("AsyncInferenceConfig")
    assert [one["EndpointConfigName"] for one in (await control.done("ListEndpointConfigs"))["EndpointConfigs"]] == [
        "c"
    ]
    await control.done("DeleteEndpointConfig", EndpointConfigName="c")


@pytest.mark.parametrize("config", UNSERVED[:2], ids=["serverless", "asynchronous"])
async def test_no_endpoint_has_it(control: Control, config: dict[str, Any]) -> None:
    await control.done("CreateEndpointConfig", EndpointConfigName="c", **config)
    guarded = {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0},
        }
    }
    for operation, params in (
        ("CreateEndpoint", {"EndpointName": "new"}),
        ("UpdateEndpoint", {"EndpointName": "e"}),
        ("UpdateEndpoint", {"EndpointName": "e", "DeploymentConfig": guarded}),
    ):
        code, message = await control.refused(operation, EndpointConfigName="c", **params)
        assert code == "ValidationException"
        assert "real-time only" in message
        assert 'Endpoint configuration "c" is' in message
    rows = await control.context.state.rows(ENDPOINTS)
    assert [(row.key, row.value.deployment) for row in rows] == [("e", None)]


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"ProductionVariants": [SERVERLESS | {"InitialInstanceCount": 1}]}, "and InitialInstanceCount; give one or"),
        ({"ProductionVariants": [SERVERLESS | {"InstanceType": "ml.m5.large"}]}, "and InstanceType; give one or"),
        ({"ProductionVariants": [SERVERLESS, REAL_TIME | {"VariantName": "w"}]}, "exactly one variant, not 2"),
        (
            {"ProductionVariants": [REAL_TIME], "ShadowProductionVariants": [SERVERLESS | {"VariantName": "w"}]},
            "exactly one variant, not 2",
        ),
        ({"ProductionVariants": [SERVERLESS], "DataCaptureConfig": CAPTURE}, "DataCaptureConfig does not go with"),
        (
            {"ProductionVariants": [SERVERLESS], "AsyncInferenceConfig": ASYNCHRONOUS[0]},
            "AsyncInferenceConfig does not",
        ),
        (
            {"ProductionVariants": [SERVERLESS | {"ServerlessConfig": {"MemorySizeInMB": 1500, "MaxConcurrency": 1}}]},
            "1500; it must be a multiple of 1024",
        ),
        (
            {
                "ProductionVariants": [
                    SERVERLESS
                    | {"ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 1, "ProvisionedConcurrency": 2}}
                ]
            },
            "must not be above MaxConcurrency, 1",
        ),
        (
            {
                "ProductionVariants": [
                    SERVERLESS | {"ServerlessConfig": {"MemorySizeInMB": 8192, "MaxConcurrency": 201}}
                ]
            },
            "2 validation errors detected: Value '8192' at 'productionVariants.1.member.serverlessConfig.memorySizeInMB'",
        ),
        (
            {"ProductionVariants": [REAL_TIME], "AsyncInferenceConfig": {}},
            "Value null at 'asyncInferenceConfig.outputConfig' failed to satisfy constraint: Member must not be null",
        ),
    ],
)
async def test_what_could_not_be_on_aws_either(control: Control, config: dict[str, Any], says: str) -> None:
    code, message = await control.refused("CreateEndpointConfig", EndpointConfigName="c", **config)
    assert code == "ValidationException"
    assert says in message
    assert not await control.context.state.rows(ENDPOINT_CONFIGS)


async def test_every_other_operation_is_refused_naming_those_that_are_supported(control: Control) -> None:
    for service in control.services:
        others = set(service_model(service.name).operation_names) - set(service.handlers)
        for operation in sorted(others):
            reply = await control.ask(service.name, operation, {})
            code = "InvalidAction" if service.name in PROTOCOLS else "UnknownOperationException"
            assert (reply.status, reply.parsed["Error"].get("QueryErrorCode", reply.code)) == (400, code), operation
            assert reply.message.startswith(f"Bannister does not support the operation {operation} of {service.name}.")
            assert all(name in reply.message for name in service.handlers)
    for target in ("SageMaker.CreateWhatComesNext", "SageMaker."):  # of a newer client; of none
        headers = {"X-Amz-Target": target, "Content-Type": "application/x-amz-json-1.1"}
        model = service_model("sagemaker").operation_model("CreateModel")
        reply = await control.send("POST", "/", headers, b"{}", model, "json")
        assert (reply.status, reply.code) == (400, "UnknownOperationException")
        assert all(name in reply.message for name in control.services[0].handlers)
    supported = set(control.services[0].handlers)
    assert not {"CreateTransformJob", "CreateTrainingJob", "CreatePipeline", "CreateInferenceComponent"} & supported
