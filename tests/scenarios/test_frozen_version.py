"""A new version that stands still makes no errors, and alarms that take missing data for good stay clear: no bake is over all the same, and it is rolled back."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.scenarios.world import Load, World, wait_for

pytestmark = [pytest.mark.real, pytest.mark.slow]

#: Shorter than the ten to twelve seconds after which an instance that stands still is taken for unready.
BAKE_SECONDS = 8
CANARY = {
    "Type": "CANARY",
    "WaitIntervalInSeconds": BAKE_SECONDS,
    "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 50},
}
#: What green has when one of its two instances is stopped: a canary's share, and all.
SHARES = {"frozen-canary": 0.5, "frozen-whole": 1.0}


def baking(world: World, endpoint: str) -> float | None:
    """Green's share while a bake is under way."""
    (pending,) = world.describe(endpoint)["PendingDeploymentSummary"]["ProductionVariants"]
    (status,) = pending["VariantStatus"]
    return float(pending["CurrentWeight"]) if status["Status"] == "Baking" else None


def pid_of(world: World, endpoint: str, version: str) -> int | None:
    """Of an instance of a version, if one happens to answer."""
    answer = world.invoke(endpoint)
    return int(answer["pid"]) if answer["version"] == version else None


def test_a_version_that_stands_still_gets_no_further(world: World, tmp_path: Path) -> None:
    stopped: dict[str, int] = {}
    with ExitStack() as running:
        loads = []
        for endpoint in SHARES:
            world.endpoint(endpoint, world.config(f"{endpoint}-old"))
            new = world.config(f"{endpoint}-new")
            alarm = world.error_alarm(f"{endpoint}-errors", endpoint, new)
            loads.append(running.enter_context(Load(world.server, endpoint, tmp_path / endpoint, rate=10)))
            world.update(endpoint, new, routing=CANARY, alarms=(alarm,), termination_wait=BAKE_SECONDS)
        for endpoint, share in SHARES.items():
            wait_for("the bake", lambda: baking(world, endpoint) == pytest.approx(share))  # noqa: B023
            stopped[endpoint] = wait_for("an answer", lambda: pid_of(world, endpoint, f"{endpoint}-new"))  # noqa: B023
            os.kill(stopped[endpoint], signal.SIGSTOP)
        for endpoint, share in SHARES.items():
            while (found := world.describe(endpoint))["EndpointStatus"] == "Updating":
                (pending,) = found["PendingDeploymentSummary"]["ProductionVariants"]
                assert pending["CurrentWeight"] == pytest.approx(share), "nothing moves while it stands still"
            assert found["EndpointStatus"] == "RollingBack"
            os.kill(stopped[endpoint], signal.SIGCONT)  # what it was given is answered, late
        ends = [world.settled(endpoint) for endpoint in SHARES]
    for endpoint, load, found in zip(SHARES, loads, ends, strict=True):
        load.nothing_lost()
        assert found["EndpointConfigName"] == f"{endpoint}-old"
        assert "stopped answering /ping" in found["FailureReason"]
        world.sagemaker.delete_endpoint(EndpointName=endpoint)
