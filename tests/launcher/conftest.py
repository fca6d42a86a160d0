from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bannister.launcher.processes import Identity, identify, is_alive
from bannister.launcher.record import Record

PATIENCE_SECONDS = 30.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Up:
    """A launcher in a process of its own, with stand-in parts."""

    data_dir: Path
    port: int
    process: subprocess.Popen[str]
    errors: Path
    seen: set[Identity] = field(default_factory=set)

    def wait_ready(self) -> str:
        """Wait for the ready line, and until every part has got as far as writing down that it runs."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"ended without a ready line: {self.said()}"
        pids = {process.pid for process in self.parts().values()}
        self.wait_until(lambda: pids <= {pid for _, _, pid in self.journal()}, "all parts run")
        return line

    @staticmethod
    def wait_until(condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"gave up waiting until {what}"
            time.sleep(0.01)

    def parts(self) -> dict[str, Identity]:
        """What runs now, from the launcher's own record."""
        found = Record(self.data_dir / "run" / "processes.json").read()
        self.seen.update(found.values())
        return found

    def journal(self) -> list[tuple[str, str, int]]:
        """What the parts wrote down: name, started or stopped, process id."""
        path = self.data_dir / "journal"
        lines = path.read_text().splitlines() if path.exists() else []
        found = [(name, what, int(pid)) for name, what, pid, _ in map(str.split, lines)]
        self.seen.update(one for _, _, pid in found if (one := identify(pid)))
        return found

    def names(self, what: str) -> list[str]:
        return [name for name, done, _ in self.journal() if done == what]

    def said(self) -> str:
        return self.errors.read_text()

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.parts()
        self.journal()
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    """Starts launchers; whatever is left of them at the end of the test is ended by its identity."""
    started: list[Up] = []

    def start_one(
        scenario: str = "well", *, port: int | None = None, data_dir: Path | None = None, **settings: object
    ) -> Up:
        port = port or free_port()
        data_dir = data_dir or tmp_path / "data"
        errors = tmp_path / f"stderr-{len(started)}"
        with errors.open("w") as file:
            process = subprocess.Popen(
                [
                    sys.executable,
                    str(Path(__file__).with_name("stand_in.py")),
                    "up",
                    str(data_dir),
                    str(port),
                    scenario,
                ],
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                env=os.environ | {f"BANNISTER_{name.upper()}": str(value) for name, value in settings.items()},
            )
        started.append(Up(data_dir, port, process, errors))
        return started[-1]

    yield start_one
    for one in started:
        one.parts()
        one.journal()
        one.process.kill()
        one.process.wait()
        assert one.process.stdout is not None
        one.process.stdout.close()
        for left in filter(is_alive, one.seen):
            os.kill(left.pid, signal.SIGKILL)
