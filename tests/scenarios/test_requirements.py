"""Models with a `code/requirements.txt` behind a real server: installed, refused with the reason, and finished by the next control plane."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from tests.scenarios.world import INFERENCE, Server, World, wait_for
from tests.wheels import make_wheel

pytestmark = pytest.mark.real

REQUIRING = INFERENCE.encode() + b"\nimport tiny\n"
#: An interpreter that builds no environment while there is a file.
HELD = """#!/bin/sh
if [ "$2" = build ]; then while [ -e {gate} ]; do sleep 0.02; done; fi
exec {python} "$@"
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    make_wheel(folder, "tiny", "1.0")
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Iterator[World]:
    data_dir = tmp_path_factory.mktemp("server") / "data"
    data_dir.mkdir()
    held = data_dir / "held"
    held.write_text(HELD.format(gate=data_dir / "gate", python=sys.executable))
    held.chmod(0o700)
    (data_dir / "images.toml").write_text(f'[[image]]\nmatch = "held:1"\npython = "{held}"\n')
    options = {"PIP_CONFIG_FILE": "/dev/null", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in options.items():
            patch.setenv(name, value)
        server = Server(data_dir)
    try:
        yield World(server)
    finally:
        (data_dir / "gate").unlink(missing_ok=True)
        assert server.stop() == 0
        assert server.leftovers() == []


def requiring(world: World, name: str, requirements: str, **members: str) -> str:
    """A configuration of a model with these requirements."""
    files = {"code/inference.py": REQUIRING, "code/requirements.txt": requirements.encode()}
    return world.config(name, model=world.model(name, files=files, **members))


def logged(world: World, endpoint: str) -> str:
    events = world.server.client("logs").filter_log_events(logGroupName=f"/aws/sagemaker/Endpoints/{endpoint}")[
        "events"
    ]
    return "\n".join(event["message"] for event in events)


def environments(world: World) -> list[str]:
    folder = world.server.data_dir / "environments"
    return [each.name for each in folder.iterdir() if not each.name.startswith(".gone-")]


def test_requirements_are_installed_and_a_failure_is_the_reason(world: World) -> None:
    world.endpoint("required", requiring(world, "required-1", "tiny==1.0\n"))
    assert world.invoke("required")["version"] == "required-1"
    assert "Successfully installed tiny-1.0" in logged(world, "required")
    assert len(environments(world)) == 1

    world.sagemaker.create_endpoint(
        EndpointName="refused", EndpointConfigName=requiring(world, "refused-1", "nosuch==1\n")
    )
    described = world.settled("refused")
    assert described["EndpointStatus"] == "Failed"
    assert "ERROR: No matching distribution found for nosuch==1" in described["FailureReason"]
    assert "ERROR: No matching distribution found for nosuch==1" in logged(world, "refused")

    world.update(
        "required",
        requiring(world, "required-2", "tiny==2.0\n"),
        routing={"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0},
    )
    described = world.settled("required")
    assert described["EndpointStatus"] == "InService"
    assert described["EndpointConfigName"] == "required-1"
    assert "ERROR: No matching distribution found for tiny==2.0" in described["FailureReason"]
    assert world.invoke("required")["version"] == "required-1"


def test_the_next_control_plane_builds_what_one_that_was_killed_had_begun(world: World) -> None:
    gate = world.server.data_dir / "gate"
    gate.touch()
    before = set(environments(world))
    config = requiring(world, "held-1", "tiny\n", image="held:1")
    world.sagemaker.create_endpoint(EndpointName="held", EndpointConfigName=config)
    builders = wait_for("a build", lambda: _builders(world))
    begun = set(environments(world)) - before
    (variant,) = world.describe("held")["PendingDeploymentSummary"]["ProductionVariants"]
    assert variant["VariantStatus"][0]["StatusMessage"] == (
        "Launching 2 instance(s). The instance waits until its code/requirements.txt is installed."
    )
    (control,) = [pid for pid, command in _processes(world) if b"bannister.app" in command]
    os.kill(control, signal.SIGKILL)
    wait_for("another build", lambda: _builders(world) and not set(_builders(world)) & set(builders))
    wait_for("the next control plane", lambda: _answers(world))
    gate.unlink()
    assert world.settled("held")["EndpointStatus"] == "InService"
    assert world.invoke("held")["version"] == "held-1"
    (built,) = wait_for("one environment", lambda: len(found := set(environments(world)) - before) == 1 and found)
    assert built not in begun


def _answers(world: World) -> bool:
    try:
        return bool(world.describe("held"))
    except ClientError:
        return False


def _processes(world: World) -> list[tuple[int, bytes]]:
    marker, found = f"BANNISTER_DATA_DIR={world.server.data_dir}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if marker in (folder / "environ").read_bytes().split(b"\0"):
                found.append((int(folder.name), (folder / "cmdline").read_bytes()))
        except OSError:
            continue
    return found


def _builders(world: World) -> list[int]:
    return [pid for pid, command in _processes(world) if b"environment.py\0build" in command]
