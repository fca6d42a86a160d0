"""`bannister status`: all endpoints, what is in production, and what is changing that."""

from __future__ import annotations

from typing import Any, Final

from rich.console import Console

from bannister.cli import words
from bannister.cli.client import Server
from bannister.cli.events import webhooks
from bannister.cli.output import as_json, console, labelled, line, paragraph, warning
from bannister.cli.shadow import shadow_line, shadow_of
from bannister.errors import Refused

#: What is said of endpoints stands beside their names, unless one is longer.
_COLUMN_MAX: Final = 20

_OUTCOMES: Final = {
    "Completed": "completed",
    "RolledBack": "rolled back",
    "RollbackFailed": "could not be rolled back, both serve,",
}


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
    # The newest two: one that runs is the first, and there need be none of either kind, for the past is forgotten.
    deployments = server.ask("bannister", "list_deployments", EndpointName=name, MaxResults=2)["Deployments"]
    for one in deployments:
        if "EndTime" not in one:
            found["Deployment"] = server.ask("bannister", "describe_deployment", DeploymentId=one["DeploymentId"])
        else:
            found.setdefault("LastDeployment", one)
    if described["EndpointStatus"] == "Updating" and "Deployment" not in found:
        found["Scaling"] = [
            f"{variant['VariantName']}: {status['StatusMessage']}"
            for variant in described["ProductionVariants"]
            for status in variant.get("VariantStatus", ())
        ]
    return found


def _trouble(server: Server, name: str) -> str | None:
    """Why its shadow gets no copies though it should; None: it does."""
    try:
        return server.ask("bannister", "describe_shadow_report", EndpointName=name).get("Trouble")
    except Refused:  # it has just lost its shadow, or is gone
        return None


def _show(out: Console, one: dict[str, Any], width: int) -> None:
    shape, style = words.MARKS[one["EndpointStatus"]]
    name, state, config = one["EndpointName"].ljust(width), one["EndpointStatus"].ljust(11), one["EndpointConfigName"]
    indent = width + 4 if width <= _COLUMN_MAX else 4
    if out.is_terminal and len(f"? {name}  {state}  {config}") > out.width:
        line(out, (f"{shape} ", style), (one["EndpointName"], "bold"))
        line(out, " " * indent, (state, style), "  ", config)
    else:
        line(out, (f"{shape} ", style), (name, "bold"), "  ", (state, style), "  ", config)
    if "Shadow" in one:
        labelled(out, "shadow: ", shadow_line(one["Shadow"]), indent=indent)
    if "ShadowTrouble" in one:
        paragraph(out, one["ShadowTrouble"], indent=indent + 8, style="yellow")
    running = one.get("Deployment")
    if running is not None and "WaitsFor" in running:
        _show_running(out, running, indent)
    if "Scaling" in one:
        changes = f": {' '.join(one['Scaling'])}" if one["Scaling"] else ""
        labelled(out, "now:  ", f"weights or instance counts change{changes}", indent=indent)
    last, reason = one.get("LastDeployment"), None
    if last is not None:
        shape, style = words.MARKS[last["Status"]]
        how = f"{words.change(last)}, {_OUTCOMES[last['Status']]} {words.day_and_clock(last['EndTime'])}"
        labelled(out, "last: ", (f"{shape} ", style), how, indent=indent)
        # Of two versions that both serve, the endpoint's reason says how much of each.
        reason = one.get("FailureReason") if one["EndpointStatus"] == "UpdateRollbackFailed" else last.get("Reason")
        if reason is not None:
            paragraph(out, reason, indent=indent + 6, style="dim")
    # Also of a change of weights and counts that was taken back, and of what nobody remembers any more.
    failure = one.get("FailureReason")
    if failure is not None and running is None and "Scaling" not in one and (reason is None or reason not in failure):
        paragraph(out, failure, indent=indent, style="yellow")


def _show_running(out: Console, running: dict[str, Any], indent: int) -> None:
    steps, step, green = running["Steps"], running["CurrentStep"], running["Green"]
    labelled(
        out,
        "now:  ",
        f"{words.change(running)}, {running['Phase']}, step {step} of {len(steps)}, "
        f"{words.percent(green.get('PercentAcknowledged'))} of the traffic on green",
        indent=indent,
    )
    waits = running["WaitsFor"]
    paragraph(
        out,
        f"{waits['Sentence']} ({words.remaining(waits, running['ObservedTime'])})",
        indent=indent + 6,
        style="cyan",
    )
    for one in running.get("Warnings", []):
        warning(out, one, indent=indent)
