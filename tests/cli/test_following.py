"""A command that follows a deployment outlives a restart of the control plane, which Envoy's 503 tells it of."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from rich.console import Console
from tests.cli.test_screen import described

from bannister.cli import following
from bannister.cli import watch as watching
from bannister.cli.client import Unreachable
from bannister.cli.rollback import rollback
from bannister.cli.watch import watch

AWAY = (503, {"__type": "ServiceUnavailable", "message": "The control plane does not answer at the moment."})

Serve = Callable[..., str]


def answer(**ended: object) -> tuple[int, dict[str, Any]]:
    members = described() | ended
    return 200, json.loads(json.dumps(members, default=lambda moment: moment.timestamp()))


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves answers in turn, the last one for ever, at the address that it returns."""
    servers = []

    def start(*answers: tuple[int, dict[str, Any]]) -> str:
        left = list(answers)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                status, members = left.pop(0) if len(left) > 1 else left[0]
                content = json.dumps(members).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # its name there
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_address[1]}"

    yield start
    for one in servers:
        one.shutdown()
        one.server_close()


def ended(status: str) -> tuple[int, dict[str, Any]]:
    running = described()
    return answer(Status=status, EndTime=running["ObservedTime"], Reason="x", WaitsFor=None)


def test_watch_goes_on_when_the_control_plane_is_away_for_a_moment(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    url = serve(answer(), answer(), AWAY, answer(), ended("Completed"))
    assert watch("flights", url) == 0
    assert "has not answered for" in capsys.readouterr().out


def test_on_a_terminal_that_cannot_move_its_cursor_watch_says_each_change(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Emacs' shell, an editor's terminal: a screen would be drawn there when all is over."""
    out = Console(width=80, force_terminal=True, file=io.StringIO(), _environ={"TERM": "dumb"})
    monkeypatch.setattr(watching, "console", lambda: out)
    assert watch("flights", serve(answer(), answer(), AWAY, answer(), ended("Completed"))) == 0
    assert isinstance(out.file, io.StringIO)
    assert "has not answered for" in out.file.getvalue()


def test_rollback_waits_on_when_the_control_plane_is_away_for_a_moment(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    url = serve(answer(), answer(), AWAY, ended("RolledBack"))
    assert rollback("flights", "why not", url, wait=True) == 0
    assert "the rollback goes on" in capsys.readouterr().out


def test_one_that_stays_away_is_given_up(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "PATIENCE_SECONDS", 0.1)
    with pytest.raises(Unreachable, match="does not answer at the moment"):
        watch("flights", serve(answer(), AWAY))
