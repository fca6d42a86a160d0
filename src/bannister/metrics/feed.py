"""The control plane's end of the telemetry socket."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import msgspec

from bannister.clock import Clock
from bannister.domain.metric.summary import Acknowledgement, Report
from bannister.settings import Settings

_log = logging.getLogger(__name__)

#: The longest line that is read: telemetry splits what is larger into several reports.
REPORT_BYTES_MAX = 64 * 1024 * 1024
_RETRY_SECONDS_MIN = 0.02
_RETRY_SECONDS_MAX = 1.0


class TelemetryFeed:
    """All reports of telemetry, in order, for as long as it is iterated; reconnects by itself.

    A report not yet acknowledged comes again after a reconnection: `MetricStore.record` counts it once. Use::

        async for report in feed:
            await metrics.record(report)
            await feed.acknowledge(report)
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._path = settings.telemetry_socket
        self._clock = clock
        self._writer: asyncio.StreamWriter | None = None
        self._watermark: float | None = None
        self._moved_at = clock.monotonic()

    async def __aiter__(self) -> AsyncIterator[Report]:
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
                async for report in self._read(reader):
                    yield report
            finally:
                self._writer.close()
                self._writer = None
            await asyncio.sleep(wait)

    async def _read(self, reader: asyncio.StreamReader) -> AsyncIterator[Report]:
        """Reports until the connection ends or breaks."""
        decoder = msgspec.json.Decoder(Report)
        try:
            while line := await reader.readline():
                report = decoder.decode(line)
                self._note(report)
                yield report
        except OSError as error:
            _log.info("The connection to telemetry broke: %s", error)
        except (ValueError, msgspec.MsgspecError) as error:
            _log.warning("Telemetry sent what is not a report, connecting again: %s", error)

    def _note(self, report: Report) -> None:
        if report.watermark is not None and report.watermark != self._watermark:
            self._watermark = report.watermark
            self._moved_at = self._clock.monotonic()

    async def acknowledge(self, report: Report) -> None:
        """Tell telemetry that this report and all before it are stored. While disconnected, nothing: it comes again."""
        writer = self._writer
        if writer is None:
            return
        try:
            writer.write(msgspec.json.encode(Acknowledgement(report.run, report.sequence)) + b"\n")
            await writer.drain()
        except OSError:
            return

    def silent_seconds(self, monotonic: float) -> float:
        """How long the watermark has stood still (at first: since the feed was made), on the clock's `monotonic`."""
        return monotonic - self._moved_at
