"""Deployments as operations on the in-memory stores: found, described, explained and stopped."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.domain.deployment.worlds import deployment, fleet, observation

from bannister.domain.capture.exchange import Exchange, Message
from bannister.domain.comparison.compare import compare
from bannister.domain.comparison.report import ComparisonReport, GroupTally
from bannister.domain.comparison.rules import Rules
from bannister.domain.comparison.tally import Tally, merge
from bannister.domain.deployment.admission import replay_admission
from bannister.domain.deployment.deployment import Deployment, Phase
from bannister.domain.deployment.machine import advance, notice
from bannister.domain.deployment.observation import Limits, Observation
from bannister.domain.deployment.outlook import DeploymentStatus
from bannister.domain.deployment.policy import DeploymentPolicy
from bannister.domain.deployment.recorder import DECIDED, evidence
from bannister.domain.deployment.wish import replay_wish
from bannister.domain.endpoint import Endpoint, EndpointConfig, Variant
from bannister.domain.fleet import Shadow
from bannister.domain.metric.sketch import Sketch
from bannister.domain.metric.summary import Report, Summary
from bannister.domain.model import Container, Model
from bannister.domain.traffic import TRAFFIC_PARTS
from bannister.errors import Busy, Invalid, NotFound
from bannister.ids import SeededIds
from bannister.metrics.memory import MemoryMetrics
from bannister.metrics.store import GroupDimensions
from bannister.objects.memory import MemoryObjects
from bannister.operations import deployments
from bannister.operations.context import Context
from bannister.operations.endpoints import update_endpoint
from bannister.settings import Settings
from bannister.state.memory import MemoryState
from bannister.state.store import Put, Record
from bannister.state.tables import DEPLOYMENTS, ENDPOINT_CONFIGS, ENDPOINTS, MODELS

NOW = 1100.0


class StoppedClock:
    def now(self) -> float:
        return NOW

    def monotonic(self) -> float:
        return NOW


async def seen_now(endpoint: Endpoint, one: Deployment) -> Observation:
    return observation(NOW, stop_requested=one.stop_requested)


@pytest.fixture
def context(tmp_path: Path) -> Context:
    settings = Settings(tmp_path)
    return Context(
        state=MemoryState(),
        metrics=MemoryMetrics(settings),
        objects=MemoryObjects(settings.object_bytes_max),
        clock=StoppedClock(),
        ids=SeededIds(1),
        settings=settings,
        image_refusal=lambda _: None,
        ready_instances=dict,
        observe=seen_now,
    )


async def put_endpoint(context: Context, running: Deployment | None, name: str = "e") -> None:
    endpoint = Endpoint(name, 0.0, 0.0, blue=fleet("v1"), deployment=running)
    await context.state.commit([Put(ENDPOINTS, name, endpoint, 0)])


async def put_ended(context: Context, count: int) -> None:
    for number in range(count):
        phase = Phase.COMPLETED if number % 2 else Phase.ROLLED_BACK
        one = replace(deployment(), id=f"old{number}", phase=phase, started_at=100.0 + number, ended_at=150.0 + number)
        await context.state.commit([Put(DEPLOYMENTS, one.id, one, 0)])


BAKING = replace(deployment(), phase=Phase.BAKING, step=0, baking_since=1090.0, phase_since=1090.0, alarms_seen=0)


# --- finding ----------------------------------------------------------------------------------------


async def test_running_and_ended_ones_are_listed_newest_first_by_pages(context: Context) -> None:
    await put_endpoint(context, BAKING)
    await put_ended(context, 4)
    first = await deployments.list_deployments(context, limit=3)
    rest = await deployments.list_deployments(context, limit=3, token=first.token)
    assert [one.id for one in (*first.items, *rest.items)] == ["d1", "old3", "old2", "old1", "old0"]
    assert rest.token is None


async def test_they_are_filtered_by_endpoint_and_status(context: Context) -> None:
    await put_endpoint(context, BAKING)
    await put_ended(context, 4)
    rolled_back = await deployments.list_deployments(context, status=DeploymentStatus.ROLLED_BACK, limit=9)
    assert [one.id for one in rolled_back.items] == ["old2", "old0"]
    assert (await deployments.list_deployments(context, endpoint="other", limit=9)).items == ()


async def test_an_endpoints_deployment_is_the_running_one_else_the_newest(context: Context) -> None:
    await put_ended(context, 3)
    assert (await deployments.describe_deployment(context, endpoint="e")).deployment.id == "old2"
    await put_endpoint(context, BAKING)
    assert (await deployments.describe_deployment(context, endpoint="e")).deployment.id == "d1"
    assert (await deployments.describe_deployment(context, deployment="old1")).deployment.id == "old1"


@pytest.mark.parametrize("given", [{"endpoint": "nope"}, {"deployment": "nope"}])
async def test_what_does_not_exist_is_not_found(context: Context, given: dict[str, str]) -> None:
    for ask in (
        deployments.describe_deployment(context, **given),
        deployments.list_decisions(context, limit=5, **given),
        deployments.rollback_deployment(context, "why", **given),
    ):
        with pytest.raises(NotFound, match="nope"):
            await ask


@pytest.mark.parametrize("given", [{}, {"endpoint": "e", "deployment": "d1"}])
async def test_it_must_be_clear_which_one_is_meant(context: Context, given: dict[str, str]) -> None:
    for ask in (
        deployments.describe_deployment(context, **given),
        deployments.list_decisions(context, limit=5, **given),
        deployments.rollback_deployment(context, "why", **given),
    ):
        with pytest.raises(Invalid, match="either"):
            await ask


# --- describing -------------------------------------------------------------------------------------


async def test_a_running_one_is_described_by_what_the_deployer_would_decide_on(context: Context) -> None:
    await put_endpoint(context, BAKING)
    view = await deployments.describe_deployment(context, endpoint="e")
    assert view.status is DeploymentStatus.IN_PROGRESS
    assert view.waiting is not None
    assert (view.waiting.sentence, view.waiting.until) == ("Bakes at step 1 of 2.", 1120.0)
    assert view.earliest_end == 1140.0
    assert [alarm.name for alarm in view.alarms] == ["errors"]
    assert view.green[0].seen is not None
    assert view.green[0].seen.ready == 2


@pytest.mark.parametrize("same", [False, True], ids=["another configuration", "the same one anew"])
async def test_the_figures_are_of_the_last_minute_and_of_this_fleet_alone(context: Context, same: bool) -> None:
    (group,) = BAKING.green.groups
    assert BAKING.blue is not None
    config_name = BAKING.blue.groups[0].config_name if same else group.config_name
    one = replace(BAKING, green=replace(BAKING.green, groups=(replace(group, config_name=config_name),)))
    await put_endpoint(context, one)
    for fleet_ in (one.blue, one.green):
        assert fleet_ is not None
        (group,) = fleet_.groups
        await context.metrics.register(GroupDimensions(group.id, "e", group.variant, group.config_name, 2))
    blue, green = (one.groups[0].id for one in (BAKING.blue, BAKING.green) if one is not None)
    summaries = (
        Summary(blue, "a", 1030, 100, model_errors=100),  # over a minute ago
        Summary(blue, "a", 1090, 90, model_latency=Sketch.of([2000.0] * 90)),
        Summary(green, "b", 1091, 10, model_errors=3, model_latency=Sketch.of([4000.0] * 9 + [9000.0])),
    )
    await context.metrics.record(Report("run", 1, 1100.0, 0.0, summaries))
    view = await deployments.describe_deployment(context, endpoint="e")
    old, new = view.blue[0].figures, view.green[0].figures
    assert (old.requests, old.errors, old.p50_milliseconds) == (90, 0, 2.0)
    assert (new.requests, new.errors, new.error_rate) == (10, 3, 0.3)
    assert (new.p50_milliseconds, new.p99_milliseconds) == (4.0, 9.0)


async def test_what_an_earlier_fleet_of_the_same_configuration_did_is_not_counted(context: Context) -> None:
    began_now = replace(BAKING, green=replace(BAKING.green, since=1095.0))
    await put_endpoint(context, began_now)
    (group,) = began_now.green.groups
    for name in ("earlier", group.id):
        await context.metrics.register(GroupDimensions(name, "e", group.variant, group.config_name, 2))
    summaries = (Summary("earlier", "a", 1090, 100, model_errors=100), Summary(group.id, "b", 1097, 10))
    await context.metrics.record(Report("run", 1, 1100.0, 0.0, summaries))
    view = await deployments.describe_deployment(context, endpoint="e")
    assert (view.green[0].figures.requests, view.green[0].figures.errors) == (10, 0)


async def test_the_shadow_that_is_fed_has_its_figures(context: Context) -> None:
    shadow = Shadow(fleet("v1", variants=("Shadow",)).groups[0], TRAFFIC_PARTS)
    group = shadow.group
    fed = replace(fleet("v1"), shadow=shadow)
    await context.state.commit(
        [Put(ENDPOINTS, "e", Endpoint("e", 0.0, 0.0, blue=fed, deployment=replace(BAKING, blue=fed)), 0)]
    )
    await context.metrics.register(GroupDimensions(group.id, "e", "Shadow", "v1", 1))
    summaries = (Summary(group.id, "", 1090, 40, copies=40, skipped=2), Summary(group.id, "", 1030, 9, copies=9))
    await context.metrics.record(Report("run", 1, 1100.0, 0.0, summaries))
    pairs = [Exchange(f"{n}", "e", "g", 1.0, 2.0, Message(b""), Message(b"%d" % (n // 30)), 200, 5) for n in range(40)]
    tallies = [Tally.of(pairs[0], one, compare(pairs[0], one, Rules()), Rules()) for one in pairs]
    told = GroupTally("e", group.id, "b", 1090, False, merge(tallies))
    await context.metrics.record(ComparisonReport("other", 1, None, None, (told,)))
    found = (await deployments.describe_deployment(context, endpoint="e")).shadow
    assert found is not None
    assert (found.group, found.copies, found.skipped, found.pairs, found.agreeing) == (group, 40, 2, 40, 30)
    row = await context.state.get(ENDPOINTS, "e")
    assert row is not None
    await context.state.commit(
        [Put(ENDPOINTS, "e", replace(row.value, blue=fleet("v1"), deployment=BAKING), row.revision)]
    )
    assert (await deployments.describe_deployment(context, endpoint="e")).shadow is None


async def recorded(context: Context, one: Deployment, see: Callable[[Deployment], Observation]) -> Deployment:
    """Decide and journal as the deployer does, until nothing is left to decide."""
    while (noticed := notice(one, seen := see(one), Limits())) is not None:
        after = advance(one, noticed, seen)
        body = evidence(one, after, noticed, seen, Limits(), "1.2.3")
        await context.state.commit(records=[Record(seen.now, f"endpoint/{one.endpoint}", DECIDED, body)])
        one = after
    await context.state.commit([Put(DEPLOYMENTS, one.id, one, 0)])
    return one


async def test_an_ended_one_shows_the_alarms_that_settled_it(context: Context) -> None:
    ended = await recorded(
        context,
        deployment(),
        lambda one: observation(
            one.phase_since + 50,
            blue_gone=True,
            alarms=tuple(
                replace(alarm, reason="as it was" if one.phase is Phase.BAKING else "later")
                for alarm in observation(one.phase_since + 50).alarms
            ),
        ),
    )
    view = await deployments.describe_deployment(context, deployment=ended.id)
    assert view.status is DeploymentStatus.COMPLETED
    assert view.waiting is None
    assert [alarm.reason for alarm in view.alarms] == ["as it was"]


async def test_decisions_come_oldest_first_by_pages_with_their_evidence(context: Context) -> None:
    await recorded(context, deployment(), lambda one: observation(one.phase_since + 50, blue_gone=True))
    first = await deployments.list_decisions(context, deployment="d1", limit=4)
    rest = await deployments.list_decisions(context, deployment="d1", limit=4, token=first.token)
    assert [entry.body["event"] for entry in (*first.items, *rest.items)] == [
        "green ready",
        "split acknowledged",
        "step baked",
        "split acknowledged",
        "last step baked",
        "blue gone",
    ]
    assert rest.token is None
    assert first.items[2].body["observation"]["alarms"][0]["name"] == "errors"


class Counting(MemoryState):
    """Counts the entries that are read."""

    def __init__(self) -> None:
        super().__init__()
        self.read = 0

    async def journal(self, **given):
        found = await super().journal(**given)
        self.read += len(found)
        return found


@pytest.mark.parametrize(("number", "read_max"), [(0, 800), (150, 660), (299, 30)])  # of 1,200
async def test_of_a_deployment_no_more_is_read_than_what_came_after_it_began(
    context: Context, number: int, read_max: int
) -> None:
    state = Counting()
    context = replace(context, state=state)
    await put_endpoint(context, None)
    for index in range(300):
        ended = replace(BAKING, id=f"d{index}", phase=Phase.ROLLED_BACK, ended_at=1001.0, started_at=float(index))
        kinds = ("deployment.started", *["deployment.decided"] * 3)
        records = [
            Record(1000.0, "endpoint/e", kind, {"deployment": ended.id, "number": at}) for at, kind in enumerate(kinds)
        ]
        await state.commit([Put(DEPLOYMENTS, ended.id, ended, 0)], records)
    first = await deployments.list_decisions(context, deployment=f"d{number}", limit=3)
    second = await deployments.list_decisions(context, deployment=f"d{number}", limit=3, token=first.token)
    assert [entry.body["number"] for entry in (*first.items, *second.items)] == [0, 1, 2, 3]
    assert {entry.body["deployment"] for entry in (*first.items, *second.items)} == {f"d{number}"}
    state.read = 0
    await deployments.describe_deployment(context, deployment=f"d{number}")
    assert state.read <= read_max


async def test_a_token_of_another_kind_is_refused(context: Context) -> None:
    await put_endpoint(context, None)
    with pytest.raises(Invalid, match="NextToken"):
        await deployments.list_decisions(context, endpoint="e", limit=5, token="x; y")


# --- stopping ---------------------------------------------------------------------------------------


async def stopped(context: Context) -> Deployment:
    row = await context.state.get(ENDPOINTS, "e")
    assert row is not None
    assert row.value.deployment is not None
    return row.value.deployment


@pytest.mark.parametrize("given", [{"endpoint": "e"}, {"deployment": "d1"}])
async def test_a_rollback_is_written_down_for_the_deployer_and_for_those_who_ask(
    context: Context, given: dict[str, str]
) -> None:
    await put_endpoint(context, BAKING)
    await deployments.rollback_deployment(context, "wrong answers", **given)
    one = await stopped(context)
    assert one.stop_requested == "wrong answers"
    noticed = notice(one, await seen_now(Endpoint("e", 0, 0), one), Limits())
    assert noticed is not None
    assert "wrong answers" in noticed.reason
    (entry,) = (await deployments.list_decisions(context, endpoint="e", limit=5)).items
    assert (entry.kind, entry.body["reason"]) == ("deployment.rollback_requested", "wrong answers")
    assert replay_wish(entry.body) is None


async def test_asking_again_changes_nothing(context: Context) -> None:
    await put_endpoint(context, BAKING)
    await deployments.rollback_deployment(context, "first", endpoint="e")
    await deployments.rollback_deployment(context, "second", endpoint="e")
    assert (await stopped(context)).stop_requested == "first"
    assert await context.state.sequence() == 1


async def test_it_is_too_late_once_blue_retires(context: Context) -> None:
    await put_endpoint(context, replace(BAKING, phase=Phase.RETIRING, step=1))
    with pytest.raises(Invalid, match='"v1" is being retired') as refused:
        await deployments.rollback_deployment(context, "too late", endpoint="e")
    assert refused.value.code == "ConflictException"
    assert (await stopped(context)).stop_requested is None
    (entry,) = (await deployments.list_decisions(context, deployment="d1", limit=5)).items
    assert (entry.kind, entry.body["phase"]) == ("deployment.rollback_refused", "retiring")
    assert (entry.body["reason"], entry.body["wished"]) == (str(refused.value), "too late")
    assert replay_wish(entry.body) == entry.body["reason"]


async def test_who_stops_a_deployment_says_why(context: Context) -> None:
    await put_endpoint(context, BAKING)
    with pytest.raises(Invalid, match="say why"):
        await deployments.rollback_deployment(context, " \t", endpoint="e")
    assert await context.state.sequence() == 0


@pytest.mark.parametrize("given", [{"endpoint": "e"}, {"deployment": "old1"}])
async def test_nothing_runs_so_there_is_nothing_to_roll_back(context: Context, given: dict[str, str]) -> None:
    await put_endpoint(context, None)
    await put_ended(context, 2)
    with pytest.raises(Invalid, match="call UpdateEndpoint") as refused:
        await deployments.rollback_deployment(context, "why", **given)
    assert refused.value.code == "ConflictException"


class DeployerIsFaster(MemoryState):
    """The deployer decides between the reading and the writing of whoever writes first."""

    async def get(self, table, key):
        row = await super().get(table, key)
        if row is not None and table is ENDPOINTS and row.value.deployment.phase is Phase.BAKING:
            retiring = replace(row.value, deployment=replace(BAKING, phase=Phase.RETIRING))
            await self.commit([Put(ENDPOINTS, key, retiring, row.revision)])
        return row


async def test_a_decision_in_between_is_respected(context: Context) -> None:
    context = replace(context, state=DeployerIsFaster())
    await put_endpoint(context, BAKING)
    with pytest.raises(Invalid, match="cannot be rolled back any more"):
        await deployments.rollback_deployment(context, "a moment too late", endpoint="e")


# --- refused updates --------------------------------------------------------------------------------


async def test_a_refused_update_is_a_decision_too(context: Context) -> None:
    await put_endpoint(context, BAKING)
    config = EndpointConfig("v3", (Variant("AllTraffic", "m", 2),), 0.0)
    model = Model("m", Container("bannister/python"), 0.0)
    await context.state.commit([Put(ENDPOINT_CONFIGS, "v3", config, 0), Put(MODELS, "m", model, 0)])
    with pytest.raises(Busy):
        await update_endpoint(context, "e", "v3", DeploymentPolicy(alarms=("a",)))
    (entry,) = (await deployments.list_decisions(context, deployment="d1", limit=5)).items
    assert entry.kind == "deployment.refused"
    assert entry.body["to"] == "v3"
    assert entry.body["phase"] == "baking"
    assert "in-progress" in entry.body["reason"]
    assert entry.body["asked"]["missing_alarms"] == ["a"]
    assert replay_admission(entry.body) == entry.body["reason"]


async def test_an_accepted_update_can_be_judged_again(context: Context) -> None:
    await put_endpoint(context, None)
    config = EndpointConfig("v3", (Variant("AllTraffic", "m", 2),), 0.0)
    model = Model("m", Container("bannister/python"), 0.0)
    await context.state.commit([Put(ENDPOINT_CONFIGS, "v3", config, 0), Put(MODELS, "m", model, 0)])
    await update_endpoint(context, "e", "v3")
    (entry,) = (await deployments.list_decisions(context, endpoint="e", limit=5)).items
    assert entry.kind == "deployment.started"
    assert replay_admission(entry.body) is None
    entry.body["asked"]["missing_models"] = ["m"]
    assert replay_admission(entry.body) == 'Could not find model "m".'
