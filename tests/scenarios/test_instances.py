"""Warm-up and memory, as somebody sees them who creates and updates endpoints."""

from __future__ import annotations

import io
import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import joblib
import pytest
import sklearn.base
from sklearn.linear_model import LinearRegression
from tests.crashes.harm import invocations
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


#: Told to take more, it takes 2.2 GiB for good, and answers when that has been noticed.
GREEDY = b"""
import os, time

held = []

def model_fn(model_dir):
    return None

def predict_fn(data, model):
    if data == ["more"]:
        held.append(bytearray(b"x" * 1024) * (2252 * 1024))
        time.sleep(4)
    return {"pid": os.getpid(), "cores": len(os.sched_getaffinity(0))}
"""


def test_one_that_uses_too_much_memory_answers_what_it_has_and_is_started_again(world: World) -> None:
    type_ = "ml.c8g.medium"  # one core and 2 GiB
    if (machine.memory_available() or 0) < 6 * 1024**3:
        pytest.skip("This machine has too little memory to waste.")
    world.model("greedy", files={"code/inference.py": GREEDY})
    variant = {"VariantName": "AllTraffic", "ModelName": "greedy", "InitialInstanceCount": 2, "InstanceType": type_}
    world.sagemaker.create_endpoint_config(EndpointConfigName="greedy", ProductionVariants=[variant])
    world.endpoint("greedy", "greedy")
    before = {world.invoke("greedy", b"[1]")["pid"] for _ in range(40)}
    assert len(before) == 2
    with ThreadPoolExecutor(1) as caller:
        more = caller.submit(world.invoke, "greedy", b'["more"]')
        while not more.done():
            world.invoke("greedy", b"[1]")  # an error would be raised
        greedy = more.result()
    assert greedy["pid"] in before
    assert greedy["cores"] == 1

    def again() -> bool:
        found = {world.invoke("greedy", b"[1]")["pid"] for _ in range(20)}
        return greedy["pid"] not in found and len(found) == 2

    wait_for("another process in its place", again)
    events = world.server.client("logs").filter_log_events(
        logGroupName="/aws/sagemaker/Endpoints/greedy", filterPattern='"[bannister]"'
    )["events"]
    said = [event["message"] for event in events]
    assert sum("1 core(s), number" in line and "2 GiB of memory, as ml.c8g.medium." in line for line in said) == 3
    (ended,) = [line for line in said if "used more memory" in line]
    assert ended.startswith("[bannister] This instance used more memory than the 2 GiB of ml.c8g.medium (2.")


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


def test_a_model_of_another_version_is_warned_about_before_traffic_moves(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    pickled = io.BytesIO()
    with monkeypatch.context() as patched:  # as scikit-learn 1.2.2 would have pickled it
        patched.setattr(sklearn.base, "__version__", "1.2.2")
        joblib.dump(LinearRegression().fit([[0.0], [1.0]], [0.0, 2.0]), pickled)
    world.model("old", files={"model.joblib": pickled.getvalue()})
    world.endpoint("old", world.config("old-1", instances=2, model="old"))
    command = [str(BANNISTER), "explain", "old", "--endpoint-url", world.server.url]
    story = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout
    told = json.loads(story)
    (warning,) = told["Deployment"]["Warnings"]
    assert warning["VariantName"] == "AllTraffic"
    assert "model.joblib was pickled by scikit-learn 1.2.2 and is loaded by " in warning["Reason"]
    kinds = [one["Kind"] for one in told["Decisions"]]
    assert kinds[:2] == ["Started", "Warned"], "before anything is decided"
    assert kinds.count("Warned") == 1, "whichever of two instances says it"
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "! AllTraffic: the model warns of itself\n" in shown
