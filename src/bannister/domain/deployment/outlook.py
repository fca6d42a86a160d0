"""Where a deployment stands, for people: its status, its steps, and what it waits for and for how long.

The sentences follow the rules of `machine`: what a phase waits for here is what its rule there asks for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from bannister.domain.alarm.alarm import AlarmValue
from bannister.domain.deployment.deployment import ENDED, RETURNING, STOPPABLE, Deployment, Phase, WaitCause
from bannister.domain.deployment.machine import bake_deadline, comparing, has_its_share, instant, overdue
from bannister.domain.deployment.observation import Limits, Observation
from bannister.domain.deployment.targets import asked_split

#: A silence of telemetry shorter than this is its usual rhythm, and no news.
SILENCE_SECONDS: Final = 2.0
#: A bake that began again this much later than the split was acknowledged did so because of a gap; less is the rhythm of telemetry.
AGAIN_SECONDS: Final = 2.0
#: A bake that takes this much longer than its time is late; less is how long its last second takes to be reported and judged.
LATE_SECONDS: Final = 3.0


class DeploymentStatus(StrEnum):
    """A deployment's status, for programs."""

    IN_PROGRESS = "InProgress"
    ROLLING_BACK = "RollingBack"
    COMPLETED = "Completed"
    ROLLED_BACK = "RolledBack"
    ROLLBACK_FAILED = "RollbackFailed"


class StepState(StrEnum):
    """Where a deployment is with one of its steps."""

    DONE = "Done"
    CURRENT = "Current"
    TO_COME = "ToCome"
    #: The deployment was stopped here.
    STOPPED = "Stopped"
    #: The deployment was stopped before.
    SKIPPED = "Skipped"


@dataclass(frozen=True, slots=True)
class Waiting:
    """What has to come true before the next decision."""

    sentence: str
    since: float
    #: When it ends at the earliest, or, for a bound, at the latest; None: that is not known.
    until: float | None = None
    #: What keeps a bake from being over, as far as anything but time does.
    cause: WaitCause | None = None


def deployment_status(deployment: Deployment) -> DeploymentStatus:
    match deployment.phase:
        case Phase.COMPLETED:
            return DeploymentStatus.COMPLETED
        case Phase.ROLLED_BACK:
            return DeploymentStatus.ROLLED_BACK
        case Phase.ROLLBACK_FAILED:
            return DeploymentStatus.ROLLBACK_FAILED
        case _ if deployment.phase in RETURNING:
            return DeploymentStatus.ROLLING_BACK
        case _:
            return DeploymentStatus.IN_PROGRESS


def step_states(deployment: Deployment) -> tuple[StepState, ...]:
    """One for each step."""
    stopped = deployment.phase in RETURNING | {Phase.ROLLED_BACK, Phase.ROLLBACK_FAILED}
    finished = deployment.phase in (Phase.RETIRING, Phase.COMPLETED)

    def state(index: int) -> StepState:
        if finished or index < deployment.step:
            return StepState.DONE
        if index == deployment.step:
            return StepState.STOPPED if stopped else StepState.CURRENT
        return StepState.SKIPPED if stopped else StepState.TO_COME

    return tuple(state(index) for index in range(len(deployment.steps)))


def earliest_end(deployment: Deployment, seen: Observation) -> float | None:
    """When all remaining bakes are over if nothing stands in the way; None: it is not moving on."""
    if deployment.phase not in STOPPABLE:
        return None
    to_come = sum(step.bake_seconds for step in deployment.steps[deployment.step + 1 :])
    if deployment.phase is Phase.BAKING:
        deadline = bake_deadline(deployment, seen.covered_since)
        return None if deadline is None else max(deadline, seen.now) + to_come
    present = deployment.steps[deployment.step].bake_seconds if deployment.phase is Phase.SHIFTING else 0
    return seen.now + present + to_come


def waiting(deployment: Deployment, seen: Observation, limits: Limits) -> Waiting | None:
    """What the deployment waits for; None: it has ended."""
    if deployment.phase in ENDED:
        return None
    since = deployment.phase_since
    if deployment.stop_requested is not None and deployment.phase in STOPPABLE:
        return Waiting("The rollback that was asked for begins.", since)
    match deployment.phase:
        case Phase.PROVISIONING:
            return Waiting(_starting(seen), since)
        case Phase.HELD:
            return Waiting(_held(seen), since, since + limits.alarm_clear_timeout_seconds)
        case Phase.SHIFTING:
            return Waiting("Waits for every proxy to acknowledge the split.", since)
        case Phase.BAKING:
            return _baking(deployment, seen, limits)
        case Phase.SHRINKING:
            return Waiting("A batch has baked; waits for as many of blue to finish their requests and stop.", since)
        case Phase.GROWING:
            return Waiting(_starting(seen), since)
        case Phase.RETIRING:
            return Waiting("All traffic is on green; waits for blue to finish its requests and stop.", since)
        case _:
            return Waiting(_going_back(deployment, seen), since)


def waits_longer(deployment: Deployment, seen: Observation, limits: Limits) -> tuple[Deployment, Waiting] | None:
    """That a bake takes longer than its time is a decision, too: the deployment with it, and what it waits for. Each cause is said once in a bake.

    To be asked when `notice` says that there is nothing to decide. None: it is not late, or waits for nothing new.
    """
    if deployment.phase is not Phase.BAKING or deployment.baking_since is None:
        return None
    planned = deployment.baking_since + deployment.steps[deployment.step].bake_seconds
    found = waiting(deployment, seen, limits) if seen.now >= planned + LATE_SECONDS else None
    if found is None or found.cause is None or found.cause in deployment.waited_for:
        return None
    return replace(deployment, waited_for=(*deployment.waited_for, found.cause)), found


def _going_back(deployment: Deployment, seen: Observation) -> str:
    match deployment.phase:
        case Phase.ROLLING_BACK:
            partly = not asked_split(deployment).all_blue
            what = "what blue can carry is back on blue" if partly else _returned(deployment)
            return f"Waits for every proxy to acknowledge that {what}."
        case Phase.SHEDDING:
            return "Blue has what traffic it can carry; waits for the green instances it replaces to leave."
        case Phase.RESTORING:
            ready, wanted = sum(one.ready for one in seen.blue), sum(one.wanted for one in seen.blue)
            return f"Waits for blue's instances to start again: {ready} of {wanted} are ready."
        case _:
            return f"{_returned(deployment).capitalize()}; waits for green to finish its requests and stop."


def _returned(deployment: Deployment) -> str:
    return "all traffic is back on blue" if deployment.blue is not None else "no traffic goes to green"


def _starting(seen: Observation) -> str:
    ready, wanted = sum(group.ready for group in seen.green), sum(group.wanted for group in seen.green)
    return f"Waits for green's instances to start: {ready} of {wanted} are ready."


def _held(seen: Observation) -> str:
    names = [f'"{alarm.name}"' for alarm in seen.alarms if alarm.value is AlarmValue.ALARM]
    if not names:
        return "Waits for green's instances to be ready again."
    return f"Alarm {', '.join(names)} is in ALARM: the first shift waits; if it does not clear in time, the deployment rolls back."


def _baking(deployment: Deployment, seen: Observation, limits: Limits) -> Waiting:
    since = deployment.baking_since if deployment.baking_since is not None else deployment.phase_since
    step = f"step {deployment.step + 1} of {len(deployment.steps)}"
    if deployment.policy.alarms and seen.silent_seconds >= SILENCE_SECONDS:
        left = max(0.0, limits.blind_timeout_seconds - seen.silent_seconds)
        return Waiting(
            f"Telemetry is silent, so the bake of {step} makes no progress; if it stays silent the deployment rolls back.",
            seen.now - seen.silent_seconds,
            seen.now + left,
            WaitCause.TELEMETRY_SILENT,
        )
    if deployment.policy.alarms and seen.uncompared_seconds >= SILENCE_SECONDS:
        left = max(0.0, limits.blind_timeout_seconds - seen.uncompared_seconds)
        return Waiting(
            f"No answers are compared, because the capture process is silent, so the bake of {step} makes no progress; if it stays "
            "silent the deployment rolls back.",
            seen.now - seen.uncompared_seconds,
            seen.now + left,
            WaitCause.NOT_COMPARED,
        )
    deadline = bake_deadline(deployment, seen.covered_since)
    if deadline is None:
        who = "telemetry and the capture process" if comparing(seen) else "telemetry"
        return Waiting(f"The bake of {step} waits for the first word of {who}.", since, cause=WaitCause.NOT_SEEN)
    if seen.now < deadline:
        again = deadline - deployment.steps[deployment.step].bake_seconds
        if again - since < AGAIN_SECONDS:
            return Waiting(f"Bakes at {step}.", since, deadline)
        return Waiting(
            f"Bakes at {step}, again from {instant(again)} on: until then there is a gap in what was seen of it.",
            again,
            deadline,
            WaitCause.GAP,
        )
    late = [alarm.name for alarm in seen.alarms if (alarm.evaluated_until or 0.0) < math.ceil(deadline)]
    if late:
        return Waiting(
            f"The time of {step} is over; waits until every alarm is evaluated on data up to its end.",
            deadline,
            cause=WaitCause.NOT_EVALUATED,
        )
    if not has_its_share(seen):
        return Waiting(
            f"The time of {step} is over; waits until every proxy gives green its share again.",
            deadline,
            cause=WaitCause.SPLIT_LOST,
        )
    silent = overdue(seen)
    if silent > 0:
        return Waiting(
            f"The time of {step} is over; waits for {silent} instance(s) of green that do not answer their health check; if they stay silent the "
            "deployment rolls back.",
            deadline,
            cause=WaitCause.OVERDUE,
        )
    if seen.green_requests is not None and seen.green_requests < limits.bake_requests_min:
        return Waiting(
            f"The time of {step} is over; waits until green has had {limits.bake_requests_min} requests in it, "
            f"{seen.green_requests} so far.",
            deadline,
            cause=WaitCause.FEW_REQUESTS,
        )
    return Waiting(f"The bake of {step} is over.", deadline)
