"""What an experiment must satisfy: when it is created, when it is changed, when it begins and when it is stopped.

AWS documents lengths (an hour to thirty days), what may be changed in which status, and little of what is refused; the sentences are ours. Decided
here, where AWS is silent:

* A start time that has passed is now.
* Production's entry names the model that the endpoint runs: an experiment compares, it does not release. Instance type and count may differ; the
  endpoint has them for as long as the experiment runs.
* The endpoint has one production variant and no shadow, as AWS requires of a configuration with a shadow.
* Both variants of ShadowModeConfig are described by ModelVariants.
* Promote sends all traffic to the shadow, so production is Removed; both may be Retained: the shadow stays; nothing else is an end.
* Without DesiredState, a promotion is Completed; any other stop before the end time is Cancelled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from bannister.domain.endpoint import Endpoint
from bannister.domain.experiment.experiment import SECONDS_MAX, Ending, Experiment, ExperimentVariant, Status, Stop
from bannister.domain.fleet import check_count
from bannister.domain.model import Container
from bannister.errors import Invalid

#: Statuses in which an experiment can be stopped; and in which its shadow is in service.
STOPPABLE: Final = frozenset({Status.CREATING, Status.CREATED, Status.STARTING, Status.RUNNING, Status.UPDATING})
IN_SERVICE: Final = frozenset({Status.RUNNING, Status.UPDATING})
#: The experiment's record may be forgotten: nothing of it is on the endpoint.
DELETABLE: Final = frozenset({Status.CREATED, Status.COMPLETED, Status.CANCELLED})

CONFLICT: Final = "ConflictException"


class Action(StrEnum):
    """AWS's ModelVariantAction."""

    RETAIN = "Retain"
    REMOVE = "Remove"
    PROMOTE = "Promote"


@dataclass(frozen=True, slots=True)
class Bounds:
    """The settings that a request is checked against."""

    seconds_min: float
    instances_max: int


def check(experiment: Experiment, bounds: Bounds) -> None:
    """Whether the experiment makes sense in itself.

    Raises:
        Invalid: It does not; the sentence says why.
    """
    if experiment.production.name == experiment.shadow.name:
        raise Invalid(f'Production and shadow are both named "{experiment.shadow.name}"; their names must differ.')
    for variant in experiment.variants:
        _check_count(variant, bounds)
    if not 0 <= experiment.sampling_percent <= 100:
        raise Invalid(f"SamplingPercentage is {experiment.sampling_percent}; it must be 0 to 100.")
    check_length(experiment, bounds)


def check_length(experiment: Experiment, bounds: Bounds) -> None:
    """Whether it runs long enough and not too long.

    Raises:
        Invalid: It does not.
    """
    length = experiment.ends_at - experiment.starts_at
    if not bounds.seconds_min <= length <= SECONDS_MAX:
        raise Invalid(
            f"The experiment would run for {length:.0f} seconds; it must be {bounds.seconds_min:.0f} seconds to "
            f"{SECONDS_MAX:.0f} seconds (30 days)."
        )


def why_not_begin(
    experiment: Experiment, endpoint: Endpoint | None, containers: Mapping[str, Container], too_like: str | None = None
) -> str | None:
    """Why the experiment cannot begin on this endpoint, as a sentence; None: it can, once the endpoint is at rest.

    Args:
        experiment: That has not begun.
        endpoint: Of its name; None: there is none.
        containers: By model, those of its models that exist.
        too_like: An endpoint whose name differs in case only. AWS: names are unique regardless of case.
    """
    if experiment.shadow.model_name not in containers:
        return f'Model "{experiment.shadow.model_name}" of the shadow variant does not exist.'
    if endpoint is None:
        if not experiment.creates_endpoint:
            return f'Endpoint "{experiment.endpoint}" does not exist any more.'
        if experiment.production.model_name not in containers:
            return f'Model "{experiment.production.model_name}" of the production variant does not exist.'
        if too_like is not None:
            return f'There is no endpoint "{experiment.endpoint}", and "{too_like}" is too like it for another one.'
        return None
    if endpoint.deleting:
        return f'Endpoint "{endpoint.name}" is being deleted.'
    if endpoint.experiment is not None:
        return f'Inference experiment "{endpoint.experiment}" runs on endpoint "{endpoint.name}".'
    if endpoint.changing:
        return None  # judged when it has ended
    return _unfit(experiment, endpoint)


def _unfit(experiment: Experiment, endpoint: Endpoint) -> str | None:
    blue, wanted = endpoint.blue, experiment.production
    if blue is None:
        return f'Endpoint "{endpoint.name}" is Failed and has nothing in production.'
    if blue.mixed:
        return f'On endpoint "{endpoint.name}" two versions serve, because a rolling update could not be rolled back: update it first.'
    if len(blue.groups) != 1:
        return f'Endpoint "{endpoint.name}" has {len(blue.groups)} production variants; an endpoint with a shadow has exactly one.'
    if blue.shadow is not None:
        return f'Endpoint "{endpoint.name}" has a shadow variant already, "{blue.shadow.group.variant}".'
    (group,) = blue.groups
    if (group.variant, group.model_name) != (wanted.name, wanted.model_name):
        return (
            f'Endpoint "{endpoint.name}" runs model "{group.model_name}" as variant "{group.variant}"; the experiment\'s '
            f'production variant is "{wanted.name}" with model "{wanted.model_name}". An experiment leaves production\'s '
            "model as it is."
        )
    return None


def stop_of(
    experiment: Experiment,
    actions: Mapping[str, Action],
    desired: tuple[ExperimentVariant, ...],
    state: Status | None,
    reason: str | None,
    now: float,
    bounds: Bounds,
) -> Stop:
    """How a request to stop wants the experiment to end. An action that is not given for production is what the shadow's action entails.

    Raises:
        Invalid: It cannot be stopped, or not so.
    """
    if experiment.status not in STOPPABLE:
        raise Invalid(
            f'Inference experiment "{experiment.name}" is {experiment.status.value} and cannot be stopped.',
            code=CONFLICT,
        )
    ending = _ending(experiment, actions)
    if ending is not Ending.RESTORE and experiment.status not in IN_SERVICE:
        raise Invalid(
            f'The shadow of inference experiment "{experiment.name}" is not in service yet ({experiment.status.value}); it '
            "can only be removed.",
            code=CONFLICT,
        )
    _check_desired(experiment, ending, desired, bounds)
    if state is None:
        completed = ending is Ending.PROMOTE or now >= experiment.ends_at
        state = Status.COMPLETED if completed else Status.CANCELLED
    return Stop(ending, state, reason, desired)


def _ending(experiment: Experiment, actions: Mapping[str, Action]) -> Ending:
    production, shadow = experiment.production.name, experiment.shadow.name
    unknown = sorted(set(actions) - {production, shadow})
    if unknown:
        raise Invalid(
            f'ModelVariantActions names "{unknown[0]}"; the experiment\'s variants are "{production}" and "{shadow}".'
        )
    of_shadow = actions.get(shadow, Action.REMOVE)
    of_production = actions.get(production, Action.REMOVE if of_shadow is Action.PROMOTE else Action.RETAIN)
    match of_production, of_shadow:
        case Action.RETAIN, Action.REMOVE:
            return Ending.RESTORE
        case Action.REMOVE, Action.PROMOTE:
            return Ending.PROMOTE
        case Action.RETAIN, Action.RETAIN:
            return Ending.RETAIN
        case _:
            raise Invalid(
                f'"{production}": {of_production.value} with "{shadow}": {of_shadow.value} is no end of an experiment. Retain '
                f'"{production}" and Remove "{shadow}", or Remove "{production}" and Promote "{shadow}", or Retain both.'
            )


def _check_desired(
    experiment: Experiment, ending: Ending, desired: tuple[ExperimentVariant, ...], bounds: Bounds
) -> None:
    staying = {
        Ending.RESTORE: {experiment.production.name},
        Ending.PROMOTE: {experiment.shadow.name},
        Ending.RETAIN: {experiment.production.name, experiment.shadow.name},
    }[ending]
    models = {variant.name: variant.model_name for variant in experiment.variants}
    names = [variant.name for variant in desired]
    for variant in desired:
        if variant.name not in staying or names.count(variant.name) > 1:
            listed = ", ".join(f'"{name}"' for name in sorted(staying))
            raise Invalid(f'DesiredModelVariants describes "{variant.name}"; after this stop there is {listed}, once.')
        if variant.model_name != models[variant.name]:
            raise Invalid(
                f'DesiredModelVariants gives variant "{variant.name}" model "{variant.model_name}"; it runs '
                f'"{models[variant.name]}", and only its instances can be chosen.'
            )
        _check_count(variant, bounds)


def _check_count(variant: ExperimentVariant, bounds: Bounds) -> None:
    if variant.instance_count < 1:
        raise Invalid(f'InstanceCount of variant "{variant.name}" is {variant.instance_count}; it must be 1 or more.')
    check_count("InstanceCount", variant.name, variant.instance_count, bounds.instances_max)
