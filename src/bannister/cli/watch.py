"""`bannister watch`: follow a deployment to its end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from rich.console import Console
from rich.live import Live

from bannister.cli import words
from bannister.cli.client import Server
from bannister.cli.following import looks
from bannister.cli.output import console, line, paragraph, warning
from bannister.cli.screen import progress_line, screen, shadow_figures

POLL_SECONDS: Final = 0.5


def watch(endpoint: str, url: str | None) -> int:
    """Show it until it ends; the exit code: 0 completed, 1 rolled back, 130 when interrupted."""
    server = Server(url)
    found = server.ask("bannister", "describe_deployment", EndpointName=endpoint)
    out = console()
    if "EndTime" in found:
        paragraph(
            out,
            f"No deployment runs on {endpoint}. The last, {words.change(found)}, ended at {words.day_and_clock(found['EndTime'])}:",
        )
        _verdict(out, found)
        return _code(found)
    live = out.is_terminal and not out.is_dumb_terminal  # a dumb one would show the screen when all is over
    if live:
        for one in found.get("Warnings", []):
            warning(out, one)
    try:
        found = _on_screen(server, out, found) if live else _in_lines(server, out, found)
    except KeyboardInterrupt:
        line(out)
        paragraph(
            out,
            f"Not watching any more. The deployment of {endpoint} goes on; to stop it: bannister rollback {endpoint} --reason TEXT",
        )
        return 130
    if not (live and found["Status"] == "Completed"):  # the screen has said that
        _verdict(out, found)
    return _code(found)


def _on_screen(server: Server, out: Console, found: dict[str, Any]) -> dict[str, Any]:
    with Live(screen(found), console=out, auto_refresh=False, vertical_overflow="crop") as live:
        for found, note in _looks(server, found):  # noqa: B020  # the last look is the result
            live.update(screen(found, note), refresh=True)
    return found


def _in_lines(server: Server, out: Console, found: dict[str, Any]) -> dict[str, Any]:
    shown = ""
    warned: list[dict[str, Any]] = []
    for found, note in _looks(server, found):  # noqa: B020  # the last look is the result
        for one in found.get("Warnings", []):
            if one not in warned:
                warning(out, one)
                warned.append(one)
        if "EndTime" in found:
            break
        text = note or progress_line(found)
        if text[10:] != shown:  # the time alone is no news, and neither are figures
            line(out, text)
            shown = text[10:]
            if "Shadow" in found and note is None:
                line(out, f"          {' '.join(shadow_figures(found['Shadow']).split())}")
    return found


def _looks(server: Server, found: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str | None]]:
    """The deployment as it was found and at each look after that; with a note while what is given is older."""
    yield found, None
    for newer, note in looks(server, found["DeploymentId"], POLL_SECONDS):
        found = newer or found
        yield found, note


def _verdict(out: Console, found: dict[str, Any]) -> None:
    shape, style = words.MARKS[found["Status"]]
    paragraph(out, f"{shape} {words.outcome(found)}", style=style)


def _code(found: dict[str, Any]) -> int:
    return 0 if found["Status"] == "Completed" else 1
