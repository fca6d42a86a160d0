"""The screen of `bannister watch`: one deployment on 80 columns and at most 23 lines, drawn from one DescribeDeployment.

Everything is lines of text, cut at the width: a screen that wraps jumps.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from rich.console import Console, Group
from rich.text import Text

from bannister.cli import words
from bannister.cli.shadow_words import share

WIDTH: Final = 80
#: One less than a terminal has: the cursor needs one.
LINES_MAX: Final = 23
STEPS_MAX: Final = 5
ALARMS_MAX: Final = 3
VARIANTS_MAX: Final = 2

#: One of a fleet's, as DescribeDeployment has it.
Variant = dict[str, Any]

_BAR: Final = 40
_HALF: Final = 32
_SMALL_BAR: Final = 12
_NAME_MIN: Final = 8
_BLUE: Final = "blue"
_GREEN: Final = "green"

_STEPS: Final = {
    "Done": ("✔", "green", "done"),
    "Current": ("▶", "bold cyan", "now"),
    "ToCome": ("○", "dim", "to come"),
    "Stopped": ("✖", "red", "stopped here"),
    "Skipped": ("–", "dim", "skipped"),
}
_ALARMS: Final = {
    "OK": ("✔", "green"),
    "ALARM": ("✖", "bold red"),
    "INSUFFICIENT_DATA": ("?", "yellow"),
    "DELETED": ("✖", "red"),
}


def screen(found: dict[str, Any], note: str | None = None) -> Group:
    """The deployment as it is described. `note` stands in for the last line: what is wrong with the connection."""
    foot = _foot(found, note)
    alarms_max = ALARMS_MAX - bool(found.get("Warnings")) - (len(foot) - 1)
    lines = _joined(
        [
            _head(found),
            _ladder(found["Steps"]),
            _split(found),
            _fleets(found),
            [
                *([Text(f"  {shadow_figures(found['Shadow'])}")] if "Shadow" in found else []),
                *_alarms(found["Alarms"], alarms_max),
                *_warnings(found),
                *foot,
            ],
        ]
    )
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
        line.plain = words.printable(line.plain)
    return Group(*lines)


def _joined(blocks: list[list[Text]]) -> list[Text]:
    """Blocks with empty lines between them, as far as there is room."""
    room = LINES_MAX - sum(map(len, blocks))
    first, *rest = blocks
    lines = list(first)
    for number, block in enumerate(rest):
        # Where there is not room for all, the last blocks keep theirs.
        lines += [Text(), *block] if len(rest) - number <= room else block
    return lines


# --- who, and what it waits for


def _head(found: dict[str, Any]) -> list[Text]:
    title = _title(found)
    shape, style = words.MARKS[found["Status"]]
    if "EndTime" in found:
        return [
            title,
            Text(f"{shape} {words.outcome(found).split('. ')[0].split('; ')[0].rstrip('.')}.", style),
            Text(),
        ]
    waits = found["WaitsFor"]
    sentence = Text.assemble(
        (f"{shape} ", style), waits["Sentence"], (f" ({words.remaining(waits, found['ObservedTime'])})", "bold cyan")
    )
    rows = list(sentence.wrap(Console(width=WIDTH), WIDTH - 3))[:2]
    if len(rows) == 2:
        return [title, rows[0], Text("  ") + rows[1]]
    # The longest sentences need a second line; it is always there, so that nothing below moves.
    ends = found.get("EarliestEndTime")
    return [title, *rows, Text(f"  Done at {words.clock(ends)} at the earliest." if ends else "", "dim")]


def _title(found: dict[str, Any]) -> Text:
    """Whose deployment it is, from what to what, how, and its id; names give way where there is no room for all."""
    end = f"  {words.policy(found)}  {found['DeploymentId']}"
    names = ("EndpointName", "BlueConfigName", "GreenConfigName")
    longest = max(len(found.get(name, "")) for name in names)
    while True:
        short = {name: words.shortened(found[name], longest) for name in names if name in found}
        title = Text.assemble((short["EndpointName"], "bold"), "  ", words.change(short), (end, "dim"))
        if title.cell_len <= WIDTH or longest <= _NAME_MIN:
            return title
        longest -= 1


# --- steps


def _ladder(steps: Sequence[dict[str, Any]]) -> list[Text]:
    shown, before, after = _nearby(steps)
    lines = [Text(f"    {before} earlier", "dim")] if before else []
    lines += [_step(one) for one in shown]
    return [*lines, Text(f"    {after} more to come", "dim")] if after else lines


def _nearby(steps: Sequence[dict[str, Any]]) -> tuple[Sequence[dict[str, Any]], int, int]:
    """The steps around the present one, and how many are left out before and after; always `STEPS_MAX` lines."""
    if len(steps) <= STEPS_MAX:
        return steps, 0, 0
    present = next((index for index, one in enumerate(steps) if one["State"] in ("Current", "Stopped")), 0)
    if steps[-1]["State"] == "Done":
        present = len(steps) - 1
    if present < STEPS_MAX - 2:
        first, end = 0, STEPS_MAX - 1
    elif present > len(steps) - STEPS_MAX + 1:
        first, end = len(steps) - STEPS_MAX + 1, len(steps)
    else:
        first, end = present - 1, present + STEPS_MAX - 3
    return steps[first:end], first, len(steps) - end


def _step(one: dict[str, Any]) -> Text:
    shape, style, state = _STEPS[one["State"]]
    bake = f"bake {words.duration(one['BakeSeconds'])}" if one["BakeSeconds"] else "no bake"
    return Text.assemble(
        (f"  {shape} ", style),
        (
            f"{one['Number']:>2}  {words.percent(one['GreenPercent']):>6} to green  {bake:<16}",
            "" if "cyan" in style else "dim",
        ),
        (state, style),
    )


# --- split


def _split(found: dict[str, Any]) -> list[Text]:
    green = found["Green"]
    if "EndTime" in found:
        if found["Status"] == "RollbackFailed":
            return [Text(f"  {'split':<6}{'in the end':<13}both versions serve", "red")]
        done = found["Status"] == "Completed"
        return [_share("split", 100.0 if done else 0.0, "in the end")]
    return [
        _share("split", green.get("PercentAsked"), "asked"),
        _share("", green.get("PercentAcknowledged"), "acknowledged"),
    ]


def _share(label: str, share: float | None, kind: str) -> Text:
    cells = 0 if share is None else round(share * _BAR / 100)
    if share and not cells:
        cells = 1
    return Text.assemble(
        f"  {label:<6}{kind:<13}",
        ("█" * (_BAR - cells), _BLUE) if share is not None else ("·" * _BAR, "dim"),
        ("▒" * cells, _GREEN),
        f" {words.percent(share)} green",
    )


# --- fleets side by side


def _fleets(found: dict[str, Any]) -> list[Text]:
    blue, green = found.get("Blue", {}), found["Green"]
    pairs, lines = _pairs(blue.get("Variants", []), green["Variants"]), []
    for old, new in pairs[:VARIANTS_MAX]:
        # After a rollback that failed, blue is of two.
        config = (old or {}).get("EndpointConfigName", blue.get("EndpointConfigName"))
        lines += _pair(old, new, config, green["EndpointConfigName"], len(pairs) > 1)
    hidden = len(pairs) - VARIANTS_MAX
    return [*lines, Text(f"  {hidden} more variant(s)", "dim")] if hidden > 0 else lines


def _pairs(blue: Sequence[Variant], green: Sequence[Variant]) -> list[tuple[Variant | None, Variant | None]]:
    """The variants of both fleets by name; the only ones of each are a pair, whatever they are called."""
    if len(blue) == len(green) == 1:
        return [(blue[0], green[0])]
    left, pairs = list(blue), list[tuple[Variant | None, Variant | None]]()
    for new in green:
        old = next((one for one in left if one["VariantName"] == new["VariantName"]), None)
        if old is not None:
            left.remove(old)
        pairs.append((old, new))
    return [*pairs, *((old, None) for old in left)]


def _pair(
    blue: Variant | None, green: Variant | None, blue_name: str | None, green_name: str, several: bool
) -> list[Text]:
    """One variant of both fleets, every row on one scale."""
    one = green or blue or {}
    title = one["VariantName"] if several else f"last {one['Figures']['WindowSeconds']} s"
    head = Text.assemble(
        (f"  {words.shortened(title, 12):<14}", "dim"),
        (f"█ blue {words.shortened(blue_name or '(none)', _HALF - 9)}".ljust(_HALF), _BLUE),
        (f"▒ green {words.shortened(green_name, _HALF - 8)}", _GREEN),
    )
    old, new = ((fleet or {}).get("Figures", {}) for fleet in (blue, green))
    rows = [
        _row("requests", old.get("Requests"), new.get("Requests"), lambda value: f"{value:,}"),
        _row("errors", old.get("ErrorPercent"), new.get("ErrorPercent"), words.percent),
        _row("p50", old.get("P50Milliseconds"), new.get("P50Milliseconds"), words.milliseconds),
        _row("p99", old.get("P99Milliseconds"), new.get("P99Milliseconds"), words.milliseconds),
    ]
    if several:
        rows = [rows[0], rows[1], rows[3]]
    return [head, _instances(blue, green), *rows] if not several else [head, *rows]


def _instances(blue: Variant | None, green: Variant | None) -> Text:
    def ready(one: Variant | None) -> str:
        if one is None or "InstancesReady" not in one:
            return "-"
        again = f", {one['InstanceRestarts']} restart(s)" if one["InstanceRestarts"] else ""
        return f"{one['InstancesReady']} of {one['InstancesWanted']} ready{again}"

    return Text(f"  {'instances':<14}{words.shortened(ready(blue), _HALF - 1):<{_HALF}}{ready(green)}")


def shadow_figures(found: dict[str, Any]) -> str:
    """`shadow  99.8 % of 412 pairs agree, 412 copies, 0 skipped  Shadow-01 of v1`."""
    pairs = "nothing compared"
    if found["Pairs"]:
        pairs = f"{share(found['Agreeing'] / found['Pairs'])} of {found['Pairs']:,} pairs agree"
    whose = f"{found['VariantName']} of {found['EndpointConfigName']}"
    return f"{'shadow':<14}{pairs}, {found['Copies']:,} copies, {found['Skipped']:,} skipped  {whose}"


def _row(label: str, blue: float | None, green: float | None, worded: Any) -> Text:
    most = max(blue or 0.0, green or 0.0)

    def cell(value: float | None, block: str, style: str) -> tuple[tuple[str, str], ...]:
        text = "-" if value is None else worded(value)
        cells = max(1, round(value / most * _SMALL_BAR)) if value and most else 0
        return (f"{text:<11}", ""), ((block * cells).ljust(_HALF - 11), style)

    return Text.assemble(f"  {label:<14}", *cell(blue, "█", _BLUE), *cell(green, "▒", _GREEN))


# --- alarms, and the last line


def _alarms(alarms: Sequence[dict[str, Any]], most: int) -> list[Text]:
    """At most so many lines; those that are not well first."""
    shown = most if len(alarms) <= most else max(most - 1, 1)
    lines = []
    for one in sorted(alarms, key=lambda one: "TrippedTime" not in one and one["State"] == "OK")[:shown]:
        shape, style = _ALARMS[one["State"]]
        tripped = f"  tripped {words.clock(one['TrippedTime'])}" if "TrippedTime" in one else ""
        metric = f"{one['Statistic']} {one['MetricName']}" if "Statistic" in one else one.get("Rule", "")
        figures = [
            (f"{words.value(one):>9}", "bold" if one["State"] == "OK" else style),
            (f"  {words.threshold(one):<18}", ""),
        ]
        lines.append(
            Text.assemble(
                (f"  {shape} {words.shortened(one['AlarmName'], 21):<22}", style),
                *(figures if "Threshold" in one else []),  # a composite alarm has none
                (tripped or f"  {metric}", style if tripped else "dim"),
            )
        )
    hidden = len(alarms) - shown
    if hidden > 0 and most <= 1:
        lines[-1].append(f"  (+{hidden})", "dim")
    elif hidden > 0:
        lines.append(Text(f"    {hidden} more alarm(s)", "dim"))
    return lines or [Text("  no alarm guards this deployment", "yellow")]


def _warnings(found: dict[str, Any]) -> list[Text]:
    """One line for what is wrong: it says how many, and where the reasons are."""
    warnings = found.get("Warnings", [])
    if not warnings:
        return []
    one = warnings[0]
    if len(warnings) == 1:
        name = one.get("AlarmName") or one.get("VariantName")
        about = f"{words.shortened(name, 21)}: " if name else ""
        return [Text(f"  ! {about}{one['Kind']} (why: explain)", "yellow")]
    models, alarms = ({each[name] for each in warnings if name in each} for name in ("VariantName", "AlarmName"))
    subjects = ["memory"] if any("AlarmName" not in each and "VariantName" not in each for each in warnings) else []
    subjects += [f"{len(models)} model(s)"] if models else []
    subjects += [f"{len(alarms)} alarm(s)"] if alarms else []
    return [Text(f"  ! {len(warnings)} warnings about {', '.join(subjects)} (why: explain)", "yellow")]


def _foot(found: dict[str, Any], note: str | None) -> list[Text]:
    if note is not None:
        return [Text(f"  {note}", "bold yellow")]
    name = found["EndpointName"]
    if "EndTime" in found:
        return [Text(f"  the whole story: bannister explain {name}", "dim")]
    command = f"bannister rollback {name} --reason TEXT"
    whole = next((line for line in (f"  to stop it: {command}", f"  {command}") if len(line) <= WIDTH), None)
    # The longest names leave room for nothing beside them; so written it can still be pasted.
    return [
        Text(line, "dim") for line in ([whole] if whole else ["  bannister rollback \\", f"  {name} --reason TEXT"])
    ]


def progress_line(found: dict[str, Any]) -> str:
    """The same in one line, for logs."""
    at: datetime = found["ObservedTime"]
    if "EndTime" in found:
        return f"{words.clock(found['EndTime'])}  {words.outcome(found)}"
    waits = found["WaitsFor"]
    acknowledged = words.percent(found["Green"].get("PercentAcknowledged"))
    return (
        f"{words.clock(at)}  {found['Phase']}, step {found['CurrentStep']} of {len(found['Steps'])}, "
        f"{acknowledged} on green: {waits['Sentence']}"
    )
