"""Configurations with a shadow, and the shadow's metrics, in a user's words."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.scenarios.world import World

PRODUCTION, SHADOW = "AllTraffic", "Shadow-01"
CAPTURE = "/bannister/Capture"


def variant(name: str, model: str, *, instances: int = 1, weight: float = 1.0) -> dict[str, Any]:
    return {
        "VariantName": name,
        "ModelName": model,
        "InitialInstanceCount": instances,
        "InstanceType": "ml.m5.large",
        "InitialVariantWeight": weight,
    }


def shadow_config(
    world: World, name: str, production: str, shadow: str, *, weight: float = 1.0, instances: int = 2
) -> str:
    """One production and one shadow variant, of models that exist."""
    world.sagemaker.create_endpoint_config(
        EndpointConfigName=name,
        ProductionVariants=[variant(PRODUCTION, production, instances=instances)],
        ShadowProductionVariants=[variant(SHADOW, shadow, weight=weight)],
    )
    return name


def quick_models(world: World, *modes: str) -> None:
    """Models `quick-MODE` that are never the bottleneck (`quick_model.py`)."""
    program = Path(__file__).with_name("quick_model.py")
    (world.server.data_dir / "images.toml").write_text(
        f'[[image]]\nmatch = "quick"\ncommand = [{json.dumps(sys.executable)}, {json.dumps(str(program))}, "{{port}}"]\n'
    )
    for mode in modes:
        world.sagemaker.create_model(
            ModelName=f"quick-{mode}", PrimaryContainer={"Image": "quick", "Environment": {"MODE": mode}}
        )


def total(
    world: World,
    endpoint: str,
    variant_name: str,
    metric: str = "Invocations",
    *,
    config: str | None = None,
    namespace: str = "AWS/SageMaker",
) -> float:
    """The metric's sum over the last ten minutes."""
    dimensions = [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": variant_name}]
    if config is not None:
        dimensions.append({"Name": "EndpointConfigName", "Value": config})
    points = world.cloudwatch.get_metric_statistics(
        Namespace=namespace,
        MetricName=metric,
        StartTime=time.time() - 600,
        EndTime=time.time() + 60,
        Period=60,
        Statistics=["Sum"],
        Dimensions=dimensions,
    )["Datapoints"]
    return sum(point["Sum"] for point in points)


def dropped(world: World) -> float:
    """Exchanges of which nobody knows whose they were."""
    points = world.cloudwatch.get_metric_statistics(
        Namespace=CAPTURE,
        MetricName="Dropped",
        StartTime=time.time() - 600,
        EndTime=time.time() + 60,
        Period=60,
        Statistics=["Sum"],
    )["Datapoints"]
    return float(sum(point["Sum"] for point in points))


def stats(world: World, names: str) -> dict[str, int]:
    """Envoy's own figures."""
    socket = world.server.data_dir / "run" / "envoy-admin.sock"
    command = ["curl", "-sf", "--unix-socket", str(socket), f"http://admin/stats?filter={names}"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return {name: int(value) for name, _, value in (line.partition(": ") for line in lines)}
