"""Bad input gets a clear error and changes nothing."""

import time
from http.client import HTTPConnection

import pytest
from botocore.exceptions import ClientError
from tests.scenarios.world import World

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def endpoint(world: World) -> str:
    return world.endpoint("steady", world.config("steady", instances=1))


def refused(call, **arguments) -> str:
    with pytest.raises(ClientError) as error:
        call(**arguments)
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert error.value.response["Error"]["Code"] == "ValidationException"
    return str(error.value.response["Error"]["Message"])


def routing(kind: str, member: str, type_: str, value: int) -> dict[str, object]:
    return {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": {
                "Type": kind,
                "WaitIntervalInSeconds": 1,
                member: {"Type": type_, "Value": value},
            }
        }
    }


PLAIN = {"TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (routing("CANARY", "CanarySize", "CAPACITY_PERCENT", 80), "at most 50 %"),
        (routing("CANARY", "CanarySize", "INSTANCE_COUNT", 1), "100 %"),
        (routing("LINEAR", "LinearStepSize", "CAPACITY_PERCENT", 5), "10 % to 50 %"),
        (routing("CANARY", "LinearStepSize", "CAPACITY_PERCENT", 20), "LinearStepSize"),
        (
            {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": {"Type": "CANARY", "WaitIntervalInSeconds": 1}}},
            "CanarySize",
        ),
        (
            {"BlueGreenUpdatePolicy": PLAIN, "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "no-such-alarm"}]}},
            "no-such-alarm",
        ),
        ({"BlueGreenUpdatePolicy": {**PLAIN, "MaximumExecutionTimeoutInSeconds": 99999}}, "28800"),
        (
            {
                "BlueGreenUpdatePolicy": {
                    **PLAIN,
                    "TerminationWaitInSeconds": 900,
                    "MaximumExecutionTimeoutInSeconds": 600,
                }
            },
            "600",
        ),
        (
            {
                "RollingUpdatePolicy": {
                    "MaximumBatchSize": {"Type": "CAPACITY_PERCENT", "Value": 60},
                    "WaitIntervalInSeconds": 1,
                }
            },
            "MaximumBatchSize of 60 %",
        ),
        (
            {
                "BlueGreenUpdatePolicy": PLAIN,
                "RollingUpdatePolicy": {
                    "MaximumBatchSize": {"Type": "CAPACITY_PERCENT", "Value": 50},
                    "WaitIntervalInSeconds": 1,
                },
            },
            "exactly one of BlueGreenUpdatePolicy and RollingUpdatePolicy",
        ),
    ],
)
def test_deployment_configurations_that_cannot_be(world: World, endpoint: str, config, words: str) -> None:
    before = world.describe(endpoint)
    assert words in refused(
        world.sagemaker.update_endpoint, EndpointName=endpoint, EndpointConfigName="steady", DeploymentConfig=config
    )
    after = world.describe(endpoint)
    before.pop("ResponseMetadata"), after.pop("ResponseMetadata")
    assert before == after


@pytest.mark.parametrize(
    ("variant", "words"),
    [
        ({"ServerlessConfig": {"MemorySizeInMB": 1500, "MaxConcurrency": 5}}, "multiple of 1024"),
        ({"InitialInstanceCount": 1, "InstanceType": "ml.none.large"}, "enum"),
    ],
)
def test_variants_that_cannot_be(world: World, endpoint: str, variant, words: str) -> None:
    given = {"VariantName": "AllTraffic", "ModelName": "steady", **variant}
    assert words in refused(
        world.sagemaker.create_endpoint_config, EndpointConfigName="never", ProductionVariants=[given]
    )
    assert "never" not in str(world.sagemaker.list_endpoint_configs()["EndpointConfigs"])


def test_an_asynchronous_configuration_is_kept_and_not_served(world: World, endpoint: str) -> None:
    world.sagemaker.create_endpoint_config(
        EndpointConfigName="queued",
        ProductionVariants=[
            {
                "VariantName": "AllTraffic",
                "ModelName": "steady",
                "InitialInstanceCount": 1,
                "InstanceType": "ml.m5.large",
            }
        ],
        AsyncInferenceConfig={"OutputConfig": {"S3OutputPath": "s3://models/out"}},
    )
    named = {"EndpointName": endpoint, "EndpointConfigName": "queued"}
    assert "real-time only" in refused(world.sagemaker.update_endpoint, **named)
    assert "real-time only" in refused(world.sagemaker.create_endpoint, **(named | {"EndpointName": "never"}))
    assert world.describe(endpoint)["EndpointStatus"] == "InService"


@pytest.mark.parametrize(
    ("container", "words"),
    [
        ({"Image": "registry.example/somebody/else:1"}, "registry.example/somebody/else:1"),
        ({"Image": "bannister/python", "ModelDataUrl": "s3://models/never/uploaded"}, "s3://models/never/uploaded"),
        ({"Image": "bannister/python", "ModelDataUrl": "/etc/passwd"}, "satisfy regular expression|s3://"),
    ],
)
def test_models_that_cannot_be(world: World, container, words: str) -> None:
    message = refused(world.sagemaker.create_model, ModelName="never", PrimaryContainer=container)
    assert any(word in message for word in words.split("|"))
    assert "never" not in str([one["ModelName"] for one in world.sagemaker.list_models()["Models"]])


def test_an_endpoint_in_progress_can_be_neither_updated_nor_deleted(world: World) -> None:
    world.config("busy", SLEEP="0")
    world.sagemaker.create_endpoint(EndpointName="busy", EndpointConfigName="busy")
    for call, arguments in (
        (world.sagemaker.update_endpoint, {"EndpointConfigName": "busy"}),
        (world.sagemaker.delete_endpoint, {}),
    ):
        assert "Cannot update in-progress endpoint" in refused(call, EndpointName="busy", **arguments)
    assert world.settled("busy")["EndpointStatus"] == "InService"


def test_a_guarded_update_to_other_variant_names_is_refused(world: World, endpoint: str) -> None:
    world.sagemaker.create_endpoint_config(
        EndpointConfigName="renamed",
        ProductionVariants=[
            {"VariantName": "Other", "ModelName": "steady", "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
        ],
    )
    assert "variant names" in refused(
        world.sagemaker.update_endpoint,
        EndpointName=endpoint,
        EndpointConfigName="renamed",
        DeploymentConfig={"BlueGreenUpdatePolicy": PLAIN},
    )


def test_deleting_what_an_endpoint_runs_does_not_touch_it(world: World) -> None:
    endpoint = world.endpoint("detached", world.config("detached", instances=1))
    world.sagemaker.delete_endpoint_config(EndpointConfigName="detached")
    world.sagemaker.delete_model(ModelName="detached")
    world.s3.delete_object(Bucket="models", Key="detached/model.tar.gz")
    assert world.invoke(endpoint)["version"] == "detached"
    assert world.describe(endpoint)["EndpointStatus"] == "InService"
    world.update(endpoint, world.config("detached-next", instances=1), routing=PLAIN["TrafficRoutingConfiguration"])
    assert world.settled(endpoint)["EndpointConfigName"] == "detached-next"


MIB = 1024 * 1024


def invocation(name: str, size: int, **headers: str) -> tuple[str, str, dict[str, str], int]:
    return "POST", f"/endpoints/{name}/invocations", {"Content-Type": "application/json", **headers}, size


@pytest.mark.parametrize(
    ("asked", "status", "words"),
    [
        (invocation("nope", 12 * MIB), 400, "Endpoint nope of account"),
        (invocation("steady", 26 * MIB), 413, ""),
        (invocation("steady", 12 * MIB, **{"X-Amzn-SageMaker-Target-Variant": "nope"}), 400, "ariant"),
        (invocation("steady", 12 * MIB, **{"X-Amzn-SageMaker-Target-Model": "m"}), 400, ""),
        (("PUT", "/no-such-bucket/key", {}, 40 * MIB), 404, "NoSuchBucket"),
        (("POST", "/", {"X-Amz-Target": "SageMaker.ListEndpoints"}, 40 * MIB), 413, ""),
        (("POST", "/", {"X-Amz-Target": "Nobody.Knows"}, 12 * MIB), 400, "Nobody"),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_a_long_body_that_is_refused_gets_its_answer_at_once(
    world: World, endpoint: str, asked, status: int, words: str, chunked: bool
) -> None:
    """Also of clients that look for an answer only when they have sent everything; `downstream_close_seconds` would be ten."""
    method, path, headers, size = asked
    pieces = [b"x" * MIB] * (size // MIB)
    connection = HTTPConnection("127.0.0.1", world.server.port, timeout=30)
    began = time.monotonic()
    if chunked:
        connection.request(method, path, iter(pieces), headers, encode_chunked=True)
    else:
        connection.request(method, path, b"".join(pieces), headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    took = time.monotonic() - began
    connection.close()
    assert (answer.status, words in text) == (status, True), text
    assert took < 5.0
