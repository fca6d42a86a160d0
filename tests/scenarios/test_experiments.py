"""Inference experiments on a real server: AWS's shadow notebook, the other ends, a restart in the middle, and an end by the clock.

Source of the first: aws/amazon-sagemaker-examples, sm-shadow_variant_shadow_api. The sequence is AWS's; the models, and the code below, are ours.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from botocore.exceptions import BotoCoreError, ClientError
from tests.crashes.harm import kill, part
from tests.scenarios.recorder import check_decisions, entries
from tests.scenarios.world import INFERENCE, Load, Server, World, wait_for

from bannister.domain.experiment.recorder import DECIDED

pytestmark = [pytest.mark.real, pytest.mark.slow]

ROLE = "arn:aws:iam::111111111111:role/role"
CONTROL = "control plane"
KEEP = {"AllTraffic": "Retain", "Shadow-01": "Remove"}
PROMOTE = {"AllTraffic": "Remove", "Shadow-01": "Promote"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server on which an experiment may last for seconds."""
    server = Server(tmp_path_factory.mktemp("server") / "data", experiment_seconds_min=2)
    try:
        yield World(server)
    finally:
        assert server.stop() == 0
        assert server.leftovers() == []


def variant(name: str, model: str, count: int = 1) -> dict[str, Any]:
    return {
        "ModelName": model,
        "VariantName": name,
        "InfrastructureConfig": {
            "InfrastructureType": "RealTimeInference",
            "RealTimeInferenceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": count},
        },
    }


def mode(percent: int) -> dict[str, Any]:
    return {
        "SourceModelVariantName": "AllTraffic",
        "ShadowModelVariants": [{"ShadowModelVariantName": "Shadow-01", "SamplingPercentage": percent}],
    }


def create(world: World, name: str, endpoint: str, production: str, shadow: str, **more: Any) -> str:
    world.sagemaker.create_inference_experiment(
        **{
            "Name": name,
            "Type": "ShadowMode",
            "RoleArn": ROLE,
            "EndpointName": endpoint,
            "ModelVariants": [variant("AllTraffic", production, 2), variant("Shadow-01", shadow)],
            "ShadowModeConfig": mode(100),
            **more,
        }
    )
    return name


def describe(world: World, name: str) -> dict[str, Any]:
    return dict(world.sagemaker.describe_inference_experiment(Name=name))


def until(world: World, name: str, status: str) -> dict[str, Any]:
    """As the notebook waits; an experiment that ends otherwise is told at once."""

    def found() -> dict[str, Any] | None:
        now = describe(world, name)
        assert now["Status"] == status or now["Status"] not in ("Completed", "Cancelled"), now
        return now if now["Status"] == status else None

    return dict(wait_for(f"{name} {status}", found, 120.0))


def ended(world: World, name: str) -> dict[str, Any]:
    def found() -> dict[str, Any] | None:
        now = describe(world, name)
        return now if now["Status"] in ("Completed", "Cancelled") else None

    return dict(wait_for(f"{name} ended", found, 120.0))


def stop(world: World, name: str, actions: dict[str, str], **more: Any) -> None:
    world.sagemaker.stop_inference_experiment(Name=name, ModelVariantActions=actions, **more)


def copies(world: World, endpoint: str, variant_name: str = "Shadow-01") -> float:
    points = world.cloudwatch.get_metric_statistics(
        Namespace="AWS/SageMaker",
        MetricName="Invocations",
        StartTime=time.time() - 600,
        EndTime=time.time() + 60,
        Period=60,
        Statistics=["Sum"],
        Dimensions=[{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": variant_name}],
    )["Datapoints"]
    return sum(point["Sum"] for point in points)


def served(world: World, endpoint: str) -> list[tuple[Any, ...]]:
    """What is behind an endpoint, as its description tells."""
    found = world.describe(endpoint)
    return [
        (one["VariantName"], one["DesiredInstanceCount"], one["DesiredWeight"], found["EndpointConfigName"])
        for one in (*found["ProductionVariants"], *found.get("ShadowProductionVariants", []))
    ]


def captured(world: World, prefix: str, variant: str) -> dict[str, dict[str, Any]]:
    """The captured records of a variant by inference id: the notebook joins both variants' by it."""
    listed = world.s3.list_objects_v2(Bucket="captured", Prefix=prefix).get("Contents", [])
    bodies = [
        world.s3.get_object(Bucket="captured", Key=one["Key"])["Body"].read()
        for one in listed
        if f"/{variant}/" in one["Key"]
    ]
    records = [json.loads(line) for body in bodies for line in body.splitlines()]
    return {one["eventMetadata"]["inferenceId"]: one for one in records if "inferenceId" in one["eventMetadata"]}


#: It answers as the notebook's model does: with an array, where one is accepted.
ARRAYS = """
import io, json
import numpy as np

def output_fn(prediction, accept):
    if accept != NPY:
        return json.dumps(prediction), "application/json"
    array = io.BytesIO()
    np.save(array, np.array([float(prediction["version"][-1])]))
    return array.getvalue(), accept

NPY = "application/x-npy"
"""
NPY = "application/x-npy"


def npy(number: float) -> bytes:
    array = io.BytesIO()
    np.save(array, np.array([[number, 2.0]]))
    return array.getvalue()


def test_the_notebook_promotes_the_shadow(world: World, record: Path) -> None:
    sagemaker, endpoint = world.sagemaker, "notebook"
    world.s3.create_bucket(Bucket="captured")
    first, candidate = (
        world.model(name, files={"code/inference.py": (INFERENCE + ARRAYS).encode()})
        for name in ("notebook-1", "notebook-2")
    )
    own_capture = {
        "EnableCapture": True,
        "InitialSamplingPercentage": 100,
        "DestinationS3Uri": "s3://captured/own",
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]},
    }
    sagemaker.create_endpoint_config(
        EndpointConfigName=first,
        ProductionVariants=[
            {
                "VariantName": "AllTraffic",
                "ModelName": first,
                "InitialInstanceCount": 2,
                "InstanceType": "ml.m5.large",
                "InitialVariantWeight": 1.0,
            }
        ],
        DataCaptureConfig=own_capture,
    )
    world.endpoint(endpoint, first)
    name = "notebook-shadow"
    arn = sagemaker.create_inference_experiment(
        Name=name,
        Type="ShadowMode",
        EndpointName=endpoint,
        RoleArn=ROLE,
        ModelVariants=[variant("AllTraffic", "notebook-1", 2), variant("Shadow-01", candidate, 2)],
        DataStorageConfig={"Destination": "s3://captured/notebook/"},
        ShadowModeConfig=mode(100),
    )["InferenceExperimentArn"]
    assert arn.endswith(":inference-experiment/notebook-shadow")
    with Load(world.server, endpoint, record, rate=50.0) as load:
        found = until(world, name, "Running")
        assert [one["Status"] for one in found["ModelVariants"]] == ["InService", "InService"]
        config = found["EndpointMetadata"]["EndpointConfigName"]
        assert sagemaker.describe_endpoint_config(EndpointConfigName=config)["ShadowProductionVariants"]
        asked = {str(number) for number in range(20)}
        for number in asked:
            world.runtime.invoke_endpoint(
                EndpointName=endpoint, Body=npy(float(number)), ContentType=NPY, Accept=NPY, InferenceId=number
            )
        wait_for("copies for the shadow", lambda: copies(world, endpoint) >= 20)
        wait_for(
            "both variants' answers are captured",
            lambda: all(asked <= captured(world, "notebook/", one).keys() for one in ("AllTraffic", "Shadow-01")),
        )
        for number in asked:
            both = [captured(world, "notebook/", one)[number] for one in ("AllTraffic", "Shadow-01")]
            assert both[0]["eventMetadata"]["eventId"] == both[1]["eventMetadata"]["eventId"]
            for one, answered in zip(both, (1.0, 2.0), strict=True):
                assert base64.b64decode(one["captureData"]["endpointInput"]["data"]) == npy(float(number))
                output = one["captureData"]["endpointOutput"]
                assert (output["encoding"], output["observedContentType"]) == ("BASE64", NPY)
                assert np.load(io.BytesIO(base64.b64decode(output["data"]))) == [answered]
        assert not captured(world, "own/", "AllTraffic"), "for the time of the experiment it has the endpoint's place"
        stop(world, name, PROMOTE, DesiredState="Completed", Reason="The shadow is better.")
        assert sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointStatus"] in ("InService", "Updating")
        found = until(world, name, "Completed")
        assert {one.version for one in load.nothing_lost()} == {"notebook-1", "notebook-2"}
    assert found["StatusReason"] == "The shadow is better."
    assert [one["Status"] for one in found["ModelVariants"]] == ["Deleted", "InService"]
    assert world.invoke(endpoint)["version"] == "notebook-2"
    assert [one[0] for one in served(world, endpoint)] == ["Shadow-01"]
    assert world.describe(endpoint)["DataCaptureConfig"]["DestinationS3Uri"] == own_capture["DestinationS3Uri"]
    sagemaker.delete_inference_experiment(Name=name)
    sagemaker.delete_endpoint(EndpointName=endpoint)
    with pytest.raises(sagemaker.exceptions.ResourceNotFound):
        describe(world, name)


def test_production_is_kept_and_the_endpoint_is_as_it_was(world: World, record: Path) -> None:
    endpoint = world.endpoint("kept", world.config("kept-1", instances=1))
    before = served(world, endpoint)
    name = create(world, "kept-shadow", endpoint, "kept-1", world.model("kept-2", FAIL="1"))
    with Load(world.server, endpoint, record, rate=50.0) as load:
        until(world, name, "Running")
        assert [one[:2] for one in served(world, endpoint)] == [("AllTraffic", 2), ("Shadow-01", 1)]
        with pytest.raises(world.sagemaker.exceptions.ClientError, match="StopInferenceExperiment"):
            world.sagemaker.delete_endpoint(EndpointName=endpoint)
        wait_for("copies for the shadow", lambda: copies(world, endpoint) >= 20)
        world.sagemaker.update_inference_experiment(Name=name, ShadowModeConfig=mode(0))
        until(world, name, "Running")
        time.sleep(3)  # copies under way end, and are counted
        before_wait = copies(world, endpoint), copies(world, endpoint, "AllTraffic")
        wait_for("more requests", lambda: copies(world, endpoint, "AllTraffic") > before_wait[1] + 100)
        assert copies(world, endpoint) == before_wait[0]
        stop(world, name, KEEP, DesiredState="Completed")
        until(world, name, "Completed")
        assert {(one.version, one.status) for one in load.nothing_lost()} == {("kept-1", 200)}
    assert served(world, endpoint) == before == [("AllTraffic", 1, 1.0, "kept-1")]
    world.sagemaker.delete_endpoint(EndpointName=endpoint)


def test_a_server_that_is_killed_in_the_middle_goes_on_where_it_stood(world: World, record: Path) -> None:
    endpoint = world.endpoint("killed", world.config("killed-1", instances=1))
    before = served(world, endpoint)
    name = create(world, "killed-shadow", endpoint, "killed-1", world.model("killed-2"))
    with Load(world.server, endpoint, record, rate=50.0) as load:
        kill_control_plane(world)  # while it starts
        until(world, name, "Running")
        world.sagemaker.update_inference_experiment(Name=name, ShadowModeConfig=mode(40))
        kill_control_plane(world)
        assert until(world, name, "Running")["ShadowModeConfig"] == mode(40)
        ends = datetime.now(UTC) + timedelta(seconds=3)
        world.sagemaker.update_inference_experiment(Name=name, Schedule={"EndTime": ends})
        wait_for("the end", lambda: describe(world, name)["Status"] == "Stopping", 60.0)
        kill_control_plane(world)
        found = until(world, name, "Completed")
        load.nothing_lost()
    assert found["CompletionTime"] >= ends - timedelta(seconds=0.001)
    assert "The end time" in found["StatusReason"]
    assert served(world, endpoint) == before
    world.sagemaker.delete_endpoint(EndpointName=endpoint)


def kill_control_plane(world: World) -> None:
    """Its process ends at once; the launcher starts another."""
    before = part(world.server, CONTROL)
    kill(world.server, CONTROL)
    wait_for("another control plane", lambda: part(world.server, CONTROL) != before and answers(world), 60.0)


def answers(world: World) -> bool:
    try:
        world.sagemaker.list_models()
    except (ClientError, BotoCoreError):
        return False
    return True


def test_scheduled_for_later_started_early_and_ended_by_the_clock(world: World) -> None:
    endpoint = world.endpoint("later", world.config("later-1", instances=1))
    now = datetime.now(UTC)
    schedule = {"StartTime": now + timedelta(days=20), "EndTime": now + timedelta(days=40)}
    name = create(world, "later-shadow", endpoint, "later-1", world.model("later-2"), Schedule=schedule)
    until(world, name, "Created")
    world.sagemaker.update_inference_experiment(Name=name, Description="words", ShadowModeConfig=mode(50))
    world.sagemaker.start_inference_experiment(Name=name)
    found = until(world, name, "Running")
    assert found["Schedule"]["EndTime"] - found["Schedule"]["StartTime"] == timedelta(days=30)
    assert world.server.stop() == 0
    world.server.start()
    assert describe(world, name)["Status"] == "Running"
    assert len(served(world, endpoint)) == 2
    soon = datetime.now(UTC) + timedelta(seconds=4)
    world.sagemaker.update_inference_experiment(Name=name, Schedule={"EndTime": soon})
    found = until(world, name, "Completed")
    assert found["CompletionTime"] >= soon - timedelta(seconds=0.1)
    assert served(world, endpoint) == [("AllTraffic", 1, 1.0, "later-1")]
    world.sagemaker.delete_endpoint(EndpointName=endpoint)


def test_a_shadow_that_cannot_start_cancels_it_and_production_serves(world: World) -> None:
    endpoint = world.endpoint("broken", world.config("broken-1", instances=1))
    before = served(world, endpoint)
    broken = world.model("broken-2", BREAK_ON_LOAD="no such file")
    found = ended(world, create(world, "broken-shadow", endpoint, "broken-1", broken))
    assert found["Status"] == "Cancelled"
    assert "no such file" in found["StatusReason"]
    assert served(world, endpoint) == before
    assert world.invoke(endpoint)["version"] == "broken-1"
    world.sagemaker.delete_endpoint(EndpointName=endpoint)


def test_an_endpoint_of_its_own(world: World) -> None:
    production, candidate = world.model("own-1"), world.model("own-2")
    name = create(world, "own-shadow", "own", production, candidate)
    until(world, name, "Running")
    assert world.invoke("own")["version"] == "own-1"
    stop(world, name, KEEP)
    found = ended(world, name)
    assert found["Status"] == "Cancelled"
    assert [one[:2] for one in served(world, "own")] == [("AllTraffic", 2)]
    assert world.invoke("own")["version"] == "own-1"
    world.sagemaker.delete_endpoint(EndpointName="own")


def test_the_examples_of_the_documentation_run(world: World) -> None:
    page = (Path(__file__).parents[2] / "docs" / "experiments.md").read_text()
    program = "".join(re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    endpoint = world.endpoint("flights", world.config("flights-v1", instances=1))
    world.model("flights-v2")
    credentials = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_DEFAULT_REGION": "us-east-1"}
    answer = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=os.environ | credentials | {"AWS_ENDPOINT_URL": world.server.url},
        timeout=120,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines()[1] == "Completed The shadow agrees with production and is faster."
    assert world.invoke(endpoint)["version"] == "flights-v2"
    world.sagemaker.delete_endpoint(EndpointName=endpoint)


def test_every_decision_so_far_is_the_same_when_taken_again(world: World) -> None:
    check_decisions(world.server.data_dir)
    decided = [body for kind, body in entries(world.server.data_dir) if kind == DECIDED]
    assert decided
