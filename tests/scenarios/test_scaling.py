"""Weights and instance counts change under a constant 200 requests a second: nothing is lost, and each share is what was asked."""

import math
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.scenarios.world import Load, World, wait_for

pytestmark = [pytest.mark.real, pytest.mark.slow]


def rescale(world: World, endpoint: str, **desired: tuple[float | None, int | None]) -> None:
    items = []
    for variant, (weight, count) in desired.items():
        item: dict[str, Any] = {"VariantName": variant}
        if weight is not None:
            item["DesiredWeight"] = weight
        if count is not None:
            item["DesiredInstanceCount"] = count
        items.append(item)
    world.sagemaker.update_endpoint_weights_and_capacities(EndpointName=endpoint, DesiredWeightsAndCapacities=items)


def variants(world: World, endpoint: str) -> dict[str, tuple[float, int]]:
    found = world.describe(endpoint)["ProductionVariants"]
    return {one["VariantName"]: (one["CurrentWeight"], one["CurrentInstanceCount"]) for one in found}


def config_of_two(world: World, name: str, weights: tuple[float, float] = (9.0, 1.0)) -> str:
    """Variants a and b, one instance each."""
    world.model(f"{name}-a", SLEEP="0.001")
    world.model(f"{name}-b", SLEEP="0.001")
    world.sagemaker.create_endpoint_config(
        EndpointConfigName=name,
        ProductionVariants=[
            {
                "VariantName": variant,
                "ModelName": f"{name}-{variant}",
                "InitialInstanceCount": 1,
                "InitialVariantWeight": weight,
                "InstanceType": "ml.m5.large",
            }
            for variant, weight in zip("ab", weights, strict=True)
        ],
    )
    return name


def two_variants(world: World, name: str) -> str:
    return world.endpoint(name, config_of_two(world, name))


def test_weights_and_counts_change_under_load_and_nothing_is_lost(world: World, record: Path) -> None:
    endpoint = two_variants(world, "scaled")
    with Load(world.server, endpoint, record) as load:
        rescale(world, endpoint, a=(1.0, None), b=(1.0, 3))
        assert world.describe(endpoint)["EndpointStatus"] == "Updating"
        assert world.settled(endpoint)["EndpointStatus"] == "InService"
        assert variants(world, endpoint) == {"a": (1.0, 1), "b": (1.0, 3)}
        even = len(load.answers())
        wait_for("2000 requests at even weights", lambda: len(load.answers()) > even + 2000)
        evenly = load.answers()[even : even + 2000]
        for counts in ((3, 1), (1, 3), (2, 1), (1, 1)):
            rescale(world, endpoint, a=(None, counts[0]), b=(None, counts[1]))
            world.settled(endpoint)
            assert [one[1] for one in variants(world, endpoint).values()] == list(counts)
        rescale(world, endpoint, a=(0.0, None))
        world.settled(endpoint)
        alone = len(load.answers())
        wait_for("500 requests to b alone", lambda: len(load.answers()) > alone + 500)
    answers = load.nothing_lost()
    share = sum(one.version == "scaled-b" for one in evenly) / len(evenly)
    assert abs(share - 0.5) < 3 * math.sqrt(0.25 / len(evenly))
    settled = max(one.began for one in answers[:alone])
    assert {one.version for one in answers[alone:] if one.began > settled} == {"scaled-b"}
    world.sagemaker.delete_endpoint(EndpointName=endpoint)


def test_updates_keep_what_was_rescaled_under_load_and_nothing_is_lost(world: World, record: Path) -> None:
    endpoint = two_variants(world, "kept")
    blue_green = {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": {
                "Type": "CANARY",
                "WaitIntervalInSeconds": 1,
                "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 34},
            },
            "TerminationWaitInSeconds": 0,
        }
    }
    batches = {"MaximumBatchSize": {"Type": "INSTANCE_COUNT", "Value": 1}, "WaitIntervalInSeconds": 1}
    weight = [{"VariantPropertyType": "DesiredWeight"}]
    both = [*weight, {"VariantPropertyType": "DesiredInstanceCount"}]
    with Load(world.server, endpoint, record) as load:
        rescale(world, endpoint, a=(1.0, 2), b=(3.0, 3))
        world.settled(endpoint)
        for number, (how, after) in enumerate(
            [
                ({"DeploymentConfig": blue_green}, {"a": (1.0, 2), "b": (3.0, 3)}),
                (
                    {"RetainDeploymentConfig": True, "ExcludeRetainedVariantProperties": weight},
                    {"a": (4.0, 2), "b": (2.0, 3)},
                ),
                ({"DeploymentConfig": {"RollingUpdatePolicy": batches}}, {"a": (4.0, 2), "b": (2.0, 3)}),
                ({"ExcludeRetainedVariantProperties": both}, {"a": (4.0, 1), "b": (2.0, 1)}),
            ]
        ):
            config = config_of_two(world, f"kept-{number}", (4.0, 2.0))
            arguments = {"RetainAllVariantProperties": True, **how}
            world.sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=config, **arguments)
            found = world.settled(endpoint)
            assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", config)
            assert variants(world, endpoint) == after, arguments
            # What one update kept is there for the next one to keep.
            routing = (
                found.get("LastDeploymentConfig", {})
                .get("BlueGreenUpdatePolicy", {})
                .get("TrafficRoutingConfiguration", {})
            )
            assert number > 1 or routing.get("Type") == "CANARY"
        even = len(load.answers())
        wait_for("2000 requests at the last weights", lambda: len(load.answers()) > even + 2000)
    answers = load.nothing_lost()
    last = [one.version for one in answers[even : even + 2000]]
    assert set(last) == {f"kept-{number}-a", f"kept-{number}-b"}
    assert abs(last.count(f"kept-{number}-a") / len(last) - 2 / 3) < 3 * math.sqrt(2 / 9 / len(last))
    world.sagemaker.delete_endpoint(EndpointName=endpoint)


def test_instances_that_cannot_start_take_the_change_back(world: World, record: Path) -> None:
    once = b"""
import os, tempfile, pathlib

def model_fn(model_dir):
    mark = pathlib.Path(tempfile.gettempdir(), os.environ["MARK"])
    if mark.exists():
        raise RuntimeError("there can be only one of me")
    mark.touch()
    return os.environ["VERSION"]

def predict_fn(data, model):
    return {"version": model}
"""
    mark = record.parent / "mark"
    world.model("only", files={"code/inference.py": once}, MARK=str(mark))
    endpoint = world.endpoint("only", world.config("only", instances=1, model="only"))
    with Load(world.server, endpoint, record) as load:
        rescale(world, endpoint, AllTraffic=(5.0, 2))
        found = world.settled(endpoint)
    load.nothing_lost()
    assert found["EndpointStatus"] == "InService"
    assert found["FailureReason"].startswith("The change of weights and instance counts was taken back. ")
    assert "there can be only one of me" in found["FailureReason"]
    (variant,) = found["ProductionVariants"]
    assert (variant["DesiredInstanceCount"], variant["CurrentInstanceCount"], variant["DesiredWeight"]) == (1, 1, 1.0)
    rescale(world, endpoint, AllTraffic=(5.0, None))
    assert "FailureReason" not in world.settled(endpoint)
    world.sagemaker.delete_endpoint(EndpointName=endpoint)


def test_what_cannot_be_asked(world: World) -> None:
    endpoint = world.endpoint("asked", world.config("asked", instances=1, SLEEP="0"))
    before = world.describe(endpoint)
    for desired, why in (
        ({"nobody": (1.0, None)}, 'Variant "nobody" is not one of'),
        ({"AllTraffic": (None, 0)}, "DesiredInstanceCount of variant"),
        ({"AllTraffic": (None, 100_000)}, "instances_per_variant_max"),
        ({"AllTraffic": (0.0, None)}, "above 0, or nothing would answer"),
    ):
        with pytest.raises(ClientError, match=why) as refused:
            rescale(world, endpoint, **desired)
        code = "ResourceLimitExceeded" if "max" in why else "ValidationException"
        assert refused.value.response["Error"]["Code"] == code
    with pytest.raises(ClientError, match="Could not find endpoint"):
        rescale(world, "nobody", AllTraffic=(1.0, 1))
    after = world.describe(endpoint)
    assert {**after, "ResponseMetadata": None} == {**before, "ResponseMetadata": None}
    rescale(world, endpoint, AllTraffic=(None, 2))
    for attempt in (
        lambda: rescale(world, endpoint, AllTraffic=(None, 1)),
        lambda: world.sagemaker.delete_endpoint(EndpointName=endpoint),
        lambda: world.sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName="asked"),
    ):
        with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
            attempt()
    world.settled(endpoint)
    world.sagemaker.delete_endpoint(EndpointName=endpoint)
