"""Small plots as SVG, drawn in Python: a page that holds them needs no scripts and nothing from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 640
HEIGHT: Final = 230
#: Room for the axes' labels.
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 34, 14, 40

#: Values that differ by less than this share of themselves are drawn as one: the labels of an axis would all read the same.
_SAME: Final = 1e-4

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Axis:
    """One direction of a plot: where it begins and ends, and what is written at it."""

    low: float
    high: float
    title: str
    ticks: Sequence[float]
    write: Callable[[float], str] = lambda value: f"{value:g}"
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """Where a value is, 0 to 1; what is outside is at the end."""
        if self.logarithmic:
            low, high, value = math.log(self.low), math.log(self.high), math.log(max(value, self.low))
        else:
            low, high = self.low, self.high
        return min(max((value - low) / ((high - low) or 1.0), 0.0), 1.0)


@dataclass(frozen=True, slots=True)
class Line:
    """One curve: `style` is a class of the page's style sheet."""

    name: str
    style: str
    points: Sequence[Point]
    #: Points further apart than this are not joined: nothing is known of what is between. None: all are.
    gap: float | None = None

    @property
    def pieces(self) -> list[list[Point]]:
        """Points that are joined."""
        found: list[list[Point]] = []
        for one in self.points:
            if found and (self.gap is None or one[0] - found[-1][-1][0] <= self.gap):
                found[-1].append(one)
            else:
                found.append([one])
        return found


def linear(values: Sequence[float], title: str, write: Callable[[float], str] = lambda value: f"{value:g}") -> Axis:
    """An axis with round numbers that holds all values."""
    low, high = min(values), max(values)
    if high - low <= _SAME * max(abs(low), abs(high)):
        low, high = low - (abs(low) * 0.05 or 0.5), high + (abs(high) * 0.05 or 0.5)
    step = _round_step((high - low) / 4)
    low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    return Axis(low, high, title, [low + step * index for index in range(round((high - low) / step) + 1)], write)


def of_time(seconds: float, title: str, write: Callable[[float], str]) -> Axis:
    """An axis from zero to so many seconds, with round times of day at it."""
    steps = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)
    step = next((one for one in steps if seconds / one <= 6), 7200)
    return Axis(0.0, max(seconds, 1.0), title, [step * index for index in range(int(seconds // step) + 1)], write)


def logarithmic(
    values: Sequence[float], title: str, write: Callable[[float], str] = lambda value: f"{value:g}"
) -> Axis:
    """An axis of powers of ten (with 2 and 5 between, where there are few) that holds all positive values."""
    positive = [value for value in values if value > 0] or [1.0]
    low, high = min(positive), max(positive)
    if high / low < 1.5:
        low, high = low / 1.3, high * 1.3
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if len(decades) <= 3 else (1,)
    ticks = [factor * 10.0**decade for decade in decades for factor in factors]
    return Axis(low, high, title, [one for one in ticks if low <= one <= high], write, logarithmic=True)


def chart(across: Axis, up: Axis, lines: Sequence[Line], *, dots: bool = False) -> str:
    """Curves over two axes, with their names below."""
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(up.title)} over {escape(across.title)}">'
    ]
    for tick in up.ticks:
        y = _y(up, tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="end" x="{_LEFT - 8}" y="{y + 4:.1f}">{escape(up.write(tick))}</text>')
    for tick in across.ticks:
        x = _x(across, tick)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}"/>')
        parts.append(f'<text class="mid" x="{x:.1f}" y="{HEIGHT - _BOTTOM + 16}">{escape(across.write(tick))}</text>')
    parts.append(f'<text class="mid dim" x="{(WIDTH + _LEFT) / 2}" y="{HEIGHT - 6}">{escape(across.title)}</text>')
    for one in lines:
        for piece in one.pieces:
            places = [(_x(across, x), _y(up, y)) for x, y in piece]
            if len(places) > 1:
                drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
                parts.append(f'<polyline class="curve {one.style}" points="{drawn}"/>')
            if dots or len(places) == 1:
                parts += [f'<circle class="dot {one.style}" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in places]
    parts.append("</svg>")
    return "".join(parts)


def share_bar(share: float, style: str, sure: tuple[float, float] | None = None) -> str:
    """A share of a whole as a bar, with the interval around it where there is one."""
    width, height = 400, 26
    x = [value * (width - 2) + 1 for value in (share, *(sure or ()))]
    around = f'<path class="sure" d="M{x[1]:.1f} 2V24M{x[2]:.1f} 2V24M{x[1]:.1f} 13H{x[2]:.1f}"/>' if sure else ""
    return (
        f'<svg class="bar" viewBox="0 0 {width} {height}" role="img" aria-label="{100 * share:.1f} %">'
        f'<rect class="whole" x="1" y="6" width="{width - 2}" height="14"/>'
        f'<rect class="fill {style}" x="1" y="6" width="{max(x[0] - 1, 0.5):.1f}" height="14"/>{around}</svg>'
    )


def _x(axis: Axis, value: float) -> float:
    return _LEFT + axis.place(value) * (WIDTH - _LEFT - _RIGHT)


def _y(axis: Axis, value: float) -> float:
    return HEIGHT - _BOTTOM - axis.place(value) * (HEIGHT - _TOP - _BOTTOM)


def _round_step(rough: float) -> float:
    """1, 2 or 5 times a power of ten, not less than `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
