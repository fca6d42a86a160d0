"""`bannister shadow report`: what a shadow's answers have in common with production's, on a terminal."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from bannister.cli import words
from bannister.cli.client import Server
from bannister.cli.output import as_json, console
from bannister.cli.output import line as output_line
from bannister.cli.output import paragraph as output_paragraph
from bannister.cli.shadow_page import write
from bannister.cli.shadow_rules import told
from bannister.cli.shadow_words import (
    changes_elsewhere,
    earlier,
    interval,
    label_places,
    left_out,
    names,
    percentile_name,
    quantile,
    share,
    since,
)

#: Cells of a bar.
BAR: Final = 24
LABEL_ROWS_MAX: Final = 10
WORST_MAX: Final = 10
_NAME: Final = 14
_LATENCY_PERCENTS: Final = (50.0, 95.0, 99.0, 100.0)
#: A report is read: nothing of it is longer than this in a pipe either, where nothing is cut off.
COLUMNS: Final = 80
line: Final = functools.partial(output_line, columns=COLUMNS)
paragraph: Final = functools.partial(output_paragraph, columns=COLUMNS)


def report(
    endpoint: str, variant: str | None, config: str | None, url: str | None, *, page: Path | None, json: bool
) -> int:
    """Print the report, or write the page; the exit code."""
    found = Server(url).ask(
        "bannister",
        "describe_shadow_report",
        EndpointName=endpoint,
        ShadowVariantName=variant,
        EndpointConfigName=config,
    )
    if json:
        as_json(found)
        return 0
    out = console()
    if page is not None:
        write(found, page)
        paragraph(out, found["Verdict"])
        output_line(out, (f"The page is in {page}.", "dim"))  # a path is not broken
        return 0
    show(out, found)
    return 0


def show(out: Console, found: Mapping[str, Any]) -> None:
    """All of it, in as many lines as it takes; none longer than the terminal is wide, or than `COLUMNS` in a pipe."""
    shadow, production = names(found)
    line(out, (f"{found['EndpointName']}: {shadow} beside {production}", "bold"), (f"  {since(found)}", "dim"))
    line(out)
    paragraph(out, found["Verdict"], style="bold")
    if "Trouble" in found:
        paragraph(out, found["Trouble"], style="yellow")
    if found["Agreement"]["Pairs"]:
        _agreement(out, found)
        _labels(out, found)
        _numbers(out, found)
        _latency(out, found)
    _left_out(out, found)
    _worst(out, found)
    _rules(out, found)


def short_names(found: Mapping[str, Any]) -> tuple[str, str]:
    """The same where there is little room: what they are, where their names would look alike."""
    shadow, production = (_cut(name, _NAME).strip() for name in names(found))
    return (shadow, production) if shadow != production else ("shadow", "production")


def _heading(out: Console, text: str, more: str = "") -> None:
    line(out)
    line(out, (text, "bold"), (f"  {more}" if more else "", "dim"))


def _agreement(out: Console, found: Mapping[str, Any]) -> None:
    shadow, _ = short_names(found)
    _heading(out, "Agreement", "with the interval that holds at every look")
    rows = [(shadow, found["Agreement"], "cyan")]
    if "NoiseFloor" in found:
        rows.append(("noise floor", found["NoiseFloor"], "green"))
    for name, one, style in rows:
        if not one["Pairs"]:
            continue
        filled = int(BAR * one["Rate"])
        line(
            out,
            f"  {_cut(name)} ",
            ("█" * filled, style),
            ("░" * (BAR - filled), "dim"),
            f" {share(one['Rate']):>7}  {interval(one):<15}",
            (f" {one['Pairs']:,} pairs", "dim"),
        )
    if found["StructuralDifferences"]:
        line(out, f"  {found['StructuralDifferences']:,} pairs differ in structure")
    if found["InvalidOutputs"]:
        line(out, (f"  {found['InvalidOutputs']:,} answers of {shadow} hold invalid numbers", "red"))


def _labels(out: Console, found: Mapping[str, Any]) -> None:
    shadow, production = names(found)
    places = label_places(found)
    if not places:
        return
    _heading(out, "Labels", f"{production} → {shadow}")
    for place in places[:LABEL_ROWS_MAX]:
        line(out, f"  {place.path}  ", (f"{place.unchanged:,} of {place.total:,} unchanged", "dim"))
        first = place.changes[:LABEL_ROWS_MAX]
        width = max((len(_short(one["Old"])) for one in first), default=0)
        for one in first:
            moved = f"{_short(one['Old']):>{width}} → {_short(one['New']):<24}"
            line(out, f"    {moved} {one['Count']:>7,}  ", (share(one["Count"] / place.total), "dim"))
        rest = place.rest(LABEL_ROWS_MAX)
        if rest is not None:
            line(out, (f"    {rest}", "dim"))
    if len(places) > LABEL_ROWS_MAX:
        line(out, (f"  … and {len(places) - LABEL_ROWS_MAX} more places", "dim"))
    elsewhere = changes_elsewhere(found)
    if elsewhere:
        line(out, (f"  {elsewhere:,} more changes of other labels", "dim"))


def _numbers(out: Console, found: Mapping[str, Any]) -> None:
    numbers = found.get("NumericDifference")
    if numbers is None:
        return
    shadow, production = names(found)
    _heading(out, "Numbers", "the largest difference in each pair")
    values = [(percentile_name(one), quantile(numbers["Quantiles"], one)) for one in (50.0, 90.0, 99.0, 100.0)]
    line(out, "  ", "   ".join(f"{name} {value:.4g}" for name, value in values if value is not None))
    line(out, (f"  {shadow} minus {production}: {numbers['SignedMean']:+.4g} on average", "dim"))


def _latency(out: Console, found: Mapping[str, Any]) -> None:
    shadow, production = names(found)
    old, new = found["ProductionLatency"], found["ShadowLatency"]
    if not old or not new:
        return
    short_shadow, short_production = short_names(found)
    _heading(out, "Latency", "both to one scale")
    longest = max(value for one in (old, new) if (value := quantile(one, 99.0)) is not None) or 1.0
    for percent in _LATENCY_PERCENTS[:-1]:
        for name, quantiles, style in ((short_production, old, "green"), (short_shadow, new, "cyan")):
            value = quantile(quantiles, percent) or 0.0
            filled = max(1, round(BAR * value / longest))
            label = percentile_name(percent) if quantiles is old else ""
            line(out, f"  {label:<4}{_cut(name)} ", ("█" * filled, style), f" {words.milliseconds(value)}")
    paired = [(percentile_name(one), quantile(found["LatencyDifference"], one)) for one in (5.0, 50.0, 95.0)]
    said = ", ".join(f"{name} {words.more_milliseconds(value)}" for name, value in paired if value is not None)
    line(out, (f"  {shadow} minus {production}, request by request: {said}", "dim"))


def _left_out(out: Console, found: Mapping[str, Any]) -> None:
    rows = left_out(found)
    if rows:
        _heading(out, "Not compared")
        for reason, count in rows:
            line(out, f"  {count:>7,}  {reason}")


def _worst(out: Console, found: Mapping[str, Any]) -> None:
    if not found["Worst"]:
        return
    shadow, production = short_names(found)
    _heading(out, "Worst pairs")
    width = max(map(len, ("request", production, shadow))) + 2
    for number, one in enumerate(found["Worst"][:WORST_MAX], start=1):
        line(out, f"  {number:>2}  {one['Why']}", (f"  {words.clock(one['Time'])}", "dim"))
        for name, body in (
            ("request", one.get("Request")),
            (production, one.get("ProductionAnswer")),
            (shadow, one.get("ShadowAnswer")),
        ):
            if body is not None:
                line(out, (f"      {_cut(name, width)}{_short(body['Text'], 2000)}", "dim"))


def _rules(out: Console, found: Mapping[str, Any]) -> None:
    _heading(out, "Rules", f"bannister shadow rules {found['EndpointName']}")
    for name, said in told(found["Rules"]):
        line(out, (f"  {name:<11}{said}", "dim"))
    if "RulesTime" in found:
        line(out, (f"  {'since':<11}{words.day_and_clock(found['RulesTime'])}", "dim"))
    rows = earlier(found)
    if rows:
        _heading(out, "By other rules before", f"{found['EarlierPairs']:,} pairs, which are not counted above")
        for said, rules in rows:
            line(out, f"  {said}")
            line(out, (f"    {rules}", "dim"))


def _cut(name: str, width: int = _NAME) -> str:
    return f"{name if len(name) < width else name[: width - 2] + '…':<{width}}"


def _short(text: str, length: int = 24) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1] + "…"
