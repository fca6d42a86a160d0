"""A bake in which nothing came through is no evidence: neither a proxy nor a telemetry that stands still makes a deployment advance."""

import os
import signal
import time
from pathlib import Path

import pytest
from tests.scenarios.world import Load, World, wait_for

pytestmark = [pytest.mark.real, pytest.mark.alone, pytest.mark.slow]

CANARY = {
    "Type": "CANARY",
    "WaitIntervalInSeconds": 4,
    "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 20},
}


def pid_of(world: World, part: str) -> int:
    marks = {f"BANNISTER_PART={part}".encode(), f"BANNISTER_DATA_DIR={world.server.data_dir}".encode()}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if marks <= set((folder / "environ").read_bytes().split(b"\0")):
                return int(folder.name)
        except OSError:
            continue
    raise AssertionError(f"{part} does not run")


def stage(world: World, endpoint: str) -> tuple[str | None, float]:
    """What the new version's variant is at, and its share."""
    pending = world.describe(endpoint).get("PendingDeploymentSummary", {}).get("ProductionVariants", [{}])[0]
    statuses = pending.get("VariantStatus") or [{}]
    return statuses[0].get("Status"), pending.get("CurrentWeight", 0.0)


@pytest.mark.parametrize("part", ["Envoy", "telemetry"])
def test_a_bad_version_gets_no_further_by_a_standstill(world: World, record: Path, part: str) -> None:
    old, bad = f"stands-{part}-old".lower(), f"stands-{part}-bad".lower()
    endpoint = world.endpoint(f"stands-{part}".lower(), world.config(old))
    world.config(bad, FAIL="0.5")
    alarm = world.error_alarm(f"stands-{part}-errors", endpoint, bad)
    # Little traffic, and the standstill at once: the bake's first four seconds saw next to nothing.
    with Load(world.server, endpoint, record, rate=20):
        world.update(endpoint, bad, routing=CANARY, alarms=(alarm,), termination_wait=30)
        wait_for("the bake", lambda: stage(world, endpoint)[0] == "Baking")
        stopped = pid_of(world, part)
        os.kill(stopped, signal.SIGSTOP)
        time.sleep(9)
        os.kill(stopped, signal.SIGCONT)
        shares = [stage(world, endpoint)[1]]
        while (found := world.describe(endpoint))["EndpointStatus"] not in ("InService", "Failed"):
            shares.append(stage(world, endpoint)[1])
    assert found["EndpointConfigName"] == old
    assert f'"{alarm}"' in found["FailureReason"]
    assert max(shares) == pytest.approx(0.2), "the bad version got no more than the canary's share"
    world.sagemaker.delete_endpoint(EndpointName=endpoint)
