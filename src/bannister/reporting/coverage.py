"""How far a watching process can vouch that it has seen everything.

It sends a numbered request, the *heartbeat*, through Envoy all the time. When it comes back as what Envoy tells of a request (to telemetry a log entry, to
capture an exchange), the path from a request through Envoy to here works, and what ended before it has most probably arrived. Most probably: each of
Envoy's threads has streams of its own and logs are sent every `access_log_flush_seconds`, so what another thread tells may come a little later. The
*watermark* therefore stays a margin behind the newest heartbeat seen.

When a stream breaks, or the proxy says that it dropped something, something was lost or may have been. From then on only heartbeats sent afterwards prove anything, and coverage begins
anew at the first of them. Until then the watermark stands still.

When no heartbeat comes through for a while, nothing else does: Envoy stood still, or the machine, or this process itself, and then nobody knows what Envoy
kept for it. A bake must not pass in such a time. It is a gap as well, though nothing may be lost.

All that is said here is said in the time of the machine's clock, and that may be set. Then what was said before is in another time: coverage begins
anew, and so does the watermark, also from an earlier moment. So a clock that jumps forward makes nobody believe that the time which it skipped was
watched, and one that is set back stops nobody from judging until it has caught up. A heartbeat that seems to have ended long after it was sent, or
before, tells of such a jump too early or too late, and proves nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

#: A clock that gains or loses this much between two heartbeats was set.
_CLOCK_STEP_SECONDS: Final = 1.0
#: A heartbeat is given up after a second; one that ended later than this after it was sent, or so much before, says nothing about when.
_ROUND_TRIP_SECONDS_MAX: Final = 2.0
#: Heartbeats that ended this far apart leave a gap between them.
GAP_SECONDS: Final = 5.0
#: Heartbeats on their way that are remembered.
_SENT_MAX: Final = 100


class Coverage:
    """Numbers heartbeats and draws the conclusions from their return. Times are seconds since the epoch."""

    def __init__(self, run: str, margin_seconds: float) -> None:
        self._run = run
        self._margin_seconds = margin_seconds
        self._sent = 0
        #: When the newest heartbeats were sent, by number.
        self._sent_at: OrderedDict[int, float] = OrderedDict()
        #: What the machine's clock is ahead of the one that nobody sets, at the newest heartbeat.
        self._ahead: float | None = None
        #: Heartbeats up to this number prove nothing.
        self._doubted = 0
        self._gapless = False
        #: When the heartbeat that was seen last had ended.
        self._newest_at = 0.0
        self.watermark: float | None = None
        self.covered_since: float | None = None

    def next_heartbeat(self, now: float, monotonic: float) -> int:
        """The number for a heartbeat that is about to be sent, at this time by the machine's clock and by the one that nobody sets."""
        ahead = now - monotonic
        if self._ahead is not None and abs(ahead - self._ahead) >= _CLOCK_STEP_SECONDS:
            self.something_lost()
            self.watermark = None
        self._ahead = ahead
        self._sent += 1
        self._sent_at[self._sent] = now
        if len(self._sent_at) > _SENT_MAX:
            self._sent_at.popitem(last=False)
        return self._sent

    def heartbeat_seen(self, run: str, number: int, ended_at: float) -> None:
        """A heartbeat has come back; those of another process, or from before a gap, prove nothing."""
        if run != self._run or number <= self._doubted or number not in self._sent_at:
            return
        if abs(ended_at - self._sent_at[number]) > _ROUND_TRIP_SECONDS_MAX:
            return
        if not self._gapless or ended_at - self._newest_at > GAP_SECONDS:
            self._gapless = True
            self.covered_since = ended_at
        self._newest_at = ended_at
        self.watermark = max(self.watermark or 0.0, ended_at - self._margin_seconds)

    def something_lost(self) -> None:
        """Or may have been: what was sent by now proves nothing."""
        self._doubted = self._sent
        self._gapless = False
