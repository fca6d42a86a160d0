"""What is found at a start after the worst: numbers that are others' now, half-written files, a directory that cannot be written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from tests.crashes.harm import PARTS, kill, settled
from tests.scenarios.world import Server, World, archive, free_port, wait_for

from bannister.launcher.processes import identify

pytestmark = [pytest.mark.real, pytest.mark.slow]

BANNISTER = Path(sys.executable).with_name("bannister")


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A program of somebody else, under a number that our records name."""
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], start_new_session=True) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("since", ["a restart of the machine", "the end of the process"])
def test_recorded_numbers_that_are_others_now(tmp_path: Path, stranger: subprocess.Popen[bytes], since: str) -> None:
    """Power went out (everything is gone at once), and what was recorded now names a stranger: neither ended nor taken over."""
    server = Server(tmp_path / "data")
    try:
        world = World(server)
        world.endpoint("e", world.config("c"))
        kill(server, "launcher", *PARTS, "instances")
        identity = identify(stranger.pid)
        assert identity is not None
        other = {"boot": "another"} if since == "a restart of the machine" else {"started": "1"}
        rewrite_numbers(server.data_dir, asdict(identity) | other)
        server.start()
        wait_for("it serves again", lambda: serves(world))
        assert settled(world, "e")["EndpointStatus"] == "InService"
        assert world.invoke("e")["pid"] != stranger.pid
        assert stranger.poll() is None
    finally:
        assert server.stop() == 0
    assert server.leftovers() == []
    assert stranger.poll() is None


def rewrite_numbers(data_dir: Path, identity: dict[str, Any]) -> None:
    record = data_dir / "run" / "processes.json"
    found = json.loads(record.read_text())
    record.write_text(json.dumps(found | {"parts": dict.fromkeys(PARTS, identity)}))
    for file in (data_dir / "instances" / "running").glob("*/record.json"):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"process": identity}))


def serves(world: World) -> bool:
    try:
        return world.invoke("e")["version"] == "c"
    except world.runtime.exceptions.ClientError:
        return False


def test_files_that_were_cut_off(tmp_path: Path) -> None:
    """Records and leftovers of a write that a power failure cut short are ignored, said, and written anew."""
    server = Server(tmp_path / "data")
    try:
        world = World(server)
        world.endpoint("e", world.config("c"))
        kill(server, "launcher", *PARTS, "instances")
        (server.data_dir / "run" / "processes.json").write_text('{"parts": {"Envoy": {"pi')
        (server.data_dir / "run" / "processes.json.new").write_text("{")
        (server.data_dir / "instances" / "backend.json").write_text("")
        records = sorted((server.data_dir / "instances" / "running").glob("*/record.json"))
        records[0].write_text(records[0].read_text()[:40])
        (server.data_dir / "artifacts" / "0123456789.partial").mkdir()
        server.start()
        wait_for("it serves again", lambda: serves(world))
        running = server.data_dir / "instances" / "running"
        wait_for("two instances again", lambda: len(list(running.iterdir())) == 2)
    finally:
        assert server.stop() == 0
    assert server.leftovers() == []


@pytest.mark.parametrize("damage", ["cut off", "one byte changed", "empty"])
def test_a_damaged_artifact_is_rolled_back_with_the_reason(world: World, damage: str) -> None:
    name = damage.replace(" ", "-")
    whole = archive({"code/inference.py": b"def model_fn(d):\n    return 1\n", "weights": os.urandom(100_000)})
    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 0xFF
    body = {"cut off": whole[: len(whole) // 2], "one byte changed": bytes(changed), "empty": b""}[damage]
    world.endpoint(name, world.config(f"sound-{name}", instances=1))
    kept = artifacts(world)
    world.s3.put_object(Bucket="models", Key=name, Body=body)
    container = {"Image": "bannister/python", "ModelDataUrl": f"s3://models/{name}"}
    world.sagemaker.create_model(ModelName=name, PrimaryContainer=container)
    world.config(name, model=name)
    world.update(name, name, routing={"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0})
    found = world.settled(name)
    assert found["EndpointConfigName"] == f"sound-{name}"
    assert f"s3://models/{name}" in found["FailureReason"], found["FailureReason"]
    assert world.invoke(name)["version"] == f"sound-{name}"
    assert artifacts(world) <= kept, "nothing of the damaged one"
    world.sagemaker.delete_endpoint(EndpointName=name)


def artifacts(world: World) -> set[str]:
    return {path.name for path in (world.server.data_dir / "artifacts").iterdir()}


def test_a_data_directory_that_cannot_be_written_is_refused_with_a_sentence(tmp_path: Path) -> None:
    """Nothing is half started. Root may write anywhere, so an immutable stand-in is a path through a file or a read-only mount."""
    (tmp_path / "file").write_text("")
    for data_dir, why in ((tmp_path / "file" / "data", "Not a directory"), (Path("/proc/bannister"), "")):
        up = subprocess.run(
            [BANNISTER, "up", "--data-dir", str(data_dir), "--port", str(free_port())],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert up.returncode == 2, up.stderr
        assert len(up.stderr.splitlines()) == 1, up.stderr
        assert "Choose another with --data-dir" in up.stderr
        assert why in up.stderr


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/usr/bin/setpriv").exists(), reason="root may write anywhere")
def test_a_read_only_data_directory_is_refused_with_a_sentence(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    data_dir.chmod(0o555)
    # Without its capabilities even root is held to permissions.
    unprivileged = ["/usr/bin/setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    up = subprocess.run(
        [*unprivileged, BANNISTER, "up", "--data-dir", str(data_dir), "--port", str(free_port())],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert up.returncode == 2, up.stderr
    assert len(up.stderr.splitlines()) == 1, up.stderr
    assert "Choose another with --data-dir" in up.stderr
    assert list(data_dir.iterdir()) == []


def test_a_damaged_state_file_is_said_at_the_first_start(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    (data_dir / "state.db").write_bytes(b"SQLite format 3\0" + os.urandom(20_000))
    up = subprocess.run(
        [BANNISTER, "up", "--data-dir", str(data_dir), "--port", str(free_port())],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert up.returncode == 1, up.stderr
    said = up.stderr.splitlines()
    assert said[-1].startswith("The control plane cannot start: "), up.stderr
    assert str(data_dir / "state.db") in said[-1]
    assert "starting it again" not in up.stderr
