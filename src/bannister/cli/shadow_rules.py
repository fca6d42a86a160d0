"""`bannister shadow rules`: show and change what counts as the same answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bannister.cli import words
from bannister.cli.client import Server
from bannister.cli.output import as_json, console, line


@dataclass(frozen=True, slots=True)
class Change:
    """What the options ask for; None: as it is."""

    ignore: Sequence[str] | None = None
    unordered: Sequence[str] | None = None
    atol: float | None = None
    rtol: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    noise_percent: float | None = None
    bodies: bool | None = None
    reset: bool = False

    def applied_to(self, present: Mapping[str, Any]) -> dict[str, Any]:
        """The whole rules afterwards."""
        asked = {
            "IgnoredPaths": self.ignore or None,
            "UnorderedPaths": self.unordered or None,
            "AbsoluteTolerance": self.atol,
            "RelativeTolerance": self.rtol,
            "Minimum": self.minimum,
            "Maximum": self.maximum,
            "NoisePercent": self.noise_percent,
            "KeepsBodies": self.bodies,
        }
        named = {name: value for name, value in asked.items() if value is not None}
        return named if self.reset else {**present, **named}


def rules(endpoint: str, change: Change, url: str | None, *, json: bool) -> int:
    """Print the rules, changed if anything is asked for; the exit code."""
    server = Server(url)
    present = server.ask("bannister", "describe_comparison_rules", EndpointName=endpoint)["Rules"]
    if change != Change():
        after = change.applied_to(present)
        present = server.ask("bannister", "put_comparison_rules", EndpointName=endpoint, Rules=after)["Rules"]
    if json:
        as_json({"EndpointName": endpoint, "Rules": present})
        return 0
    out = console()
    for name, said in told(present):
        line(out, f"{name:<11}", said)
    return 0


def told(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The rules in words."""
    said = [
        (
            "numbers",
            f"equal within {found['AbsoluteTolerance']:g} + {found['RelativeTolerance']:g} × |production's|",
        ),
        ("ignored", ", ".join(found["IgnoredPaths"]) or "nothing"),
    ]
    if found["UnorderedPaths"]:
        said.append(("unordered", ", ".join(found["UnorderedPaths"])))
    bounds = [f"below {found['Minimum']:g}"] if "Minimum" in found else []
    bounds += [f"above {found['Maximum']:g}"] if "Maximum" in found else []
    said.append(("invalid", ", ".join(["NaN and infinity", *bounds])))
    noise = found["NoisePercent"]
    said.append(("noise", f"measured on {words.percent(noise)} of the requests" if noise else "not measured"))
    said.append(("bodies", "kept of the worst pairs" if found["KeepsBodies"] else "not kept"))
    return said
