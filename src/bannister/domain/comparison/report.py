"""What the capture process tells the control plane, and is told: the messages of the capture socket.

One JSON message per line, both ways, as on telemetry's socket: `ComparisonReport` from the capture process, `Directive` to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bannister.domain.capture.instructions import Instructions
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


@dataclass(frozen=True, slots=True)
class Directive:
    """One message to the capture process: either is None where the message is about the other."""

    acknowledgement: Acknowledgement | None = None
    #: What to do from now on, whole: it replaces what was said before.
    instructions: Instructions | None = None
