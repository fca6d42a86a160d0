"""Reports that the control plane has not acknowledged yet."""

from __future__ import annotations

import dataclasses
import logging
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

from bannister.domain.metric.summary import Acknowledgement
from bannister.reporting.report import ReportT
from bannister.signals import Signal

ItemT = TypeVar("ItemT")
#: Makes a report of its run, sequence, watermark, covered_since and items.
Pack: TypeAlias = Callable[[str, int, float | None, float | None, tuple[ItemT, ...]], ReportT]

_log = logging.getLogger(__name__)

#: Items in one report: bounds the length of a line.
_ITEMS_MAX = 100


class Outbox(Generic[ItemT, ReportT]):
    """Numbers reports and keeps them until they are acknowledged, at most `limit`: then the oldest that nobody has read is dropped.

    What a dropped report covered is a gap, so every later one claims to be gapless from there on only. What must not be lost with it, `absorb` puts into the one after it.

    Where all were read, the oldest of those is dropped: whoever read it is expected to store it. If it ends instead, the next connection is given all of them as one report, under the last
    one's number: a reader that has stored that one knows it. Once some of them are acknowledged nobody can tell the rest apart, and it is left to the reader.
    """

    def __init__(
        self,
        run: str,
        limit: int,
        pack: Pack[ItemT, ReportT],
        *,
        items_per_report_max: int = _ITEMS_MAX,
        absorb: Callable[[ReportT, ReportT], ReportT] | None = None,
    ) -> None:
        """`absorb`: given a report that is dropped and the one after it, what to send in place of the latter; None: nothing of it is kept."""
        self._run = run
        self._limit = limit
        self._pack = pack
        self._items_max = items_per_report_max
        self._absorb = absorb
        self._reports: deque[ReportT] = deque()
        self._last = 0
        #: The newest report says only how far things are.
        self._newest_is_bare = False
        #: A report up to this number may be with the control plane already: it must not change any more.
        self._read = 0
        self._watermark: float | None = None
        #: Of those that were dropped: the greatest number, and how far they were.
        self._dropped = 0
        self._dropped_until = 0.0
        #: Of those that were dropped after they were read, and are not acknowledged: the sum, and the first one's number.
        self._unsure: ReportT | None = None
        self._unsure_from = 0
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
        if self._unsure is not None and sequence < self._unsure_from:
            return self._unsure
        report = self._reports[self._place_after(sequence)]
        self._read = max(self._read, report.sequence)
        since = report.covered_since
        if report.sequence > self._dropped and since is not None and since < self._dropped_until:
            return dataclasses.replace(report, covered_since=self._dropped_until)
        return report

    def give_up(self, report: ReportT) -> None:
        """It cannot be sent: what it covered is a gap, as of one that is dropped.

        What it told may be of the time up to the next watermark: of reports that are put together only the last one says how far things are.
        """
        until = report.watermark or 0.0
        marks = [one.watermark for one in self._reports if one.sequence > report.sequence and one.watermark is not None]
        self._dropped = max(self._dropped, report.sequence)
        self._dropped_until = max(self._dropped_until, next((mark for mark in marks if mark > until), until))

    def acknowledge(self, acknowledgement: Acknowledgement) -> None:
        """Forget what the control plane has; the word of an earlier run's reports is ignored."""
        if acknowledgement.run != self._run:
            return
        while self._reports and self._reports[0].sequence <= acknowledgement.sequence:
            self._reports.popleft()
        if self._unsure is not None and self._unsure_from <= acknowledgement.sequence:
            self._unsure = None

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
        if len(self._reports) > self._limit:
            self._drop()

    def _drop(self) -> None:
        """What was read may be counted already, and would be counted again by a report of another number."""
        place = self._place_after(self._read)
        if place + 1 < len(self._reports):
            dropped = self._reports[place]
            if self._absorb is not None:
                self._reports[place + 1] = self._absorb(dropped, self._reports[place + 1])
            self._newest_is_bare &= place + 2 < len(self._reports)  # it holds what must not be lost
            del self._reports[place]
        else:
            dropped = self._reports.popleft()
            if self._absorb is not None and dropped.sequence <= self._read:
                self._keep_unsure(dropped, self._absorb)
        self._dropped = max(self._dropped, dropped.sequence)
        self._dropped_until = max(self._dropped_until, dropped.watermark or 0.0)

    def _keep_unsure(self, dropped: ReportT, absorb: Callable[[ReportT, ReportT], ReportT]) -> None:
        if self._unsure is None:
            _log.warning(
                "Reports from %d on were sent and not acknowledged, and are not kept one by one any more.",
                dropped.sequence,
            )
            self._unsure_from = dropped.sequence
            self._unsure = dropped
        else:
            # It claims to cover nothing: those before it are not there one by one.
            self._unsure = dataclasses.replace(absorb(self._unsure, dropped), covered_since=dropped.watermark)

    def _place_after(self, sequence: int) -> int:
        return bisect_right(self._reports, sequence, key=lambda one: one.sequence)
