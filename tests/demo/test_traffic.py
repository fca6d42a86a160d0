"""The client, against a server that answers what the test wants, on connections that the test counts."""

from __future__ import annotations

import json
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar

import pytest

from bannister.demo.flights import Flight
from bannister.demo.traffic import Traffic

pytestmark = pytest.mark.real
TIMEOUT_SECONDS = 30


class Endpoint(BaseHTTPRequestHandler):
    """Answers by the request's body; remembers what it got."""

    protocol_version = "HTTP/1.1"
    bodies: ClassVar[list[str]] = []
    connections: ClassVar[set[int]] = set()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        self.bodies.append(body)
        self.connections.add(self.client_address[1])
        if body == '"hang up"':
            self.connection.shutdown(2)
            self.close_connection = True
            return
        status, answer = 200, {"late": True, "probability": 0.9, "version": "v2"}
        if body == '"odd"':
            answer = {}
        if body == '"no status"':
            self.wfile.write(b"HTTP/1.1\r\n\r\n")
            return
        if body == '"slow"':
            time.sleep(1.0)
        if body == '"fail"':
            status = 424
            answer = {"Message": "no", "OriginalStatusCode": 500, "OriginalMessage": '{"error": "KeyError: 1"}'}
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


class ThreadingServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@pytest.fixture
def url() -> Iterator[str]:
    Endpoint.bodies.clear()
    Endpoint.connections.clear()
    server = ThreadingServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/endpoints/flights/invocations"
    server.shutdown()
    server.server_close()


def replayed(url: str, bodies: list[str], workspace: Path, rate: float) -> Traffic:
    """All bodies, answered."""
    traffic = Traffic(url, [Flight(body, late=False, known_plane=True) for body in bodies], workspace, rate)
    wait_until(lambda: len(traffic.answers()) == len(bodies))
    traffic.stop()
    return traffic


def test_what_each_request_became(url: str, tmp_path: Path) -> None:
    answers = replayed(url, ['"fine"', '"fail"', '"hang up"', '"fine"'], tmp_path, rate=20).answers()
    fine, failed, cut, after = sorted(answers, key=lambda answer: answer.flight)
    assert (fine.status, fine.version, fine.late, fine.ok) == (200, "v2", True, True)
    assert (failed.status, failed.model_status, failed.ok) == (424, 500, False)
    assert failed.model_message == '{"error": "KeyError: 1"}'
    assert (cut.status, cut.ok) == (0, False)
    assert "IncompleteRead" in (cut.error or "")
    assert after.ok
    assert 0 < fine.milliseconds < 10_000
    assert fine.sent_at < fine.ended_at


def test_what_is_no_answer_is_said_and_what_is_slow_is_waited_for(url: str, tmp_path: Path) -> None:
    bodies = ['"odd"', '"no status"', '"slow"', '"slow"']
    traffic = Traffic(url, [Flight(body, late=False, known_plane=True) for body in bodies], tmp_path, rate=50)
    wait_until(lambda: len(Endpoint.bodies) == len(bodies))
    traffic.stop()
    odd, none, *slow = sorted(traffic.answers(), key=lambda answer: answer.flight)
    assert (odd.status, odd.ok, odd.error) == (200, False, "no prediction: {}")
    assert (none.status, none.ok) == (0, False)
    assert [answer.ok for answer in slow] == [True, True]
    assert traffic.sent == len(bodies)


def test_nothing_is_sent_twice(url: str, tmp_path: Path) -> None:
    replayed(url, ['"hang up"', '"fail"', '"hang up"'], tmp_path, rate=20)
    assert sorted(Endpoint.bodies) == ['"fail"', '"hang up"', '"hang up"']


def test_connections_are_kept_alive_and_the_rate_is_steady(url: str, tmp_path: Path) -> None:
    answers = replayed(url, ["1"] * 150, tmp_path, rate=100).answers()
    assert len(Endpoint.connections) < 75
    sent = sorted(answer.sent_at for answer in answers)
    assert sent[-1] - sent[0] > 1.3


def test_the_client_ends_when_its_owner_lets_go(url: str, tmp_path: Path) -> None:
    traffic = Traffic(url, [Flight("1", late=False, known_plane=True)] * 5_000, tmp_path, rate=50)
    wait_until(lambda: len(traffic.answers()) > 5)
    assert traffic.running
    traffic.stop()
    assert not traffic.running
    assert len(traffic.answers()) == len(Endpoint.bodies) == traffic.sent


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
