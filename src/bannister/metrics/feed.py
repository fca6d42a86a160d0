"""The control plane's end of the telemetry socket."""

from __future__ import annotations

from bannister.clock import Clock
from bannister.domain.metric.summary import Report
from bannister.reporting.feed import ReportFeed
from bannister.settings import Settings


class TelemetryFeed(ReportFeed[Report]):
    """All reports of telemetry, in order; one sent again is counted once by `MetricStore.record`."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        super().__init__(settings.telemetry_socket, Report, "telemetry", clock)
