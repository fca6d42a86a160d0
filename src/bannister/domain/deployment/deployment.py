"""A deployment: one guarded change from blue to green, and the phases that it goes through. `machine` decides about it, `targets` says what follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from bannister.domain.alarm.caveats import Caveat
from bannister.domain.deployment.capacity import Retreat
from bannister.domain.deployment.model_warning import ModelWarning
from bannister.domain.deployment.plan import Step
from bannister.domain.deployment.policy import DeploymentPolicy, Routing, Unguarded
from bannister.domain.deployment.room import Shortage
from bannister.domain.fleet import Fleet


class Phase(StrEnum):
    """Where a deployment is."""

    #: Green's instances are starting.
    PROVISIONING = "provisioning"
    #: Green is ready and an alarm in ALARM holds the first shift.
    HELD = "held"
    #: A split was asked; not every proxy has acknowledged it.
    SHIFTING = "shifting"
    #: The split is acknowledged and is being watched.
    BAKING = "baking"
    #: Rolling: a batch has baked; an equal part of blue drains and goes.
    SHRINKING = "shrinking"
    #: Rolling: green's next batch is starting.
    GROWING = "growing"
    #: All traffic is on green; blue drains and goes. Nothing rolls back any more.
    RETIRING = "retiring"
    #: All traffic (in a rolling update, what blue can carry) was asked back to blue; not every proxy has acknowledged it.
    ROLLING_BACK = "rolling back"
    #: Rolling, on the way back: what green no longer needs begins to drain.
    SHEDDING = "shedding"
    #: Rolling, on the way back: a batch of blue is starting again.
    RESTORING = "restoring"
    #: All traffic is on blue; green drains and goes.
    REMOVING = "removing"
    COMPLETED = "completed"
    ROLLED_BACK = "rolled back"
    #: Blue could not be restored; both fleets serve as they are.
    ROLLBACK_FAILED = "rollback failed"


#: Phases in which green may hold traffic and blue still can take it back.
STOPPABLE: Final = frozenset(
    {Phase.PROVISIONING, Phase.HELD, Phase.SHIFTING, Phase.BAKING, Phase.SHRINKING, Phase.GROWING}
)
#: After the first shift, and before blue begins to retire.
SHIFTED: Final = STOPPABLE - {Phase.PROVISIONING, Phase.HELD}
#: Phases of going back.
RETURNING: Final = frozenset({Phase.ROLLING_BACK, Phase.SHEDDING, Phase.RESTORING, Phase.REMOVING})
ENDED: Final = frozenset({Phase.COMPLETED, Phase.ROLLED_BACK, Phase.ROLLBACK_FAILED})


class WaitCause(StrEnum):
    """Why a bake takes longer than its time."""

    NOT_SEEN = "nothing was seen yet"
    TELEMETRY_SILENT = "telemetry is silent"
    NOT_COMPARED = "no answers are compared"
    GAP = "a gap in what was seen"
    NOT_EVALUATED = "alarms are not evaluated"
    SPLIT_LOST = "green has less than its share"
    OVERDUE = "an answer to a ping is overdue"
    FEW_REQUESTS = "too few requests"


@dataclass(frozen=True, slots=True)
class Deployment:
    """One guarded change from blue to green. Immutable; `advance` returns the next one."""

    id: str
    endpoint: str
    policy: DeploymentPolicy
    blue: Fleet | None
    green: Fleet
    steps: tuple[Step, ...]
    started_at: float
    #: When the maximum execution time is over.
    deadline_at: float
    phase: Phase = Phase.PROVISIONING
    phase_since: float = 0.0
    #: Index into `steps` of the split that is asked; -1 before the first shift.
    step: int = -1
    #: When the present split was acknowledged by every proxy.
    baking_since: float | None = None
    #: Alarm transitions journaled after this position stop the deployment; set at the decision to shift first.
    alarms_seen: int | None = None
    #: Deaths of green's instances (of processes that had answered) when it was ready; one more is an instance that may have had requests.
    green_restarts: int = 0
    #: Why it was stopped: a sentence with the values that led to it.
    reason: str | None = None
    ended_at: float | None = None
    #: A person asked to roll back, and why; the next decision acts on it.
    stop_requested: str | None = None
    #: What is wrong with its alarms, as found at its start.
    caveats: tuple[Caveat, ...] = ()
    #: Memory that it will miss beside what runs, as found at its start; None: it fits, as far as is known.
    shortage: Shortage | None = None
    #: A rolling update on its way back, by variant; empty: it is not.
    retreat: tuple[Retreat, ...] = ()
    #: What green's models say against themselves.
    model_warnings: tuple[ModelWarning, ...] = ()
    #: Why its policy is not the one that was asked for; None: it is.
    unguarded: Unguarded | None = None
    #: What its present bake was recorded to wait for beyond its time.
    waited_for: tuple[WaitCause, ...] = ()

    @property
    def rolling(self) -> bool:
        """It replaces instances batch by batch."""
        return self.policy.routing is Routing.ROLLING and self.blue is not None

    @property
    def instance_counts(self) -> dict[str, int]:
        """Green's instances by production variant."""
        return {group.variant: group.instance_count for group in self.green.groups}
