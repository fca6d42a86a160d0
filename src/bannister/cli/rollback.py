"""`bannister rollback`: a person stops a deployment."""

from __future__ import annotations

from typing import Any, Final

from rich.console import Console

from bannister.cli import words
from bannister.cli.client import Server
from bannister.cli.following import looks
from bannister.cli.output import console, line, paragraph
from bannister.errors import Refused

POLL_SECONDS: Final = 0.3


def rollback(endpoint: str, reason: str, url: str | None, wait: bool) -> int:
    """Ask for it and, unless told otherwise, see it done; the exit code: 0 when it is rolled back (or asked for), else 1."""
    reason = " ".join(reason.split())  # what is pasted has line ends
    if not reason:
        raise Refused("Say why, with --reason: it is what those who ask later will read.")
    server = Server(url)
    asked = server.ask("bannister", "rollback_deployment", EndpointName=endpoint, Reason=reason)
    out = console()
    paragraph(out, _effect(asked))
    if not wait:
        return 0
    try:
        found = _ended(server, out, asked["DeploymentId"])
    except KeyboardInterrupt:
        paragraph(out, f"Not waiting any more; the rollback goes on: bannister watch {endpoint}")
        return 130
    shape, style = words.MARKS[found["Status"]]
    paragraph(out, f"{words.clock(found['EndTime'])}  {shape} {words.outcome(found)}", style=style)
    return 0 if found["Status"] == "RolledBack" else 1


def _ended(server: Server, out: Console, identifier: str) -> dict[str, Any]:
    """The deployment once it has ended; until then a line for each thing it waits for."""
    shown = ""
    for found, _ in looks(server, identifier, POLL_SECONDS):
        if found is None:
            moment, sentence = "        ", "The server does not answer; the rollback goes on."
        elif "EndTime" in found:
            return found
        else:
            moment, sentence = words.clock(found["ObservedTime"]), found["WaitsFor"]["Sentence"]
        if sentence != shown:
            line(out, (moment, "dim"), f"  {sentence}")
            shown = sentence
    raise AssertionError("a deployment that is looked at ends")


def _effect(asked: dict[str, Any]) -> str:
    blue, green = asked.get("BlueConfigName"), asked["GreenConfigName"]
    if blue is None:
        return f"The creation of {asked['EndpointName']} is given up: its instances of {green} are removed, and it will be Failed."
    return f"All traffic of {asked['EndpointName']} goes back to {blue}; then the instances of {green} are removed."
