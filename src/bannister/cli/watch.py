"""`bannister watch`: follow a deployment to its end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

from rich.console import Console
from rich.live import Live

from bannister.cli import words
from bannister.cli.client import Server, Unreachable
from bannister.cli.output import console, line, paragraph
from bannister.cli.screen import progress_line, screen

POLL_SECONDS: Final = 0.5
#: A server that does not answer (it may be restarting; the deployment goes on) is asked for this long.
PATIENCE_SECONDS: Final = 60.0


def watch(endpoint: str, url: str | None) -> int:
    """Show it until it ends; the exit code: 0 completed, 1 rolled back, 130 when interrupted."""
    server = Server(url)
    found = server.ask("bannister", "describe_deployment", EndpointName=endpoint)
    out = console()
    if "EndTime" in found:
        line(
            out,
            f"No deployment runs on {endpoint}. The last, {words.change(found)}, ended at {words.day_and_clock(found['EndTime'])}:",
        )
        _verdict(out, found)
        return _code(found)
    try:
        found = _on_screen(server, out, found) if out.is_terminal else _in_lines(server, out, found)
    except KeyboardInterrupt:
        line(out)
        paragraph(
            out,
            f"Not watching any more. The deployment of {endpoint} goes on; to stop it: bannister rollback {endpoint} --reason TEXT",
        )
        return 130
    if not (out.is_terminal and found["Status"] == "Completed"):  # the screen has said that
        _verdict(out, found)
    return _code(found)


def _on_screen(server: Server, out: Console, found: dict[str, Any]) -> dict[str, Any]:
    with Live(screen(found), console=out, auto_refresh=False, vertical_overflow="crop") as live:
        for found, note in _looks(server, found):  # noqa: B020  # the last look is the result
            live.update(screen(found, note), refresh=True)
    return found


def _in_lines(server: Server, out: Console, found: dict[str, Any]) -> dict[str, Any]:
    shown = ""
    for found, note in _looks(server, found):  # noqa: B020  # the last look is the result
        if "EndTime" in found:
            break
        text = note or progress_line(found)
        if text[10:] != shown:  # the time alone is no news
            line(out, text)
            shown = text[10:]
    return found


def _looks(server: Server, found: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str | None]]:
    """The deployment, again and again until it has ended; with a note while the server does not answer."""
    identifier, silent_since = found["DeploymentId"], None
    yield found, None
    while "EndTime" not in found:
        time.sleep(POLL_SECONDS)
        try:
            found = server.ask("bannister", "describe_deployment", DeploymentId=identifier)
        except Unreachable:
            silent_since = time.monotonic() if silent_since is None else silent_since
            silent = time.monotonic() - silent_since
            if silent > PATIENCE_SECONDS:
                raise
            yield found, f"The server has not answered for {words.duration(silent)}; what is shown is older."
        else:
            silent_since = None
            yield found, None


def _verdict(out: Console, found: dict[str, Any]) -> None:
    shape, style = words.MARKS[found["Status"]]
    paragraph(out, f"{shape} {words.outcome(found)}", style=style)


def _code(found: dict[str, Any]) -> int:
    return 0 if found["Status"] == "Completed" else 1
