"""The control plane's end of a watching process's socket."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Generic

import msgspec

from bannister.clock import Clock
from bannister.domain.metric.summary import Acknowledgement
from bannister.reporting.report import ReportT

_log = logging.getLogger(__name__)

#: The longest line that is read: what is larger is split into several reports.
REPORT_BYTES_MAX = 64 * 1024 * 1024
_RETRY_SECONDS_MIN = 0.02
_RETRY_SECONDS_MAX = 1.0


class ReportFeed(Generic[ReportT]):
    """All reports of one process, in order, for as long as it is iterated; reconnects by itself.

    A report not yet acknowledged comes again after a reconnection; whoever stores it counts it once. Use::

        async for report in feed:
            await store(report)
            await feed.acknowledge(report)
    """

    def __init__(
        self,
        path: Path,
        report: type[ReportT],
        sender: str,
        clock: Clock,
        *,
        word: Callable[[Acknowledgement], Any] = lambda one: one,
        greet: Callable[[], Any] = lambda: None,
    ) -> None:
        """`word` makes the message that acknowledges; `greet` one that is sent first on every connection, or None."""
        self._path = path
        self._report = report
        self._sender = sender
        self._clock = clock
        self._word = word
        self._greet = greet
        self._writer: asyncio.StreamWriter | None = None
        self._watermark: float | None = None
        self._moved_at = clock.monotonic()
        #: The run, and its greatest sequence, that came.
        self._newest: tuple[str, int] | None = None
        #: Reports that the process gave up before they came (`Outbox`), since this feed was made.
        self.missed = 0

    async def __aiter__(self) -> AsyncIterator[ReportT]:
        wait = _RETRY_SECONDS_MIN
        while True:
            try:
                reader, self._writer = await asyncio.open_unix_connection(str(self._path), limit=REPORT_BYTES_MAX)
            except OSError:
                await asyncio.sleep(wait)
                wait = min(wait * 2, _RETRY_SECONDS_MAX)
                continue
            wait = _RETRY_SECONDS_MIN
            try:
                if (greeting := self._greet()) is not None:
                    await self.send(greeting)
                async for report in self._read(reader):
                    yield report
            finally:
                self._writer.close()
                self._writer = None
            await asyncio.sleep(wait)

    async def _read(self, reader: asyncio.StreamReader) -> AsyncIterator[ReportT]:
        """Reports until the connection ends or breaks."""
        decoder = msgspec.json.Decoder(self._report)
        try:
            while line := await reader.readline():
                report = decoder.decode(line)
                self._note(report)
                yield report
        except OSError as error:
            _log.info("The connection to %s broke: %s", self._sender, error)
        except (ValueError, msgspec.MsgspecError) as error:
            _log.warning("What %s sent is not a report, connecting again: %s", self._sender, error)

    def _note(self, report: ReportT) -> None:
        run, sequence = self._newest or (report.run, report.sequence)
        if run != report.run:  # a new process: it numbers from 1
            sequence = 0
        if (missed := report.sequence - sequence - 1) > 0:
            _log.warning("%d reports of %s were given up before they came.", missed, self._sender)
            self.missed += missed
        sequence = max(report.sequence, sequence)
        self._newest = report.run, sequence
        if report.watermark is not None and report.watermark != self._watermark:
            self._watermark = report.watermark
            self._moved_at = self._clock.monotonic()

    async def acknowledge(self, report: ReportT) -> None:
        """Say that this report and all before it are stored. While disconnected, nothing: it comes again."""
        await self.send(self._word(Acknowledgement(report.run, report.sequence)))

    async def send(self, message: Any) -> None:
        """One message to the process; while disconnected, nothing."""
        writer = self._writer
        if writer is None:
            return
        try:
            writer.write(msgspec.json.encode(message) + b"\n")
            await writer.drain()
        except OSError:
            return

    def silent_seconds(self, monotonic: float) -> float:
        """How long the watermark has stood still (at first: since the feed was made), on the clock's `monotonic`."""
        return monotonic - self._moved_at
