"""`bannister status`: all endpoints, what is in production, and what is changing that."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from bannister.cli import words
from bannister.cli.client import Server
from bannister.cli.events import webhooks
from bannister.cli.output import as_json, console, line, paragraph, warning
from bannister.cli.shadow import shadow_line, shadow_of
from bannister.errors import Refused


def status(url: str | None, json: bool) -> int:
    """Print it; the exit code."""
    server = Server(url)
    endpoints = [found for name in _names(server) if (found := _endpoint(server, name)) is not None]
    told = _webhooks(server)
    if json:
        as_json({"Endpoints": endpoints, "Webhooks": told})
        return 0
    out = console()
    if not endpoints:
        line(out, f"There is no endpoint at {server.url}. Create one with CreateEndpoint of SageMaker's API.")
    width = max((len(one["EndpointName"]) for one in endpoints), default=0)
    for one in endpoints:
        _show(out, one, width)
    webhooks(out, told, only_in_trouble=True)
    return 0


def _webhooks(server: Server) -> list[dict[str, Any]]:
    """The addresses that are told of events; none where the server is of an earlier version than this command."""
    try:
        found: list[dict[str, Any]] = server.ask("bannister", "describe_event_webhooks")["Webhooks"]
    except Refused:
        return []
    return found


def _names(server: Server) -> list[str]:
    listed = server.pages(
        "sagemaker", "list_endpoints", "Endpoints", SortBy="Name", SortOrder="Ascending", MaxResults=100
    )
    return [one["EndpointName"] for one in listed]


def _endpoint(server: Server, name: str) -> dict[str, Any] | None:
    """What there is to say of one; None: it was deleted in the meantime."""
    try:
        described = server.ask("sagemaker", "describe_endpoint", EndpointName=name)
    except Refused as refusal:
        if str(refusal).startswith("Could not find"):
            return None
        raise
    wanted = ("EndpointName", "EndpointStatus", "EndpointConfigName", "FailureReason")
    found: dict[str, Any] = {key: described[key] for key in wanted if key in described}
    if (shadow := shadow_of(server, described)) is not None:
        found["Shadow"] = shadow
        if (trouble := _trouble(server, name)) is not None:
            found["ShadowTrouble"] = trouble
    if described["EndpointStatus"] in ("Creating", "Updating", "RollingBack"):
        found["Deployment"] = server.ask("bannister", "describe_deployment", EndpointName=name)
    ended = server.ask("bannister", "list_deployments", EndpointName=name, MaxResults=2)["Deployments"]
    last = [one for one in ended if "EndTime" in one]
    if last:
        found["LastDeployment"] = last[0]
    return found


def _trouble(server: Server, name: str) -> str | None:
    """Why its shadow gets no copies though it should; None: it does."""
    try:
        return server.ask("bannister", "describe_shadow_report", EndpointName=name).get("Trouble")
    except Refused:  # it has just lost its shadow, or is gone
        return None


def _show(out: Console, one: dict[str, Any], width: int) -> None:
    shape, style = words.MARKS[one["EndpointStatus"]]
    name = one["EndpointName"].ljust(width)
    line(
        out,
        (f"{shape} ", style),
        (name, "bold"),
        "  ",
        (one["EndpointStatus"].ljust(11), style),
        "  ",
        one["EndpointConfigName"],
    )
    indent = " " * (width + 4)
    if "Shadow" in one:
        line(out, indent, ("shadow: ", "dim"), shadow_line(one["Shadow"]))
    if "ShadowTrouble" in one:
        paragraph(out, one["ShadowTrouble"], indent=len(indent) + 8, style="yellow")
    running = one.get("Deployment")
    if running is not None and "WaitsFor" in running:
        _show_running(out, running, indent)
    last = one.get("LastDeployment")
    if last is not None:
        shape, style = words.MARKS[last["Status"]]
        ended = words.day_and_clock(last["EndTime"])
        line(out, indent, ("last: ", "dim"), (f"{shape} ", style), f"{words.change(last)}, {_outcome(last)} {ended}")
        if "Reason" in last:
            paragraph(out, last["Reason"], indent=len(indent) + 6, style="dim")


def _outcome(last: dict[str, Any]) -> str:
    return "completed" if last["Status"] == "Completed" else "rolled back"


def _show_running(out: Console, running: dict[str, Any], indent: str) -> None:
    steps, step, green = running["Steps"], running["CurrentStep"], running["Green"]
    line(
        out,
        indent,
        ("now:  ", "dim"),
        f"{words.change(running)}, {running['Phase']}, step {step} of {len(steps)}, ",
        f"{words.percent(green.get('PercentAcknowledged'))} of the traffic on green",
    )
    waits = running["WaitsFor"]
    paragraph(
        out,
        f"{waits['Sentence']} ({words.remaining(waits, running['ObservedTime'])})",
        indent=len(indent) + 6,
        style="cyan",
    )
    for one in running.get("Warnings", []):
        warning(out, one, indent=len(indent))
