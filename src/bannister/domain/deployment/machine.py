"""The deployment state machine: the only place that decides what a deployment does next.

How it works

A deployment walks a *plan*: splits that it shifts to and bakes at, the last of which is all green. Each turn of the deployer's loop
gathers an `Observation`, which is every fact the decision may depend on, and asks two pure functions:

* `notice(deployment, observation)` names the one `Event` that the facts amount to in this phase, or None: nothing to decide.
  The order of its checks is the order of precedence: what stops a deployment is seen before what moves it on.
* `advance(deployment, event)` looks the event up in `TRANSITIONS` and returns the deployment as it is afterwards. An event that the table does
  not list for the phase is a bug in the caller, raises `IllegalEvent` and changes nothing.

What the rest of the world must do follows from the phase alone: `asked_split` and `wanted_instances` of `targets` are absolute, and the
publisher and the supervisor bring them about and keep them up. There is no list of effects to lose or to repeat: a crash between a decision and its
consequences is healed by looking at the deployment again.

The rules that keep requests safe, and where they are:

* No traffic moves while an alarm is in ALARM: `_before_first_shift`.
* After the first shift and until blue begins to retire, any transition to ALARM rolls back, however short: transitions are read from the
  journal after `alarms_seen`, the journal's position at the decision to shift, never from an alarm's present state.
* A bake begins when every proxy has acknowledged the split. It is over when its deadline has passed *and* every alarm has been evaluated on
  data final up to the deadline, without a gap in what telemetry saw (`_bake_over`).
* No bake is over while a proxy gives green less than its share, as it may for a moment when the control plane has been started again (`has_its_share`).
* No bake is over while an instance of green keeps a ping waiting: one that stands still makes no errors (`overdue`).
* A bake in which no request to green was seen is recorded as passed without evidence; with `bake_requests_min` it does not pass.
* Blind is not quiet: without telemetry (or, for alarms on compared answers, the capture process) there is no progress, and after a bound the
  deployment rolls back.
* Rolling back shifts to blue and waits for the acknowledgement; green goes after that, which is why it is a phase of its own.
* A shadow's instances are waited for while green starts (AWS provisions all variants), and then never looked at again: one that dies, hangs or fails
  stops nothing (`_production`).

A rolling update replaces instances batch by batch (`capacity`): after each bake an equal batch of blue goes (SHRINKING) before green's next one starts (GROWING). Stopped
midway, blue no longer has all its instances: traffic goes back to those it has at once, green sheds what it does not need (SHEDDING), blue gets new ones (RESTORING), and
traffic follows, until blue is whole. If blue cannot get them the rollback has failed, and both fleets go on serving as they are.

What green's models say against themselves stops nothing; `heard` has it recorded, once, before anything else is decided.

A creation is a deployment from no blue fleet; rolling one back leaves an endpoint that has Failed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from bannister.domain.alarm.alarm import AlarmValue
from bannister.domain.comparison.metrics import watches_comparisons
from bannister.domain.deployment.deployment import ENDED, RETURNING, SHIFTED, STOPPABLE, Deployment, Phase
from bannister.domain.deployment.model_warning import MODEL_WARNINGS_MAX, ModelWarning
from bannister.domain.deployment.observation import GroupObservation, Limits, Observation
from bannister.domain.deployment.targets import (
    blue_whole,
    restoring_to,
    retreat,
    shifted_to,
    with_batch,
    without_surplus,
)


class Event(StrEnum):
    """What an observation can amount to."""

    GREEN_READY = "green ready"
    ALARMS_HOLD = "alarms hold"
    ALARMS_CLEAR = "alarms clear"
    SPLIT_ACKNOWLEDGED = "split acknowledged"
    STEP_BAKED = "step baked"
    LAST_STEP_BAKED = "last step baked"
    BATCH_BAKED = "batch baked"
    BATCH_RETIRED = "batch retired"
    BATCH_READY = "batch ready"
    BLUE_GONE = "blue gone"
    STOPPED = "stopped"
    BLUE_RESTORED = "blue restored"
    BLUE_SHORT = "blue short"
    GREEN_SHED = "green shed"
    BATCH_RESTORED = "batch restored"
    RESTORE_FAILED = "restore failed"
    GREEN_GONE = "green gone"


TRANSITIONS: Final[Mapping[Phase, Mapping[Event, Phase]]] = {
    Phase.PROVISIONING: {
        Event.GREEN_READY: Phase.SHIFTING,
        Event.ALARMS_HOLD: Phase.HELD,
        Event.STOPPED: Phase.ROLLING_BACK,
    },
    Phase.HELD: {Event.ALARMS_CLEAR: Phase.SHIFTING, Event.STOPPED: Phase.ROLLING_BACK},
    Phase.SHIFTING: {Event.SPLIT_ACKNOWLEDGED: Phase.BAKING, Event.STOPPED: Phase.ROLLING_BACK},
    Phase.BAKING: {
        Event.STEP_BAKED: Phase.SHIFTING,
        Event.LAST_STEP_BAKED: Phase.RETIRING,
        Event.BATCH_BAKED: Phase.SHRINKING,
        Event.STOPPED: Phase.ROLLING_BACK,
    },
    Phase.SHRINKING: {Event.BATCH_RETIRED: Phase.GROWING, Event.STOPPED: Phase.ROLLING_BACK},
    Phase.GROWING: {Event.BATCH_READY: Phase.SHIFTING, Event.STOPPED: Phase.ROLLING_BACK},
    Phase.RETIRING: {Event.BLUE_GONE: Phase.COMPLETED},
    Phase.ROLLING_BACK: {Event.BLUE_RESTORED: Phase.REMOVING, Event.BLUE_SHORT: Phase.SHEDDING},
    Phase.SHEDDING: {Event.GREEN_SHED: Phase.RESTORING},
    Phase.RESTORING: {Event.BATCH_RESTORED: Phase.ROLLING_BACK, Event.RESTORE_FAILED: Phase.ROLLBACK_FAILED},
    Phase.REMOVING: {Event.GREEN_GONE: Phase.ROLLED_BACK},
    Phase.COMPLETED: {},
    Phase.ROLLED_BACK: {},
    Phase.ROLLBACK_FAILED: {},
}


#: In the reason of a rollback that has failed, between why it failed and why it was rolled back.
BECAUSE: Final = "\nIt was rolled back because of this: "


class IllegalEvent(AssertionError):
    """The table lists no transition for this phase and event: a bug in the caller."""


# --- what the facts amount to ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Noticed:
    """An event, with the sentence that explains it."""

    event: Event
    reason: str


def notice(deployment: Deployment, seen: Observation, limits: Limits) -> Noticed | None:
    """Name the event that these facts amount to, or None: go on waiting."""
    if deployment.phase in STOPPABLE:
        stop = _reason_to_stop(deployment, seen, limits)
        if stop is not None:
            return Noticed(Event.STOPPED, stop)
    if seen.green_requests is not None and seen.green_requests < limits.bake_requests_min:
        return None
    rule = _RULES.get(deployment.phase)
    return rule(deployment, seen) if rule is not None else None


def _before_first_shift(deployment: Deployment, seen: Observation) -> Noticed | None:
    starting = deployment.phase is Phase.PROVISIONING
    if any(group.ready < group.wanted for group in (seen.green if starting else _production(seen))):
        return None
    holding = [alarm.name for alarm in seen.alarms if alarm.value is AlarmValue.ALARM]
    if holding:
        if deployment.phase is Phase.HELD:
            return None
        return Noticed(Event.ALARMS_HOLD, f"Green is ready; no traffic moves while {_quoted(holding)} is in ALARM.")
    if deployment.phase is Phase.HELD:
        return Noticed(Event.ALARMS_CLEAR, "No alarm is in ALARM any more.")
    return Noticed(Event.GREEN_READY, "Every green instance is ready and no alarm is in ALARM.")


def _production(seen: Observation) -> tuple[GroupObservation, ...]:
    """Green without its shadow."""
    return tuple(group for group in seen.green if not group.shadow)


def _production_deaths(seen: Observation) -> int:
    return sum(group.deaths for group in _production(seen))


def _reason_to_stop(deployment: Deployment, seen: Observation, limits: Limits) -> str | None:
    """Why to roll back, as a sentence with the values; None: no reason."""
    return (
        _asked_to_stop(seen)
        or _tripped(deployment, seen)
        or _green_failed(deployment, seen)
        or _too_late(deployment, seen, limits)
        or _blind(deployment, seen, limits)
        or _unjudged(deployment, seen, limits)
    )


def _asked_to_stop(seen: Observation) -> str | None:
    return f"A rollback was asked for: {seen.stop_requested}" if seen.stop_requested is not None else None


def _tripped(deployment: Deployment, seen: Observation) -> str | None:
    for alarm in seen.alarms:
        if alarm.value is None:
            return f'Alarm "{alarm.name}", which guards this deployment, was deleted.'
        if alarm.tripped_at is not None and deployment.phase in SHIFTED:
            return f'Alarm "{alarm.name}" tripped at {instant(alarm.tripped_at)}: {alarm.tripped_reason}'
    return None


def _green_failed(deployment: Deployment, seen: Observation) -> str | None:
    starting = deployment.phase is Phase.PROVISIONING
    for group in seen.green if starting else _production(seen):
        if group.failure is not None:
            return group.failure
    if starting:
        return None
    growing = deployment.phase is Phase.GROWING
    green = {group.id: group for group in deployment.green.groups}
    for group in _production(seen):
        variant, path = green[group.group].variant, green[group.group].container.paths.ping
        # While a batch starts its instances may need several attempts, as the first ones did. How many are ready says nothing then: one that has
        # come up would stand in for one that was lost.
        needed = shifted_to(deployment, variant) if growing else group.wanted
        if group.ready < needed or (growing and group.unready > 0):
            ready = f"{group.ready} of {group.wanted} are ready" + (", and a batch is starting" if growing else "")
            return f"An instance of the new fleet (variant {variant}) died or stopped answering {path}: {ready}." + (
                f" {group.trouble}" if group.trouble else ""
            )
    if _production_deaths(seen) > deployment.green_restarts:
        return "An instance of the new fleet died and was restarted."
    return None


def _too_late(deployment: Deployment, seen: Observation, limits: Limits) -> str | None:
    if seen.now >= deployment.deadline_at:
        allowed = deployment.deadline_at - deployment.started_at
        return f"The deployment did not finish within its maximum execution time of {allowed:.0f} seconds."
    if deployment.phase is Phase.HELD:
        held = seen.now - deployment.phase_since
        holding = [alarm.name for alarm in seen.alarms if alarm.value is AlarmValue.ALARM]
        if holding and held >= limits.alarm_clear_timeout_seconds:
            return f"{_named(holding)} was in ALARM before the first shift and did not clear within {held:.0f} seconds."
    return None


def _blind(deployment: Deployment, seen: Observation, limits: Limits) -> str | None:
    if not deployment.policy.alarms or deployment.phase not in SHIFTED:
        return None
    if seen.silent_seconds >= limits.blind_timeout_seconds:
        return (
            f"Telemetry has been silent for {seen.silent_seconds:.0f} seconds, so the alarms cannot be judged; "
            "a bake without data is no evidence."
        )
    if seen.uncompared_seconds >= limits.blind_timeout_seconds:
        return (
            f"No answers have been compared for {seen.uncompared_seconds:.0f} seconds, because the capture process is silent, so "
            f"{_quoted(comparing(seen))} cannot be judged; a bake without data is no evidence."
        )
    return None


def comparing(seen: Observation) -> list[str]:
    """The alarms that look at compared answers."""
    return [
        one.name
        for one in seen.alarms
        if one.compares or (one.rule is not None and watches_comparisons(*one.rule.metrics))
    ]


def _unjudged(deployment: Deployment, seen: Observation, limits: Limits) -> str | None:
    """An alarm that is not evaluated although telemetry speaks would hold the bake until the maximum execution time."""
    deadline = bake_deadline(deployment, seen.covered_since) if deployment.phase is Phase.BAKING else None
    if deadline is None or seen.now < deadline + limits.blind_timeout_seconds + limits.evaluation_interval_seconds:
        return None
    behind = [
        one.name for one in seen.alarms if one.evaluated_until is None or one.evaluated_until < math.ceil(deadline)
    ]
    if not behind:
        return None
    late = seen.now - deadline
    return f"{_named(behind)} could not be evaluated up to the end of the bake, {late:.0f} seconds after it."


def _bake_over(deployment: Deployment, seen: Observation) -> Noticed | None:
    deadline = bake_deadline(deployment, seen.covered_since)
    if deadline is None or seen.now < deadline:
        return None
    for alarm in seen.alarms:
        if alarm.evaluated_until is None or alarm.evaluated_until < math.ceil(deadline):
            return None
    if not has_its_share(seen) or overdue(seen) > 0:
        return None
    last = deployment.step == len(deployment.steps) - 1
    event = Event.LAST_STEP_BAKED if last else (Event.BATCH_BAKED if deployment.rolling else Event.STEP_BAKED)
    baked = deployment.steps[deployment.step].bake_seconds
    judged = f" and {len(seen.alarms)} alarm(s) evaluated to its end stayed clear" if seen.alarms else ""
    if seen.green_requests == 0:
        judged += ", without evidence: no request to green was seen"
    return Noticed(
        event,
        f"Step {deployment.step + 1} of {len(deployment.steps)} baked for {baked} seconds{judged}.",
    )


def bake_deadline(deployment: Deployment, covered_since: float | None) -> float | None:
    """When the present bake may be over; None: not baking, or alarms are named and telemetry has not spoken.

    With alarms, only time that telemetry covered counts: a gap starts the bake again where the gap ended.
    """
    if deployment.baking_since is None or deployment.step < 0:
        return None
    since = deployment.baking_since
    if deployment.policy.alarms:
        if covered_since is None:
            return None
        since = max(since, covered_since)
    return since + deployment.steps[deployment.step].bake_seconds


def has_its_share(seen: Observation) -> bool:
    """Whether the proxies, all alike, give green what the split asks for, or more, where blue has no instance. A control plane that is new gives traffic to green only when every proxy has seen it healthy
    again; what it decides before that would be about a version without traffic, and what it takes from blue would be missing.
    """
    return all(
        asked == 0 or (acknowledged is not None and acknowledged >= asked)
        for group in _production(seen)
        for asked, acknowledged in (
            (group.asked_parts, group.acknowledged_parts),
            (group.asked_named_parts, group.acknowledged_named_parts),
        )
    )


def overdue(seen: Observation) -> int:
    """Instances of green that keep a ping waiting. Requests that one never answers make no datapoint, so alarms stay clear: until it answers, or is unready, no bake is over."""
    return sum(group.overdue for group in _production(seen))


def _shifted(_: Deployment, seen: Observation) -> Noticed | None:
    if not seen.split_acknowledged:
        return None
    return Noticed(Event.SPLIT_ACKNOWLEDGED, "Every proxy has acknowledged the split.")


def _blue_retired(deployment: Deployment, seen: Observation) -> Noticed | None:
    if seen.blue_gone:
        return Noticed(Event.BLUE_GONE, "Blue has drained and its instances are gone.")
    if seen.now >= deployment.deadline_at:
        return Noticed(Event.BLUE_GONE, "The maximum execution time is over; blue goes on retiring by itself.")
    return None


def _restored(deployment: Deployment, seen: Observation) -> Noticed | None:
    if not seen.split_acknowledged:
        return None
    short = [one for one in deployment.retreat if one.blue < blue_whole(deployment, one.variant)]
    if short:
        counts = ", ".join(f"{one.blue} of {blue_whole(deployment, one.variant)} of {one.variant}" for one in short)
        return Noticed(Event.BLUE_SHORT, f"All traffic that blue can carry is on blue, which has {counts}.")
    return Noticed(Event.BLUE_RESTORED, "Every proxy has acknowledged that no traffic goes to green.")


def _blue_shrunk(_: Deployment, seen: Observation) -> Noticed | None:
    if any(group.existing > group.wanted for group in seen.blue if not group.shadow):
        return None
    return Noticed(Event.BATCH_RETIRED, "What green replaces of blue has drained and is gone.")


def _green_grown(_: Deployment, seen: Observation) -> Noticed | None:
    if any(min(group.ready, group.healthy) < group.wanted for group in _production(seen)):
        return None
    return Noticed(Event.BATCH_READY, "Every instance of green's next batch is ready, and healthy in every proxy.")


def _green_shed(_: Deployment, seen: Observation) -> Noticed | None:
    # Only that they leave is waited for, not until they are gone: a stream may drain for minutes, and as long a bad version would keep its traffic.
    # Of blue, too, a batch may still drain that was on its way out when the deployment was stopped.
    blue = tuple(group for group in seen.blue if not group.shadow)
    if any(group.existing - group.leaving > group.wanted for group in (*_production(seen), *blue)):
        return None
    return Noticed(
        Event.GREEN_SHED, "What is no longer needed gets no new requests, and goes when it has answered those it has."
    )


def _blue_grown(deployment: Deployment, seen: Observation) -> Noticed | None:
    blue = [group for group in seen.blue if not group.shadow]
    for group in blue:
        if group.failure is not None:
            return Noticed(Event.RESTORE_FAILED, f"The old fleet could not be restored. {group.failure}")
    if all(min(group.ready, group.healthy) >= group.wanted for group in blue):
        return Noticed(Event.BATCH_RESTORED, "A batch of blue is ready again, and healthy in every proxy.")
    assert deployment.blue is not None
    # An instance that cannot start says so itself; this bound is for one that hangs. They start one after the other where the backend lets them.
    missing = max(restoring_to(deployment, one) - one.blue for one in deployment.retreat)
    allowed = max(group.startup_timeout_seconds for group in deployment.blue.groups) * max(missing, 1)
    since = max(deployment.phase_since, seen.watched_since)
    if seen.now < since + allowed:
        return None
    ready, healthy, wanted = (
        sum(group.ready for group in blue),
        sum(group.healthy for group in blue),
        sum(group.wanted for group in blue),
    )
    return Noticed(
        Event.RESTORE_FAILED,
        f"The old fleet could not be restored: of {wanted} instances {ready} were ready, and every proxy saw {healthy} healthy, "
        f"after {seen.now - since:.0f} seconds.",
    )


def _green_removed(_: Deployment, seen: Observation) -> Noticed | None:
    # Of blue, too, something may still drain that a rolling update had on its way out.
    if not seen.green_gone or any(group.existing > group.wanted for group in seen.blue if not group.shadow):
        return None
    return Noticed(Event.GREEN_GONE, "Green has drained and its instances are gone.")


#: What each phase waits for.
_RULES: Final[Mapping[Phase, Callable[[Deployment, Observation], Noticed | None]]] = {
    Phase.PROVISIONING: _before_first_shift,
    Phase.HELD: _before_first_shift,
    Phase.SHIFTING: _shifted,
    Phase.BAKING: _bake_over,
    Phase.SHRINKING: _blue_shrunk,
    Phase.GROWING: _green_grown,
    Phase.RETIRING: _blue_retired,
    Phase.ROLLING_BACK: _restored,
    Phase.SHEDDING: _green_shed,
    Phase.RESTORING: _blue_grown,
    Phase.REMOVING: _green_removed,
}


def heard(deployment: Deployment, seen: Observation) -> Deployment | None:
    """The deployment with what green's models say against themselves and is not recorded yet; None: nothing, or green is on its way out.

    To be asked before `notice`: who follows the deployment reads it before traffic moves.
    """
    if deployment.phase in RETURNING | ENDED:
        return None
    variants = {group.id: group.variant for group in deployment.green.all_groups}
    said = dict.fromkeys(ModelWarning(variants[group.group], text) for group in seen.green for text in group.warnings)
    known = deployment.model_warnings
    fresh = [one for one in said if one not in known][: MODEL_WARNINGS_MAX - len(known)]
    return replace(deployment, model_warnings=(*known, *fresh)) if fresh else None


# --- the next deployment --------------------------------------------------------------------------


def advance(deployment: Deployment, noticed: Noticed, seen: Observation) -> Deployment:
    """The deployment after this event.

    Raises:
        IllegalEvent: The table lists no transition for this phase and event.
    """
    phase = TRANSITIONS[deployment.phase].get(noticed.event)
    if phase is None:
        raise IllegalEvent(f"{noticed.event} in phase {deployment.phase}")
    after = replace(deployment, phase=phase, phase_since=seen.now, baking_since=None, waited_for=())
    match phase:
        case Phase.SHIFTING:
            first = deployment.step < 0
            return replace(
                after,
                step=deployment.step + 1,
                alarms_seen=seen.journal_sequence if first else deployment.alarms_seen,
                green_restarts=_production_deaths(seen) if first else deployment.green_restarts,
            )
        case Phase.HELD:
            return replace(after, green_restarts=_production_deaths(seen))
        case Phase.BAKING:
            return replace(after, baking_since=seen.now)
        case Phase.ROLLING_BACK if noticed.event is Event.STOPPED:
            return replace(after, reason=noticed.reason, retreat=retreat(deployment))
        case Phase.ROLLING_BACK:
            return replace(after, retreat=with_batch(deployment))
        case Phase.SHEDDING:
            return replace(after, retreat=without_surplus(deployment))
        case Phase.ROLLBACK_FAILED:
            reason = f"{noticed.reason}{BECAUSE}{deployment.reason}"
            return replace(after, reason=reason, ended_at=seen.now)
        case Phase.COMPLETED | Phase.ROLLED_BACK:
            return replace(after, ended_at=seen.now)
        case _:
            return after


def instant(at: float) -> str:
    """A point in time for people, in UTC to the second."""
    return datetime.fromtimestamp(at, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _quoted(names: list[str]) -> str:
    return "alarm " + ", ".join(f'"{name}"' for name in names)


def _named(names: list[str]) -> str:
    """As `_quoted`, at the beginning of a sentence."""
    return "A" + _quoted(names)[1:]
