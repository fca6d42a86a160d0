"""Telemetry's parts, put together."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bannister.clock import Clock
from bannister.domain.metric.sketch import Sketch
from bannister.domain.metric.summary import Report, SkippedAccount, Summary, TelemetryWord
from bannister.ids import Ids
from bannister.reporting.counters import UPTIME, counters_of
from bannister.reporting.coverage import Coverage
from bannister.reporting.heartbeat import send_heartbeat
from bannister.reporting.outbox import Outbox
from bannister.reporting.report_server import ReportServer
from bannister.settings import Settings
from bannister.telemetry.access_log import AccessLogService, serve
from bannister.telemetry.dropped import DROPPED_ENTRIES, DroppedEntries
from bannister.telemetry.entry import Heartbeat, read_entry
from bannister.telemetry.fold import Fold
from bannister.telemetry.skipped import SKIPPED_COPIES, SkippedCopies

_log = logging.getLogger(__name__)

#: How often what is new is put into a report.
_TICK_SECONDS = 0.05
_HEARTBEAT_PATH = "/-/heartbeat"
#: Of what the proxy did not do or did not tell, and of which start.
_COUNTERS = f"^({SKIPPED_COPIES}|{DROPPED_ENTRIES}|{UPTIME})$"


class Telemetry:
    """One run of telemetry."""

    def __init__(self, settings: Settings, clock: Clock, ids: Ids) -> None:
        self._settings = settings
        self._clock = clock
        self._run = ids.short()
        self._coverage = Coverage(self._run, settings.watermark_margin_seconds)
        self._fold = Fold(settings.open_seconds_max)
        self._skipped = SkippedCopies()
        self._dropped = DroppedEntries()
        self._outbox = Outbox[Summary, Report](self._run, settings.unacknowledged_batches_max, self._packed)

    async def run(self) -> None:
        """Serve until cancelled."""
        run_dir = self._settings.run_dir
        run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        run_dir.chmod(0o700)
        service = AccessLogService(self._take, self._coverage.something_lost)
        log_server = await serve(service, self._settings.access_log_socket)
        report_server = ReportServer(self._outbox, self._settings.telemetry_socket, TelemetryWord, self._hear)
        await report_server.start()
        # The first sketch imports numpy, which takes a tenth of a second: better now than at the first request.
        Sketch.of([0])
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._beat())
                tasks.create_task(self._report())
                tasks.create_task(self._look_at_the_proxy())
        finally:
            await log_server.stop(grace=None)
            await report_server.close()

    def _hear(self, word: TelemetryWord) -> None:
        if word.greeting is not None:
            self._skip(self._skipped.go_on_from(word.greeting.account))
        if word.acknowledgement is not None:
            self._outbox.acknowledge(word.acknowledgement)

    def _skip(self, copies: Mapping[str, int]) -> None:
        for group, count in copies.items():
            self._fold.skip(group, int(self._clock.now()), count)

    def _take(self, entries: Iterable[Any]) -> None:
        for entry in entries:
            found = read_entry(entry)
            if isinstance(found, Heartbeat):
                self._coverage.heartbeat_seen(found.run, found.number, found.ended_at)
            elif found is not None:
                self._fold.add(found)

    async def _beat(self) -> None:
        interval = self._settings.heartbeat_interval_seconds
        while True:
            begun_at = self._clock.monotonic()
            number = self._coverage.next_heartbeat(self._clock.now(), begun_at)
            await send_heartbeat(self._settings.port, _HEARTBEAT_PATH, self._run, number)
            await asyncio.sleep(max(interval - (self._clock.monotonic() - begun_at), 0))

    async def _look_at_the_proxy(self) -> None:
        while True:
            counters = await counters_of(self._settings.envoy_admin_socket, _COUNTERS)
            monotonic, now = self._clock.monotonic(), self._clock.now()
            self._skip(self._skipped.look(counters, monotonic, now))
            if more := self._dropped.look(counters, monotonic, now):
                _log.warning("%d entries of the proxy's log were dropped: telemetry did not take them in time.", more)
                self._coverage.something_lost()
            await asyncio.sleep(self._settings.shadow_poll_seconds)

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            watermark = self._coverage.watermark
            self._outbox.put(watermark, self._coverage.covered_since, self._fold.take(watermark), self._account)

    def _account(self, rest: Sequence[Summary]) -> SkippedAccount | None:
        """When all that was found is reported, but for the rest of these summaries."""
        pending = Counter(self._fold.skipped)
        for one in rest:
            pending[one.group] += one.skipped
        return self._skipped.account(dict(+pending))

    def _packed(
        self,
        run: str,
        sequence: int,
        watermark: float | None,
        covered_since: float | None,
        summaries: tuple[Summary, ...],
    ) -> Report:
        return Report(run, sequence, watermark, covered_since, summaries, dropped_entries=self._dropped.total)
