"""Streamed answers while versions are released and taken back: every one ends as its model meant it, however long that takes."""

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.scenarios.shadow import PRODUCTION, quick_models, shadow_config, total, variant
from tests.scenarios.world import BANNISTER, Server, World, wait_for

pytestmark = pytest.mark.real

PIECES = 60  # six seconds
WHOLE = "".join(f"{index} " for index in range(PIECES))
CANARY = {
    "Type": "CANARY",
    "WaitIntervalInSeconds": 1,
    "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 50},
}


#: A shadow may take a second to end what it sends; the rest is for the instances on a busy machine.
SENDING_HELD_UP_SECONDS_MAX = 15.0


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """No request that is not a stream is waited for longer than two seconds; a stream is."""
    server = Server(
        tmp_path_factory.mktemp("server") / "data",
        invocation_timeout_seconds=1.0,
        drain_timeout_seconds=2.0,
        stream_drain_timeout_seconds=30.0,
        shadow_timeout_seconds=1.0,
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


@pytest.mark.parametrize("change", ["update", "deletion"])
def test_a_shadow_that_goes_on_sending_holds_up_no_change(world: World, change: str) -> None:
    """Its caller has long had production's answer. It would send for longer than a stream of production is waited for."""
    quick_models(world)
    for mode in ("json", "streams"):
        world.sagemaker.create_model(
            ModelName=f"{change}-{mode}", PrimaryContainer={"Image": "quick", "Environment": {"MODE": mode}}
        )
    world.sagemaker.create_endpoint_config(
        EndpointConfigName=f"{change}-plain", ProductionVariants=[variant(PRODUCTION, f"{change}-json")]
    )
    endpoint = world.endpoint(
        f"{change}-sending",
        shadow_config(world, f"{change}-shadow", f"{change}-json", f"{change}-streams", instances=1),
    )
    answer = world.runtime.invoke_endpoint_with_response_stream(EndpointName=endpoint, Body=b"400")
    assert [event for event in answer["Body"] if "PayloadPart" in event]
    began = time.monotonic()
    if change == "update":
        world.sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=f"{change}-plain")
        world.settled(endpoint)
        assert world.describe(endpoint)["EndpointConfigName"] == f"{change}-plain"
    else:
        world.sagemaker.delete_endpoint(EndpointName=endpoint)
        wait_for("the endpoint is gone", lambda: not world.sagemaker.list_endpoints(NameContains=endpoint)["Endpoints"])
    took = time.monotonic() - began
    print(f"\n{change}: {took:.1f} s")
    assert took < SENDING_HELD_UP_SECONDS_MAX
