"""What the capture process tells the control plane, and is told: the messages of the capture socket.

One JSON message per line, both ways, as on telemetry's socket: `ComparisonReport` from the capture process, `Directive` to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from bannister.domain.capture.instructions import ComparedGroups, Instructions
from bannister.domain.comparison.rules import Rules
from bannister.domain.comparison.tally import Tally
from bannister.domain.metric.summary import Acknowledgement


class Unpaired(StrEnum):
    """Why an exchange made no pair."""

    #: The other side's exchange did not come in time.
    NO_SHADOW = "no answer of the shadow was seen"
    NO_PRODUCTION = "no answer of production was seen"
    #: A body was longer than what is captured, or its end was not seen.
    INCOMPLETE = "a body was not captured whole"
    #: Too many exchanges waited for their other side.
    CROWDED_OUT = "too many exchanges were waiting"
    #: Whose answer is whose nobody knows.
    REPEATED = "the same request was told twice"
    #: Another fleet than the shadow's answered.
    OTHER_FLEET = "another fleet's production answered"
    #: It waited for its other side, to be compared or to be reported.
    ENDED = "the capture process ended"
    #: What became of it was to be reported, and nobody took the report.
    UNREPORTED = "the control plane was away for too long"


class Counted(StrEnum):
    """What the capture process counts of a group's exchanges."""

    CAPTURED = "captured"
    WRITTEN = "written"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class CaptureCount:
    """Exchanges of one group since the report before this one."""

    group: str
    what: Counted
    count: int
    #: Why they were dropped; "" for the others.
    reason: str = ""
    #: The group's; "": they are of nobody knows which.
    endpoint: str = ""
    variant: str = ""
    #: When it was counted, as seconds since the epoch.
    second: int = 0


@dataclass(frozen=True, slots=True)
class GroupTally:
    """What was compared for one group in one second."""

    endpoint: str
    #: The shadow's group; of a noise copy, production's own.
    group: str
    #: Whose answers it is compared with.
    production_group: str
    #: The second in which the pairs were compared, as seconds since the epoch.
    second: int
    #: Production compared with itself.
    noise: bool
    tally: Tally
    #: By which all of it was compared; None: it does not matter, or an earlier version did not say.
    rules: Rules | None = None


class Compared(NamedTuple):
    """Whose copies are compared with whose answers. As in `GroupTally`."""

    endpoint: str
    group: str
    production_group: str
    noise: bool


def compared_of(groups: ComparedGroups) -> Compared:
    """Without the rules."""
    return Compared(groups.endpoint, groups.shadow, groups.production, groups.noise)


@dataclass(frozen=True, slots=True)
class Pending:
    """Copied requests that the capture process was told of and that are in no tally yet. If it ends, its successor counts them as unpaired."""

    compared: Compared
    count: int


@dataclass(frozen=True, slots=True)
class Account:
    """How far the exchanges that one proxy wanted to tell of are accounted for: by the report that this comes with, and by those before it."""

    #: When that proxy started, by the machine's clock that nobody sets.
    proxy_began_at: float
    #: Its counters of what it did not tell, as last seen.
    overflow: Mapping[str, int]
    #: Streams that were asked for and not opened, and are counted as lost.
    unopened: int
    #: Streams that were opened, and were heard to their end or are counted as lost.
    streams: int
    #: What came with some of these streams and is in no tally yet.
    pending: tuple[Pending, ...] = ()
    #: When that proxy started, by the wall clock; None: an earlier version did not say.
    proxy_began_at_wall: float | None = None
    #: Streams that were heard to their end since, while the proxy did not say which one it is: not among `streams`.
    unplaced: int = 0


@dataclass(frozen=True, slots=True)
class ComparisonReport:
    """One message from the capture process. It is sent again until acknowledged, and counts once."""

    #: Changes whenever the capture process starts.
    run: str
    #: 1, 2, 3 … within a run.
    sequence: int
    #: Everything compared before this moment is in the reports up to this one. None: the path is not proven yet.
    watermark: float | None
    #: Since when this run has seen everything without a gap. None: the path is not proven yet.
    covered_since: float | None
    tallies: tuple[GroupTally, ...] = ()
    counts: tuple[CaptureCount, ...] = ()
    #: None: as before.
    account: Account | None = None


@dataclass(frozen=True, slots=True)
class Greeting:
    """The first word on every connection."""

    #: The newest that was stored, of this process or one before it; None: there is none.
    account: Account | None = None


@dataclass(frozen=True, slots=True)
class Directive:
    """One message to the capture process: what it is not about is None."""

    greeting: Greeting | None = None
    acknowledgement: Acknowledgement | None = None
    #: What to do from now on, whole: it replaces what was said before.
    instructions: Instructions | None = None
