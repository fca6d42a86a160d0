"""`bannister events` as users run it, and the examples of docs/events.md, against our own service behind the gateway."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text
from tests.aws.deployments.serving import context_of, served
from tests.domain.deployment.worlds import deployment, fleet

from bannister.cli.events import _Page, _row
from bannister.cli.service_model import OWN_MODELS
from bannister.domain.deployment.deployment import Phase
from bannister.domain.endpoint import Endpoint
from bannister.domain.event_delivery import EventDelivery
from bannister.settings import load
from bannister.state.endpoint_change import endpoint_change
from bannister.state.memory import MemoryState
from bannister.state.store import Put
from bannister.state.tables import ENDPOINTS, EVENT_DELIVERIES

BANNISTER = Path(sys.executable).with_name("bannister")
PAGE = (Path(__file__).parents[2] / "docs" / "events.md").read_text()
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
HOOK = "https://hooks.example.com/secret"
AT_REST = Endpoint("flights", 1000.0, 1000.0, blue=fleet("v1"))
UPDATING = replace(AT_REST, deployment=deployment())
BAKING = replace(UPDATING, deployment=replace(deployment(), phase=Phase.BAKING, step=0, phase_since=1060.0))


async def written(state: MemoryState, endpoint: Endpoint, at: float) -> None:
    row = await state.get(ENDPOINTS, endpoint.name)
    change = endpoint_change(row, endpoint, at, {"e.AllTraffic.v1": 2})
    await state.commit([change.write], change.events)


@pytest.fixture
async def state() -> MemoryState:
    made = MemoryState()
    for at, endpoint in enumerate((AT_REST, UPDATING, BAKING, replace(AT_REST, failure_reason="It rang."))):
        await written(made, endpoint, 1000.0 + at)
    return made


@pytest.fixture
def url(tmp_path: Path, state: MemoryState) -> Iterator[str]:
    context = context_of(tmp_path, state)
    with served(replace(context, settings=replace(context.settings, event_webhooks=(HOOK,)))) as address:
        yield address


def environment(url: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "BANNISTER_"))}
    own = {"AWS_ENDPOINT_URL": url, "AWS_DATA_PATH": str(OWN_MODELS), "TZ": "UTC", "AWS_DEFAULT_REGION": "us-east-1"}
    return clean | own | {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}


def run(url: str, *command: str | Path) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment(url), stdin=subprocess.DEVNULL, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_they_are_shown_with_what_is_done(url: str) -> None:
    assert run(url, BANNISTER, "events", "flights").splitlines() == [
        "1970-01-01",
        "00:16:40  ● InService   v1",
        "00:16:41  ◐ Updating    v1",
        "00:16:41                to v2: Launching 2 instance(s).",
        "00:16:42                to v2: Baking for 30 seconds (WaitIntervalInSeconds) with traffic enabled on canary capacity of 1 instance(s).",
        "00:16:43  ● InService   It rang.",
        "00:16:43                done",
    ]


async def test_those_of_all_endpoints_have_names(url: str, state: MemoryState) -> None:
    await written(state, replace(AT_REST, name="Ab"), 1010.0)
    shown = run(url, BANNISTER, "events", "--last", "2").splitlines()
    assert shown[0] == "Earlier ones are not shown; --last 0 shows all."
    assert shown[-2:] == ["00:16:43  flights                done", "00:16:50  Ab       ● InService   v1"]


async def test_what_an_address_did_not_take_is_said(url: str, state: MemoryState) -> None:
    told = EventDelivery(
        HOOK, 2, 1, 1, 1000.0, 1002.0, "It answered 503.", failing_since=1001.0, error="It answered 503."
    )
    await state.commit([Put(EVENT_DELIVERIES, HOOK, told, 0)])
    shown = run(url, BANNISTER, "events").splitlines()
    assert shown[-3:] == [
        "! events to https://hooks.example.com/…: 1 told, 4 wait, 1 given up",
        "  It has not taken them since 1970-01-01 00:16:41: It answered 503.",
        "  The last that it will not be told of was given up at 1970-01-01 00:16:42: It answered 503.",
    ]
    assert "secret" not in "".join(shown)


def test_as_a_document_they_are_whole(url: str) -> None:
    found = json.loads(run(url, BANNISTER, "events", "--json", "--last", "0"))
    assert [one["detail"]["EndpointStatus"] for one in found["Events"]] == [
        "IN_SERVICE", "UPDATING", "UPDATING", "UPDATING", "IN_SERVICE", "IN_SERVICE",
    ]  # fmt: skip
    assert len({one["id"] for one in found["Events"]}) == 6


def test_they_are_followed_line_by_line(url: str, state: MemoryState) -> None:
    command = [BANNISTER, "events", "--follow", "--json", "--last", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(url), text=True) as process:
        assert process.stdout is not None
        assert "PendingDeploymentSummary" not in json.loads(process.stdout.readline())["detail"]
        asyncio.run(written(state, replace(AT_REST, deleting=True), 1020.0))
        assert json.loads(process.stdout.readline())["detail"]["EndpointStatus"] == "DELETING"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130


@pytest.mark.parametrize("name", ["flights", "pytorch-inference-2024-01-01-00-00-00-000", "n" * 63], ids=len)
@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "pipe"])
def test_nothing_of_an_event_is_cut_whatever_its_endpoints_name(name: str, terminal: bool) -> None:
    out = Console(width=80, force_terminal=terminal, color_system=None, highlight=False)
    why = "The alarm 5xx tripped: 12 of 100 requests failed, more than 0.05 of all of them."
    status = ("✖ UpdateRollbackFailed", "bold red")
    with out.capture() as capture:
        for one in (status, ("● InService", "green")):
            _row(_Page(out, None, len(name)), {"Time": NOW, "EndpointName": name}, Text(*one), Text(why, "dim"))
    lines = [line.rstrip() for line in capture.get().splitlines()]
    text = " ".join(" ".join(lines).split())
    assert text.count(why) == text.count(name) == 2
    assert "UpdateRollbackFailed The alarm" in text
    assert "InService The alarm" in text
    assert not terminal or max(map(len, lines)) <= 80
    assert len(lines) <= 8 if terminal else len(lines) == 2


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_examples_of_the_page_run(url: str, tmp_path: Path) -> None:
    commands = [shlex.split(one) for one in "\n".join(blocks("sh")).splitlines()]
    assert len(commands) == 3
    for command in commands:
        assert run(url, BANNISTER, *command[1:]), command
    reading, _receiver = blocks("python")  # the receiver: tests/scenarios/test_events.py
    assert len(run(url, sys.executable, "-c", reading).splitlines()) == 6
    (settings,) = blocks("toml")
    (tmp_path / "bannister.toml").write_text(settings)
    assert load(tmp_path).event_webhooks == tuple(tomllib.loads(settings)["event_webhooks"])
