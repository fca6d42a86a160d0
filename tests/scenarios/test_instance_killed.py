"""An instance that is killed takes with it what was in flight on it, and nothing else."""

import os
import signal
import time
from pathlib import Path

import msgspec
import pytest
from tests.scenarios.world import Load, World, wait_for

pytestmark = [pytest.mark.real, pytest.mark.slow]

CANARY = {
    "Type": "CANARY",
    "WaitIntervalInSeconds": 60,
    "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 50},
}


def processes(world: World, groups_of: str) -> list[tuple[int, int]]:
    """Port and process of each instance of an endpoint, the oldest first."""
    found = []
    for file in (world.server.data_dir / "instances" / "running").glob("*/record.json"):
        record = msgspec.json.decode(file.read_bytes())
        if record["group"].startswith(f"{groups_of}.") and record["process"]:
            found.append((record["started_at"], record["port"], record["process"]["pid"]))
    return [(port, pid) for _, port, pid in sorted(found)]


def test_the_canarys_only_instance_in_rotation_is_killed(world: World, record: Path) -> None:
    endpoint = world.endpoint("killed", world.config("killed-old"))
    old = processes(world, endpoint)
    world.config("killed-new")
    with Load(world.server, endpoint, record, rate=400) as load:
        world.update(endpoint, "killed-new", routing=CANARY)
        wait_for("the canary answers", lambda: sum(one.version == "killed-new" for one in load.answers()[-200:]) > 50)
        pid = world.invoke(endpoint)["pid"]
        while pid in {one for _, one in old}:
            pid = world.invoke(endpoint)["pid"]
        killed_at = time.time()
        os.kill(pid, signal.SIGKILL)
        found = world.settled(endpoint)
    assert found["EndpointConfigName"] == "killed-old"
    lost = [one for one in load.answers() if one.lost is not None]
    assert not [one for one in lost if "no healthy instance" in str(one.lost)], f"{len(lost)} lost: {lost[:3]}"
    assert not [one for one in lost if one.began > killed_at + 0.2], f"only what was in flight: {lost[-3:]}"
    world.sagemaker.delete_endpoint(EndpointName=endpoint)
