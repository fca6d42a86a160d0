"""What a shadow's report says, in the words that the terminal and the page share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bannister.cli import words
from bannister.cli.shadow_rules import told

#: Of what was compared by other rules, so much is shown.
EARLIER_MAX: Final = 5


def names(found: Mapping[str, Any]) -> tuple[str, str]:
    """What to call the shadow and production in a table."""
    shadow = found.get("ShadowModelName") or found.get("ShadowVariantName") or "shadow"
    production = found.get("ProductionModelName") or found.get("ProductionVariantName") or "production"
    return (shadow, production) if shadow != production else ("shadow", "production")


def since(found: Mapping[str, Any]) -> str:
    """How long, and whether it goes on."""
    took = words.duration((found["EndTime"] - found["StartTime"]).total_seconds())
    now = "the shadow is there now" if found["Current"] else "the shadow is gone"
    return f"{took} until {words.day_and_clock(found['EndTime'])}; {now}"


def share(value: float) -> str:
    """`80.9 %`, `100 %`; just below all is never all."""
    text = f"{100 * value:.1f}"
    if text == "100.0" and value < 1:
        text = "99.9+"
    return f"{text.removesuffix('.0')} %"


def interval(agreement: Mapping[str, Any]) -> str:
    return f"{share(agreement['LowerBound']).removesuffix(' %')} to {share(agreement['UpperBound'])}"


def quantile(quantiles: Sequence[Mapping[str, float]], wanted: float) -> float | None:
    return next((one["Value"] for one in quantiles if one["Percent"] == wanted), None)


def percentile_name(percent: float) -> str:
    return "max" if percent == 100 else f"p{percent:g}"


@dataclass(frozen=True, slots=True)
class LabelPlace:
    """One place of labels: how many there are, and the changes that have a row, the most frequent first."""

    path: str
    unchanged: int
    total: int
    changes: Sequence[Mapping[str, Any]]

    def rest(self, shown: int) -> str | None:
        """What is not among the first so many changes; None: they are all."""
        times = self.total - self.unchanged - sum(one["Count"] for one in self.changes[:shown])
        if times <= 0:
            return None
        # Changes that have no row were counted, and not which they are.
        known = times == sum(one["Count"] for one in self.changes[shown:])
        return f"… and {f'{len(self.changes) - shown} ' if known else ''}more changes, {times:,} times"


def label_places(found: Mapping[str, Any]) -> list[LabelPlace]:
    """The table of labels, place by place, those with changes first."""
    places = []
    for one in found.get("LabelPlaces", []):
        rows = [row for row in found["Labels"] if row["Path"] == one["Path"] and row["Old"] != row["New"]]
        changes = sorted(rows, key=lambda row: -row["Count"])
        places.append(LabelPlace(one["Path"], one["Unchanged"], one["Unchanged"] + one["Changed"], changes))
    return sorted(places, key=lambda place: place.unchanged == place.total)


def changes_elsewhere(found: Mapping[str, Any]) -> int:
    """Changes of labels at places that are not in the table."""
    in_places: int = sum(one["Changed"] for one in found.get("LabelPlaces", []))
    in_rows: int = sum(one["Count"] for one in found["Labels"] if one["Old"] != one["New"])
    other: int = found["OtherLabelChanges"]
    return max(other - (in_places - in_rows), 0)


def left_out(found: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Exchanges that make no pair, why, and how many; and pairs that were not compared to their end."""
    rows = [(str(one["Reason"]), int(one["Count"])) for one in found["Unpaired"]]
    if found["PartlyCompared"]:
        rows.append(("the ends of answers that are too large or too deep", found["PartlyCompared"]))
    if found["Skipped"]:
        rows.append(("copies were not made, because a bound was reached", found["Skipped"]))
    rows += [
        (f"{one['Side'].lower()}: not written, {one.get('Reason', 'for an unknown reason')}", one["Count"])
        for one in found["Captured"]
        if one["Outcome"] == "Dropped"
    ]
    return rows


def earlier(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was compared by other rules before, the newest first: what it said, and in what the rules were other."""
    rows = []
    for one in sorted(found["Earlier"], key=lambda one: one["EndTime"], reverse=True)[:EARLIER_MAX]:
        agreement = one["Agreement"]
        said = (
            f"{share(agreement['Rate'])} of {agreement['Pairs']:,} pairs, until {words.day_and_clock(one['EndTime'])}"
        )
        rows.append((said, _other_rules(one.get("Rules"), found["Rules"])))
    return rows


def _other_rules(old: Mapping[str, Any] | None, present: Mapping[str, Any]) -> str:
    if old is None:
        return "by which rules is not known"
    was, now = dict(told(old)), dict(told(present))
    names = [name for name in {**now, **was} if name not in ("noise", "bodies")]  # which decide nothing
    return "; ".join(f"{name} {was.get(name, 'nothing')}" for name in names if was.get(name) != now.get(name))
