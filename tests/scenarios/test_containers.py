"""A whole server whose models are containers; where no engine answers, what is said of it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from tests.instances.conftest import CONTAINER_IMAGE, EngineProgram, ask, real_engine
from tests.scenarios.world import Load, Server, World, wait_for

from bannister.instances.engine import Engine

pytestmark = pytest.mark.real

#: SageMaker's contract, as an image would fulfil it, with what every Python has.
PROGRAM = """
import http.server, json, os, sys

class Model(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(b"")

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        facts = {"version": os.environ["VERSION"], "arguments": sys.argv[1:], "path": self.path}
        self.answer(json.dumps(facts).encode())

    def log_message(self, *_):
        pass

print("it serves", flush=True)
http.server.ThreadingHTTPServer(("0.0.0.0", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Model).serve_forever()
"""
ROW = """
[[image]]
match = "bannister-test/good:*"
container = true
command = ["python3", "{model_dir}/program.py", "serve"]
"""


@pytest.fixture(scope="module", params=["program", "engine"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    program = EngineProgram() if request.param == "program" else None
    socket = program.socket if program is not None else real_engine()
    if socket is None:
        pytest.skip(f"no Docker or Podman answers here that has the image {CONTAINER_IMAGE}")
    server = Server(tmp_path_factory.mktemp("server") / "data", container_engine=socket)
    try:
        yield World(server)
    finally:
        assert server.stop() == 0
        assert server.leftovers() == []
        if program is not None:
            program.end()


def test_an_image_is_run_by_the_engine(world: World, record: Path) -> None:
    (world.server.data_dir / "images.toml").write_text(ROW)
    for version in ("contained-1", "contained-2"):
        world.model(version, files={"program.py": PROGRAM.encode()}, image="bannister-test/good:1")
        world.config(version, model=version)
    endpoint = world.endpoint("contained", "contained-1")
    found = world.invoke(endpoint)
    assert (found["version"], found["arguments"], found["path"]) == ("contained-1", ["serve"], "/invocations")
    with Load(world.server, endpoint, record, rate=50) as load:
        world.update(endpoint, "contained-2", routing={"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0})
        assert world.settled(endpoint)["EndpointConfigName"] == "contained-2"
    assert {one.version for one in load.nothing_lost()} == {"contained-1", "contained-2"}
    assert world.invoke(endpoint)["version"] == "contained-2"


#: It takes its time to end.
DEAF = PROGRAM.replace("class Model", "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n\nclass Model")


def test_a_second_request_to_stop_leaves_no_container(tmp_path: Path) -> None:
    program = EngineProgram()
    server = Server(tmp_path / "data", container_engine=program.socket)
    try:
        world = World(server)
        (server.data_dir / "images.toml").write_text(ROW)
        world.model("deaf", files={"program.py": DEAF.encode()}, image="bannister-test/good:1")
        world.endpoint("deaf", world.config("deaf", model="deaf"))
        assert server.process is not None
        server.process.send_signal(signal.SIGINT)
        sent = time.monotonic()
        # Closer together they are one request, passed on by a wrapper.
        wait_for("a second request is one", lambda: time.monotonic() > sent + 1.0)
        assert server.process.poll() is None, "its instance has 30 s"
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(30) == 130
        engine = Engine(program.socket)
        assert ask(engine, "GET", "/containers/json", {"all": 1}) == []
    finally:
        assert server.process is not None
        server.process.kill()
        program.end()


def test_without_an_engine_an_image_is_refused_with_where_it_was_looked_for(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", container_engine=tmp_path / "no.sock")
    try:
        with pytest.raises(ClientError, match="does not know how to run the image 'team/llm:3'") as refusal:
            World(server).model("m", files={}, image="team/llm:3")
        assert refusal.value.response["Error"]["Code"] == "ValidationException"
        assert "or start a container engine. No container engine answers here: looked for Docker or Podman at" in str(
            refusal.value
        )
    finally:
        assert server.stop() == 0
