"""One pair: production's answer and the shadow's to the same request. Pure, bounded, and never an exception for what a model answers."""

from __future__ import annotations

from dataclasses import dataclass

from bannister.domain.capture.exchange import Exchange
from bannister.domain.comparison.rules import Rules


@dataclass(frozen=True, slots=True)
class Label:
    """One label-like value (a string, a whole number, a truth value) in both answers, and how often."""

    #: Where: `$.late`, `$.predictions[*]`.
    path: str
    old: str
    new: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two answers to the same request have in common."""

    agrees: bool
    #: They cannot be compared value by value, and why: another shape, another type, only one is an answer. None: they can.
    structural: str | None = None
    #: The shadow's answer holds NaN, infinity, or a number outside the rules' bounds.
    invalid: bool = False
    #: The first place where they differ, and what is there.
    path: str | None = None
    production: str | None = None
    shadow: str | None = None
    #: The largest absolute difference of two numbers; None: no numbers were compared.
    numeric_difference: float | None = None
    #: The mean of the shadow's numbers minus production's; None: as above.
    mean_difference: float | None = None
    #: Label-like values in both answers, the unchanged ones too; bounded.
    labels: tuple[Label, ...] = ()


def compare(production: Exchange, shadow: Exchange, rules: Rules) -> Comparison:
    """Compare the answers of two exchanges of the same request."""
    same = production.response is not None and shadow.response is not None
    same = same and production.response.body == shadow.response.body  # type: ignore[union-attr]
    return Comparison(same)
