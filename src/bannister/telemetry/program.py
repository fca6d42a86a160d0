"""Telemetry's parts, put together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from bannister.clock import Clock
from bannister.domain.metric.sketch import Sketch
from bannister.ids import Ids
from bannister.settings import Settings
from bannister.telemetry.access_log import AccessLogService, serve
from bannister.telemetry.coverage import Coverage
from bannister.telemetry.entry import Heartbeat, read_entry
from bannister.telemetry.fold import Fold
from bannister.telemetry.heartbeat import send_heartbeat
from bannister.telemetry.outbox import Outbox
from bannister.telemetry.report_server import ReportServer
from bannister.telemetry.skipped import SkippedCopies, overflow_counters

#: How often what is new is put into a report.
_TICK_SECONDS = 0.05


class Telemetry:
    """One run of telemetry."""

    def __init__(self, settings: Settings, clock: Clock, ids: Ids) -> None:
        self._settings = settings
        self._clock = clock
        self._run = ids.short()
        self._coverage = Coverage(self._run, settings.watermark_margin_seconds)
        self._fold = Fold(settings.open_seconds_max)
        self._skipped = SkippedCopies()
        self._outbox = Outbox(self._run, settings.unacknowledged_batches_max)

    async def run(self) -> None:
        """Serve until cancelled."""
        run_dir = self._settings.run_dir
        run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        run_dir.chmod(0o700)
        service = AccessLogService(self._take, self._coverage.stream_broken)
        log_server = await serve(service, self._settings.access_log_socket)
        report_server = ReportServer(self._outbox, self._settings.telemetry_socket)
        await report_server.start()
        # The first sketch imports numpy, which takes a tenth of a second: better now than at the first request.
        Sketch.of([0])
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._beat())
                tasks.create_task(self._report())
                tasks.create_task(self._count_skipped())
        finally:
            await log_server.stop(grace=None)
            await report_server.close()

    def _take(self, entries: Iterable[Any]) -> None:
        for entry in entries:
            found = read_entry(entry)
            if isinstance(found, Heartbeat):
                self._coverage.heartbeat_logged(found.run, found.number, found.ended_at)
            elif found is not None:
                self._fold.add(found)

    async def _beat(self) -> None:
        interval = self._settings.heartbeat_interval_seconds
        while True:
            begun_at = self._clock.monotonic()
            number = self._coverage.next_heartbeat(self._clock.now(), begun_at)
            await send_heartbeat(self._settings.port, self._run, number)
            await asyncio.sleep(max(interval - (self._clock.monotonic() - begun_at), 0))

    async def _count_skipped(self) -> None:
        while True:
            await asyncio.sleep(self._settings.shadow_poll_seconds)
            counters = await overflow_counters(self._settings.envoy_admin_socket)
            if counters is None:
                continue
            for group, copies in self._skipped.added(counters).items():
                self._fold.skip(group, int(self._clock.now()), copies)

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            watermark = self._coverage.watermark
            self._outbox.put(watermark, self._coverage.covered_since, self._fold.take(watermark))
