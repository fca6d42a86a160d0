"""Reports that the control plane has not acknowledged yet."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Sequence

from bannister.domain.metric.summary import Acknowledgement, Report, Summary
from bannister.signals import Signal

#: Summaries in one report: bounds the length of a line.
_SUMMARIES_MAX = 100


class Outbox:
    """Numbers reports and keeps them until they are acknowledged, at most `limit`: then the oldest are dropped.

    What a dropped report covered is a gap, so every report read afterwards claims to be gapless from there on only.
    """

    def __init__(self, run: str, limit: int) -> None:
        self._run = run
        self._limit = limit
        self._reports: deque[Report] = deque()
        self._last = 0
        #: A report up to this number may be with the control plane already: it must not change any more.
        self._read = 0
        self._watermark: float | None = None
        self._dropped_until = 0.0
        self.changed = Signal()

    def put(self, watermark: float | None, covered_since: float | None, summaries: Sequence[Summary]) -> None:
        """Report summaries and the watermark; nothing new is no report."""
        if not summaries and watermark == self._watermark:
            return
        head = max(len(summaries) - 1, 0) // _SUMMARIES_MAX * _SUMMARIES_MAX
        for start in range(0, head, _SUMMARIES_MAX):
            # The watermark holds only once all summaries are there.
            self._append(self._watermark, covered_since, summaries[start : start + _SUMMARIES_MAX])
        self._append(watermark, covered_since, summaries[head:])
        self._watermark = watermark
        self.changed.announce()

    def next_after(self, sequence: int) -> Report | None:
        """The oldest report with a greater number."""
        if not self._reports or self._reports[-1].sequence <= sequence:
            return None
        first = self._reports[0].sequence
        report = self._reports[max(sequence + 1 - first, 0)]
        self._read = max(self._read, report.sequence)
        if report.covered_since is not None and report.covered_since < self._dropped_until:
            return dataclasses.replace(report, covered_since=self._dropped_until)
        return report

    def acknowledge(self, acknowledgement: Acknowledgement) -> None:
        """Forget what the control plane has; the word of an earlier run's reports is ignored."""
        if acknowledgement.run != self._run:
            return
        while self._reports and self._reports[0].sequence <= acknowledgement.sequence:
            self._reports.popleft()

    def __len__(self) -> int:
        return len(self._reports)

    def _append(self, watermark: float | None, covered_since: float | None, summaries: Sequence[Summary]) -> None:
        newest = self._reports[-1] if self._reports else None
        if newest is not None and not newest.summaries and newest.sequence > self._read:
            # It said only how far things are, and nobody has read it: the new one says it better.
            self._reports.pop()
        else:
            self._last += 1
        self._reports.append(Report(self._run, self._last, watermark, covered_since, tuple(summaries)))
        while len(self._reports) > self._limit:
            dropped = self._reports.popleft()
            self._dropped_until = max(self._dropped_until, dropped.watermark or 0.0)
