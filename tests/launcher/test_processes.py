from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from bannister.launcher import processes, running
from bannister.launcher.interruptions import Interruptions
from bannister.launcher.leftovers import end
from bannister.launcher.parts import Part
from bannister.launcher.processes import Identity, identify, is_alive, marked, send, started_by_ps

pytestmark = pytest.mark.real

MARK = f"BANNISTER_DATA_DIR=/data of {os.getpid()}"


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process with both marks, which ignores SIGTERM."""
    name, _, value = MARK.partition("=")
    process = subprocess.Popen(
        [sys.executable, "-c", "import signal; signal.signal(15, signal.SIG_IGN); print(flush=True); signal.pause()"],
        stdout=subprocess.PIPE,
        env=os.environ | {name: value, "BANNISTER_PART": "one"},
    )
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def identity(process: subprocess.Popen[bytes]) -> Identity:
    found = identify(process.pid)
    assert found is not None
    return found


def test_a_process_is_itself_and_no_other_with_its_number(child: subprocess.Popen[bytes]) -> None:
    mine = identity(child)
    assert is_alive(mine)
    assert not is_alive(replace(mine, started="1"))
    assert not is_alive(replace(mine, boot="another"))


def test_a_stranger_with_a_recorded_number_is_never_signalled(child: subprocess.Popen[bytes]) -> None:
    send(replace(identity(child), started="1"), signal.SIGKILL)
    assert child.poll() is None


def test_a_process_that_only_waits_to_be_reaped_is_gone(child: subprocess.Popen[bytes]) -> None:
    mine = identity(child)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(mine)
    assert identify(child.pid) is None
    assert not started_by_ps(child.pid)


def test_processes_are_found_by_both_marks(child: subprocess.Popen[bytes]) -> None:
    assert marked(MARK, any_of=("BANNISTER_PART", "OTHER")) == [identity(child)]
    assert marked(MARK, any_of=("OTHER",)) == []
    assert marked(f"{MARK}/below", any_of=("BANNISTER_PART",)) == []


def test_one_that_does_not_listen_is_killed_after_the_grace(child: subprocess.Popen[bytes]) -> None:
    mine = identity(child)
    before = {
        number: signal.getsignal(number) for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        with Interruptions() as interruptions:
            end([mine], 0.05, interruptions)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert not is_alive(mine)
    assert child.wait() == -signal.SIGKILL


def test_ps_is_asked_as_every_system_understands_it(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By POSIX, and on macOS, all that follows an equals sign is a heading; and numbers are aligned to the right."""
    answers = {"lstart=": "Ss   Sat Nov 28 13:00:00 2026", "command=": f"    1 launchd\n  {child.pid} python A=b"}

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        columns = [column for option, column in pairwise(command) if option == "-o"]
        assert all(column.index("=") == len(column) - 1 for column in columns)
        return subprocess.CompletedProcess(command, 0, stdout=f"{answers[columns[-1]]}\n")

    monkeypatch.setattr(subprocess, "run", run)
    assert started_by_ps(child.pid) == "Sat Nov 28 13:00:00 2026"
    assert list(processes._environments_by_ps()) == [(1, ["launchd"]), (child.pid, ["python", "A=b"])]


def test_one_that_could_not_be_told_apart_does_not_run_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when there are too many open files: whoever is told that it was not started starts it again."""
    started: list[int] = []

    def refuse(pid: int) -> None:
        started.append(pid)
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(running, "identify", refuse)
    part = Part("one", (sys.executable, "-c", "import signal; signal.pause()"), tmp_path / "log", 1.0)
    with pytest.raises(OSError, match="Too many"):
        running.StartedProcess(part, os.environ, tmp_path)
    with pytest.raises(ProcessLookupError):
        os.kill(started[0], 0)
