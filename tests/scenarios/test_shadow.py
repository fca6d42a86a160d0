"""Shadow variants on a real server: AWS's notebook, the share copied, the shadow's own metrics, and guarded updates under load."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ClientError
from tests.scenarios.shadow import PRODUCTION, SHADOW, shadow_config, stats, total, variant
from tests.scenarios.world import BANNISTER, IMAGE, INFERENCE, Load, World, archive, wait_for

pytestmark = [pytest.mark.real, pytest.mark.slow]

CANARY = {
    "Type": "CANARY",
    "WaitIntervalInSeconds": 3,
    "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 10},
}
LINEAR = {
    "Type": "LINEAR",
    "WaitIntervalInSeconds": 2,
    "LinearStepSize": {"Type": "CAPACITY_PERCENT", "Value": 50},
}
ALL_AT_ONCE = {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}


def utilization(world: World, endpoint: str, metric: str, variant: str) -> list[float]:
    found = world.cloudwatch.get_metric_statistics(
        Namespace="/aws/sagemaker/Endpoints",
        MetricName=metric,
        StartTime=time.time() - 60,
        EndTime=time.time(),
        Period=1,
        Statistics=["Average"],
        Unit="Percent",
        Dimensions=[{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": variant}],
    )["Datapoints"]
    assert all(point["Average"] >= 0 for point in found)
    return [point["Average"] for point in found]


def test_the_shadow_notebook(world: World) -> None:
    """archived/shadow-console/Shadow_variant.ipynb of aws/amazon-sagemaker-examples: the sequence is AWS's, the code and the models are ours."""
    sagemaker, endpoint = world.sagemaker, "notebook-shadow"
    for model in ("notebook-model-1", "notebook-model-2"):
        world.s3.put_object(
            Bucket="models", Key=f"{model}.tar.gz", Body=archive({"code/inference.py": INFERENCE.encode()})
        )
        sagemaker.create_model(
            ModelName=model,
            ExecutionRoleArn="arn:aws:iam::111111111111:role/role",
            PrimaryContainer={
                "Image": IMAGE,
                "ModelDataUrl": f"s3://models/{model}.tar.gz",
                "Environment": {"VERSION": model},
            },
        )
    sagemaker.create_endpoint_config(
        EndpointConfigName="notebook-shadow-config",
        ProductionVariants=[variant("production", "notebook-model-1", instances=2)],
        ShadowProductionVariants=[variant("shadow", "notebook-model-2", weight=0.5)],
    )
    described = sagemaker.describe_endpoint_config(EndpointConfigName="notebook-shadow-config")
    assert [one["VariantName"] for one in described["ShadowProductionVariants"]] == ["shadow"]
    assert described["ShadowProductionVariants"][0]["InitialVariantWeight"] == 0.5
    sagemaker.create_endpoint(EndpointName=endpoint, EndpointConfigName="notebook-shadow-config")
    found = world.settled(endpoint)
    assert found["EndpointStatus"] == "InService", found
    assert [one["VariantName"] for one in found["ProductionVariants"]] == ["production"]
    (shadow,) = found["ShadowProductionVariants"]
    assert (shadow["CurrentWeight"], shadow["CurrentInstanceCount"]) == (0.5, 1)

    answers = [world.invoke(endpoint) for _ in range(100)]
    assert {one["version"] for one in answers} == {"notebook-model-1"}
    wait_for("100 invocations", lambda: total(world, endpoint, "production") == 100)
    copies = total(world, endpoint, "shadow")
    assert abs(copies - 50) <= 4 * (100 * 0.25) ** 0.5
    for metric in ("Invocations", "ModelLatency", "OverheadLatency"):
        (*_, point) = world.cloudwatch.get_metric_statistics(
            Namespace="AWS/SageMaker",
            MetricName=metric,
            StartTime=time.time() - 60,
            EndTime=time.time(),
            Period=1,
            Statistics=["Average", "SampleCount"],
            Dimensions=[{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": "shadow"}],
        )["Datapoints"]
        assert point["SampleCount"] >= 1
    assert total(world, endpoint, "shadow", "InvocationModelErrors") == 0
    for metric in ("CPUUtilization", "MemoryUtilization", "DiskUtilization"):
        wait_for(
            f"{metric} of both",
            lambda metric=metric: all(utilization(world, endpoint, metric, one) for one in ("production", "shadow")),
        )  # type: ignore[misc]

    sagemaker.create_endpoint_config(
        EndpointConfigName="notebook-promoted", ProductionVariants=[variant("shadow", "notebook-model-2", instances=2)]
    )
    sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName="notebook-promoted")
    found = world.settled(endpoint)
    assert found["EndpointConfigName"] == "notebook-promoted"
    assert [one["VariantName"] for one in found["ProductionVariants"]] == ["shadow"]
    assert "ShadowProductionVariants" not in found
    assert world.invoke(endpoint)["version"] == "notebook-model-2"
    sagemaker.delete_endpoint(EndpointName=endpoint)
    for config in ("notebook-shadow-config", "notebook-promoted"):
        sagemaker.delete_endpoint_config(EndpointConfigName=config)
    for model in ("notebook-model-1", "notebook-model-2"):
        sagemaker.delete_model(ModelName=model)


def test_a_shadow_cannot_be_invoked_by_name(world: World) -> None:
    world.model("by-name")
    endpoint = world.endpoint("by-name", shadow_config(world, "by-name", "by-name", "by-name"))
    for name in (SHADOW, "Nobody"):
        with pytest.raises(ClientError) as caught:
            world.runtime.invoke_endpoint(EndpointName=endpoint, Body=b"1", TargetVariant=name)
        assert caught.value.response["Error"]["Code"] == "ValidationError"
    world.sagemaker.delete_endpoint(EndpointName=endpoint)


@pytest.mark.parametrize(("weight", "share"), [(0.1, 0.1), (0.5, 0.5), (3.0, 1.0), (0.0, 0.0)])
def test_the_share_that_is_copied_is_the_ratio_of_the_weights(
    world: World, record: Path, weight: float, share: float
) -> None:
    """Within three standard deviations, under load; each copy counts once, as an invocation of the shadow."""
    name = f"share-{weight:g}".replace(".", "-")
    world.model(name)
    endpoint = world.endpoint(name, shadow_config(world, name, name, name, weight=weight))
    with Load(world.server, endpoint, record) as load:
        time.sleep(6)
    sent = len(load.nothing_lost())
    wait_for("all are counted", lambda: total(world, endpoint, PRODUCTION) == sent)
    # A copy is counted when it is over, which it may be long after production's answer.
    under_way = rf"^cluster\.shadow/.*{name}.*\.upstream_rq_active$"
    wait_for("no copy is under way", lambda: not any(stats(world, under_way).values()))

    def told_of() -> float:
        skipped = total(world, endpoint, SHADOW, "Skipped", namespace="/bannister/Shadow")
        return total(world, endpoint, SHADOW, config=name) + skipped

    most_off = 3 * (sent * share * (1 - share)) ** 0.5
    what = f"{share:.0%} of {sent} are copied or skipped"
    wait_for(what, lambda: abs(told_of() - sent * share) <= most_off)
    world.sagemaker.delete_endpoint(EndpointName=endpoint)


def test_a_shadow_that_fails_has_its_own_errors_and_production_none(world: World) -> None:
    world.model("fails-prod")
    world.model("fails-shadow", FAIL="1")
    endpoint = world.endpoint("fails", shadow_config(world, "fails", "fails-prod", "fails-shadow"))
    assert {world.invoke(endpoint)["version"] for _ in range(40)} == {"fails-prod"}
    wait_for("40 errors of the shadow", lambda: total(world, endpoint, SHADOW, "Invocation5XXErrors") == 40)
    shown = subprocess.run([BANNISTER, "status", "--endpoint-url", world.server.url], capture_output=True, text=True)
    assert f"shadow: {SHADOW}, 1 of 1 ready, 100 % copied: 40 requests, 100 % errors, p99" in " ".join(
        shown.stdout.split()
    ), shown
    assert total(world, endpoint, PRODUCTION) == 40
    assert total(world, endpoint, PRODUCTION, "InvocationModelErrors") == 0
    world.sagemaker.delete_endpoint(EndpointName=endpoint)


@pytest.mark.parametrize(
    ("name", "before", "after", "routing"),
    [
        ("to", None, 1.0, CANARY),
        ("from", 1.0, None, LINEAR),
        ("between", 0.5, 1.0, CANARY),
        ("at-once", 1.0, 0.5, ALL_AT_ONCE),
    ],
)
def test_a_guarded_update_to_and_from_a_shadow_loses_nothing(
    world: World, record: Path, name: str, before: float | None, after: float | None, routing: dict[str, Any]
) -> None:
    old, new = f"shadow-{name}-old", f"shadow-{name}-new"
    for config, weight in ((old, before), (new, after)):
        world.model(config)
        if weight is None:
            world.config(config, model=config)
        else:
            shadow_config(world, config, config, config, weight=weight)
    endpoint = world.endpoint(f"shadow-{name}", old)
    with Load(world.server, endpoint, record) as load:
        world.update(endpoint, new, routing=routing, termination_wait=2)
        pending = world.describe(endpoint)["PendingDeploymentSummary"]
        found = world.settled(endpoint)
        time.sleep(1)
    answers = load.nothing_lost()
    assert {one.version for one in answers} == {old, new}
    assert found["EndpointConfigName"] == new
    assert ("ShadowProductionVariants" in pending) == ("ShadowProductionVariants" in found) == (after is not None)
    for config, weight in ((old, before), (new, after)):
        copies = total(world, endpoint, SHADOW, config=config)
        assert (copies > 0) == (weight is not None), (config, copies)
    world.sagemaker.delete_endpoint(EndpointName=endpoint)


def test_a_shadow_that_cannot_start_rolls_the_update_back_with_its_reason(world: World, record: Path) -> None:
    world.model("start-old")
    world.model("start-broken", BREAK_ON_LOAD="no such file")
    endpoint = world.endpoint("shadow-start", shadow_config(world, "start-old", "start-old", "start-old"))
    shadow_config(world, "start-new", "start-old", "start-broken")
    with Load(world.server, endpoint, record) as load:
        world.update(endpoint, "start-new", routing=CANARY)
        found = world.settled(endpoint)
        before = total(world, endpoint, SHADOW, config="start-old")
        wait_for("the old shadow goes on", lambda: total(world, endpoint, SHADOW, config="start-old") > before)
    load.nothing_lost()
    assert found["EndpointConfigName"] == "start-old"
    assert f"The primary container for shadow variant {SHADOW} did not pass" in found["FailureReason"]
    assert "no such file" in found["FailureReason"]
    world.sagemaker.delete_endpoint(EndpointName=endpoint)


def test_a_shadow_that_dies_in_a_deployment_stops_nothing(world: World, record: Path) -> None:
    """Blue's shadow is killed while green takes its canary, green's again and again while all traffic is on green."""
    for model in ("dies-old", "dies-new"):
        world.model(model)
    old, new = (shadow_config(world, name, name, name) for name in ("dies-old", "dies-new"))
    endpoint = world.endpoint("dies", old)
    with Load(world.server, endpoint, record) as load:
        world.update(endpoint, new, routing=CANARY, termination_wait=6)
        wait_for("the canary answers", lambda: any(one.version == new for one in load.answers()))
        assert kill(world, f"{endpoint}.{SHADOW}.") == 2
        wait_for("green's shadow is fed", lambda: total(world, endpoint, SHADOW, config=new) > 0)
        while world.describe(endpoint)["EndpointStatus"] == "Updating":
            kill(world, f"{endpoint}.{SHADOW}.")
            time.sleep(0.5)
        found = world.settled(endpoint)
    load.nothing_lost()
    assert (found["EndpointConfigName"], found.get("FailureReason")) == (new, None)
    world.sagemaker.delete_endpoint(EndpointName=endpoint)


def kill(world: World, groups: str) -> int:
    """SIGKILL to every instance of these groups; how many there were."""
    killed = 0
    for file in (world.server.data_dir / "instances" / "running").glob("*/record.json"):
        with contextlib.suppress(OSError, msgspec.DecodeError):
            found = msgspec.json.decode(file.read_bytes())
            if found["group"].startswith(groups) and found["process"]:
                os.kill(found["process"]["pid"], signal.SIGKILL)
                killed += 1
    return killed
