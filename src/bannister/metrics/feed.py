"""The control plane's end of a socket on which another process reports: telemetry its summaries, the capture process its tallies."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import msgspec

from bannister.clock import Clock
from bannister.domain.capture.instructions import Instructions
from bannister.domain.comparison.report import ComparisonReport, Directive
from bannister.domain.metric.summary import Acknowledgement, Report
from bannister.settings import Settings

_log = logging.getLogger(__name__)

#: The longest line that is read: the sender splits what is larger into several reports.
REPORT_BYTES_MAX = 64 * 1024 * 1024
_RETRY_SECONDS_MIN = 0.02
_RETRY_SECONDS_MAX = 1.0


class Numbered(Protocol):
    """What every report says of itself."""

    @property
    def run(self) -> str: ...

    @property
    def sequence(self) -> int: ...

    @property
    def watermark(self) -> float | None: ...

    @property
    def covered_since(self) -> float | None: ...


R = TypeVar("R", bound=Numbered)


class ReportFeed(Generic[R]):
    """All reports of one process, in order, for as long as it is iterated; reconnects by itself.

    A report not yet acknowledged comes again after a reconnection: whoever stores it counts it once. Use::

        async for report in feed:
            await metrics.record(report)
            await feed.acknowledge(report)
    """

    def __init__(self, sender: str, path: Path, kind: type[R], clock: Clock) -> None:
        """`sender`: who reports, as a word for the log."""
        self._sender = sender
        self._path = path
        self._decoder = msgspec.json.Decoder(kind)
        self._clock = clock
        self._writer: asyncio.StreamWriter | None = None
        self._watermark: float | None = None
        self._moved_at = clock.monotonic()

    async def __aiter__(self) -> AsyncIterator[R]:
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
                await self._greet()
                async for report in self._read(reader):
                    yield report
            finally:
                self._writer.close()
                self._writer = None
            await asyncio.sleep(wait)

    async def _greet(self) -> None:
        """What is said first on a new connection."""

    async def _read(self, reader: asyncio.StreamReader) -> AsyncIterator[R]:
        """Reports until the connection ends or breaks."""
        try:
            while line := await reader.readline():
                report = self._decoder.decode(line)
                self._note(report)
                yield report
        except OSError as error:
            _log.info("The connection to %s broke: %s", self._sender, error)
        except (ValueError, msgspec.MsgspecError) as error:
            _log.warning("What came from %s is no report, connecting again: %s", self._sender, error)

    def _note(self, report: R) -> None:
        if report.watermark is not None and report.watermark != self._watermark:
            self._watermark = report.watermark
            self._moved_at = self._clock.monotonic()

    async def acknowledge(self, report: R) -> None:
        """Say that this report and all before it are stored. While disconnected, nothing: it comes again."""
        await self._say(self._acknowledgement(Acknowledgement(report.run, report.sequence)))

    def _acknowledgement(self, acknowledgement: Acknowledgement) -> object:
        return acknowledgement

    async def _say(self, message: object) -> None:
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


class TelemetryFeed(ReportFeed[Report]):
    """Telemetry's one-second summaries."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        super().__init__("telemetry", settings.telemetry_socket, Report, clock)


class CaptureFeed(ReportFeed[ComparisonReport]):
    """The capture process's tallies; and the other way, what it is to capture and to compare."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        super().__init__("the capture process", settings.capture_socket, ComparisonReport, clock)
        self._instructions: Instructions | None = None

    async def instruct(self, instructions: Instructions) -> None:
        """Say what to do from now on, now and at the beginning of every later connection."""
        if instructions != self._instructions:
            self._instructions = instructions
            await self._greet()

    async def _greet(self) -> None:
        if self._instructions is not None:
            await self._say(Directive(instructions=self._instructions))

    def _acknowledgement(self, acknowledgement: Acknowledgement) -> object:
        return Directive(acknowledgement=acknowledgement)
