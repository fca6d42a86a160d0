"""What the demo shows while it runs: one line per event, and below them who answers the traffic now.

On a terminal the bar is live; elsewhere (a pipe, CI) it becomes one line whenever the split has changed visibly.
"""

from __future__ import annotations

import math
import textwrap
import time
from collections import Counter
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.rule import Rule
from rich.spinner import Spinner
from rich.text import Text

from bannister.demo.report import ERROR, Share, percentile
from bannister.demo.traffic import Answer, Traffic

COLUMNS = 80
#: The bar shows the answers of this long; shorter would flicker, longer would lag.
WINDOW_SECONDS = 1.5
REFRESH_PER_SECOND = 8
#: Where nothing can be redrawn: how far a share must move to be worth a line, and how long after the last line.
VISIBLE_CHANGE = 0.15
LINE_SECONDS = 2.0

INTRODUCTION = (
    "Real flights of 2013, five versions of a model. v1 is in production. v2 is better. v3 looks as good as v2 offline, "
    "but its code fails on one live flight in six: a canary, watched by alarms. v4 looks as good too, never fails, and is "
    "wrong, because it was trained on seconds and callers send minutes: a shadow, compared with v2. v5 is v2 with another seed."
)

#: Colour and shape, so that the bar can be read without either.
_LOOK = {
    "v1": ("bright_black", "░"),
    "v2": ("green", "▒"),
    "v3": ("yellow", "▓"),
    "v4": ("magenta", "▓"),
    "v5": ("cyan", "▒"),
    ERROR: ("bold red", "█"),
}


class Screen:
    """Prints events; between `__enter__` and `__exit__` it keeps the bar up to date."""

    def __init__(self, console: Console | None = None) -> None:
        wide = console or Console(highlight=False)
        wide.width = min(wide.width, COLUMNS)
        self.console = wide
        self._began = time.monotonic()
        self._traffic: Traffic | None = None
        self._asked: str | None = None
        self._printed: dict[str, float] = {}
        self._printed_at = -math.inf
        self._spinner = Spinner("dots", style="bright_black")
        self._live = Live(get_renderable=self._bar, console=wide, refresh_per_second=REFRESH_PER_SECOND, transient=True)

    def __enter__(self) -> Screen:
        self.console.print(Rule("[bold]Will this flight land late?[/]", style="bright_black"))
        for line in textwrap.wrap(INTRODUCTION, self.console.width - 2):
            self.console.print(Text(f" {line}"))
        self.console.print()
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def say(self, text: str, style: str = "") -> None:
        """One event, with the time since the start."""
        seconds = int(time.monotonic() - self._began)
        first, *rest = textwrap.wrap(text, self.console.width - 9) or [""]
        line = Text.assemble((f" {seconds // 60:2}:{seconds % 60:02}  ", "bright_black"), (first, style))
        for more in rest:
            line.append("\n        ").append(more, style)
        self.console.print(line)

    def follow(self, traffic: Traffic) -> None:
        """Show this traffic from now on."""
        self._traffic = traffic

    def unfollow(self) -> None:
        self._traffic = None

    def asked(self, text: str | None) -> None:
        """What the endpoint is asked to do with the traffic now; None: nothing is under way."""
        self._asked = text

    def tick(self) -> None:
        """Where the bar cannot be live: a line if the split has moved."""
        now = time.monotonic()
        if self.console.is_terminal or self._traffic is None or now - self._printed_at < LINE_SECONDS:
            return
        shares = {share.name: share.fraction for share in self._shares()}
        names = shares.keys() | self._printed.keys()
        if any(abs(shares.get(name, 0) - self._printed.get(name, 0)) >= VISIBLE_CHANGE for name in names):
            self._printed, self._printed_at = shares, now
            self.say("answered by " + "  ".join(f"{name} {share:.0%}" for name, share in sorted(shares.items())))

    def _shares(self) -> list[Share]:
        return shares_of(self._traffic.last(WINDOW_SECONDS)) if self._traffic else []

    def _bar(self) -> RenderableType:
        if self._traffic is None:
            return Padding(self._spinner, (0, 0, 0, 8))
        recent = self._traffic.last(WINDOW_SECONDS)
        return Group(Text(), bar(shares_of(recent), self.console.width - 4), self._legend(recent))

    def _legend(self, recent: list[Answer]) -> Text:
        legend = Text("  ")
        for share in shares_of(recent):
            legend.append(f"{share.name} {share.fraction:.0%}", _LOOK[share.name][0]).append("   ")
        if self._asked:
            legend.append(self._asked, "bright_black")
        rate = f"{len(recent) / WINDOW_SECONDS:.0f} answers/s"
        p99 = f"p99 {percentile([answer.milliseconds for answer in recent], 99):.0f} ms" if recent else ""
        right = f"{rate}  {p99}"
        legend.pad_right(max(1, self.console.width - 2 - len(legend) - len(right)))
        return legend.append(right, "bright_black")


def shares_of(answers: list[Answer]) -> list[Share]:
    """Who answered, in the order of the versions; errors last."""
    counts = Counter((answer.version or ERROR) if answer.ok else ERROR for answer in answers)
    return [Share(name, counts[name] / len(answers)) for name in _LOOK if counts[name]]


def bar(shares: list[Share], width: int) -> Text:
    """A bar of exactly `width` cells; every share that is not nothing gets at least one."""
    text = Text("  ")
    cells = [max(1, round(share.fraction * width)) for share in shares]
    if cells:
        largest = cells.index(max(cells))
        cells[largest] += width - sum(cells)
    for share, count in zip(shares, cells, strict=True):
        colour, shape = _LOOK[share.name]
        text.append(shape * count, colour)
    return text
