"""`bannister up` as a process of the demo's."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

READY_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 45.0
LOG_LINES_SHOWN = 15
#: An update that an alarm holds before its first shift is given up after this long, instead of after ten minutes.
ALARM_CLEAR_TIMEOUT_SECONDS = 6


class ServerFailed(Exception):
    """The server did not start or has ended; the message holds the end of its output."""


class Server:
    """One server on a data directory and a port of its own."""

    def __init__(self, data_dir: Path, port: int | None) -> None:
        self.data_dir = data_dir
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        data_dir.mkdir(parents=True, exist_ok=True)
        self._output = data_dir / "demo-server.log"
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [*_bannister(), "up", "--port", str(self.port), "--data-dir", str(data_dir)],
                env=os.environ | {"BANNISTER_ALARM_CLEAR_TIMEOUT_SECONDS": str(ALARM_CLEAR_TIMEOUT_SECONDS)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Not in the terminal's group: Ctrl-C is for the demo, which then stops the server, unless it is kept.
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_ready(self) -> None:
        """Wait for its line `ready http://…`.

        Raises:
            ServerFailed: It ended, or took too long.
        """
        deadline = time.monotonic() + READY_TIMEOUT_SECONDS
        while f"ready {self.url}" not in self._output.read_text(errors="replace"):
            if self._process.poll() is not None:
                raise ServerFailed(f"The server ended with code {self._process.returncode}:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise ServerFailed(f"The server was not ready within {READY_TIMEOUT_SECONDS:.0f} s:\n{self.log_tail()}")
            time.sleep(0.02)

    def log_tail(self) -> str:
        """The last lines it printed."""
        return "\n".join(self._output.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:])

    def stop(self) -> None:
        """SIGTERM, which stops everything it started; SIGKILL if that takes too long."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def _bannister() -> list[str]:
    """The installed command beside this interpreter, or the same thing without it."""
    script = Path(sys.executable).with_name("bannister")
    if os.access(script, os.X_OK):
        return [str(script)]
    return [sys.executable, "-c", "from bannister.cli.main import main; main()"]
