"""Reports that the control plane has not acknowledged yet."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

from bannister.domain.metric.summary import Acknowledgement
from bannister.reporting.report import ReportT
from bannister.signals import Signal

ItemT = TypeVar("ItemT")
#: Makes a report of its run, sequence, watermark, covered_since and items.
Pack: TypeAlias = Callable[[str, int, float | None, float | None, tuple[ItemT, ...]], ReportT]

#: Items in one report: bounds the length of a line.
_ITEMS_MAX = 100


class Outbox(Generic[ItemT, ReportT]):
    """Numbers reports and keeps them until they are acknowledged, at most `limit`: then the oldest are dropped.

    What a dropped report covered is a gap, so every report read afterwards claims to be gapless from there on only.
    """

    def __init__(
        self, run: str, limit: int, pack: Pack[ItemT, ReportT], *, items_per_report_max: int = _ITEMS_MAX
    ) -> None:
        self._run = run
        self._limit = limit
        self._pack = pack
        self._items_max = items_per_report_max
        self._reports: deque[ReportT] = deque()
        self._last = 0
        #: The newest report says only how far things are.
        self._newest_is_bare = False
        #: A report up to this number may be with the control plane already: it must not change any more.
        self._read = 0
        self._watermark: float | None = None
        self._dropped_until = 0.0
        self.changed = Signal()

    def put(
        self,
        watermark: float | None,
        covered_since: float | None,
        items: Sequence[ItemT],
        account: Callable[[Sequence[ItemT]], Any | None] = lambda _rest: None,
    ) -> None:
        """Report items and the watermark; nothing new is no report.

        `account`: what is accounted for when all has come but the rest of these items. It goes into each report (a member `account`), so that a process that is killed between
        two of them leaves an account that is right. None: nothing new.
        """
        head = max(len(items) - 1, 0) // self._items_max * self._items_max
        for start in range(0, head, self._items_max):
            # The watermark holds only once all items are there.
            end = start + self._items_max
            self._append(self._watermark, covered_since, items[start:end], account(items[end:]))
        last = account(())
        if not items and last is None and watermark == self._watermark:
            return
        self._append(watermark, covered_since, items[head:], last)
        self._watermark = watermark
        self.changed.announce()

    def next_after(self, sequence: int) -> ReportT | None:
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

    def _append(
        self, watermark: float | None, covered_since: float | None, items: Sequence[ItemT], account: Any | None
    ) -> None:
        newest = self._reports[-1] if self._reports else None
        if newest is not None and self._newest_is_bare and newest.sequence > self._read:
            # It said only how far things are, and nobody has read it: the new one says it better.
            self._reports.pop()
        else:
            self._last += 1
        self._newest_is_bare = not items and account is None
        report = self._pack(self._run, self._last, watermark, covered_since, tuple(items))
        self._reports.append(report if account is None else dataclasses.replace(report, account=account))
        while len(self._reports) > self._limit:
            dropped = self._reports.popleft()
            self._dropped_until = max(self._dropped_until, dropped.watermark or 0.0)
