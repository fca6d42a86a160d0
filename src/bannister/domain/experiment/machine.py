"""The state machine of inference experiments: the only place that decides what an experiment does next.

How it works

Each turn of the experimenter's loop gathers an `Observation` and asks two pure functions, as the deployer does with
`bannister.domain.deployment.machine`:

* `notice(experiment, seen, limits)` names the one `Event` that the facts amount to in this status, or None: nothing to decide.
* `advance(experiment, noticed, seen, limits)` looks the event up in `TRANSITIONS` and returns a `Decision`: the experiment as it is afterwards, and
  what must be written in the same transaction: the endpoint, changed, and a configuration that was made for it.

What changes an endpoint is a deployment, all at once and without alarms; whether one has brought its fleet is read off the endpoint alone
(the groups carry the deployment's id). Nothing is remembered elsewhere, so a crash anywhere is healed by looking again. Timers are absolute.

The rules that keep an endpoint whole:

* An experiment begins only on an endpoint at rest, and from then on holds it (`Endpoint.experiment`): what it found is what it finds at the end.
* What it found is copied into the experiment in the transaction that begins the first change. Restoring makes that fleet once more.
* An end that cannot be brought about is tried again, a promotion once and a restoration a few times; then the shadow goes by a change of the row
  alone, which cannot fail, and production serves on from the experiment's configuration. That is Cancelled, with the reason.
* Who lost the endpoint (deleted, or changed past us) touches it no more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from bannister.domain.deployment.construction import brought_by, config_of, new_deployment
from bannister.domain.deployment.deployment import Phase
from bannister.domain.deployment.machine import instant
from bannister.domain.deployment.policy import DeploymentPolicy
from bannister.domain.endpoint import Endpoint, EndpointConfig
from bannister.domain.experiment.admission import why_not_begin
from bannister.domain.experiment.experiment import ENDED, REASON_CHARACTERS_MAX, Ending, Experiment, Status, Stop
from bannister.domain.experiment.fleets import (
    experiment_fleet,
    fleet_afterwards,
    resampled,
    without_shadow,
)
from bannister.domain.fleet import Fleet, sampled_parts
from bannister.domain.model import Container


class Event(StrEnum):
    """What an observation, or a request, can amount to."""

    PREPARED = "prepared"
    DUE = "due"
    #: The endpoint is at rest: its change to the experiment's configuration begins.
    BEGUN = "begun"
    STARTED = "started"
    SAMPLING_ASKED = "sampling asked"
    SAMPLING_SET = "sampling set"
    STOP_ASKED = "stop asked"
    TIME_OVER = "time over"
    #: Stopped while it was starting: the change is taken back.
    WITHDRAWN = "withdrawn"
    #: The change to what comes after the experiment begins.
    ENDING = "ending"
    #: … and was rolled back.
    ENDING_FAILED = "ending failed"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


TRANSITIONS: Final[Mapping[Status, Mapping[Event, Status]]] = {
    Status.CREATING: {
        Event.PREPARED: Status.CREATED,
        Event.STOP_ASKED: Status.STOPPING,
        Event.CANCELLED: Status.CANCELLED,
    },
    Status.CREATED: {
        Event.DUE: Status.STARTING,
        Event.STOP_ASKED: Status.STOPPING,
        Event.CANCELLED: Status.CANCELLED,
    },
    Status.STARTING: {
        Event.BEGUN: Status.STARTING,
        Event.STARTED: Status.RUNNING,
        Event.STOP_ASKED: Status.STOPPING,
        Event.CANCELLED: Status.CANCELLED,
    },
    Status.RUNNING: {
        Event.SAMPLING_ASKED: Status.UPDATING,
        Event.STOP_ASKED: Status.STOPPING,
        Event.TIME_OVER: Status.STOPPING,
        Event.CANCELLED: Status.CANCELLED,
    },
    Status.UPDATING: {
        Event.SAMPLING_SET: Status.RUNNING,
        Event.STOP_ASKED: Status.STOPPING,
        Event.TIME_OVER: Status.STOPPING,
        Event.CANCELLED: Status.CANCELLED,
    },
    Status.STOPPING: {
        Event.WITHDRAWN: Status.STOPPING,
        Event.ENDING: Status.STOPPING,
        Event.ENDING_FAILED: Status.STOPPING,
        Event.COMPLETED: Status.COMPLETED,
        Event.CANCELLED: Status.CANCELLED,
    },
    Status.COMPLETED: {},
    Status.CANCELLED: {},
}

#: Phases of a deployment in which a request to roll it back is heard.
_WITHDRAWABLE: Final = frozenset({Phase.PROVISIONING, Phase.HELD, Phase.SHIFTING, Phase.BAKING})


class IllegalEvent(AssertionError):
    """The table lists no transition for this status and event: a bug in the caller."""


@dataclass(frozen=True, slots=True)
class Observation:
    """Every fact that a decision may depend on, at one moment. It is stored with the decision as its evidence."""

    now: float
    #: None: there is no endpoint of that name.
    endpoint: Endpoint | None
    #: Of the two models that the experiment names, those that exist.
    containers: dict[str, Container] = field(default_factory=dict)
    #: An identifier nobody has, for a deployment that this decision may begin.
    fresh_id: str = ""
    #: Where there is no endpoint of that name: one whose name differs from it in case only.
    too_like: str | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """The settings that decisions depend on."""

    deployment_timeout_seconds: float = 28_800.0
    startup_timeout_seconds: float = 480.0
    restoring_attempts_max: int = 3
    retry_seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class Noticed:
    """An event, with the sentence that explains it."""

    event: Event
    reason: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What is true afterwards, to be written in one transaction."""

    experiment: Experiment
    #: The endpoint as changed; None: it is left alone.
    endpoint: Endpoint | None = None
    #: A configuration that was made.
    config: EndpointConfig | None = None


# --- what the facts amount to ---------------------------------------------------------------------


def notice(experiment: Experiment, seen: Observation, limits: Limits) -> Noticed | None:
    """Name the event that these facts amount to, or None: go on waiting."""
    if experiment.status in ENDED:
        return None
    if experiment.begun is not None and (lost := _lost(experiment, seen.endpoint)) is not None:
        return Noticed(Event.CANCELLED, lost)
    return _RULES[experiment.status](experiment, seen, limits)


def _lost(experiment: Experiment, endpoint: Endpoint | None) -> str | None:
    """Why the endpoint is not the experiment's any more."""
    if endpoint is None or endpoint.deleting:
        return f'Endpoint "{experiment.endpoint}" was deleted during the experiment.'
    if not experiment.holds(endpoint.experiment):
        return f'Endpoint "{experiment.endpoint}" was changed by somebody else during the experiment.'
    return None


def _creating(experiment: Experiment, seen: Observation, limits: Limits) -> Noticed | None:
    return Noticed(Event.PREPARED, f"The experiment waits for its start at {instant(experiment.starts_at)}.")


def _created(experiment: Experiment, seen: Observation, limits: Limits) -> Noticed | None:
    if not experiment.creates_endpoint and (seen.endpoint is None or seen.endpoint.deleting):
        return Noticed(
            Event.CANCELLED, f'Endpoint "{experiment.endpoint}" was deleted before the start of the experiment.'
        )
    if seen.now >= experiment.starts_at:
        return Noticed(Event.DUE, "The start time has come.")
    return None


def _starting(experiment: Experiment, seen: Observation, limits: Limits) -> Noticed | None:
    endpoint = seen.endpoint
    if experiment.begun is None:
        return _before_beginning(experiment, seen)
    assert endpoint is not None  # it would be lost
    if endpoint.deployment is not None:
        return None
    if brought_by(endpoint.blue, experiment.begun):
        return Noticed(Event.STARTED, "Production and shadow are in service.")
    return Noticed(Event.CANCELLED, f"The experiment could not start. {endpoint.failure_reason or ''}".strip())


def _before_beginning(experiment: Experiment, seen: Observation) -> Noticed | None:
    why_not = why_not_begin(experiment, seen.endpoint, seen.containers, seen.too_like)
    if why_not is not None:
        return Noticed(Event.CANCELLED, f"The experiment could not start. {why_not}")
    changing = seen.endpoint is not None and seen.endpoint.changing
    if seen.now >= experiment.ends_at:
        why = f'Endpoint "{experiment.endpoint}" was being updated until then.' if changing else "It never ran."
        over = f"The end time, {instant(experiment.ends_at)}, had come before the experiment could begin."
        return Noticed(Event.CANCELLED, f"{over} {why}")
    if changing:
        return None
    return Noticed(Event.BEGUN, f'Endpoint "{experiment.endpoint}" is changed to run production and shadow.')


def _running(experiment: Experiment, seen: Observation, limits: Limits) -> Noticed | None:
    if seen.now >= experiment.ends_at:
        return Noticed(Event.TIME_OVER, f"The end time, {instant(experiment.ends_at)}, has come.")
    return None


def _updating(experiment: Experiment, seen: Observation, limits: Limits) -> Noticed | None:
    over = _running(experiment, seen, limits)
    if over is not None:
        return over
    return Noticed(Event.SAMPLING_SET, f"{experiment.sampling_percent} % of the requests are copied to the shadow.")


def _stopping(experiment: Experiment, seen: Observation, limits: Limits) -> Noticed | None:
    stop = _stop(experiment)
    if experiment.begun is None:
        return _ended(experiment, "The endpoint was not touched.")
    endpoint = seen.endpoint
    assert endpoint is not None  # it would be lost
    if endpoint.deployment is not None:
        return _while_changing(experiment, endpoint)
    if experiment.ending is not None:
        if brought_by(endpoint.blue, experiment.ending):
            return _ended(experiment, "The endpoint runs what it is to run after the experiment.")
        return Noticed(
            Event.ENDING_FAILED, endpoint.failure_reason or "The change after the experiment was rolled back."
        )
    if endpoint.blue is None:
        return Noticed(Event.CANCELLED, f"The endpoint could not be created. {endpoint.failure_reason or ''}".strip())
    if not brought_by(endpoint.blue, experiment.begun):
        return _ended(experiment, "The change to the experiment's configuration was rolled back.")
    if stop.ending is Ending.RETAIN and not stop.desired:
        return _ended(experiment, "Production and shadow stay as they are.")
    if experiment.failures >= limits.restoring_attempts_max:
        return _ended(experiment, "The shadow is removed; production serves on from the experiment's configuration.")
    # Never longer than was meant: the clock may have been set back since.
    if 0 < experiment.retry_at - seen.now <= experiment.failures * limits.retry_seconds:
        return None
    return Noticed(Event.ENDING, f"The endpoint is changed to what it is to run afterwards ({stop.ending.value}).")


def _while_changing(experiment: Experiment, endpoint: Endpoint) -> Noticed | None:
    """Stopped while it starts: taken back while that is possible; else it comes into service first, and goes then."""
    deployment = endpoint.deployment
    if (
        deployment is not None
        and deployment.id == experiment.begun
        and deployment.phase in _WITHDRAWABLE
        and deployment.stop_requested is None
        and deployment.blue is not None
        and _stop(experiment).ending is Ending.RESTORE
        and not _stop(experiment).desired
    ):
        return Noticed(Event.WITHDRAWN, "The change to the experiment's configuration is taken back.")
    return None


def _ended(experiment: Experiment, reason: str) -> Noticed:
    if experiment.failure is None and _stop(experiment).state is Status.COMPLETED:
        return Noticed(Event.COMPLETED, reason)
    return Noticed(Event.CANCELLED, reason)


def _stop(experiment: Experiment) -> Stop:
    """How it ends: as was asked, or by itself."""
    return experiment.stop or Stop(Ending.RESTORE, Status.COMPLETED)


_RULES: Final[Mapping[Status, Callable[[Experiment, Observation, Limits], Noticed | None]]] = {
    Status.CREATING: _creating,
    Status.CREATED: _created,
    Status.STARTING: _starting,
    Status.RUNNING: _running,
    Status.UPDATING: _updating,
    Status.STOPPING: _stopping,
}


# --- what is true afterwards ----------------------------------------------------------------------


def moved(experiment: Experiment, event: Event, now: float) -> Experiment:
    """The experiment in the status that the table gives.

    Raises:
        IllegalEvent: The table lists no transition for this status and event.
    """
    status = TRANSITIONS[experiment.status].get(event)
    if status is None:
        raise IllegalEvent(f"{event} in status {experiment.status}")
    if status is experiment.status:
        return replace(experiment, modified_at=now)
    return replace(experiment, status=status, status_since=now, modified_at=now)


def advance(experiment: Experiment, noticed: Noticed, seen: Observation, limits: Limits) -> Decision:
    """What is true after this event.

    Raises:
        IllegalEvent: The table lists no transition for this status and event.
    """
    after = moved(experiment, noticed.event, seen.now)
    match noticed.event:
        case Event.BEGUN:
            return _begin(after, seen, limits)
        case Event.SAMPLING_SET:
            return Decision(after, _resampled(after, seen))
        case Event.TIME_OVER:
            return Decision(replace(after, stop=Stop(Ending.RESTORE, Status.COMPLETED, noticed.reason)))
        case Event.WITHDRAWN:
            return Decision(after, _withdrawn(after, seen))
        case Event.ENDING:
            return _end(after, seen, limits)
        case Event.ENDING_FAILED:
            return Decision(_after_failure(after, noticed.reason, seen.now, limits))
        case Event.COMPLETED | Event.CANCELLED:
            return _settle(after, noticed, seen)
        case Event.PREPARED | Event.DUE | Event.STARTED | Event.STOP_ASKED | Event.SAMPLING_ASKED:
            return Decision(after)


def _begin(experiment: Experiment, seen: Observation, limits: Limits) -> Decision:
    endpoint = seen.endpoint
    found = endpoint.blue if endpoint is not None else None
    green = experiment_fleet(
        experiment, found, seen.containers, seen.fresh_id, seen.now, limits.startup_timeout_seconds
    )
    if endpoint is None:
        endpoint = Endpoint(experiment.endpoint, seen.now, seen.now, requested_config=green.config_name)
    changed = replace(_changing(endpoint, green, seen, limits), experiment=experiment.name)
    return Decision(replace(experiment, begun=seen.fresh_id, found=found), changed, config_of(green, seen.now))


def _end(experiment: Experiment, seen: Observation, limits: Limits) -> Decision:
    endpoint, stop = seen.endpoint, _stop(experiment)
    assert endpoint is not None
    assert endpoint.blue is not None
    running = resampled(endpoint.blue, experiment.sampling_percent)
    green = fleet_afterwards(experiment, stop, running, seen.fresh_id, seen.now)
    # What was found has a configuration already, or had one; what runs has the one that was made at the beginning.
    made = green.config_name not in {endpoint.blue.config_name, experiment.found and experiment.found.config_name}
    return Decision(
        replace(experiment, ending=seen.fresh_id),
        _changing(endpoint, green, seen, limits),
        config_of(green, seen.now) if made else None,
    )


def _changing(endpoint: Endpoint, green: Fleet, seen: Observation, limits: Limits) -> Endpoint:
    """The endpoint on its way to another fleet. Its last policy is that of the last update somebody asked for, and stays."""
    deployment = new_deployment(
        seen.fresh_id,
        endpoint.name,
        DeploymentPolicy(given=False),
        endpoint.blue,
        green,
        seen.now,
        limits.deployment_timeout_seconds,
    )
    return replace(endpoint, deployment=deployment, modified_at=seen.now, failure_reason=None)


def _resampled(experiment: Experiment, seen: Observation) -> Endpoint | None:
    endpoint = seen.endpoint
    if endpoint is None or endpoint.blue is None or endpoint.blue.shadow is None:
        return None
    if endpoint.blue.shadow.sampled_parts == sampled_parts(experiment.sampling_percent, 100):
        return None
    return replace(endpoint, blue=resampled(endpoint.blue, experiment.sampling_percent), modified_at=seen.now)


def _withdrawn(experiment: Experiment, seen: Observation) -> Endpoint:
    endpoint = seen.endpoint
    assert endpoint is not None
    assert endpoint.deployment is not None
    why = f'inference experiment "{experiment.name}" was stopped.'
    return replace(endpoint, deployment=replace(endpoint.deployment, stop_requested=why), modified_at=seen.now)


def _after_failure(experiment: Experiment, reason: str, now: float, limits: Limits) -> Experiment:
    """A promotion that failed becomes a restoration; a restoration is tried again a little later each time."""
    stop = _stop(experiment)
    if stop.ending is not Ending.RESTORE or stop.desired:
        sentence = f"The experiment did not end as asked ({stop.ending.value}), and the endpoint was restored. {reason}"
        asked = Stop(Ending.RESTORE, Status.CANCELLED, stop.reason)
        return replace(experiment, ending=None, stop=asked, failure=sentence)
    failures = experiment.failures + 1
    after = replace(experiment, ending=None, failures=failures, retry_at=now + failures * limits.retry_seconds)
    if failures < limits.restoring_attempts_max:
        return after
    sentence = (
        f"The endpoint could not be restored in {failures} attempts; it serves on with production as in the experiment, "
        f"without the shadow. {reason}"
    )
    return replace(after, failure=sentence)


def _settle(experiment: Experiment, noticed: Noticed, seen: Observation) -> Decision:
    """The end: the endpoint is let go."""
    endpoint = seen.endpoint
    asked = experiment.stop
    if asked is None or _nothing_left(experiment, endpoint):
        reason: str | None = noticed.reason
    else:
        reason = experiment.failure or asked.reason
    ended = replace(experiment, completed_at=seen.now, reason=_short(reason))
    if endpoint is None or endpoint.experiment != experiment.name or experiment.begun is None:
        return Decision(ended)
    stop = _stop(experiment)
    # What stays copies the share that was asked for last, which may not have been brought about before the stop.
    resampled_now = _resampled(experiment, seen) if stop.ending is Ending.RETAIN else None
    freed = replace(resampled_now or endpoint, experiment=None)
    left_over = (
        asked is not None and stop.ending is Ending.RESTORE and endpoint.deployment is None and not endpoint.deleting
    )
    if left_over and endpoint.blue is not None and brought_by(endpoint.blue, experiment.begun):
        freed = replace(freed, blue=without_shadow(endpoint.blue, experiment))
    return Decision(ended, replace(freed, modified_at=seen.now))


def _nothing_left(experiment: Experiment, endpoint: Endpoint | None) -> bool:
    """The endpoint was lost, or its creation failed: that says more than why the experiment was stopped."""
    if experiment.begun is None:
        return False
    return _lost(experiment, endpoint) is not None or endpoint is None or endpoint.blue is None


def _short(reason: str | None) -> str | None:
    """On one line, as AWS's StatusReason is, and not longer."""
    if reason is None:
        return None
    line = " ".join(reason.split())
    return line if len(line) <= REASON_CHARACTERS_MAX else line[: REASON_CHARACTERS_MAX - 1] + "…"
