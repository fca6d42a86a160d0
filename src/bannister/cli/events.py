"""`bannister events`: what became of endpoints, as SageMaker would tell EventBridge of it, and how far webhooks have been told."""

from __future__ import annotations

import json as json_
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bannister.cli import words
from bannister.cli.client import Server, Unreachable
from bannister.cli.following import PATIENCE_SECONDS
from bannister.cli.output import as_json, as_json_line, console, line, paragraph

POLL_SECONDS: Final = 0.5
_PAGE: Final = 100
_STATUS_WIDTH: Final = 14
#: With less room beside the other columns it goes below them.
_SAID_WIDTH_MIN: Final = 30
#: Of the column of names, where nothing is known of them yet.
_NAME_WIDTH: Final = 12


def events(endpoint: str | None, last: int, follow: bool, url: str | None, json: bool) -> int:
    """Print the newest events, oldest first, and what comes while they are followed; the exit code."""
    server = Server(url)
    # One more than is shown says whether there is more.
    newest = _pages(server, endpoint, 0, "Descending")
    read = list(islice(newest, last + 1 if last else None))
    found = read[: last or None][::-1]
    if json and not follow:
        told = server.ask("bannister", "describe_event_webhooks")["Webhooks"]
        as_json({"Events": [json_.loads(one["Event"]) for one in found], "Webhooks": told})
        return 0
    page = _Page(console(), endpoint, max((len(one["EndpointName"]) for one in found), default=_NAME_WIDTH))
    if not json:
        _begin(page.out, found, endpoint, server, more=len(read) > len(found))
    for one in found:
        _one(page, one, json)
    if follow:
        return _follow(server, endpoint, found[-1]["Sequence"] if found else 0, page, json)
    webhooks(page.out, server.ask("bannister", "describe_event_webhooks")["Webhooks"])
    return 0


def webhooks(out: Console, told: list[dict[str, Any]], *, only_in_trouble: bool = False) -> None:
    """A line for each address that is told of events."""
    for one in told:
        failing = "FailingSince" in one
        if only_in_trouble and not failing and not _has_lost_lately(one):
            continue
        shape, style = ("!", "yellow") if failing or one["GivenUp"] else ("✔", "green")
        counts = f"{one['Delivered']} told, {one['Waiting']} wait, {one['GivenUp']} given up"
        line(out, (f"{shape} ", style), (f"events to {one['Address']}: {counts}", style))
        if failing:
            since = words.day_and_clock(one["FailingSince"])
            paragraph(out, f"It has not taken them since {since}: {one.get('Error', '')}", indent=2, style="dim")
        if one["GivenUp"]:
            at = words.day_and_clock(one["LastGivenUpTime"])
            why = one.get("LastGivenUpReason", "")
            paragraph(out, f"The last that it will not be told of was given up at {at}: {why}", indent=2, style="dim")


def _has_lost_lately(one: dict[str, Any]) -> bool:
    """Nothing was told since an event was given up."""
    lost, told = one.get("LastGivenUpTime"), one.get("LastDeliveredTime")
    return lost is not None and (told is None or lost > told)


class _Page:
    """What the lines before have said."""

    def __init__(self, out: Console, endpoint: str | None, width: int) -> None:
        self.out = out
        #: Of the column of names; 0: there is none.
        self.width = 0 if endpoint is not None else width
        self.day = ""


def _pages(server: Server, endpoint: str | None, sequence: int, order: str) -> Iterator[dict[str, Any]]:
    return server.pages(
        "bannister", "list_events", "Events", EndpointName=endpoint, After=sequence, SortOrder=order, MaxResults=_PAGE
    )


def _begin(out: Console, found: Sequence[dict[str, Any]], endpoint: str | None, server: Server, *, more: bool) -> None:
    if not found:
        of = f" of {endpoint}" if endpoint is not None else ""
        line(out, f"There is no event{of} at {server.url} yet.")
    elif more:
        line(out, ("Earlier ones are not shown; --last 0 shows all.", "dim"))


def _follow(server: Server, endpoint: str | None, sequence: int, page: _Page, json: bool) -> int:
    silent_since = None
    try:
        while True:
            time.sleep(POLL_SECONDS)
            try:
                for one in _pages(server, endpoint, sequence, "Ascending"):
                    _one(page, one, json)
                    sequence = one["Sequence"]
            except Unreachable:
                silent_since = time.monotonic() if silent_since is None else silent_since
                if time.monotonic() - silent_since > PATIENCE_SECONDS:
                    raise
            else:
                silent_since = None
    except KeyboardInterrupt:
        return 130


def _one(page: _Page, one: dict[str, Any], json: bool) -> None:
    if json:
        as_json_line(json_.loads(one["Event"]))
        return
    detail = json_.loads(one["Event"])["detail"]
    day = _day(one["Time"])
    if day != page.day:
        page.day = day
        line(page.out, (day, "dim"))
    if one["DetailType"] == "SageMaker Endpoint State Change":
        status = "".join(word.capitalize() for word in one["EndpointStatus"].split("_"))
        shape, style = words.MARKS[status]
        said = detail.get("FailureReason") or detail["EndpointConfigName"]
        _row(page, one, Text(f"{shape} {status}", style), Text(said))
    else:
        _row(page, one, Text(""), Text(_stage(detail), "dim"))


def _stage(detail: dict[str, Any]) -> str:
    """What is done to blue and to green, in AWS's words."""
    pending = detail.get("PendingDeploymentSummary", {})
    said = [
        status["StatusMessage"]
        for variant in (*detail["ProductionVariants"], *pending.get("ProductionVariants", ()))
        for status in variant.get("VariantStatus", ())
    ]
    to = f"to {pending['EndpointConfigName']}" if pending else ""
    if said:
        return ": ".join([one for one in (to, " ".join(dict.fromkeys(said))) if one])
    return f"{to}: nothing is left to do." if to else "done"


def _row(page: _Page, one: dict[str, Any], status: Text, said: Text) -> None:
    """Columns; the last is wrapped in its own width in a terminal, and is whole in a pipe."""
    clock, out = words.clock(one["Time"]), page.out
    name = one["EndpointName"].ljust(page.width) + "  " if page.width else ""
    if not out.is_terminal:
        line(out, f"{clock}  {name}{status.plain.ljust(_STATUS_WIDTH - 1)} {said.plain}".rstrip())
        return
    room = out.width - len(f"{clock}  {name}") - _STATUS_WIDTH
    if room < _SAID_WIDTH_MIN or len(status) >= _STATUS_WIDTH:
        indent, how = len(clock) + 2, (status.plain, str(status.style))
        head = [(clock, "dim"), "  ", *([(one["EndpointName"], "bold"), "  "] if page.width else ())]
        if indent + len(one["EndpointName"] if page.width else "") + 2 + len(status) <= out.width:
            line(out, *head, how)
        else:
            line(out, *head)
            line(out, " " * indent, how)
        if said.plain:
            paragraph(out, said.plain, indent=indent, style=str(said.style))
        return
    grid = Table.grid(expand=True)
    grid.add_column(width=len(clock) + 2)
    if page.width:
        grid.add_column(width=page.width + 2, no_wrap=True)
    grid.add_column(width=_STATUS_WIDTH, no_wrap=True)
    grid.add_column(ratio=1)
    names = (Text(name, "bold"),) if page.width else ()
    grid.add_row(Text(clock, "dim"), *names, status, Text(words.printable(said.plain), said.style))
    out.print(grid)


def _day(moment: datetime) -> str:
    return words.day_and_clock(moment)[:10]
