"""Numbers, times and deployments in words: the same in every command."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

#: Shape and colour of each status, so that neither is needed alone.
MARKS: Final[Mapping[str, tuple[str, str]]] = {
    "InService": ("●", "green"),
    "Creating": ("◐", "cyan"),
    "Updating": ("◐", "cyan"),
    "InProgress": ("◐", "cyan"),
    "RollingBack": ("↩", "yellow"),
    "RolledBack": ("↩", "red"),
    "RollbackFailed": ("✖", "red"),
    "UpdateRollbackFailed": ("✖", "red"),
    "Completed": ("✔", "green"),
    "Deleting": ("◌", "dim"),
    "Deleted": ("◌", "dim"),
    "Failed": ("✖", "red"),
}

COMPARISONS: Final[Mapping[str, str]] = {
    "GreaterThanThreshold": ">",
    "GreaterThanOrEqualToThreshold": "≥",
    "LessThanThreshold": "<",
    "LessThanOrEqualToThreshold": "≤",
}

ROUTINGS: Final[Mapping[str, str]] = {
    "ALL_AT_ONCE": "all at once",
    "CANARY": "canary",
    "LINEAR": "linear",
    "ROLLING": "rolling",
}


#: Larger numbers are not written out.
_WHOLE_MAX: Final = 1e12


def printable(text: str, *, keeps_lines: bool = False) -> str:
    """What may go to a terminal of a text that callers, models or files made: a control sequence in it would be obeyed, so each character that is not
    printable is a dot, as in values that the comparison shows.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or (keeps_lines and one == "\n") else "·" for one in text)


def shortened(text: str, columns: int) -> str:
    """At most so many columns of a name: its middle goes, for the names of two versions begin alike, and often end so."""
    if len(text) <= columns:
        return text
    end = columns // 2
    return f"{text[: columns - 1 - end]}…{text[-end:]}"


def warned(one: Mapping[str, Any]) -> str:
    """What a warning is about, in a few words."""
    about = one.get("AlarmName") or one.get("VariantName")
    return f"{about}: {one['Kind']}" if about else str(one["Kind"])


def percent(value: float | None) -> str:
    """`20 %`, `33.3 %`; `?` where it is not known."""
    return "?" if value is None else f"{value:.3g} %"


def duration(seconds: float) -> str:
    """`0.4 s`, `5 s`, `42 s`, `3 min 5 s`, `2 h 10 min`."""
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f} s".replace(".0 ", " ")
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def milliseconds(value: float | None) -> str:
    """`3.21 ms`, `1.25 s`; `-` where nothing was answered."""
    if value is None:
        return "-"
    return f"{value:.3g} ms" if value < 999.5 else f"{value / 1000:.3g} s"


def more_milliseconds(value: float) -> str:
    """How many more: `+3.21 ms`, `-1.25 s`."""
    return f"{'-' if value < 0 else '+'}{milliseconds(abs(value))}"


def number(value: float) -> str:
    """`0.05`, `12`, `1,000,000`, `1e+300`."""
    return f"{value:,.0f}" if abs(value) < _WHOLE_MAX and value == int(value) else f"{value:.4g}"


def clock(moment: datetime) -> str:
    """The time of day here."""
    return moment.astimezone().strftime("%H:%M:%S")


def day_and_clock(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def change(deployment: Mapping[str, Any]) -> str:
    """`v1 → v2`."""
    blue = deployment.get("BlueConfigName")
    green = deployment["GreenConfigName"]
    return f"{blue} → {green}" if blue else f"creation with {green}"


def policy(deployment: Mapping[str, Any]) -> str:
    """`canary of 20 %`, `linear by 1 instance(s)`, `rolling by 50 %`, `all at once`."""
    asked = deployment["Policy"]
    name = ROUTINGS[asked["RoutingType"]]
    if "StepValue" not in asked:
        return name
    unit = "%" if asked["StepType"] == "CAPACITY_PERCENT" else "instance(s)"
    return f"{name} {'of' if asked['RoutingType'] == 'CANARY' else 'by'} {asked['StepValue']} {unit}"


def outcome(deployment: Mapping[str, Any]) -> str:
    """How an ended deployment ended."""
    took = duration((deployment["EndTime"] - deployment["StartTime"]).total_seconds())
    green, blue = deployment["GreenConfigName"], deployment.get("BlueConfigName")
    if deployment["Status"] == "Completed":
        return f"Completed after {took}: {green} is in production."
    if deployment["Status"] == "RollbackFailed":
        return f"The rollback failed after {took}; {blue} and {green} both serve. Update to either. {deployment.get('Reason', '')}".rstrip()
    kept = f"{blue} is in production again" if blue else "the endpoint was not created"
    return f"Rolled back after {took}; {kept}. {deployment.get('Reason', '')}".rstrip()


def remaining(waits: Mapping[str, Any], now: datetime) -> str:
    """How much longer a wait lasts, or how long it has lasted."""
    if "Until" in waits:
        return f"{duration((waits['Until'] - now).total_seconds())} to go"
    return f"for {duration((now - waits['Since']).total_seconds())} now"


def value(alarm: Mapping[str, Any]) -> str:
    """The newest value of what an alarm watches."""
    return number(alarm["Value"]) if "Value" in alarm else "no data"


def threshold(alarm: Mapping[str, Any]) -> str:
    """`alarm if > 0.05`."""
    if "Threshold" not in alarm:
        return ""
    return f"alarm if {COMPARISONS[alarm['ComparisonOperator']]} {number(alarm['Threshold'])}"
