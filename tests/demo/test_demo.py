"""The whole demo, with everything real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.scenarios.recorder import check_decisions

pytestmark = pytest.mark.real
TIMEOUT_SECONDS = 60
#: The demo itself is to take under three minutes; other tests may run beside it.
DEMO_TIMEOUT_SECONDS = 600


def start(temporary: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bannister.demo", *options],
        env=os.environ | {"TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def processes_naming(text: str) -> list[str]:
    """Command lines and environments of processes, other than this one's, that name a text: what was left behind."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "cmdline").read_bytes() + b"\0" + (process / "environ").read_bytes()
        except OSError:
            continue
        if text.encode() in told and process.name != str(os.getpid()):
            found.append(told.decode(errors="replace").replace("\0", " ")[:300])
    return found


def wait_nothing_left(temporary: Path) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while left := processes_naming(str(temporary)):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
    # Sockets may be in a folder of their own, where the data directory's path is too long for them.
    assert [path.name for path in temporary.iterdir() if path.name.startswith("bannister-demo")] == []


def run(commands: str) -> str:
    """As in somebody's shell."""
    found = subprocess.run(["bash", "-c", commands], capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


@pytest.mark.slow
def test_a_canary_takes_back_what_fails_and_a_shadow_finds_what_is_wrong(tmp_path: Path) -> None:
    """And what it says to try next works, up to the last line, after which nothing is left."""
    kept = tmp_path / "kept"
    demo = start(tmp_path, "--data-dir", str(kept), "--keep")
    try:
        said, _ = demo.communicate(timeout=DEMO_TIMEOUT_SECONDS)
    finally:
        demo.terminate()
        demo.wait(TIMEOUT_SECONDS)
    assert demo.returncode == 0, said
    assert "DID NOT HOLD" not in said
    assert said.count("✔") == 10
    assert "v2 is in service" in said
    assert 'The update to "flights-v3" was rolled back to' in said
    assert "v3 passed offline with F1 0.78 (v2: 0.78) and failed" in said
    story, _, what_next = said.partition("# The server is still up.")
    assert max(map(len, story.splitlines())) <= 80
    commands = [line for line in what_next.splitlines()[1:] if line and not line.startswith("#")]
    clean_up = commands.pop()
    try:
        export, asked, why, update = commands
        tried = [run(f"{export}; {command}") for command in (asked, why, update)]
    finally:
        run(clean_up)
    assert '"late"' in tried[0]
    assert "rolled back" in tried[1]
    assert check_decisions(kept) >= 12, "of the creation, of the update that completed, of the one that was taken back"
    wait_nothing_left(tmp_path)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing_behind(tmp_path: Path, ending: signal.Signals) -> None:
    demo = start(tmp_path)
    try:
        assert demo.stdout
        while "bannister is up" not in (line := demo.stdout.readline()):
            assert line, "it ended early"
        demo.send_signal(ending)
        rest, _ = demo.communicate(timeout=TIMEOUT_SECONDS)
    finally:
        demo.kill()
        demo.wait(TIMEOUT_SECONDS)
    assert (demo.returncode, "Interrupted" in rest) == (130, True)
    wait_nothing_left(tmp_path)


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "state.db").touch()
    demo = start(tmp_path, "--data-dir", str(tmp_path / "data"))
    said, _ = demo.communicate(timeout=TIMEOUT_SECONDS)
    assert demo.returncode == 2
    assert "is not empty" in said
