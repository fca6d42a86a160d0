"""How far telemetry can vouch that it has seen everything.

Telemetry sends a numbered request, the *heartbeat*, through Envoy all the time. When it comes back as a log entry, the path from a request through
Envoy and its access log to here works, and what ended before it has most probably arrived. Most probably: each of Envoy's threads has a log
stream of its own and sends what it has every `access_log_flush_seconds`, so another thread's entries may come a little later. The
*watermark* therefore stays a margin behind the newest heartbeat seen.

When a log stream ends, entries may have been lost. From then on only heartbeats sent afterwards prove anything, and coverage begins
anew at the first of them. Until then the watermark stands still.
"""

from __future__ import annotations


class Coverage:
    """Numbers heartbeats and draws the conclusions from their return. Times are seconds since the epoch."""

    def __init__(self, run: str, margin_seconds: float) -> None:
        self._run = run
        self._margin_seconds = margin_seconds
        self._sent = 0
        #: Heartbeats up to this number prove nothing.
        self._doubted = 0
        self._gapless = False
        self.watermark: float | None = None
        self.covered_since: float | None = None

    def next_heartbeat(self) -> int:
        """The number for a heartbeat that is about to be sent."""
        self._sent += 1
        return self._sent

    def heartbeat_logged(self, run: str, number: int, ended_at: float) -> None:
        """A heartbeat has come back; those of another telemetry, or from before a gap, prove nothing."""
        if run != self._run or number <= self._doubted or number > self._sent:
            return
        if not self._gapless:
            self._gapless = True
            self.covered_since = ended_at
        self.watermark = max(self.watermark or 0.0, ended_at - self._margin_seconds)

    def stream_broken(self) -> None:
        """Entries may have been lost."""
        self._doubted = self._sent
        self._gapless = False
