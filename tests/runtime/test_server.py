"""HTTP as a proxy speaks it: many requests on one connection, large and chunked bodies, mistakes, and the end of the process."""

from __future__ import annotations

import ast
import hashlib
import http.client
import json
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bannister.runtime
from bannister.runtime.messages import Response
from bannister.runtime.server import Limits, Server

pytestmark = pytest.mark.real
Start = Callable[..., Any]
TIMEOUT_SECONDS = 30

CODE = """
    import hashlib
    import os
    import time

    def input_fn(body, content_type):
        return body

    def predict_fn(data, model):
        if data.startswith(b"wait for "):
            os.close(os.open(data[9:] + b".begun", os.O_CREAT))
            while not os.path.exists(data[9:]):
                time.sleep(0.01)
        return hashlib.sha256(data).hexdigest() + " " + str(len(data))
"""


@pytest.fixture(scope="module")
def server(start_server: Start) -> Any:
    return start_server(code=CODE).wait_ready()


def test_where_no_thread_can_be_started_a_connection_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine may bound them; that is no reason to end with all requests in flight."""
    honest, refused = threading.Thread.start, []

    def start(thread: threading.Thread) -> None:
        if thread.name == "server" or len(refused) >= 3:
            return honest(thread)
        refused.append(thread)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(listener, lambda _: Response(200, b"ok"), lambda *_: Response(500, b""), Limits())
        serving = threading.Thread(target=server.serve, name="server", daemon=True)
        serving.start()
        with socket.create_connection(listener.getsockname(), TIMEOUT_SECONDS) as client:
            client.sendall(b"GET /ping HTTP/1.1\r\nhost: model\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200")
        server.stop()
        serving.join(TIMEOUT_SECONDS)
    assert len(refused) == 3


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest() + " " + str(len(body))


def post(body: bytes, *headers: str) -> bytes:
    lines = ["POST /invocations HTTP/1.1", "host: model", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def read_answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """One answer, by its Content-Length, taking not one byte of the next."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        assert byte, f"the connection ended within {head!r}"
        head += byte
    status, *lines = head.decode().rstrip().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    body = b""
    while len(body) < int(headers["content-length"]):
        body += connection.recv(int(headers["content-length"]) - len(body))
    return int(status.split()[1]), headers, body


def test_many_requests_on_one_connection(server: Any) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT_SECONDS)
    for number in range(200):
        connection.request("POST", "/invocations", b"%d" % number, {"content-type": "application/octet-stream"})
        assert json.loads(connection.getresponse().read()) == digest(b"%d" % number)
    connection.close()


def test_requests_sent_ahead_are_answered_in_order(server: Any) -> None:
    bodies = [b"%d" % number * number for number in range(20)]
    with server.connect() as connection:
        connection.sendall(b"".join(post(body) for body in bodies))
        answers = [read_answer(connection) for _ in bodies]
    assert [json.loads(body) for _, _, body in answers] == [digest(body) for body in bodies]


def test_a_request_may_arrive_byte_by_byte(server: Any) -> None:
    with server.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in post(b"abc"):
            connection.send(bytes([byte]))
        assert json.loads(read_answer(connection)[2]) == digest(b"abc")


def test_a_body_of_more_than_25_mib(server: Any) -> None:
    body = bytes(range(256)) * 4 * 26 * 1024
    assert json.loads(server.invoke(body, "application/octet-stream")[2]) == digest(body)


@pytest.mark.parametrize(
    ("chunked", "body"),
    [
        (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
        (b"3\r\nabc\r\n0a;name=value\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n", b"abc0123456789"),
        (b"0\r\n\r\n", b""),
    ],
)
def test_chunked_bodies(server: Any, chunked: bytes, body: bytes) -> None:
    with server.connect() as connection:
        for _ in range(2):
            connection.sendall(b"POST /invocations HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n" + chunked)
            assert json.loads(read_answer(connection)[2]) == digest(body)


def test_a_client_that_waits_to_be_told_to_go_on(server: Any) -> None:
    with server.connect() as connection:
        request = post(b"abc", "expect: 100-continue")
        connection.sendall(request[:-3])
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"abc")
        assert json.loads(read_answer(connection)[2]) == digest(b"abc")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET  /ping HTTP/1.1\r\n\r\n", 400),
        (b"GET /ping HTTP/2.0\r\n\r\n", 400),
        (b"GET /ping HTTP/1.1\r\nname : value\r\n\r\n", 400),
        (b"GET /ping HTTP/1.1\r\nname: a\r\n folded\r\n\r\n", 400),
        (b"POST /invocations HTTP/1.1\r\ncontent-length: -1\r\n\r\n", 400),
        (b"POST /invocations HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", 400),
        (b"POST /invocations HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n", 400),
        (b"POST /invocations HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n", 400),
        (b"POST /invocations HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n", 400),
        (b"POST /invocations HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc\r\n", 400),
        (b"POST /invocations HTTP/1.1\r\ncontent-length: 999999999999\r\n\r\n", 413),
        (b"GET /ping HTTP/1.1\r\nname: " + b"x" * 70_000, 431),
    ],
)
def test_what_is_not_http_is_answered_and_the_connection_closed(server: Any, request_bytes: bytes, status: int) -> None:
    with server.connect() as connection:
        connection.sendall(request_bytes + b"GET /ping HTTP/1.1\r\n\r\n")
        answered, headers, _ = read_answer(connection)
        assert (answered, headers["connection"]) == (status, "close")
        assert connection.recv(1) == b""
    assert server.ask("GET", "/ping")[0] == 200


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_connection_closes_when_the_client_wants_it(server: Any, version: str) -> None:
    header = "" if version == "1.0" else "connection: close\r\n"
    with server.connect() as connection:
        connection.sendall(f"GET /ping HTTP/{version}\r\n{header}\r\n".encode())
        assert read_answer(connection)[0] == 200
        assert connection.recv(1) == b""


def test_ping_is_answered_while_predictions_run_and_wait(start_server: Start, tmp_path: Path) -> None:
    server = start_server(code=CODE, BANNISTER_RUNTIME_THREADS="1").wait_ready()
    flag = tmp_path / "go"
    body = b"wait for " + str(flag).encode()
    with server.connect() as running, server.connect() as waiting:
        running.sendall(post(body))
        waiting.sendall(post(b"next"))
        wait_until(Path(f"{flag}.begun").exists)
        assert server.ask("GET", "/ping")[0] == 200
        flag.touch()
        assert json.loads(read_answer(running)[2]) == digest(body)
        assert json.loads(read_answer(waiting)[2]) == digest(b"next")


def test_predictions_run_side_by_side_up_to_the_limit(start_server: Start, tmp_path: Path) -> None:
    server = start_server(code=CODE, BANNISTER_RUNTIME_THREADS="2").wait_ready()
    with server.connect() as first, server.connect() as second:
        for connection, name in ((first, "a"), (second, "b")):
            connection.sendall(post(b"wait for " + str(tmp_path / name).encode()))
        for name in ("a", "b"):
            wait_until((tmp_path / f"{name}.begun").exists)
        for connection, name in ((second, "b"), (first, "a")):
            (tmp_path / name).touch()
            assert read_answer(connection)[0] == 200


def test_two_hundred_connections_at_once(server: Any) -> None:
    connections = [server.connect() for _ in range(200)]
    try:
        for _ in range(2):
            for connection in connections:
                connection.sendall(post(b"x"))
            assert {read_answer(connection)[0] for connection in connections} == {200}
    finally:
        for connection in connections:
            connection.close()


def test_sigterm_answers_what_is_in_flight_and_ends_with_0(start_server: Start, tmp_path: Path) -> None:
    server = start_server(code=CODE).wait_ready()
    flag = tmp_path / "go"
    body = b"wait for " + str(flag).encode()
    with server.connect() as idle, server.connect() as busy:
        idle.sendall(post(b"x"))
        assert read_answer(idle)[1].get("connection") is None
        busy.sendall(post(body))
        wait_until(Path(f"{flag}.begun").exists)
        server.process.send_signal(signal.SIGTERM)
        assert idle.recv(1) == b""
        wait_until(lambda: refuses(server))
        flag.touch()
        status, headers, content = read_answer(busy)
        assert (status, headers["connection"], json.loads(content)) == (200, "close", digest(body))
    assert server.process.wait(TIMEOUT_SECONDS) == 0


def test_sigterm_under_load_loses_no_request_that_was_taken(start_server: Start) -> None:
    """Each client goes on until its connection is closed between two requests; none may be cut within one."""
    server = start_server(code=CODE).wait_ready()
    started = threading.Barrier(5)
    cut: list[bytes] = []

    def converse() -> None:
        with server.connect() as connection:
            for number in range(1_000_000):
                body = b"%d" % number
                try:
                    connection.sendall(post(body))
                    first = connection.recv(65536)
                except ConnectionError:
                    return
                if number == 10:
                    started.wait(TIMEOUT_SECONDS)
                if not first:
                    return  # closed before it read the request: safe to send again elsewhere
                if not first.endswith(digest(body).encode() + b'"'):
                    cut.append(first)
                    return
                if b"connection: close" in first:
                    return

    clients = [threading.Thread(target=converse) for _ in range(4)]
    for client in clients:
        client.start()
    started.wait(TIMEOUT_SECONDS)
    server.process.send_signal(signal.SIGTERM)
    for client in clients:
        client.join(TIMEOUT_SECONDS)
    assert server.process.wait(TIMEOUT_SECONDS) == 0
    assert cut == []


def test_a_port_that_is_taken_ends_with_the_reason(start_server: Start, server: Any) -> None:
    second = start_server(code=CODE, SAGEMAKER_BIND_TO_PORT=str(server.port))
    assert second.process.wait(TIMEOUT_SECONDS) != 0
    assert "Address already in use" in second.log.read_text().splitlines()[-1]


def test_the_port_is_taken_while_the_model_loads_but_not_open(start_server: Start, tmp_path: Path) -> None:
    flag = tmp_path / "go"
    slow = f"""
        import os
        import time
        open("{flag}.begun", "w").close()
        while not os.path.exists("{flag}"):
            time.sleep(0.01)
        def predict_fn(data, model):
            return data
    """
    server = start_server(code=slow)
    wait_until(Path(f"{flag}.begun").exists)
    with pytest.raises(ConnectionRefusedError):
        server.connect().close()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", server.port))
    flag.touch()
    server.wait_ready()


def test_the_runtime_is_python_3_9() -> None:
    """The model's interpreter may be older than Bannister's."""
    folder = Path(bannister.runtime.__file__).parent
    for source in folder.rglob("*.py"):
        ast.parse(source.read_text(), feature_version=(3, 9))


def refuses(server: Any) -> bool:
    try:
        server.connect().close()
    except ConnectionRefusedError:
        return True
    return False


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
