"""The fleets that an experiment brings to its endpoint: its own, and the one that comes after it."""

from __future__ import annotations

from dataclasses import replace

from bannister.domain.deployment.construction import new_group, regrouped
from bannister.domain.endpoint import Variant
from bannister.domain.experiment.experiment import Ending, Experiment, ExperimentVariant, Stop
from bannister.domain.fleet import Fleet, Group, Shadow, sampled_parts
from bannister.domain.model import Container

#: AWS: names of configurations have at most 63 characters; a hyphen and eight digits are ours.
_NAME_CHARACTERS_MAX = 54


def experiment_fleet(
    experiment: Experiment,
    found: Fleet | None,
    containers: dict[str, Container],
    deployment: str,
    now: float,
    startup_timeout_seconds: float,
) -> Fleet:
    """Production and shadow side by side.

    Production is the endpoint's own copy of what it runs, in the number that the experiment asks for; its model is not looked up again, and may
    have been deleted. Only for an endpoint that does not exist yet is it made from the model.
    """
    config_name = service_made_name(experiment.name, deployment)

    def made(variant: ExperimentVariant, weight: float) -> Group:
        return new_group(
            Variant(variant.name, variant.model_name, variant.instance_count, weight, variant.instance_type),
            variant.model_name,
            containers[variant.model_name],
            endpoint=experiment.endpoint,
            config_name=config_name,
            deployment=deployment,
            startup_timeout_seconds=startup_timeout_seconds,
        )

    if found is None:
        production = made(experiment.production, 1.0)
    else:
        (group,) = regrouped(found, deployment, now).groups
        production = _sized(replace(group, config_name=config_name), experiment.production)
    shadow = made(experiment.shadow, production.weight * experiment.sampling_percent / 100)
    return Fleet(
        config_name,
        (production,),
        now,
        Shadow(shadow, sampled_parts(experiment.sampling_percent, 100)),
        experiment.capture if experiment.capture is not None else (found.capture if found is not None else None),
    )


def fleet_afterwards(experiment: Experiment, stop: Stop, running: Fleet, deployment: str, now: float) -> Fleet:
    """What the endpoint runs when the experiment has ended, made from copies that it or the experiment has.

    The configuration that was found keeps its name. A promoted shadow, and production where there was no endpoint, get one of their own, and
    captures what the endpoint captured before the experiment.
    """
    found = experiment.found
    if stop.ending is Ending.RETAIN:
        return _retained(stop, running, deployment, now)
    if stop.ending is Ending.RESTORE and found is not None:
        fleet = regrouped(found, deployment, now)
        return replace(fleet, groups=tuple(_sized(group, stop.desired_of(group.variant)) for group in fleet.groups))
    promoted = stop.ending is Ending.PROMOTE
    again = regrouped(running, deployment, now)
    assert again.shadow is not None
    group = again.shadow.group if promoted else again.groups[0]
    config_name = service_made_name(experiment.name, deployment)
    weight = found.groups[0].weight if found is not None else 1.0
    group = _sized(replace(group, config_name=config_name, weight=weight), stop.desired_of(group.variant))
    return Fleet(config_name, (group,), now, capture=found.capture if found is not None else None)


def _retained(stop: Stop, running: Fleet, deployment: str, now: float) -> Fleet:
    again = regrouped(running, deployment, now)
    assert again.shadow is not None
    shadow = again.shadow
    return replace(
        again,
        groups=tuple(_sized(group, stop.desired_of(group.variant)) for group in again.groups),
        shadow=replace(shadow, group=_sized(shadow.group, stop.desired_of(shadow.group.variant))),
    )


def resampled(fleet: Fleet, percent: int) -> Fleet:
    """The running fleet with another share of requests copied. The only thing about a fleet that ever changes."""
    if fleet.shadow is None:
        return fleet
    group = replace(fleet.shadow.group, weight=fleet.groups[0].weight * percent / 100)
    return replace(fleet, shadow=Shadow(group, sampled_parts(percent, 100)))


def without_shadow(fleet: Fleet, experiment: Experiment) -> Fleet:
    """The running fleet, its shadow gone and captured as the endpoint was before: what is left when nothing else can be brought."""
    return replace(fleet, shadow=None, capture=experiment.found.capture if experiment.found is not None else None)


def service_made_name(experiment: str, deployment: str) -> str:
    """The name of a configuration that Bannister makes for an experiment."""
    return f"{experiment[:_NAME_CHARACTERS_MAX].rstrip('-')}-{deployment}"


def _sized(group: Group, wanted: ExperimentVariant | None) -> Group:
    if wanted is None:
        return group
    return replace(group, instance_count=wanted.instance_count, instance_type=wanted.instance_type)
