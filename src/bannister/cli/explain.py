"""`bannister explain`: the decisions of a deployment with their evidence, as a story."""

from __future__ import annotations

import json as json_
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from rich.console import Console

from bannister.cli import words
from bannister.cli.client import Server
from bannister.cli.output import as_json, console, line, paragraph, warning
from bannister.errors import Refused

_PARTS_PER_PERCENT: Final = 10_000
_INDENT: Final = 13
#: What a stop leads to, by whether there is no blue.
_STOPPED: Final = {False: "stopped: rolling back, traffic goes to blue", True: "stopped: the creation is given up"}


def explain(endpoint: str, deployment: str | None, url: str | None, json: bool) -> int:
    """Print the story of a deployment, by default the endpoint's newest; the exit code."""
    server = Server(url)
    given = {"DeploymentId": deployment} if deployment is not None else {"EndpointName": endpoint}
    described = server.ask("bannister", "describe_deployment", **given)
    identifier = described["DeploymentId"]
    if described["EndpointName"] != endpoint:
        raise Refused(f'Deployment "{identifier}" is one of "{described["EndpointName"]}", not of "{endpoint}".')
    decisions = list(server.pages("bannister", "list_decisions", "Decisions", DeploymentId=identifier))
    for one in decisions:
        one["Evidence"] = json_.loads(one["Evidence"])
    if json:
        as_json({"Deployment": described, "Decisions": decisions})
        return 0
    out = console()
    _title(out, described)
    seen: list[str] = []
    for one in decisions:
        now = list(_saw(one["Evidence"]))
        _decision(out, one, described["StartTime"], [fact for fact in now if fact not in seen])
        seen = now or seen
    _verdict(out, described)
    return 0


def _title(out: Console, described: dict[str, Any]) -> None:
    paragraph(out, f"{described['EndpointName']}: {words.change(described)}", style="bold")
    alarms = described["Policy"].get("AlarmNames", [])
    guarded = f"guarded by {', '.join(alarms)}" if alarms else "guarded by no alarm"
    paragraph(out, f"deployment {described['DeploymentId']}, {words.policy(described)}, {guarded}", style="dim")
    for one in described.get("Warnings", []):
        warning(out, one, indent=0)
    line(out)


def _decision(out: Console, one: dict[str, Any], began: datetime, facts: list[str]) -> None:
    """One decision, and those of the facts it was made on that the one before it was not."""
    after = words.duration((one["Time"] - began).total_seconds())
    shape, style, title = _headline(one)
    line(out, (words.clock(one["Time"]), "dim"), "  ", (f"{shape} {title}", style), (f"  after {after}", "dim"))
    reason = one.get("Reason", "")
    if one["Kind"] == "Refused":
        reason = f"To {one['Evidence'].get('to')}: {reason}"
    if one["Kind"] == "RollbackRefused":
        reason = f'"{one["Evidence"].get("wished")}": {reason}'
    paragraph(out, reason, indent=_INDENT)
    for fact in facts:
        paragraph(out, fact, indent=_INDENT, style="dim")


def _headline(one: dict[str, Any]) -> tuple[str, str, str]:
    if one["Kind"] == "Started":
        return "○", "bold", "started"
    if one["Kind"] == "Refused":
        return "✖", "yellow", "another update was refused"
    if one["Kind"] == "RollbackRequested":
        return "↩", "yellow", "a person asked to roll back"
    if one["Kind"] == "RollbackRefused":
        return "✖", "yellow", "a person asked to roll back, too late"
    if one["Kind"] == "Waited":
        return "◐", "yellow", "waits"
    if one["Kind"] == "Warned":
        return "!", "yellow", "warnings"
    event, phase = one["Event"], one["PhaseAfter"]
    moved = (
        f", {words.percent(one['GreenPercent'])} to green"
        if "GreenPercent" in one and phase in ("shifting", "baking")
        else ""
    )
    if event == "stopped":
        return "✖", "red", _STOPPED["before" in one["Evidence"] and one["Evidence"]["before"]["blue"] is None]
    if event == "restore failed":
        return "✖", "red", "the rollback failed: both versions serve"
    if event == "alarms hold":
        return "◐", "yellow", "held: no traffic moves"
    return "✔", "green", f"{event} → {phase}{moved}"


def _saw(evidence: dict[str, Any]) -> Iterator[str]:
    """What the decision was made on, in lines."""
    seen = evidence.get("observation")
    if seen is None:
        return
    for name in ("blue", "green"):
        if seen.get(name):
            yield f"{name:<5}  {_fleet(seen[name])}"
    for alarm in seen.get("alarms", []):
        yield f'alarm  "{alarm["name"]}" {_alarm(alarm)}'


def _fleet(groups: list[dict[str, Any]]) -> str:
    ready, wanted = sum(one["ready"] for one in groups), sum(one["wanted"] for one in groups)
    asked = sum(one["asked_parts"] for one in groups) / _PARTS_PER_PERCENT
    known = [one["acknowledged_parts"] for one in groups if one["acknowledged_parts"] is not None]
    acknowledged = sum(known) / _PARTS_PER_PERCENT if known else None
    return f"{ready} of {wanted} instances ready; traffic: {words.percent(asked)} asked, {words.percent(acknowledged)} acknowledged"


def _alarm(alarm: dict[str, Any]) -> str:
    if alarm["value"] is None:
        return "does not exist any more"
    state = alarm["value"]
    if alarm["tripped_at"] is not None:
        state += " (tripped)"
    rule = alarm.get("rule")
    if rule is None:
        parts = [f'"{name}" {value}' for name, value in alarm.get("children", {}).items()]
        return f"{state}: {', '.join(parts)}" if parts else str(state)
    points = [one["value"] for one in alarm["datapoints"] if one is not None]
    value = words.number(points[-1]) if points else "no data"
    return f"{state}: {value}, alarm if {words.COMPARISONS[rule['comparison']]} {words.number(rule['threshold'])}"


def _verdict(out: Console, described: dict[str, Any]) -> None:
    line(out)
    shape, style = words.MARKS[described["Status"]]
    if "EndTime" in described:
        text = words.outcome(described)
    else:
        waits = described["WaitsFor"]
        text = f"It runs. {waits['Sentence']} ({words.remaining(waits, described['ObservedTime'])})"
    paragraph(out, f"{shape} {text}", style=style)
