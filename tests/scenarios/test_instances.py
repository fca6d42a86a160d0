"""Warm-up and memory, as somebody sees them who creates and updates endpoints."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.scenarios.world import BANNISTER, World, wait_for

from bannister.domain.instance_type import size_of
from bannister.instances import machine

pytestmark = pytest.mark.real

ALL_AT_ONCE = {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}
#: It counts what it is asked, and knows nothing of cheese.
INFERENCE = b"""
asked = 0

def model_fn(model_dir):
    return None

def predict_fn(data, model):
    global asked
    asked += 1
    if data == ["cheese"]:
        raise ValueError("nobody told me of cheese")
    return {"asked": asked}
"""


def warmed(world: World, name: str, *requests: dict[str, Any], instances: int = 1, type_: str = "ml.m5.large") -> str:
    """A configuration of a model that brings these requests."""
    lines = "\n".join(json.dumps(one) for one in requests).encode()
    world.model(name, files={"code/inference.py": INFERENCE, "code/warmup.jsonl": lines})
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": name,
        "InitialInstanceCount": instances,
        "InstanceType": type_,
    }
    world.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    return name


def invocations(world: World, endpoint: str) -> float:
    now = datetime.now(UTC)
    found = world.cloudwatch.get_metric_statistics(
        Namespace="AWS/SageMaker",
        MetricName="Invocations",
        Dimensions=[{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": "AllTraffic"}],
        StartTime=now - timedelta(minutes=10),
        EndTime=now + timedelta(minutes=1),
        Period=60,
        Statistics=["Sum"],
    )
    return sum(one["Sum"] for one in found["Datapoints"])


def test_a_warm_up_comes_before_the_first_request_and_is_in_no_metric(world: World) -> None:
    world.endpoint("warm", warmed(world, "warm-1", {"body": ["bread"], "count": 3}))
    assert world.invoke("warm", b'["bread"]') == {"asked": 4}
    wait_for("the metric", lambda: invocations(world, "warm"))
    assert invocations(world, "warm") == 1


def test_a_version_that_fails_its_warm_up_gets_no_traffic(world: World) -> None:
    world.endpoint("fails", warmed(world, "fails-1", {"body": ["bread"]}))
    world.update("fails", warmed(world, "fails-2", {"body": ["bread"]}, {"body": ["cheese"]}), routing=ALL_AT_ONCE)
    found = world.settled("fails")
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", "fails-1")
    assert (
        "did not pass its warm-up. The instance answered warm-up request 2 of code/warmup.jsonl with 500: "
        in found["FailureReason"]
    )
    assert "nobody told me of cheese" in found["FailureReason"]
    assert world.invoke("fails", b'["bread"]') == {"asked": 2}


def test_that_it_may_not_fit_is_said_while_it_starts(world: World) -> None:
    total = machine.memory_total() or 0
    types = ("ml.t2.medium", "ml.m5.large", "ml.m5.xlarge", "ml.m5.2xlarge", "ml.m5.4xlarge", "ml.m5.12xlarge")
    sizes = [(name, size.memory_bytes) for name in types if (size := size_of(name)) and size.memory_bytes < total]
    if not sizes:
        pytest.skip("This machine has less memory than any type.")
    name, memory_bytes = sizes[-1]
    config = warmed(world, "large-1", instances=total // memory_bytes + 1, type_=name)
    world.endpoint("large", config)
    shown = subprocess.run(
        [str(BANNISTER), "explain", "large", "--endpoint-url", world.server.url],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "! green may not fit into memory\n" in shown
    assert f"for each of AllTraffic as {name}), and " in shown
