"""The launcher as a process, with small real programs in place of Envoy, telemetry and the control plane."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from bannister.launcher.processes import identify, is_alive
from bannister.settings import load

pytestmark = pytest.mark.real

Start = Callable[..., Any]  # conftest's Up


def test_prints_one_line_once_it_answers(start: Start) -> None:
    up = start()
    assert up.wait_ready() == f"ready http://127.0.0.1:{up.port}\n"
    with urllib.request.urlopen(f"http://127.0.0.1:{up.port}/-/ready") as answer:
        assert answer.status == 200
    assert up.stop() == 0
    assert up.process.stdout is not None
    assert up.process.stdout.read() == ""
    assert up.said() == ""


def test_in_a_data_directory_that_is_open_to_others_what_is_kept_is_not(start: Start, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    for folder in (data_dir, data_dir / "instances"):
        folder.mkdir()
        folder.chmod(0o755)
    up = start(data_dir=data_dir)
    up.wait_ready()
    assert up.stop() == 0
    assert f"may look into the data directory {data_dir} (mode 755)" in up.said()
    assert f"`chmod 700 {data_dir}`" in up.said()
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o755, "it may be somebody's for more than this"
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in data_dir.iterdir() if each.is_dir()}
    assert {"logs", "instances", "artifacts", "environments", "run"} <= modes.keys()
    assert set(modes.values()) == {0o700}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_ends_the_control_plane_first_and_leaves_nothing(start: Start, number: int) -> None:
    up = start()
    up.wait_ready()
    (up.data_dir / "run" / "Envoy.sock").touch()
    assert up.stop(number) == 0
    assert up.names("stopped") == ["control", "telemetry", "envoy"]
    assert not [left for left in up.seen if is_alive(left)]
    assert list((up.data_dir / "run").iterdir()) == []


@pytest.mark.parametrize("long", [True, False])
def test_a_directory_for_sockets_elsewhere_does_not_stay(start: Start, tmp_path: Path, long: bool) -> None:
    """Where the data directory's path is too long for sockets in it."""
    data_dir = tmp_path / ("d" * 120 if long else "d")
    run_dir = load(data_dir).run_dir
    assert run_dir.is_relative_to(data_dir) == (not long)
    up = start(data_dir=data_dir)
    up.wait_ready()
    (run_dir / "Envoy.sock").touch()
    assert up.stop() == 0
    assert run_dir.exists() == (not long)


def test_a_directory_for_sockets_in_which_somebody_listens_stays(start: Start, tmp_path: Path) -> None:
    up = start(data_dir=tmp_path / ("d" * 120))
    up.wait_ready()
    run_dir = load(up.data_dir).run_dir
    (run_dir / "another.sock").touch()
    assert up.stop() == 0
    assert [path.name for path in run_dir.iterdir()] == ["another.sock"]
    (run_dir / "another.sock").unlink()
    run_dir.rmdir()


def test_a_directory_for_sockets_that_somebody_else_made_is_refused(start: Start, tmp_path: Path) -> None:
    data_dir = tmp_path / ("d" * 120)
    run_dir = load(data_dir).run_dir
    run_dir.symlink_to(tmp_path)
    try:
        up = start(data_dir=data_dir)
        assert up.process.wait(30) == 2
        assert f"{run_dir} does not belong to this user" in up.said()
        assert run_dir.is_symlink()
    finally:
        run_dir.unlink()


def test_each_part_has_its_own_session_and_its_own_log(start: Start) -> None:
    up = start()
    up.wait_ready()
    running = up.parts()
    assert {os.getsid(process.pid) for process in running.values()} == {process.pid for process in running.values()}
    assert {path.name for path in (up.data_dir / "logs").iterdir()} == {
        "Envoy.log",
        "telemetry.log",
        "control plane.log",
    }


def test_a_part_that_ends_is_started_again_and_it_is_said(start: Start) -> None:
    up = start()
    up.wait_ready()
    before = up.parts()
    (up.data_dir / "run" / "telemetry.sock").touch()
    os.kill(before["telemetry"].pid, signal.SIGKILL)
    up.wait_until(lambda: up.names("started").count("telemetry") == 2, "telemetry runs again")
    assert not (up.data_dir / "run" / "telemetry.sock").exists()
    after = up.parts()
    assert after["telemetry"] != before["telemetry"]
    assert after["Envoy"] == before["Envoy"]
    assert "telemetry was ended by SIGKILL; starting it again at once" in up.said()
    assert up.stop() == 0


def test_it_waits_longer_each_time(start: Start) -> None:
    up = start(part_backoff_seconds_min=0.01)
    up.wait_ready()
    for times in range(1, 8):  # more often than it would bear before it was ready
        os.kill(up.parts()["telemetry"].pid, signal.SIGKILL)
        up.wait_until(lambda times=times: up.names("started").count("telemetry") == times + 1, "telemetry runs again")  # type: ignore[misc]
        up.wait_until(lambda: "telemetry" in up.parts(), "it is recorded")
    assert "starting it again in 0.3 s" in up.said()
    assert up.stop() == 0


def test_a_part_that_cannot_run_makes_it_give_up_with_its_last_words(start: Start) -> None:
    up = start("failing", part_backoff_seconds_min=0.01)
    assert up.process.wait(30) == 1
    assert "control plane ended 5 times before Bannister was ready" in up.said()
    assert up.said().splitlines()[-1] == "  cannot open the state: it is from a later version"
    up.journal()
    assert not [left for left in up.seen if is_alive(left)]


def test_a_part_that_says_that_it_cannot_start_is_not_tried_again(start: Start) -> None:
    up = start("refusing")
    assert up.process.wait(30) == 1
    said = up.said().splitlines()
    assert len(said) == 1
    assert said[0].startswith("The control plane cannot start: The state file is damaged: restore a backup. (log: ")
    assert up.names("started").count("control") == 1
    assert not [left for left in up.seen if is_alive(left)]


def test_a_program_that_is_missing_is_said(start: Start) -> None:
    up = start("missing")
    assert up.process.wait(30) == 1
    assert "Cannot start control plane" in up.said()
    assert "/nowhere/at-all" in up.said()


def test_once_it_serves_a_part_that_cannot_be_started_is_tried_again(start: Start, tmp_path: Path) -> None:
    """Its program may be missing for a while, as when a new version is installed over it."""
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    program = data_dir / "program"
    stand_in = Path(__file__).with_name("stand_in.py")
    program.write_text(f"#!/bin/sh\nexec {sys.executable} {stand_in} idle {data_dir / 'journal'} control\n")
    program.chmod(0o700)
    up = start("replaceable", part_backoff_seconds_min=0.1)
    up.wait_ready()
    before = up.parts()
    program.rename(data_dir / "away")
    began_at = time.monotonic()
    os.kill(before["control plane"].pid, signal.SIGKILL)
    up.wait_until(lambda: up.said().count("control plane could not be started") == 3, "it was tried thrice")
    assert time.monotonic() - began_at >= 0.3, "later and later"
    assert f"No such file or directory: '{program}'; starting it again in 0.2 s" in up.said()
    assert up.process.poll() is None
    with urllib.request.urlopen(f"http://127.0.0.1:{up.port}/-/ready") as answer:
        assert answer.status == 200
    (data_dir / "away").rename(program)
    up.wait_until(lambda: up.names("started").count("control") == 2, "it runs again")
    after = up.parts()
    assert after.keys() == before.keys()
    assert {name for name in before if after[name] != before[name]} == {"control plane"}
    assert up.stop() == 0
    assert not [left for left in up.seen if is_alive(left)]


def test_it_gives_up_when_it_never_answers(start: Start) -> None:
    up = start("failing", part_backoff_seconds_min=60, ready_timeout_seconds=0.3)
    assert up.process.wait(30) == 1
    assert "Bannister does not answer after 0 s" in up.said()


def test_a_second_one_on_the_same_data_directory_is_refused_and_told_who_has_it(start: Start) -> None:
    first = start()
    first.wait_ready()
    second = start(data_dir=first.data_dir)
    assert second.process.wait(30) == 2
    assert f"process {first.process.pid}, port {first.port}" in second.said()
    assert "--data-dir" in second.said()
    assert len(second.said().splitlines()) == 1
    assert first.stop() == 0


def test_a_second_one_on_the_same_port_is_refused(start: Start, tmp_path: Path) -> None:
    first = start()
    first.wait_ready()
    second = start(port=first.port, data_dir=tmp_path / "other")
    assert second.process.wait(30) == 2
    assert second.said() == (
        f"Port {first.port} is in use by another Bannister: stop it, or choose another port with --port.\n"
    )
    assert first.stop() == 0


def test_a_port_of_another_program_is_refused(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        up = start(port=server.getsockname()[1])
        assert up.process.wait(30) == 2
    assert "is in use by another program" in up.said()


def test_the_port_can_be_used_again_at_once(start: Start) -> None:
    port = None
    for _ in range(2):
        up = start(port=port)
        port = up.port
        up.wait_ready()
        assert up.stop() == 0


def killed_with_an_instance(start: Start) -> tuple[Any, dict[str, Any], int]:
    killed = start("with instance")
    killed.wait_ready()
    killed.wait_until(lambda: "instance" in killed.names("started"), "the instance runs")
    left = killed.parts()
    instance = next(pid for name, _, pid in killed.journal() if name == "instance")
    killed.process.kill()
    killed.process.wait()
    assert all(is_alive(process) for process in left.values())
    return killed, left, instance


def test_after_the_launcher_was_killed_the_next_one_takes_over_what_it_left(start: Start) -> None:
    killed, left, _ = killed_with_an_instance(start)
    after = start("with instance", port=killed.port)
    after.wait_ready()
    assert "took over what it left running: control plane, telemetry, Envoy." in after.said()
    assert after.parts() == left
    assert after.names("stopped") == []

    os.kill(left["telemetry"].pid, signal.SIGKILL)  # not its child: the kernel says nothing of its end by SIGCHLD
    after.wait_until(lambda: after.names("started").count("telemetry") == 2, "telemetry runs again")
    assert "telemetry has ended; starting it again at once" in after.said()
    assert after.stop() == 0
    assert after.names("stopped")[0] == "control"
    assert {"instance", "envoy", "telemetry"} <= set(after.names("stopped"))
    assert not [one for one in left.values() if is_alive(one)]


@pytest.mark.parametrize("difference", ["port", "setting", "version"])
def test_what_would_run_differently_is_replaced_not_taken_over(start: Start, difference: str) -> None:
    killed, left, instance = killed_with_an_instance(start)
    if difference == "version":
        path = killed.data_dir / "run" / "processes.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"fingerprint": "of another version"}))
    settings = {"part_log_bytes_max": 1_000_000} if difference == "setting" else {}
    after = start(port=None if difference == "port" else killed.port, **settings)
    after.wait_ready()
    assert "ended what it left running: control plane, telemetry, Envoy" in after.said()
    assert not any(is_alive(process) for process in left.values())
    # The control plane was not asked to stop: it would have taken the instances with it.
    assert "control" not in after.names("stopped")
    assert "instance" not in after.names("stopped")
    os.kill(instance, 0)
    assert after.stop() == 0


def test_what_was_not_written_down_is_found_by_its_marks(start: Start) -> None:
    killed, left, instance = killed_with_an_instance(start)
    path = killed.data_dir / "run" / "processes.json"
    record = json.loads(path.read_text())
    del record["parts"]["control plane"]
    path.write_text(json.dumps(record))
    after = start("with instance", port=killed.port)
    after.wait_ready()
    assert "took over what it left running: telemetry, Envoy; ended what it left running: unrecorded" in after.said()
    assert not is_alive(left["control plane"])
    os.kill(instance, 0)
    assert after.stop() == 0


def test_a_record_that_names_the_boot_otherwise_misleads_nobody(start: Start) -> None:
    """As one that an earlier version wrote on macOS: its processes are ended and started anew, and the instance stays."""
    killed, left, instance = killed_with_an_instance(start)
    path = killed.data_dir / "run" / "processes.json"
    record = json.loads(path.read_text())
    for part in record["parts"].values():
        part["boot"] = "{ sec = 1795960324, usec = 0 } Sun Nov 29 14:12:04 2026"
    path.write_text(json.dumps(record))
    after = start("with instance", port=killed.port)
    after.wait_ready()
    assert (
        "ended what it left running: unrecorded process 1, unrecorded process 2, unrecorded process 3." in after.said()
    )
    assert not any(is_alive(process) for process in left.values())
    assert after.parts().keys() == left.keys()
    assert "instance" not in after.names("stopped")
    os.kill(instance, 0)
    assert after.stop() == 0


@pytest.mark.parametrize("lie", ["another boot", "another start", "another program"])
def test_a_stranger_with_a_recorded_number_is_left_alone(start: Start, tmp_path: Path, lie: str) -> None:
    killed, left, _ = killed_with_an_instance(start)
    for process in left.values():
        os.kill(process.pid, signal.SIGKILL)
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as stranger:
        found = identify(stranger.pid)
        assert found is not None
        identity = asdict(found)
        identity |= {"another boot": {"boot": "before"}, "another start": {"started": "1"}}.get(lie, {})
        path = killed.data_dir / "run" / "processes.json"
        record = json.loads(path.read_text())
        record["parts"] = dict.fromkeys(record["parts"], identity)
        path.write_text(json.dumps(record))
        after = start(port=killed.port)
        after.wait_ready()
        assert after.parts()["Envoy"].pid != stranger.pid
        assert after.stop() == 0
        assert stranger.poll() is None
        stranger.kill()


def test_a_part_that_gives_no_sign_of_life_is_replaced(start: Start) -> None:
    up = start("answering", liveness_interval_seconds=0.1, liveness_timeout_seconds=1.0)
    up.wait_ready()
    before = up.parts()
    os.kill(before["control plane"].pid, signal.SIGSTOP)
    up.wait_until(lambda: up.parts().get("control plane") not in (None, before["control plane"]), "it is replaced")
    assert "control plane did not answer for 1 s and was killed; starting it again at once" in up.said()
    assert not is_alive(before["control plane"])
    assert up.parts()["Envoy"] == before["Envoy"]
    assert up.stop() == 0


def test_a_launcher_that_stood_still_blames_nobody(start: Start) -> None:
    up = start("answering", liveness_interval_seconds=0.1, liveness_timeout_seconds=1.0)
    up.wait_ready()
    before = up.parts()
    for process in (up.process, before["control plane"]):
        os.kill(process.pid, signal.SIGSTOP)
    time.sleep(2)
    for process in (up.process, before["control plane"]):
        os.kill(process.pid, signal.SIGCONT)
    time.sleep(0.5)
    assert up.parts() == before
    assert up.stop() == 0


def test_an_instance_that_the_control_plane_left_is_ended_by_the_final_sweep(start: Start) -> None:
    up = start("with instance")
    up.wait_ready()
    up.wait_until(lambda: "instance" in up.names("started"), "the instance runs")
    assert up.stop() == 0
    assert "instance" in up.names("stopped")
    assert not [left for left in up.seen if is_alive(left)]


def test_a_second_request_to_stop_ends_everything_at_once(start: Start) -> None:
    up = start("deaf")
    up.wait_ready()
    up.process.send_signal(signal.SIGINT)
    up.process.send_signal(signal.SIGTERM)  # the same wish, passed on by a wrapper: still one request
    with pytest.raises(Exception, match="timed out"):
        up.process.wait(1.0)
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(30) == 130
    assert not [left for left in up.seen if is_alive(left)]


def test_parts_do_not_inherit_credentials_or_proxies(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("LD_LIBRARY_PATH_OF_MINE", "/opt/lib")
    up = start()
    up.wait_ready()
    environment = Path(f"/proc/{up.parts()['telemetry'].pid}/environ").read_bytes().split(b"\0")
    names = {entry.partition(b"=")[0] for entry in environment}
    assert b"LD_LIBRARY_PATH_OF_MINE" in names
    assert not names & {b"AWS_SECRET_ACCESS_KEY", b"https_proxy"}
    assert f"BANNISTER_DATA_DIR={up.data_dir}".encode() in environment
    assert up.stop() == 0


def test_what_nobody_waits_for_is_started_once_the_server_answers(start: Start) -> None:
    up = start("with a late part")
    up.wait_ready()
    up.wait_until(lambda: "capture" in up.names("started"), "the late part runs")
    # Of the others each says so itself, as soon as it has its turn.
    assert up.names("started").index("envoy") < up.names("started").index("capture")
    os.kill(up.parts()["capture"].pid, signal.SIGKILL)
    up.wait_until(lambda: up.names("started").count("capture") == 2, "it runs again")
    assert "capture was ended by SIGKILL; starting it again at once" in up.said()
    assert up.stop() == 0
    assert up.names("stopped") == ["control", "telemetry", "capture", "envoy"]


def test_a_late_part_is_taken_over_like_the_others(start: Start) -> None:
    killed = start("with a late part")
    killed.wait_ready()
    killed.wait_until(lambda: "capture" in killed.names("started"), "the late part runs")
    left = killed.parts()
    killed.process.kill()
    killed.process.wait()
    after = start("with a late part", port=killed.port)
    after.wait_ready()
    assert "took over what it left running: control plane, telemetry, capture, Envoy." in after.said()
    assert after.parts() == left
    assert after.stop() == 0
