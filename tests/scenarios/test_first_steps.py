"""What a newcomer does first: models, configurations, endpoints, invocations, and taking it all away."""

import json
import signal
import subprocess

import boto3
import pytest
from botocore.exceptions import ClientError
from tests.scenarios.world import World, archive, wait_for

pytestmark = pytest.mark.real


def test_an_endpoint_from_creation_to_deletion(world: World) -> None:
    world.config("first", instances=2)
    world.endpoint("first-endpoint", "first")
    found = world.describe("first-endpoint")
    assert found["EndpointArn"] == "arn:aws:sagemaker:us-east-1:000000000000:endpoint/first-endpoint"
    assert found["EndpointConfigName"] == "first"
    assert "PendingDeploymentSummary" not in found
    (variant,) = found["ProductionVariants"]
    assert (variant["CurrentInstanceCount"], variant["DesiredInstanceCount"]) == (2, 2)
    assert variant["CurrentWeight"] == 1.0

    assert world.invoke("first-endpoint")["version"] == "first"
    assert len({world.invoke("first-endpoint")["pid"] for _ in range(40)}) == 2, "both instances answer"
    assert [one["EndpointName"] for one in world.sagemaker.list_endpoints(NameContains="FIRST-END")["Endpoints"]] == [
        "first-endpoint"
    ]

    world.sagemaker.delete_endpoint(EndpointName="first-endpoint")
    wait_for("the endpoint is gone", lambda: _gone(world, "first-endpoint"))
    assert not [line for line in world.server.leftovers() if "bannister.runtime" in line], "its instances are gone"
    world.sagemaker.delete_endpoint_config(EndpointConfigName="first")
    world.sagemaker.delete_model(ModelName="first")


def _gone(world: World, endpoint: str) -> bool:
    try:
        world.describe(endpoint)
    except ClientError as error:
        return "Could not find endpoint" in error.response["Error"]["Message"]
    return False


def test_invoking_by_variant_with_custom_attributes_and_errors(world: World) -> None:
    for name in ("heavy", "light"):
        world.model(name, FAIL="1" if name == "light" else "0")
    world.sagemaker.create_endpoint_config(
        EndpointConfigName="two",
        ProductionVariants=[
            {
                "VariantName": name,
                "ModelName": name,
                "InitialInstanceCount": 1,
                "InstanceType": "ml.m5.large",
                "InitialVariantWeight": weight,
            }
            for name, weight in (("heavy", 1.0), ("light", 0.0))
        ],
    )
    world.endpoint("variants", "two")
    answers = [
        world.runtime.invoke_endpoint(EndpointName="variants", Body=b"{}", ContentType="application/json")
        for _ in range(30)
    ]
    assert {one["InvokedProductionVariant"] for one in answers} == {"heavy"}, "weight 0 gets nothing"

    with pytest.raises(ClientError) as failed:
        world.runtime.invoke_endpoint(
            EndpointName="variants",
            Body=b"{}",
            ContentType="application/json",
            TargetVariant="light",
            InferenceId="i-1",
        )
    assert failed.value.response["Error"]["Code"] == "ModelError"
    assert failed.value.response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert failed.value.response["OriginalStatusCode"] == 500
    assert "light fails" in failed.value.response["OriginalMessage"]

    for arguments, code in (
        ({"EndpointName": "variants", "TargetVariant": "none"}, "ValidationError"),
        ({"EndpointName": "no-such-endpoint"}, "ValidationError"),
    ):
        with pytest.raises(ClientError) as refused:
            world.runtime.invoke_endpoint(Body=b"{}", ContentType="application/json", **arguments)
        assert refused.value.response["Error"]["Code"] == code
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_names_that_exist_do_not_and_cannot_be(world: World) -> None:
    world.config("taken")
    world.endpoint("taken-endpoint", "taken")
    calls = [
        (
            "create_endpoint",
            {"EndpointName": "TAKEN-endpoint", "EndpointConfigName": "taken"},
            "Cannot create already existing endpoint",
        ),
        (
            "create_endpoint",
            {"EndpointName": "other", "EndpointConfigName": "none"},
            "Could not find endpoint configuration",
        ),
        ("update_endpoint", {"EndpointName": "none", "EndpointConfigName": "taken"}, "Could not find endpoint"),
        ("describe_model", {"ModelName": "none"}, "Could not find model"),
        (
            "create_model",
            {"ModelName": "taken", "PrimaryContainer": {"Image": "bannister/python"}},
            "Cannot create already existing model",
        ),
        (
            "create_model",
            {"ModelName": "bad name!", "PrimaryContainer": {"Image": "bannister/python"}},
            "regular expression",
        ),
    ]
    for operation, arguments, sentence in calls:
        with pytest.raises(ClientError) as refused:
            getattr(world.sagemaker, operation)(**arguments)
        assert refused.value.response["Error"]["Code"] == "ValidationException"
        assert sentence in refused.value.response["Error"]["Message"]


def test_a_stopped_server_comes_back_with_everything_and_serves(tmp_path) -> None:
    from tests.scenarios.world import Server

    server = Server(tmp_path / "data")
    try:
        world = World(server)
        world.config("kept")
        world.endpoint("kept-endpoint", "kept")
        world.error_alarm("kept-alarm", "kept-endpoint", "kept")
        assert server.stop(signal.SIGINT) == 0
        assert server.leftovers() == []
        server.start()
        assert world.invoke("kept-endpoint")["version"] == "kept", "it serves as soon as it is ready"
        assert world.describe("kept-endpoint")["EndpointStatus"] == "InService"
        assert world.alarm("kept-alarm")["StateValue"] == "OK"
        assert world.sagemaker.list_models()["Models"][0]["ModelName"] == "kept"
    finally:
        assert server.stop() == 0
        assert server.leftovers() == []


def test_a_second_up_on_the_same_port_or_data_directory_is_refused(world: World, tmp_path) -> None:
    from tests.scenarios.world import BANNISTER, free_port

    for port, data_dir, word in (
        (world.server.port, tmp_path / "other", str(world.server.port)),
        (free_port(), world.server.data_dir, str(world.server.data_dir)),
    ):
        refused = subprocess.run(
            [str(BANNISTER), "up", "--port", str(port), "--data-dir", str(data_dir)],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert refused.returncode != 0
        assert word in refused.stderr
        assert "Traceback" not in refused.stderr
        assert refused.stdout == ""
    assert json.loads(json.dumps(world.sagemaker.list_models()["ResponseMetadata"]["HTTPStatusCode"])) == 200


def test_aws_endpoint_url_is_all_that_a_script_needs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": world.server.url,
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "eu-central-1",
    }.items():
        monkeypatch.setenv(name, value)
    assert "Models" in boto3.client("sagemaker").list_models()
    assert "MetricAlarms" in boto3.client("cloudwatch").describe_alarms()
    boto3.client("s3").put_object(Bucket="models", Key="x/y", Body=archive({}))


def test_a_deployment_that_a_stop_interrupted_ends_after_the_next_start(tmp_path) -> None:
    from tests.scenarios.world import Server

    server = Server(tmp_path / "data")
    try:
        world = World(server)
        endpoint = world.endpoint("interrupted", world.config("interrupted-old"))
        world.config("interrupted-new")
        canary = {
            "Type": "CANARY",
            "WaitIntervalInSeconds": 600,
            "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 50},
        }
        world.sagemaker.update_endpoint(
            EndpointName=endpoint,
            EndpointConfigName="interrupted-new",
            DeploymentConfig={"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": canary}},
        )
        wait_for("green answers", lambda: world.invoke(endpoint)["version"] == "interrupted-new")
        assert server.stop() == 0
        server.start()
        world.invoke(endpoint)
        found = world.settled(endpoint)
        assert found["EndpointConfigName"] == "interrupted-old", "its green instances were stopped, so it rolls back"
        assert "rolled back" in found["FailureReason"]
        assert {world.invoke(endpoint)["version"] for _ in range(20)} == {"interrupted-old"}
    finally:
        assert server.stop() == 0
        assert server.leftovers() == []
