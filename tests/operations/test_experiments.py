"""Experiments as operations on the in-memory stores, with the experimenter turned by hand."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.domain.deployment.worlds import fleet
from tests.experimenter.driving import Driver, SetClock

from bannister.app import experiment_limits
from bannister.domain.deployment.construction import same_but_instances
from bannister.domain.endpoint import Endpoint, EndpointConfig, Variant
from bannister.domain.experiment.admission import Action
from bannister.domain.experiment.experiment import ENDED, Experiment, ExperimentVariant, Status
from bannister.domain.model import Container, Model
from bannister.errors import AlreadyExists, Invalid, NotFound
from bannister.experimenter.loop import Experimenter
from bannister.ids import SeededIds
from bannister.metrics.memory import MemoryMetrics
from bannister.objects.memory import MemoryObjects
from bannister.operations.context import Context
from bannister.operations.endpoint_configs import delete_endpoint_config
from bannister.operations.endpoints import create_endpoint, delete_endpoint, update_endpoint
from bannister.operations.experiments import (
    ExperimentChange,
    ExperimentRequest,
    create_experiment,
    delete_experiment,
    describe_experiment,
    list_experiments,
    start_experiment,
    stop_experiment,
    update_experiment,
)
from bannister.operations.listing import ListRequest
from bannister.operations.models import delete_model
from bannister.settings import Settings
from bannister.state.memory import MemoryState
from bannister.state.store import Put, Record, Remove
from bannister.state.tables import ENDPOINT_CONFIGS, ENDPOINTS, EXPERIMENTS, MODELS

HOUR = 3600.0
DAY = 24 * HOUR
PRODUCTION = ExperimentVariant("AllTraffic", "model-v1", "ml.m5.large", 2)
SHADOW = ExperimentVariant("Shadow-01", "candidate", "ml.m5.large", 1)
ASKED = ExperimentRequest("e", PRODUCTION, SHADOW, 50)
RESTORE = {"AllTraffic": Action.RETAIN, "Shadow-01": Action.REMOVE}
PROMOTE = {"AllTraffic": Action.REMOVE, "Shadow-01": Action.PROMOTE}


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
async def context(tmp_path: Path, clock: SetClock) -> Context:
    settings = Settings(tmp_path)
    state = MemoryState()
    models = [Model(name, Container("bannister/python"), 0.0) for name in ("model-v1", "candidate")]
    config = EndpointConfig("v1", (Variant("AllTraffic", "model-v1", 2),), 0.0)
    endpoint = Endpoint("e", 0.0, 0.0, blue=fleet("v1"))
    await state.commit([Put(MODELS, one.name, one, 0) for one in models])
    await state.commit([Put(ENDPOINT_CONFIGS, "v1", config, 0), Put(ENDPOINTS, "e", endpoint, 0)])
    return Context(
        state=state,
        metrics=MemoryMetrics(settings),
        objects=MemoryObjects(settings.object_bytes_max),
        clock=clock,
        ids=SeededIds(1),
        settings=settings,
        image_refusal=lambda _: None,
        ready_instances=dict,
    )


@pytest.fixture
def driver(context: Context) -> Driver:
    assert isinstance(context.state, MemoryState)
    return Driver(context.state, context.clock, context.ids, context.settings)


async def running(context: Context, driver: Driver) -> Experiment:
    await create_experiment(context, "x", ASKED)
    await driver.settle()
    await driver.complete("e")
    one = await driver.experiment("x")
    assert one.status is Status.RUNNING
    return one


async def test_from_creation_to_the_end_by_itself(context: Context, driver: Driver, clock: SetClock) -> None:
    before = await driver.endpoint("e")
    one = await running(context, driver)
    assert (one.starts_at, one.ends_at) == (10_000.0, 10_000.0 + 7 * DAY)
    clock.at += 7 * DAY
    await driver.settle()
    await driver.complete("e")
    ended = await driver.experiment("x")
    assert (ended.status, ended.completed_at) == (Status.COMPLETED, clock.at)
    after = await driver.endpoint("e")
    assert same_but_instances(after.blue, before.blue)  # type: ignore[arg-type]
    assert list(await driver.events("x")) == [
        "prepared", "due", "begun", "started", "time over", "ending", "completed",
    ]  # fmt: skip
    started = [one for one in await context.state.journal(subject="endpoint/e") if one.kind == "deployment.started"]
    assert [one.body["experiment"] for one in started] == ["x", "x"]


async def test_the_service_made_configuration_can_be_described(context: Context, driver: Driver) -> None:
    await running(context, driver)
    endpoint = await driver.endpoint("e")
    assert endpoint.blue is not None
    config = await context.state.get(ENDPOINT_CONFIGS, endpoint.blue.config_name)
    assert config is not None
    assert [one.name for one in (*config.value.variants, *config.value.shadow_variants)] == ["AllTraffic", "Shadow-01"]


async def test_nobody_else_changes_an_endpoint_under_an_experiment(context: Context, driver: Driver) -> None:
    await running(context, driver)
    for refused in (update_endpoint(context, "e", "v1"), delete_endpoint(context, "e")):
        with pytest.raises(Invalid, match='inference experiment "x" runs on it'):
            await refused
    await stop_experiment(context, "x", RESTORE)
    await driver.settle()
    await driver.complete("e")
    await update_endpoint(context, "e", "v1")


async def test_before_it_begins_the_endpoint_is_free(context: Context, driver: Driver, clock: SetClock) -> None:
    await create_experiment(context, "x", replace(ASKED, starts_at=clock.at + HOUR))
    await driver.settle()
    await delete_endpoint(context, "e")
    await driver.settle()
    assert (await driver.experiment("x")).status is Status.CANCELLED


async def test_deleting_models_and_configurations_changes_nothing_that_runs(context: Context, driver: Driver) -> None:
    await running(context, driver)
    endpoint = await driver.endpoint("e")
    assert endpoint.blue is not None
    await delete_model(context, "model-v1")
    await delete_model(context, "candidate")
    await delete_endpoint_config(context, "v1")
    await delete_endpoint_config(context, endpoint.blue.config_name)
    assert await driver.endpoint("e") == endpoint
    await stop_experiment(context, "x", PROMOTE)
    await driver.settle()
    await driver.complete("e")
    assert (await driver.experiment("x")).status is Status.COMPLETED


async def test_it_makes_no_endpoint_of_a_name_that_differs_in_case_from_one_made_meanwhile(
    context: Context, driver: Driver, clock: SetClock
) -> None:
    await create_experiment(context, "x", replace(ASKED, endpoint="new", starts_at=clock.at + HOUR))
    await create_endpoint(context, "New", "v1")
    clock.at += HOUR
    await driver.settle()
    one = await driver.experiment("x")
    assert one.status is Status.CANCELLED
    assert one.reason == (
        'The experiment could not start. There is no endpoint "new", and "New" is too like it for another one.'
    )
    assert [row.key for row in await context.state.rows(ENDPOINTS)] == ["New", "e"]


async def test_two_experiments_on_one_endpoint_are_refused_also_for_later(
    context: Context, driver: Driver, clock: SetClock
) -> None:
    await create_experiment(context, "x", ASKED)
    later = replace(ASKED, starts_at=clock.at + DAY)
    with pytest.raises(Invalid, match='has inference experiment "x"') as refused:
        await create_experiment(context, "y", later)
    assert refused.value.code == "ResourceInUse"
    with pytest.raises(AlreadyExists):
        await create_experiment(context, "x", replace(ASKED, endpoint="other"))
    await stop_experiment(context, "x", RESTORE)
    await driver.settle()
    await create_experiment(context, "y", later)


class SomebodyIsFaster(MemoryState):
    """Another experiment on the endpoint is written between the reading and the writing of whoever creates one."""

    faster: Experiment | None = None

    async def rows(self, table: Any, prefix: str = "") -> Any:
        found = await super().rows(table, prefix)
        if table is EXPERIMENTS and self.faster is not None:
            other, self.faster = self.faster, None
            record = Record(0.0, f"experiment/{other.name}", "experiment.created")
            await self.commit([Put(EXPERIMENTS, other.name, other, 0)], [record])
        return found


async def test_of_two_created_at_the_same_moment_one_is_refused(context: Context) -> None:
    one = await create_experiment(context, "x", ASKED)
    state = SomebodyIsFaster(context.state._medium)  # type: ignore[attr-defined]
    row = await state.get(EXPERIMENTS, "x")
    assert row is not None
    await state.commit([Remove(EXPERIMENTS, "x", row.revision)])
    state.faster = replace(one, name="faster")
    with pytest.raises(Invalid, match='"faster"'):
        await create_experiment(replace(context, state=state), "slower", ASKED)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"ends_at": 10_000.0 + 600}, "would run for 600 seconds"),
        ({"ends_at": 10_000.0 + 31 * DAY}, "30 days"),
        ({"starts_at": 20_000.0, "ends_at": 19_000.0}, "would run for -1000 seconds"),
        ({"sampling_percent": -1}, "SamplingPercentage is -1"),
        ({"shadow": replace(SHADOW, instance_count=0)}, 'InstanceCount of variant "Shadow-01" is 0'),
        ({"production": replace(PRODUCTION, instance_count=65)}, "instances_per_variant_max allows 64"),
        ({"shadow": replace(SHADOW, name="AllTraffic")}, "names must differ"),
        ({"shadow": replace(SHADOW, model_name="nope")}, 'Model "nope" of the shadow variant does not exist'),
        ({"production": replace(PRODUCTION, model_name="candidate")}, 'runs model "model-v1"'),
        ({"production": replace(PRODUCTION, name="main")}, "production variant is"),
        ({"endpoint": "E"}, 'There is no endpoint "E"'),
        ({"endpoint": "new", "production": replace(PRODUCTION, model_name="nope")}, 'Model "nope" of the production'),
    ],
)
async def test_bad_input_changes_nothing(context: Context, changes: Mapping[str, Any], says: str) -> None:
    with pytest.raises(Invalid, match=says):
        await create_experiment(context, "x", replace(ASKED, **changes))
    assert await context.state.rows(EXPERIMENTS) == []
    assert await context.state.sequence() == 0


async def test_a_start_that_has_passed_is_now(context: Context, clock: SetClock) -> None:
    one = await create_experiment(context, "x", replace(ASKED, starts_at=5.0))
    assert (one.starts_at, one.ends_at) == (clock.at, clock.at + 7 * DAY)


# --- before the start -------------------------------------------------------------------------------


async def waiting(context: Context, driver: Driver, clock: SetClock) -> Experiment:
    await create_experiment(context, "x", replace(ASKED, starts_at=clock.at + DAY, ends_at=clock.at + 29 * DAY))
    await driver.settle()
    return await driver.experiment("x")


async def test_nearly_all_can_be_changed_before_the_start(context: Context, driver: Driver, clock: SetClock) -> None:
    one = await waiting(context, driver, clock)
    other = replace(SHADOW, name="Shadow-02", instance_count=3)
    change = ExperimentChange(
        "words",
        starts_at=clock.at + 2 * HOUR,
        ends_at=clock.at + DAY,
        shadow_name="Shadow-02",
        sampling_percent=10,
        variants=(PRODUCTION, other),
    )
    after = await update_experiment(context, "x", change)
    assert (after.status, after.description, after.sampling_percent, after.shadow) == (
        Status.CREATED,
        "words",
        10,
        other,
    )
    assert (after.starts_at, after.ends_at, after.production) == (clock.at + 2 * HOUR, clock.at + DAY, one.production)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            ExperimentChange(variants=(replace(PRODUCTION, instance_count=9), SHADOW)),
            "cannot be changed, only the shadow",
        ),
        (ExperimentChange(variants=(SHADOW,)), "ModelVariants must describe"),
        (ExperimentChange(shadow_name="Shadow-02"), 'must describe the shadow variant "Shadow-02"'),
        (ExperimentChange(production_name="main"), "SourceModelVariantName"),
        (ExperimentChange(sampling_percent=101), "SamplingPercentage"),
        (ExperimentChange(ends_at=1.0), "would run for"),
        (ExperimentChange(variants=(PRODUCTION, replace(SHADOW, model_name="nope"))), 'Model "nope"'),
    ],
)
async def test_a_change_that_makes_no_sense(
    context: Context, driver: Driver, clock: SetClock, change: ExperimentChange, says: str
) -> None:
    one = await waiting(context, driver, clock)
    with pytest.raises(Invalid, match=says):
        await update_experiment(context, "x", change)
    assert await driver.experiment("x") == one


async def test_started_early_it_ends_after_thirty_days_at_most(
    context: Context, driver: Driver, clock: SetClock
) -> None:
    await create_experiment(context, "x", replace(ASKED, starts_at=clock.at + 20 * DAY, ends_at=clock.at + 45 * DAY))
    await driver.settle()
    one = await start_experiment(context, "x")
    assert (one.status, one.starts_at, one.ends_at) == (Status.STARTING, clock.at, clock.at + 30 * DAY)
    await driver.settle()
    with pytest.raises(Invalid, match="only one that is Created") as refused:
        await start_experiment(context, "x")
    assert refused.value.code == "ConflictException"


async def test_one_that_has_not_begun_can_only_be_abandoned(context: Context, driver: Driver, clock: SetClock) -> None:
    await waiting(context, driver, clock)
    with pytest.raises(Invalid, match="not in service yet"):
        await stop_experiment(context, "x", PROMOTE)
    await stop_experiment(context, "x", RESTORE, reason="not now")
    await driver.settle()
    one = await driver.experiment("x")
    assert (one.status, one.reason) == (Status.CANCELLED, "not now")


async def test_a_model_that_is_gone_at_the_start(context: Context, driver: Driver, clock: SetClock) -> None:
    await waiting(context, driver, clock)
    await delete_model(context, "candidate")
    clock.at += DAY
    await driver.settle()
    one = await driver.experiment("x")
    assert one.status is Status.CANCELLED
    assert one.reason == 'The experiment could not start. Model "candidate" of the shadow variant does not exist.'


async def test_a_new_endpoint_is_made(context: Context, driver: Driver) -> None:
    await create_experiment(context, "x", replace(ASKED, endpoint="new"))
    await driver.settle()
    await driver.complete("new")
    endpoint = await driver.endpoint("new")
    assert endpoint.blue is not None
    assert [group.variant for group in endpoint.blue.all_groups] == ["AllTraffic", "Shadow-01"]


# --- while it runs ----------------------------------------------------------------------------------


async def test_sampling_end_and_description_change_while_it_runs(
    context: Context, driver: Driver, clock: SetClock
) -> None:
    one = await running(context, driver)
    change = ExperimentChange("less", ends_at=clock.at + DAY, sampling_percent=5)
    asked = await update_experiment(context, "x", change)
    assert (asked.status, asked.ends_at, asked.description) == (Status.UPDATING, clock.at + DAY, "less")
    with pytest.raises(Invalid, match="is Updating"):
        await update_experiment(context, "x", change)
    before = await driver.endpoint("e")
    await driver.settle()
    assert (await driver.experiment("x")).status is Status.RUNNING
    after = await driver.endpoint("e")
    assert after.blue is not None
    assert before.blue is not None
    assert after.blue.shadow is not None
    assert after.blue.shadow.sampled_parts == 50_000
    assert (after.deployment, after.blue.groups) == (None, before.blue.groups)
    assert one.begun in after.blue.shadow.group.id


async def test_an_end_alone_needs_no_updating(context: Context, driver: Driver, clock: SetClock) -> None:
    await running(context, driver)
    after = await update_experiment(context, "x", ExperimentChange(ends_at=clock.at + DAY, sampling_percent=50))
    assert after.status is Status.RUNNING


@pytest.mark.parametrize(
    "change",
    [
        ExperimentChange(starts_at=20_000.0),
        ExperimentChange(variants=(PRODUCTION, replace(SHADOW, instance_count=2))),
        ExperimentChange(shadow_name="Shadow-02"),
    ],
)
async def test_other_changes_while_it_runs(context: Context, driver: Driver, change: ExperimentChange) -> None:
    one = await running(context, driver)
    with pytest.raises(Invalid, match="cannot be changed while") as refused:
        await update_experiment(context, "x", change)
    assert refused.value.code == "ConflictException"
    assert await driver.experiment("x") == one


async def test_what_was_described_can_be_given_back(context: Context, driver: Driver) -> None:
    one = await running(context, driver)
    same = ExperimentChange("words", one.starts_at, None, "AllTraffic", "Shadow-01", 50, (SHADOW, PRODUCTION))
    assert (await update_experiment(context, "x", same)).description == "words"


@pytest.mark.parametrize(
    ("actions", "says"),
    [
        ({"AllTraffic": Action.REMOVE, "Shadow-01": Action.REMOVE}, "is no end of an experiment"),
        ({"AllTraffic": Action.PROMOTE}, "is no end"),
        ({"AllTraffic": Action.RETAIN, "Shadow-01": Action.PROMOTE}, "is no end"),
        ({"AllTraffic": Action.REMOVE, "Shadow-01": Action.RETAIN}, "is no end"),
        ({"main": Action.RETAIN}, 'names "main"'),
    ],
)
async def test_actions_that_are_no_end(
    context: Context, driver: Driver, actions: Mapping[str, Action], says: str
) -> None:
    one = await running(context, driver)
    with pytest.raises(Invalid, match=says):
        await stop_experiment(context, "x", actions)
    assert await driver.experiment("x") == one


@pytest.mark.parametrize(
    ("desired", "says"),
    [
        (replace(PRODUCTION, instance_count=3), "after this stop there is"),
        (replace(SHADOW, model_name="model-v1"), "only its instances"),
        (replace(SHADOW, instance_count=0), "InstanceCount"),
    ],
)
async def test_desired_variants_that_do_not_fit(
    context: Context, driver: Driver, desired: ExperimentVariant, says: str
) -> None:
    await running(context, driver)
    with pytest.raises(Invalid, match=says):
        await stop_experiment(context, "x", PROMOTE, desired=(desired,))


@pytest.mark.parametrize(
    ("actions", "state", "ends_as"),
    [
        (PROMOTE, None, Status.COMPLETED),
        ({"Shadow-01": Action.PROMOTE}, None, Status.COMPLETED),
        (RESTORE, None, Status.CANCELLED),
        (RESTORE, Status.COMPLETED, Status.COMPLETED),
        (PROMOTE, Status.CANCELLED, Status.CANCELLED),
    ],
)
async def test_how_a_stop_ends(
    context: Context, driver: Driver, actions: Mapping[str, Action], state: Status | None, ends_as: Status
) -> None:
    await running(context, driver)
    stopped = await stop_experiment(context, "x", actions, state=state, reason="why")
    assert stopped.status is Status.STOPPING
    with pytest.raises(Invalid, match="cannot be stopped"):
        await stop_experiment(context, "x", actions)
    await driver.settle()
    await driver.complete("e")
    one = await driver.experiment("x")
    assert (one.status, one.reason) == (ends_as, "why")


async def test_deleting_forgets_the_record_only(context: Context, driver: Driver) -> None:
    await running(context, driver)
    with pytest.raises(Invalid, match="stop it with StopInferenceExperiment") as refused:
        await delete_experiment(context, "x")
    assert refused.value.code == "ConflictException"
    await stop_experiment(context, "x", PROMOTE)
    await driver.settle()
    await driver.complete("e")
    endpoint = await driver.endpoint("e")
    await delete_experiment(context, "x")
    assert await driver.endpoint("e") == endpoint
    for missing in (
        describe_experiment(context, "x"),
        delete_experiment(context, "x"),
        stop_experiment(context, "x", PROMOTE),
        start_experiment(context, "x"),
        update_experiment(context, "x", ExperimentChange()),
    ):
        with pytest.raises(NotFound):
            await missing


async def test_listing(context: Context, driver: Driver, clock: SetClock) -> None:
    for number in range(5):
        clock.at += 10
        await create_experiment(context, f"x{number}", replace(ASKED, endpoint=f"new{number}"))
    await stop_experiment(context, "x0", RESTORE)
    await driver.settle()
    first = await list_experiments(context, ListRequest(limit=3))
    rest = await list_experiments(context, ListRequest(limit=3, token=first.token))
    assert [one.name for one in (*first.items, *rest.items)] == ["x4", "x3", "x2", "x1", "x0"]
    cancelled = await list_experiments(context, ListRequest(status="Cancelled"))
    assert [one.name for one in cancelled.items] == ["x0"]


async def test_the_loop_looks_again_by_itself(context: Context, driver: Driver, clock: SetClock) -> None:
    """Another process, later: nothing is remembered but what is written."""
    one = await running(context, driver)
    clock.at = one.ends_at
    limits = experiment_limits(context.settings)
    for _ in range(2):
        task = asyncio.create_task(Experimenter(context.state, clock, context.ids, limits, 0.01).run())
        await asyncio.sleep(0.05)
        task.cancel()
        endpoint = await driver.endpoint("e")
        if endpoint.deployment is not None:
            row = await context.state.get(ENDPOINTS, "e")
            assert row is not None
            await driver.put(replace(endpoint, blue=endpoint.deployment.green, deployment=None), row.revision)
    ended = await driver.experiment("x")
    assert ended.status in ENDED
