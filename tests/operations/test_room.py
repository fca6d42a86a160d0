"""A creation and an update say whether there is memory for what they start."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bannister.app import experiment_limits
from bannister.aws.deployments.deployment import _description
from bannister.domain.deployment.outlook import DeploymentStatus
from bannister.domain.deployment.progress import blue_progress
from bannister.domain.deployment.recorder import STARTED
from bannister.domain.deployment.room import MachineMemory, ShortageKind
from bannister.domain.endpoint import Endpoint, Variant
from bannister.domain.experiment.experiment import ExperimentVariant
from bannister.domain.instance_type import GIB
from bannister.domain.model import Container
from bannister.domain.scaling import SCALING_STARTED, Desired
from bannister.experimenter.loop import Experimenter
from bannister.operations.context import Context
from bannister.operations.deployments import DeploymentView
from bannister.operations.endpoint_configs import create_endpoint_config
from bannister.operations.endpoints import create_endpoint, update_endpoint, update_weights_and_capacities
from bannister.operations.experiments import ExperimentRequest, create_experiment
from bannister.operations.models import create_model
from bannister.operations.room import with_shortage
from bannister.settings import Settings, Switch
from bannister.state.store import Put
from bannister.state.tables import ENDPOINTS, EXPERIMENTS


def with_memory(context: Context, available_gib: float, **used_gib: float) -> Context:
    """On a machine of 32 GiB. `used_gib`: by group."""
    used = {group.replace("_", "."): int(count * GIB) for group, count in used_gib.items()}

    async def memory() -> MachineMemory | None:
        return MachineMemory(32 * GIB, int(available_gib * GIB), used)

    return replace(context, memory=memory)


async def created(context: Context, instance_type: str | None = "ml.m5.large") -> Endpoint:
    await create_model(context, "m", Container("bannister/python"))
    await create_endpoint_config(context, "c", [Variant("v", "m", 2, instance_type=instance_type)], [])
    return await create_endpoint(context, "e", "c")


async def test_a_creation_that_may_not_fit_says_so_and_begins(context: Context) -> None:
    endpoint = await created(with_memory(context, 15))
    assert endpoint.deployment is not None
    short = endpoint.deployment.shortage
    assert short is not None
    assert short.kind is ShortageKind.MAY_NOT_FIT
    assert "may use 16 GiB more than is used now (8 GiB for each of v as ml.m5.large), and 15 GiB of" in short.reason
    (entry,) = [one for one in await context.state.journal(subject="endpoint/e") if one.kind == STARTED]
    assert entry.body["shortage"]["kind"] == "green may not fit into memory"


@pytest.mark.parametrize(
    ("available_gib", "instance_type", "limits"),
    [
        (16, "ml.m5.large", Switch.ON),
        (1, "ml.m5.24xlarge", Switch.ON),  # more than the machine: it limits nothing, and promises nothing
        (1, "ml.g7.2xlarge", Switch.ON),
        (1, None, Switch.ON),
        (1, "ml.m5.large", Switch.OFF),
    ],
)
async def test_where_it_fits_or_nobody_can_say_nothing_is_said(
    context: Context, available_gib: float, instance_type: str | None, limits: Switch
) -> None:
    context = replace(context, settings=Settings(context.settings.data_dir, instance_limits=limits))
    endpoint = await created(with_memory(context, available_gib), instance_type)
    assert endpoint.deployment is not None
    assert endpoint.deployment.shortage is None


async def in_production(context: Context) -> str:
    """An endpoint that runs; its group."""
    endpoint = await created(context)
    assert endpoint.deployment is not None
    blue = endpoint.deployment.green
    row = await context.state.get(ENDPOINTS, "e")
    assert row is not None
    await context.state.commit([Put(ENDPOINTS, "e", replace(endpoint, blue=blue, deployment=None), row.revision)])
    return blue.groups[0].id


async def test_a_change_of_counts_says_whether_there_is_room(context: Context) -> None:
    group = await in_production(context)
    context = with_memory(context, 5, **{group.replace(".", "_"): 3})
    scaled = await update_weights_and_capacities(context, "e", [Desired("v", instance_count=4)])
    assert scaled.scaling is not None
    assert scaled.scaling.shortage is not None
    assert scaled.scaling.shortage.kind is ShortageKind.NO_ROOM_TO_GROW
    (entry,) = [one for one in await context.state.journal(subject="endpoint/e") if one.kind == SCALING_STARTED]
    assert entry.body["shortage"]["kind"] == "more instances may not fit into memory"
    (shown,) = blue_progress(scaled, {})
    assert shown.message == f"Scaling out desired instance count to 4. {scaled.scaling.shortage.reason}"


async def test_a_change_of_weights_needs_no_room(context: Context) -> None:
    group = await in_production(context)
    context = with_memory(context, 0, **{group.replace(".", "_"): 3})
    scaled = await update_weights_and_capacities(context, "e", [Desired("v", weight=4)])
    assert scaled.scaling is not None
    assert scaled.scaling.shortage is None


async def test_a_change_of_counts_has_the_time_of_as_many_starts_as_come_one_after_the_other(context: Context) -> None:
    await in_production(context)
    settings = context.settings
    scaled = await update_weights_and_capacities(context, "e", [Desired("v", instance_count=20)])
    assert scaled.scaling is not None
    (group,) = scaled.scaling.after.groups
    (before,) = scaled.scaling.before.groups
    rounds = -(-(20 - before.instance_count) // settings.startup_parallel_max)
    assert rounds > 5
    drains = max(settings.drain_timeout_seconds, settings.stream_drain_timeout_seconds)
    assert scaled.scaling.deadline_at - scaled.modified_at == rounds * group.startup_timeout_seconds + drains


async def test_an_experiment_says_whether_there_is_room_for_its_shadow(context: Context) -> None:
    group = await in_production(context)
    context = with_memory(context, 5, **{group.replace(".", "_"): 3})
    shadow = ExperimentVariant("shadow", "m", "ml.m5.large", 1)
    production = ExperimentVariant("v", "m", "ml.m5.large", 2)
    await create_experiment(context, "x", ExperimentRequest("e", production, shadow, 50))
    limits = experiment_limits(context.settings)
    experimenter = Experimenter(
        context.state, context.clock, context.ids, limits, 1.0, lambda one: with_shortage(context, one)
    )
    (row,) = await context.state.rows(EXPERIMENTS)
    while await experimenter._turn(row):
        (row,) = await context.state.rows(EXPERIMENTS)
    endpoint = await context.state.get(ENDPOINTS, "e")
    assert endpoint is not None
    assert endpoint.value.deployment is not None
    short = endpoint.value.deployment.shortage
    assert short is not None
    assert (
        "may use 14 GiB more than is used now (3 GiB for each of v, 8 GiB for each of shadow as ml.m5.large)"
        in short.reason
    )
    started = [one for one in await context.state.journal(subject="endpoint/e") if one.kind == STARTED]
    assert started[-1].body["shortage"]["reason"] == short.reason


async def test_an_update_is_measured_by_what_runs(context: Context) -> None:
    endpoint = await created(context)
    assert endpoint.deployment is not None
    assert endpoint.deployment.shortage is None, "nobody looks here"
    blue = endpoint.deployment.green
    row = await context.state.get(ENDPOINTS, "e")
    assert row is not None
    await context.state.commit([Put(ENDPOINTS, "e", replace(endpoint, blue=blue, deployment=None), row.revision)])
    await create_endpoint_config(context, "c2", [Variant("v", "m", 2, instance_type="ml.m5.large")], [])
    updated = await update_endpoint(with_memory(context, 5, **{blue.groups[0].id.replace(".", "_"): 3}), "e", "c2")
    deployment = updated.deployment
    assert deployment is not None
    assert deployment.shortage is not None
    assert deployment.shortage.kind is ShortageKind.DOES_NOT_FIT
    assert "Green needs 6 GiB beside blue" in deployment.shortage.reason
    shown = _description(
        DeploymentView(deployment, DeploymentStatus.IN_PROGRESS, (), (), (), None, None, at=deployment.started_at)
    )
    assert shown["Warnings"] == [
        {
            "Kind": "green does not fit beside blue",
            "Reason": deployment.shortage.reason,
            "Remedy": deployment.shortage.remedy,
        }
    ]
