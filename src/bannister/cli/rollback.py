"""`bannister rollback`: a person stops a deployment."""

from __future__ import annotations

import time
from typing import Any, Final

from bannister.cli import words
from bannister.cli.client import Server
from bannister.cli.output import console, line

POLL_SECONDS: Final = 0.3


def rollback(endpoint: str, reason: str, url: str | None, wait: bool) -> int:
    """Ask for it and, unless told otherwise, see it done; the exit code: 0 when it is rolled back (or asked for), else 1."""
    server = Server(url)
    asked = server.ask("bannister", "rollback_deployment", EndpointName=endpoint, Reason=reason)
    out = console()
    line(out, _effect(asked))
    if not wait:
        return 0
    identifier, shown = asked["DeploymentId"], ""
    while True:
        found = server.ask("bannister", "describe_deployment", DeploymentId=identifier)
        if "EndTime" in found:
            break
        sentence = found["WaitsFor"]["Sentence"]
        if sentence != shown:
            line(out, (words.clock(found["ObservedTime"]), "dim"), f"  {sentence}")
            shown = sentence
        time.sleep(POLL_SECONDS)
    shape, style = words.MARKS[found["Status"]]
    line(out, (words.clock(found["EndTime"]), "dim"), "  ", (f"{shape} {words.outcome(found)}", style))
    return 0 if found["Status"] == "RolledBack" else 1


def _effect(asked: dict[str, Any]) -> str:
    blue, green = asked.get("BlueConfigName"), asked["GreenConfigName"]
    if blue is None:
        return f"The creation of {asked['EndpointName']} is given up: its instances of {green} are removed, and it will be Failed."
    return f"All traffic of {asked['EndpointName']} goes back to {blue}; then the instances of {green} are removed."
