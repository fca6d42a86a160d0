"""Inference experiments: create, describe, list, update, start, stop, delete.

These write down what is wanted; the experimenter brings it about. What AWS leaves open is decided here and in
`bannister.domain.experiment.admission`:

* One experiment at a time has an endpoint, from its creation to its end; a second is refused (ResourceInUse), also one for later.
* The endpoint of a Created experiment may be updated and deleted: nothing of the experiment is on it yet. If it is deleted, the experiment
  is Cancelled. Once the experiment has begun, both are refused until it has ended.
* A Created experiment's changes are in force at once; of a Running one, status Updating lasts until the endpoint's new share is written.
* Created, Completed and Cancelled experiments can be deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from bannister import __version__
from bannister.domain.capture.data_capture import DataCapture
from bannister.domain.endpoint import Endpoint
from bannister.domain.experiment.admission import (
    CONFLICT,
    DELETABLE,
    Action,
    Bounds,
    check,
    check_length,
    stop_of,
    why_not_begin,
)
from bannister.domain.experiment.experiment import (
    DEFAULT_SECONDS,
    ENDED,
    SECONDS_MAX,
    Experiment,
    ExperimentVariant,
    Status,
)
from bannister.domain.experiment.machine import Event, moved
from bannister.domain.model import Container
from bannister.domain.tags import Tags, check_tags
from bannister.errors import AlreadyExists, Conflict, Invalid, NotFound, Resource
from bannister.operations.context import Context
from bannister.operations.listing import Listed, ListRequest, Page, page
from bannister.state.store import Put, Record, Remove, Row
from bannister.state.tables import ENDPOINTS, EXPERIMENTS, MODELS

#: Each failure means that the experimenter, or another request, wrote in between.
_ATTEMPTS_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class ExperimentRequest:
    """An experiment as it was asked for."""

    endpoint: str
    production: ExperimentVariant
    shadow: ExperimentVariant
    sampling_percent: int
    starts_at: float | None = None
    ends_at: float | None = None
    description: str | None = None
    role: str | None = None
    capture: DataCapture | None = None
    kms_key: str | None = None
    tags: Tags = ()


@dataclass(frozen=True, slots=True)
class ExperimentChange:
    """What an update asks for; None: as it is."""

    description: str | None = None
    starts_at: float | None = None
    ends_at: float | None = None
    #: The names of production and shadow; the shadow's may be another one only together with its description in `variants`.
    production_name: str | None = None
    shadow_name: str | None = None
    sampling_percent: int | None = None
    variants: tuple[ExperimentVariant, ...] | None = None
    capture: DataCapture | None = None


@dataclass(frozen=True, slots=True)
class ExperimentView:
    """An experiment, and its endpoint as it is now."""

    experiment: Experiment
    #: None: it does not exist.
    endpoint: Endpoint | None


async def create_experiment(context: Context, name: str, asked: ExperimentRequest) -> Experiment:
    """Write an experiment down; it starts at its time by itself.

    Raises:
        AlreadyExists: The name is taken.
        Invalid: It could not begin now, or (ResourceInUse) another experiment has the endpoint.
    """
    context.check_room()
    check_tags(asked.tags)
    for _ in range(_ATTEMPTS_MAX):
        # Whoever creates an experiment also journals it: at this position nobody has taken the endpoint in between.
        sequence = await context.state.sequence()
        experiment = await _new(context, name, asked)
        record = _record(context, experiment, "experiment.created")
        try:
            await context.state.commit([Put(EXPERIMENTS, name, experiment, 0)], [record], at_sequence=sequence)
        except Conflict:
            continue
        return experiment
    raise Conflict("The state changed at every attempt; try again.")


async def describe_experiment(context: Context, name: str) -> ExperimentView:
    row = await _row(context, name)
    endpoint = await context.state.get(ENDPOINTS, row.value.endpoint)
    return ExperimentView(row.value, endpoint.value if endpoint is not None else None)


async def list_experiments(context: Context, request: ListRequest) -> Page[Experiment]:
    rows = await context.state.rows(EXPERIMENTS)
    return page(
        Resource.EXPERIMENT,
        [row.value for row in rows],
        lambda one: Listed(one.name, one.created_at, one.modified_at, one.status.value),
        request,
    )


async def update_experiment(context: Context, name: str, change: ExperimentChange) -> Experiment:
    """Change what the experiment's status allows: nearly all before it starts, description, sampling and end while it runs.

    Raises:
        NotFound: There is no such experiment.
        Invalid: The change makes no sense, or (ConflictException) not in this status.
    """
    context.check_room()

    async def changed(experiment: Experiment) -> Experiment:
        match experiment.status:
            case Status.CREATED:
                return await _changed_before_start(context, experiment, change)
            case Status.RUNNING:
                return _changed_while_running(context, experiment, change)
            case _:
                raise Invalid(
                    f'Inference experiment "{name}" is {experiment.status.value}; it can be updated while it is Created or Running.',
                    code=CONFLICT,
                )

    return await _write(context, name, changed, "experiment.updated", {"change": msgspec.to_builtins(change)})


async def start_experiment(context: Context, name: str) -> Experiment:
    """Start before the start time. What would then be longer than AWS's 30 days ends after 30 days.

    Raises:
        NotFound: There is no such experiment.
        Invalid: (ConflictException) It is not waiting for its start; or its end time has passed.
    """

    async def started(experiment: Experiment) -> Experiment:
        if experiment.status is not Status.CREATED:
            raise Invalid(
                f'Inference experiment "{name}" is {experiment.status.value}; only one that is Created can be started.',
                code=CONFLICT,
            )
        now = context.clock.now()
        if now >= experiment.ends_at:
            raise Invalid(
                f'The end time of inference experiment "{name}" has passed; give it a later Schedule first (UpdateInferenceExperiment).'
            )
        earlier = replace(experiment, starts_at=now, ends_at=min(experiment.ends_at, now + SECONDS_MAX))
        return moved(earlier, Event.DUE, now)

    return await _write(context, name, started, "experiment.start_requested", {})


async def stop_experiment(
    context: Context,
    name: str,
    actions: Mapping[str, Action],
    *,
    desired: tuple[ExperimentVariant, ...] = (),
    state: Status | None = None,
    reason: str | None = None,
) -> Experiment:
    """End an experiment: production retained, or the shadow promoted, or both retained.

    Raises:
        NotFound: There is no such experiment.
        Invalid: These actions are no end of it, or (ConflictException) it cannot be stopped in its status.
    """

    async def stopped(experiment: Experiment) -> Experiment:
        now = context.clock.now()
        stop = stop_of(experiment, actions, desired, state, reason, now, _bounds(context))
        return replace(moved(experiment, Event.STOP_ASKED, now), stop=stop)

    body = {"actions": {variant: action.value for variant, action in actions.items()}, "reason": reason}
    return await _write(context, name, stopped, "experiment.stop_requested", body)


async def delete_experiment(context: Context, name: str) -> None:
    """Forget an experiment. Its endpoint, variants and captured data stay (AWS).

    Raises:
        NotFound: There is no such experiment.
        Invalid: (ConflictException) It is on its way, or running: stop it first.
    """
    for _ in range(_ATTEMPTS_MAX):
        row = await _row(context, name)
        if row.value.status not in DELETABLE:
            raise Invalid(
                f'Inference experiment "{name}" is {row.value.status.value}; stop it with StopInferenceExperiment before it is '
                "deleted.",
                code=CONFLICT,
            )
        record = _record(context, row.value, "experiment.deleted")
        try:
            await context.state.commit([Remove(EXPERIMENTS, name, row.revision)], [record])
        except Conflict:
            continue
        return
    raise Conflict("The experiment changed at every attempt; try again.")


# --- parts ------------------------------------------------------------------------------------------


async def _row(context: Context, name: str) -> Row[Experiment]:
    row = await context.state.get(EXPERIMENTS, name)
    if row is None:
        raise NotFound(Resource.EXPERIMENT, name)
    return row


async def _write(
    context: Context, name: str, change: Callable[[Experiment], Any], kind: str, body: dict[str, Any]
) -> Experiment:
    """Change the row, however often the experimenter is faster."""
    for _ in range(_ATTEMPTS_MAX):
        row = await _row(context, name)
        after: Experiment = await change(row.value)
        record = _record(context, after, kind, {"from": row.value.status.value, "to": after.status.value, **body})
        try:
            await context.state.commit([Put(EXPERIMENTS, name, after, row.revision)], [record])
        except Conflict:
            continue
        return after
    raise Conflict("The experiment changed at every attempt; try again.")


def _record(context: Context, experiment: Experiment, kind: str, body: dict[str, Any] | None = None) -> Record:
    told = {"endpoint": experiment.endpoint, "version": __version__, **(body or {})}
    return Record(context.clock.now(), f"experiment/{experiment.name}", kind, told)


def _bounds(context: Context) -> Bounds:
    return Bounds(context.settings.experiment_seconds_min, context.settings.instances_per_variant_max)


async def _new(context: Context, name: str, asked: ExperimentRequest) -> Experiment:
    rows = [row.value for row in await context.state.rows(EXPERIMENTS)]
    if any(one.name == name for one in rows):
        raise AlreadyExists(Resource.EXPERIMENT, name)
    holder = next((one for one in rows if _same(one.endpoint, asked.endpoint) and one.status not in ENDED), None)
    if holder is not None:
        raise Invalid(
            f'Endpoint "{asked.endpoint}" has inference experiment "{holder.name}" ({holder.status.value}) already; it can have '
            "another when that has ended.",
            code="ResourceInUse",
        )
    now = context.clock.now()
    starts_at = max(now, asked.starts_at) if asked.starts_at is not None else now
    endpoint = await _endpoint(context, asked.endpoint)
    experiment = Experiment(
        name,
        asked.endpoint,
        now,
        now,
        asked.production,
        asked.shadow,
        asked.sampling_percent,
        starts_at,
        asked.ends_at if asked.ends_at is not None else starts_at + DEFAULT_SECONDS,
        creates_endpoint=endpoint is None,
        description=asked.description,
        role=asked.role,
        capture=asked.capture,
        kms_key=asked.kms_key,
        status_since=now,
        tags=asked.tags,
    )
    await _check(context, experiment, endpoint)
    return experiment


async def _check(context: Context, experiment: Experiment, endpoint: Endpoint | None) -> None:
    check(experiment, _bounds(context))
    containers: dict[str, Container] = {}
    for variant in experiment.variants:
        model = await context.state.get(MODELS, variant.model_name)
        if model is not None:
            containers[variant.model_name] = model.value.container
    why_not = why_not_begin(experiment, endpoint, containers)
    if why_not is not None:
        raise Invalid(why_not)


async def _endpoint(context: Context, name: str) -> Endpoint | None:
    """The endpoint of an experiment. AWS: names are unique regardless of case."""
    for row in await context.state.rows(ENDPOINTS):
        if row.key == name:
            return row.value
        if _same(row.key, name):
            raise Invalid(f'There is no endpoint "{name}", and "{row.key}" is too like it for another one.')
    return None


def _same(one: str, other: str) -> bool:
    return one.lower() == other.lower()


async def _changed_before_start(context: Context, experiment: Experiment, change: ExperimentChange) -> Experiment:
    now = context.clock.now()
    given = {variant.name: variant for variant in change.variants} if change.variants is not None else {}
    shadow_name = change.shadow_name or experiment.shadow.name
    if given and set(given) != {experiment.production.name, shadow_name}:
        raise Invalid(f'ModelVariants must describe "{experiment.production.name}" and "{shadow_name}", each once.')
    if shadow_name != experiment.shadow.name and not given:
        raise Invalid(f'ModelVariants must describe the shadow variant "{shadow_name}".')
    if given and given[experiment.production.name] != experiment.production:
        raise Invalid(f'The production variant "{experiment.production.name}" cannot be changed, only the shadow.')
    _check_production_name(experiment, change)
    starts_at = max(now, change.starts_at) if change.starts_at is not None else experiment.starts_at
    changed = replace(
        _described(experiment, change, now),
        shadow=given.get(shadow_name, experiment.shadow),
        sampling_percent=_or(change.sampling_percent, experiment.sampling_percent),
        starts_at=starts_at,
        ends_at=_or(change.ends_at, experiment.ends_at),
        capture=change.capture or experiment.capture,
    )
    if given:
        await _check(context, changed, await _endpoint(context, experiment.endpoint))
    else:
        check(changed, _bounds(context))
    return changed


def _changed_while_running(context: Context, experiment: Experiment, change: ExperimentChange) -> Experiment:
    fixed = {
        # Times are told to the millisecond; who gives back what was described changes nothing.
        "Schedule.StartTime": change.starts_at is not None and abs(change.starts_at - experiment.starts_at) > 0.001,
        "ModelVariants": change.variants is not None and set(change.variants) != set(experiment.variants),
        "DataStorageConfig": change.capture not in (None, experiment.capture),
        "ShadowModelVariantName": change.shadow_name not in (None, experiment.shadow.name),
    }
    for member, given in fixed.items():
        if given:
            raise Invalid(
                f'{member} cannot be changed while inference experiment "{experiment.name}" is Running; Description, '
                "SamplingPercentage and Schedule.EndTime can.",
                code=CONFLICT,
            )
    _check_production_name(experiment, change)
    now = context.clock.now()
    changed = replace(_described(experiment, change, now), ends_at=_or(change.ends_at, experiment.ends_at))
    if change.ends_at is not None:
        if change.ends_at < now:
            raise Invalid("Schedule.EndTime has passed; call StopInferenceExperiment to end the experiment now.")
        check_length(changed, _bounds(context))
    if change.sampling_percent in (None, experiment.sampling_percent):
        return changed
    changed = replace(changed, sampling_percent=_or(change.sampling_percent, experiment.sampling_percent))
    check(changed, _bounds(context))
    return moved(changed, Event.SAMPLING_ASKED, now)


def _check_production_name(experiment: Experiment, change: ExperimentChange) -> None:
    if change.production_name not in (None, experiment.production.name):
        raise Invalid(f'SourceModelVariantName is "{experiment.production.name}" and cannot be changed.')


def _described(experiment: Experiment, change: ExperimentChange, now: float) -> Experiment:
    return replace(experiment, description=_or(change.description, experiment.description), modified_at=now)


def _or(given: Any, otherwise: Any) -> Any:
    return given if given is not None else otherwise
