"""How far back and how far forward something can be seen: a source of data, or several that are needed together."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bannister.clock import Clock
from bannister.reporting.report import Numbered

#: So many gaps of a source are remembered. One that cannot keep up makes one every second, which is one gap.
GAPS_MAX: Final = 600
#: That something was lost may be noticed so much later, when the watermark has passed it. Seconds.
NOTICED_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which something may have happened that nobody saw."""

    began: float
    ended: float

    def reaches_into(self, start: float, end: float) -> bool:
        """Whether a period may be known in part only."""
        return start < self.ended and end > self.began


class Horizon:
    """What one source of reports has said of itself."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        #: Everything that ended before this moment is stored; None: it has not said yet.
        self.watermark: float | None = None
        #: Since when it has seen everything without a gap; None: it has not said yet.
        self.covered_since: float | None = None
        #: The newest times in which it did not see everything, oldest first; not what was before it first spoke.
        self.gaps: deque[Gap] = deque(maxlen=GAPS_MAX)
        self._heard_at = clock.monotonic()
        self._last: tuple[str, int] = ("", 0)

    def is_old(self, report: Numbered) -> bool:
        """It was sent again although this process is past it: its watermark would seem to go back."""
        run, sequence = self._last
        return report.run == run and report.sequence <= sequence

    def hear(self, report: Numbered) -> bool:
        """Take what a stored report says; True: the watermark moved."""
        self._last = (report.run, report.sequence)
        if report.covered_since != self.covered_since:
            if self.watermark is not None and report.covered_since is not None:
                self._note_gap(Gap(self.watermark - NOTICED_SECONDS, report.covered_since))
            self.covered_since = report.covered_since
        if report.watermark is None or report.watermark == self.watermark:
            return False
        self.watermark = report.watermark
        self._heard_at = self._clock.monotonic()
        return True

    def _note_gap(self, gap: Gap) -> None:
        if self.gaps and gap.began <= self.gaps[-1].ended <= gap.ended:
            gap = Gap(min(self.gaps.pop().began, gap.began), gap.ended)
        self.gaps.append(gap)

    def silent_seconds(self) -> float:
        """How long the watermark has stood still."""
        return self._clock.monotonic() - self._heard_at


class View:
    """What can be judged by sources that are all needed: as far as the one that sees least."""

    def __init__(self, *horizons: Horizon) -> None:
        self._horizons: Sequence[Horizon] = horizons
        #: The end of the last pass over the alarms that look at it.
        self.passed: int | None = None

    def needs(self, source: Horizon) -> bool:
        return source in self._horizons

    @property
    def end(self) -> int | None:
        """The last final second's end; None: some source has not spoken."""
        marks = [one.watermark for one in self._horizons]
        known = [mark for mark in marks if mark is not None]
        return math.floor(min(known)) if len(known) == len(marks) else None

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """Times in which one of the sources did not see everything, those that ended last first."""
        return tuple(sorted((gap for one in self._horizons for gap in one.gaps), key=lambda gap: -gap.ended))

    @property
    def covered_since(self) -> float | None:
        """Since when all have seen everything without a gap; None: some source has not spoken."""
        known = [one.covered_since for one in self._horizons if one.covered_since is not None]
        return max(known) if len(known) == len(self._horizons) else None
