"""Webhooks on a real server: everything is told, in order, over a control plane that is killed in the middle, with the same ids; and the receiver of docs/events.md."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from tests.aws.listening import listening
from tests.crashes.harm import kill
from tests.scenarios.world import BANNISTER, Server, World, free_port, wait_for

pytestmark = pytest.mark.real

PAGE = (Path(__file__).parents[2] / "docs" / "events.md").read_text()
CANARY = {"Type": "CANARY", "WaitIntervalInSeconds": 2, "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 20}}


class Receiver:
    """An application that takes events, and can keep one waiting for its answer."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self.holds = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.heard.append(json.loads(body))
        while self.holds:
            await asyncio.sleep(0.02)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def statuses(self) -> list[str]:
        return [one["detail"]["EndpointStatus"] for one in self.heard]


@pytest.fixture
def documented(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """The receiver of the page: its port, and what it prints."""
    port, printed = free_port(), tmp_path / "printed"
    (program,) = (
        one for one in re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL) if "HTTPServer" in one
    )
    with printed.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", program.replace("9000", str(port))], stdout=out, stderr=subprocess.DEVNULL
        )
    try:
        yield port, printed
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def receiver() -> Iterator[tuple[Receiver, int]]:
    application = Receiver()
    with listening(application) as port:
        yield application, port
        application.holds = False


@pytest.fixture
def server(tmp_path: Path, receiver: tuple[Receiver, int], documented: tuple[int, Path]) -> Iterator[Server]:
    webhooks = f"http://127.0.0.1:{receiver[1]}/events http://127.0.0.1:{documented[0]}/events"
    started = Server(
        tmp_path / "data",
        event_webhooks=webhooks,
        webhook_attempts_max=50,
        webhook_retry_seconds_min=0.1,
        webhook_retry_seconds_max=0.5,
    )
    try:
        yield started
    finally:
        assert started.stop() == 0
        assert started.leftovers() == []


def events(server: Server) -> dict[str, Any]:
    """What the command prints; empty while the control plane is away."""
    environment = os.environ | {"AWS_ENDPOINT_URL": server.url}
    command = [BANNISTER, "events", "flights", "--json", "--last", "0"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    return dict(json.loads(done.stdout)) if done.returncode == 0 else {}


def status(world: World) -> str | None:
    with suppress(BotoCoreError, ClientError):
        return str(world.describe("flights")["EndpointStatus"])
    return None


def told_all(server: Server, until: str) -> list[dict[str, Any]]:
    """All events, once the last one is of a status and nobody is still to be told of anything."""
    found = events(server)
    if not found or found["Events"][-1]["detail"]["EndpointStatus"] != until:
        return []
    return [] if any(one["Waiting"] for one in found["Webhooks"]) else list(found["Events"])


def test_a_killed_control_plane_misses_nothing_and_changes_no_id(
    server: Server, receiver: tuple[Receiver, int], documented: tuple[int, Path]
) -> None:
    heard, world = receiver[0], World(server)
    world.config("v1", instances=1)
    world.endpoint("flights", "v1")
    world.config("v2", instances=1)
    wait_for("the creation is told", lambda: told_all(server, "IN_SERVICE"))
    heard.holds = True
    world.update("flights", "v2", routing=CANARY)
    wait_for("an event is on its way", lambda: "UPDATING" in heard.statuses())
    before = len(heard.heard)
    kill(server, "control plane")
    heard.holds = False
    wait_for(
        "the update", lambda: status(world) == "InService" and world.describe("flights")["EndpointConfigName"] == "v2"
    )
    world.sagemaker.delete_endpoint(EndpointName="flights")
    told = wait_for("all is told", lambda: told_all(server, "DELETED"))

    once = [next(iter(same)) for _, same in groupby(heard.heard)]
    assert once == told, "each event, in order, and those that came again are the same in every byte"
    assert heard.heard[before] == heard.heard[before - 1], "what was on its way came again"
    changes = [
        one["detail"]["EndpointStatus"] for one in told if one["detail-type"] == "SageMaker Endpoint State Change"
    ]
    assert changes == ["CREATING", "IN_SERVICE", "UPDATING", "IN_SERVICE", "DELETING", "DELETED"]
    messages = json.dumps([one["detail"].get("PendingDeploymentSummary") for one in told])
    for part in ("Launching 1", "Activating traffic on canary", "Baking for 2 seconds", "Activating traffic on full"):
        assert part in messages
    printed = [line.split(" ")[1:] for line in documented[1].read_text().splitlines()]
    assert printed == [["flights", one["detail"]["EndpointStatus"]] for one in told]
