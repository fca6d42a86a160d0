"""Streamed answers while versions are released and taken back: every one ends as its model meant it, however long that takes."""

import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import urllib3
from tests.scenarios import quick_model
from tests.scenarios.shadow import PRODUCTION, quick_models, shadow_config, total, variant
from tests.scenarios.world import BANNISTER, Server, World, free_port, wait_for

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


#: How often a long stream is read, each time directly and through the endpoint.
RUNS = int(os.environ.get("RUNS", "3"))
TOKENS = 1000


@pytest.mark.alone
def test_a_token_is_hardly_later_than_without_us(world: World) -> None:
    """A thousand tokens a millisecond apart, from the same program in the same run: straight from its socket, and as boto3 reads them."""
    quick_models(world, "tokens")
    world.sagemaker.create_endpoint_config(
        EndpointConfigName="each", ProductionVariants=[variant(PRODUCTION, "quick-tokens")]
    )
    world.endpoint("each", "each")
    port = free_port()
    program = [sys.executable, str(Path(quick_model.__file__)), str(port)]
    model = subprocess.Popen(program, env={**os.environ, "MODE": "tokens"})
    try:
        wait_for("the model listens", lambda: _listens(port))
        took = [(_median_late(_directly(port)), _median_late(_through(world, "each"))) for _ in range(RUNS)]
    finally:
        model.kill()
        model.wait()
    added = [(through - direct) * 1e6 for direct, through in took]
    print(f"added to each of {TOKENS} tokens, medians of {RUNS} runs: {sorted(round(one) for one in added)} µs")
    assert statistics.median(added) < 1000


def _median_late(pieces: Iterator[bytes]) -> float:
    """Seconds from when a token was sent to when it was read."""
    late = []
    for piece in pieces:
        now = time.monotonic()
        late += [now - int(sent) / 1e9 for sent in piece.split()]
    assert len(late) == TOKENS
    return statistics.median(late)


def _directly(port: int) -> Iterator[bytes]:
    answer = urllib3.PoolManager().request(
        "POST", f"http://127.0.0.1:{port}/invocations", body=str(TOKENS).encode(), preload_content=False
    )
    assert isinstance(answer, urllib3.HTTPResponse)
    yield from answer.read_chunked()


def _through(world: World, endpoint: str) -> Iterator[bytes]:
    client = world.server.client("sagemaker-runtime")
    answer = client.invoke_endpoint_with_response_stream(EndpointName=endpoint, Body=str(TOKENS).encode())
    for event in answer["Body"]:
        yield event["PayloadPart"]["Bytes"]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
