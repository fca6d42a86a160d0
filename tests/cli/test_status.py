"""`bannister status` against the real services: whatever endpoints there are, every one is listed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.aws.deployments.serving import context_of, served
from tests.cli.test_screen import NOW, described
from tests.domain.deployment.worlds import fleet

from bannister.aws import cloudwatch, sagemaker
from bannister.cli.explain import explain
from bannister.cli.status import _show, status
from bannister.cli.watch import watch
from bannister.domain.endpoint import Endpoint
from bannister.domain.scaling import Scaling, fleet_of
from bannister.errors import Refused
from bannister.state.memory import MemoryState
from bannister.state.store import Put
from bannister.state.tables import ENDPOINTS


@pytest.fixture
def state() -> MemoryState:
    return MemoryState()


@pytest.fixture
def url(tmp_path: Path, state: MemoryState) -> Iterator[str]:
    with served(context_of(tmp_path, state), sagemaker, cloudwatch) as address:
        yield address


async def put_scaling(state: MemoryState) -> None:
    """An endpoint whose deployments are forgotten, and whose counts change."""
    before = fleet("v1")
    grown = replace(before, groups=tuple(replace(one, instance_count=3) for one in before.groups))
    scaling = Scaling("s", before, grown, 0.0, 9e9)
    endpoint = Endpoint("flights", 0.0, 0.0, blue=fleet_of(scaling), scaling=scaling)
    await state.commit([Put(ENDPOINTS, "flights", endpoint, 0)])


async def test_an_endpoint_that_scales_after_its_deployments_are_forgotten(
    url: str, state: MemoryState, capsys: pytest.CaptureFixture[str]
) -> None:
    await put_scaling(state)
    assert status(url, json=False) == 0
    shown = capsys.readouterr().out
    assert "Updating" in shown
    assert "now:  weights or instance counts change: AllTraffic: Scaling out desired instance count to 3." in shown
    assert status(url, json=True) == 0
    (found,) = json.loads(capsys.readouterr().out)["Endpoints"]
    assert "Deployment" not in found


async def test_that_its_deployments_are_forgotten_is_said(url: str, state: MemoryState) -> None:
    await put_scaling(state)
    for command in (explain, lambda name, _, url, json: watch(name, url)):
        with pytest.raises(Refused, match='Nothing is known any more of a deployment of endpoint "flights"'):
            command("flights", None, url, json=False)
    with pytest.raises(Refused, match='Could not find endpoint "other"'):
        watch("other", url)


def drawn(name: str, *, terminal: bool = True, **members: Any) -> list[str]:
    """What is said of an endpoint, on a terminal of 80 columns or in a pipe."""
    out = Console(width=80, force_terminal=terminal, color_system=None, highlight=False)
    one = {"EndpointName": name, "EndpointStatus": "Updating", "EndpointConfigName": f"{name}-v1"[-63:]}
    with out.capture() as capture:
        _show(out, one | members, len(name))
    return [line.rstrip() for line in capture.get().splitlines()]


@pytest.mark.parametrize("name", ["flights", "churn-prod-2026-11-28-10-00-00-123", "n" * 63], ids=len)
def test_nothing_of_an_endpoint_is_cut_whatever_its_name(name: str) -> None:
    running = described()
    last = running | {"Status": "RolledBack", "EndTime": NOW, "Reason": "It failed. " * 20}
    members: dict[str, Any] = {"Deployment": running, "LastDeployment": last, "Scaling": ["main: Scaling out."]}
    lines = drawn(name, **members)
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    assert "…" not in text
    for said in (name, f"{name}-v1"[-63:], "10 % of the traffic on green", "rolled back", "It failed. " * 19 + "It"):
        assert said in text
    assert len(lines) < 16
    (now, last_one) = (one for one in drawn(name, terminal=False, **members) if "flights-1 → flights-2" in one)
    assert now.endswith("10 % of the traffic on green")
    assert "rolled back" in last_one


def test_a_rollback_that_failed_is_not_one_that_was_done() -> None:
    last = described() | {"Status": "RollbackFailed", "EndTime": NOW}
    (line,) = (one for one in drawn("flights", terminal=False, LastDeployment=last) if "last:" in one)
    assert "could not be rolled back" in line


def test_why_a_change_of_counts_was_taken_back_is_said() -> None:
    """The last deployment went well, and the endpoint is in service: nothing else tells that instances are missing."""
    said = "The change of weights and instance counts was taken back. No port is free."
    last = described() | {"Status": "Completed", "EndTime": NOW}
    shown = {"EndpointStatus": "InService", "FailureReason": said}
    for members in (shown | {"LastDeployment": last}, shown):
        text = " ".join(" ".join(drawn("flights", **members)).split())
        assert text.count(said) == 1
    back = last | {"Status": "RolledBack", "Reason": "It rang."}
    text = " ".join(drawn("flights", **shown | {"FailureReason": "Rolled back: It rang.", "LastDeployment": back}))
    assert text.count("It rang.") == 1


def test_of_versions_that_both_serve_it_says_how_much_of_each() -> None:
    last = described() | {"Status": "RollbackFailed", "EndTime": NOW, "Reason": "No memory."}
    said = 'The update could not be rolled back; both serve: "v1" with 1 instance(s). No memory.'
    lines = drawn("flights", EndpointStatus="UpdateRollbackFailed", FailureReason=said, LastDeployment=last)
    text = " ".join(" ".join(lines).split())
    assert said in text
    assert text.count("No memory.") == 1
