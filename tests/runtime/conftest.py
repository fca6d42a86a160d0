"""A model server as its own process, and a client that sees every byte."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

TIMEOUT_SECONDS = 30


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@dataclass
class ModelServer:
    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def wait_ready(self) -> ModelServer:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            try:
                status, _, _ = self.ask("GET", "/ping")
            except OSError:
                time.sleep(0.02)
                continue
            assert status == 200
            return self
        raise AssertionError("the model server did not become ready: " + self.log.read_text())

    def ask(
        self, method: str, path: str, body: bytes = b"", **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def invoke(self, body: bytes, content_type: str = "application/json", **headers: str) -> tuple[int, str, bytes]:
        """Status, content type, body."""
        status, answered, content = self.ask("POST", "/invocations", body, content_type=content_type, **headers)
        return status, answered["content-type"], content

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT_SECONDS)


Start = Callable[..., ModelServer]


@pytest.fixture(scope="session")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start a server on a folder; with `code`, an `inference.py` of that text is put there."""
    started: list[subprocess.Popen[bytes]] = []

    def start(folder: Path | None = None, code: str | None = None, **environment: str) -> ModelServer:
        folder = folder or tmp_path_factory.mktemp("model")
        if code is not None:
            (folder / "code").mkdir(exist_ok=True)
            (folder / "code" / "inference.py").write_text(textwrap.dedent(code))
        port = free_port()
        log = tmp_path_factory.mktemp("log") / "log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "bannister.runtime"],
                env=os.environ | {"SM_MODEL_DIR": str(folder), "SAGEMAKER_BIND_TO_PORT": str(port)} | environment,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        started.append(process)
        return ModelServer(process, port, log)

    yield start
    for process in started:
        process.kill()
        process.wait(TIMEOUT_SECONDS)


@pytest.fixture(autouse=True)
def _path_as_it_was() -> Iterator[None]:
    """A model's folder goes before everything else on the path of its process, which for some tests is this one."""
    path = list(sys.path)
    yield
    sys.path[:] = path
    sys.modules.pop("inference", None)
