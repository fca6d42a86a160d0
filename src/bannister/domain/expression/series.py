"""Values over time: what expressions compute with.

A series has one slot for each period of its grid, None where there is no datapoint. Series of different periods meet on a grid that has the times of
both, each keeping its datapoints at their times.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from bannister.domain.metric.identity import MetricIdentity


@dataclass(frozen=True, slots=True)
class Grid:
    """`count` times, `period_seconds` apart, from `start` on. All are whole seconds."""

    start: int
    period_seconds: int
    count: int

    def times(self) -> range:
        return range(self.start, self.start + self.count * self.period_seconds, self.period_seconds)


@dataclass(frozen=True, slots=True)
class Source:
    """Where the values of a series come from, for labels."""

    metric: MetricIdentity
    statistic: str
    period_seconds: int


@dataclass(frozen=True, slots=True)
class Series:
    """One value or None for each time of the grid."""

    grid: Grid
    values: tuple[float | None, ...]
    #: What it is called among others of its array.
    label: str = field(default="", compare=False)
    #: The metric that it is computed from; None: from several, or none.
    source: Source | None = field(default=None, compare=False)

    def with_values(self, values: Sequence[float | None]) -> Series:
        return replace(self, values=tuple(values))

    def points(self) -> list[tuple[int, float]]:
        """The datapoints that there are, oldest first."""
        return [(at, value) for at, value in zip(self.grid.times(), self.values, strict=True) if value is not None]

    def on(self, grid: Grid) -> tuple[float | None, ...]:
        """The slots of a grid that has all times of this one."""
        if grid == self.grid:
            return self.values
        slots: list[float | None] = [None] * grid.count
        first = (self.grid.start - grid.start) // grid.period_seconds
        step = self.grid.period_seconds // grid.period_seconds
        slots[first : first + len(self.values) * step : step] = self.values
        return tuple(slots)


def common_grid(grids: Sequence[Grid]) -> Grid:
    """The coarsest grid that has all times of at least one grid."""
    first = grids[0]
    if all(grid == first for grid in grids):
        return first
    start = min(grid.start for grid in grids)
    period = math.gcd(*(grid.period_seconds for grid in grids), *(grid.start - start for grid in grids))
    last = max(grid.start + (grid.count - 1) * grid.period_seconds for grid in grids)
    return Grid(start, period, (last - start) // period + 1)
