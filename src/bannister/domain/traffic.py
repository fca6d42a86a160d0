"""Splits: the share of traffic that each fleet gets, in whole parts of `TRAFFIC_PARTS`.

Whole parts, so that a share survives being written down, and all shares of a whole always add up exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

#: The whole. One part in a million is finer than any request count can show.
TRAFFIC_PARTS = 1_000_000


@dataclass(frozen=True, slots=True)
class VariantSplit:
    """Green's share of one variant's traffic, and how many green instances take it."""

    variant: str
    #: Green's parts of TRAFFIC_PARTS; blue gets the rest.
    green_parts: int
    #: Green instances in rotation, so that each carries about what a production instance carries.
    green_instances: int


@dataclass(frozen=True, slots=True)
class Split:
    """What share of each variant's traffic goes to green."""

    variants: tuple[VariantSplit, ...]

    @property
    def all_green(self) -> bool:
        return all(one.green_parts == TRAFFIC_PARTS for one in self.variants)

    @property
    def all_blue(self) -> bool:
        return all(one.green_parts == 0 for one in self.variants)

    def of(self, variant: str) -> VariantSplit | None:
        return next((one for one in self.variants if one.variant == variant), None)


def apportion(shares: Sequence[float], whole: int = TRAFFIC_PARTS) -> tuple[int, ...]:
    """Whole parts in proportion to `shares`, adding up to `whole` exactly (largest remainder first).

    A share above zero never becomes zero parts. All shares zero: all parts zero.
    """
    assert all(0 <= share < math.inf for share in shares)
    largest = max(shares, default=0.0)
    if largest == 0:
        return tuple(0 for _ in shares)
    scaled = [share / largest for share in shares]  # so that no sum of them is infinite
    total = sum(scaled)
    exact = [share / total * whole for share in scaled]
    parts = [max(int(value), 1 if share > 0 else 0) for value, share in zip(exact, shares, strict=True)]
    by_remainder = sorted(range(len(parts)), key=lambda index: exact[index] - int(exact[index]), reverse=True)
    missing = whole - sum(parts)
    while missing > 0:
        for index in by_remainder:
            if missing > 0 and shares[index] > 0:
                parts[index] += 1
                missing -= 1
    while missing < 0:
        parts[parts.index(max(parts))] -= 1
        missing += 1
    return tuple(parts)
