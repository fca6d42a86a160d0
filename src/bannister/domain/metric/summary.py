"""What one instance did in one second, as telemetry reports it to the control plane.

A request belongs to the second in which it ended. All endpoint metrics, in both dimension sets, are derived from summaries when read.
These are also the messages of the telemetry socket: one `Report` per line, as JSON; the control plane says `TelemetryWord` lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bannister.domain.metric.sketch import Sketch


@dataclass(frozen=True, slots=True)
class Summary:
    """One instance, one second. Counts are of invocations, each counted once, whatever the proxy retried."""

    #: The group (the proxies' cluster).
    group: str
    #: `host:port` of the instance that answered, "" where none was reached.
    address: str
    #: The second, as seconds since the epoch.
    second: int
    invocations: int
    #: The model answered 4xx / 5xx.
    errors_4xx: int = 0
    errors_5xx: int = 0
    #: Not 2xx from the model, including no answer: refused or reset connections, bad HTTP, time-outs.
    model_errors: int = 0
    #: No instance could be reached, so the proxy answered by itself. Part of `model_errors`.
    unreachable: int = 0
    #: The client hung up before the answer was complete.
    abandoned: int = 0
    #: Attempts beyond the first that the proxy made.
    retries: int = 0
    #: Entries that arrived after their second was final: stored, never re-evaluated.
    late: int = 0
    #: Of the invocations, those that were copies of production's: the group is a shadow.
    copies: int = 0
    #: Copies for the group that were not made because a bound was reached. They are no invocations.
    skipped: int = 0
    #: Microseconds the model took, over invocations that it answered.
    model_latency: Sketch | None = None
    #: Microseconds that were not the model's.
    overhead_latency: Sketch | None = None
    #: Of the invocations, so many were shared by so many instances of the group, by that number. Filled in when it is stored; empty in what was stored by
    #: an earlier version, or before the group was known.
    shared_by: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SkippedAccount:
    """How far the copies that one proxy did not make are accounted for: by the report that this comes with, and by those before it."""

    #: When that proxy started, by the machine's clock that nobody sets.
    proxy_began_at: float
    #: Its counters of them, as last seen.
    seen: Mapping[str, int]
    #: What is counted in them and in no summary yet, by the shadow's group. If telemetry ends, its successor counts it.
    pending: Mapping[str, int] = field(default_factory=dict)
    #: When that proxy started, by the wall clock; None: an earlier version did not say.
    proxy_began_at_wall: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """One message from telemetry."""

    #: Changes whenever telemetry starts.
    run: str
    #: 1, 2, 3 … within a run; a report is sent again until acknowledged, and counts once.
    sequence: int
    #: Everything that ended before this moment is in the reports up to this one. None: the path is not proven yet.
    watermark: float | None
    #: Since when this run has seen everything without a gap. None: the path is not proven yet.
    covered_since: float | None
    summaries: tuple[Summary, ...] = field(default=())
    #: None: as before.
    account: SkippedAccount | None = None
    #: So many entries of the proxy's log never came, in this run so far. Each time that there are more is a gap.
    dropped_entries: int = 0


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The control plane has stored all reports of this run up to this sequence."""

    run: str
    sequence: int


@dataclass(frozen=True, slots=True)
class TelemetryGreeting:
    """The first word on every connection."""

    #: The newest that was stored, of this process or one before it; None: there is none.
    account: SkippedAccount | None = None


@dataclass(frozen=True, slots=True)
class TelemetryWord:
    """One message to telemetry: what it is not about is None."""

    greeting: TelemetryGreeting | None = None
    acknowledgement: Acknowledgement | None = None
