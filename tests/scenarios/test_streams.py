"""Streamed answers while versions are released and taken back: every one ends as its model meant it, however long that takes."""

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.scenarios.shadow import PRODUCTION, quick_models, total, variant
from tests.scenarios.world import BANNISTER, Server, World, wait_for

pytestmark = pytest.mark.real

PIECES = 60  # six seconds
WHOLE = "".join(f"{index} " for index in range(PIECES))
CANARY = {
    "Type": "CANARY",
    "WaitIntervalInSeconds": 1,
    "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 50},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """No request that is not a stream is waited for longer than two seconds; a stream is."""
    server = Server(
        tmp_path_factory.mktemp("server") / "data",
        invocation_timeout_seconds=1.0,
        drain_timeout_seconds=2.0,
        stream_drain_timeout_seconds=30.0,
    )
    try:
        yield World(server)
    finally:
        assert server.stop() == 0
        assert server.leftovers() == []


class Stream(threading.Thread):
    """One streamed answer; `text` is what came of it."""

    def __init__(self, world: World, endpoint: str) -> None:
        super().__init__(daemon=True)
        self._client = world.server.client("sagemaker-runtime")
        self._endpoint = endpoint
        self.began = threading.Event()
        self.text = ""
        self.start()

    def run(self) -> None:
        answer = self._client.invoke_endpoint_with_response_stream(
            EndpointName=self._endpoint, Body=str(PIECES).encode()
        )
        for event in answer["Body"]:
            self.text += event["PayloadPart"]["Bytes"].decode()
            self.began.set()


@contextmanager
def streams(world: World, endpoint: str, count: int) -> Iterator[list[Stream]]:
    """So many are under way within; all have ended whole afterwards."""
    found = [Stream(world, endpoint) for _ in range(count)]
    assert all(one.began.wait(10) for one in found)
    yield found
    for one in found:
        one.join(30)
        assert one.text == WHOLE


def test_streams_outlive_the_release_and_the_rollback_of_the_versions_that_send_them(
    world: World, tmp_path: Path
) -> None:
    quick_models(world, "streams")
    for name in ("v1", "v2", "v3"):
        world.sagemaker.create_endpoint_config(
            EndpointConfigName=name, ProductionVariants=[variant(PRODUCTION, "quick-streams", instances=2)]
        )
    world.endpoint("tokens", "v1")
    with streams(world, "tokens", 6) as under_way:
        world.update("tokens", "v2", routing=CANARY)
        wait_for("traffic on both", lambda: world.describe("tokens").get("PendingDeploymentSummary"))
        with streams(world, "tokens", 6):
            described = world.settled("tokens")
    assert (described["EndpointConfigName"], described["EndpointStatus"]) == ("v2", "InService")
    with streams(world, "tokens", 6):
        world.update("tokens", "v3", routing={**CANARY, "WaitIntervalInSeconds": 30})
        wait_for("the canary", lambda: _canary(world))
        with streams(world, "tokens", 8):
            command = [str(BANNISTER), "rollback", "tokens", "--reason", "on purpose", "--no-wait"]
            environment = {**os.environ, "AWS_ENDPOINT_URL": world.server.url}
            subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=True)
            described = world.settled("tokens")
    assert described["EndpointConfigName"] == "v2"
    assert len(under_way) == 6
    wait_for("all are counted", lambda: total(world, "tokens", PRODUCTION) == 26)
    assert total(world, "tokens", PRODUCTION, "InvocationModelErrors") == 0


def _canary(world: World) -> bool:
    pending = world.describe("tokens").get("PendingDeploymentSummary")
    return bool(pending) and pending["ProductionVariants"][0]["CurrentWeight"] > 0
