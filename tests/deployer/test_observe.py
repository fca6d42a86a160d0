"""What the deployer sees: the requests that green got in a bake, and the values that tripped an alarm."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.domain.deployment.worlds import deployment

from bannister.deployer.observe import ENTRIES_AT_ONCE, Observer
from bannister.domain.alarm.alarm import Alarm, AlarmRule, AlarmValue, Comparison
from bannister.domain.alarm.evaluation import initial_state
from bannister.domain.alarm.judgement import Datapoint
from bannister.domain.deployment.deployment import Deployment, Phase
from bannister.domain.endpoint import Endpoint
from bannister.domain.metric.identity import SHADOW_NAMESPACE, identity
from bannister.domain.metric.summary import Report, Summary
from bannister.errors import Unavailable
from bannister.evaluator.assessment import evidence_of
from bannister.metrics.memory import MemoryMetrics
from bannister.metrics.store import GroupDimensions
from bannister.settings import Settings
from bannister.state.memory import MemoryState
from bannister.state.store import Put, Record
from bannister.state.tables import ALARMS

BAKING = replace(deployment(), phase=Phase.BAKING, step=0, baking_since=1010.5)
OVER = 1041.0
LATER = Datapoint(1030.0, 0.0, 20.0)


@dataclass
class World:
    """Clock, publisher, evaluator and instances, of which nothing else matters here."""

    at: float = OVER
    covered_since: float | None = 0.0
    compared_since: float | None = 0.0

    def now(self) -> float:
        return self.at

    def snapshot(self) -> tuple[()]:
        return ()

    def acknowledged(self, plan: Any) -> bool:
        return True

    def acknowledged_weights(self, endpoint: str) -> None:
        return None

    def evaluated_until(self, alarm: str) -> float:
        return self.at

    def datapoints(self, alarm: str) -> tuple[Datapoint | None, ...]:
        return (None, LATER)

    def silent_seconds(self) -> float:
        return 0.0

    def uncompared_seconds(self) -> float:
        return 0.0


async def requests_seen(tmp_path: Path, one: Deployment, world: World, *summaries: Summary) -> int | None:
    metrics = MemoryMetrics(Settings(tmp_path))
    for fleet in (one.blue, one.green):
        for group in fleet.groups if fleet is not None else ():
            await metrics.register(
                GroupDimensions(group.id, group.endpoint, group.variant, group.config_name, group.instance_count)
            )
    await metrics.record(Report("r", 1, None, None, summaries))
    anything: Any = world
    observer = Observer(MemoryState(), anything, anything, anything, anything, metrics)
    return (await observer.observe(Endpoint("e", 0, 0, deployment=one, blue=one.blue), one)).green_requests


async def test_requests_to_green_in_the_bake_are_counted(tmp_path: Path) -> None:
    before, during = Summary("e.AllTraffic.v2", "a:1", 1009, 5), Summary("e.AllTraffic.v2", "a:1", 1020, 3)
    blue = Summary("e.AllTraffic.v1", "b:1", 1020, 70)
    assert await requests_seen(tmp_path, BAKING, World(), before, during, blue) == 3
    assert await requests_seen(tmp_path, BAKING, World(), before, blue) == 0


async def test_what_blue_gets_by_the_same_configuration_are_no_requests_to_green(tmp_path: Path) -> None:
    """A configuration that is deployed anew, and what a rollback that failed leaves behind."""
    (group,) = BAKING.green.groups
    blue = Summary("e.AllTraffic.v1", "b:1", 1020, 70)
    assert BAKING.blue is not None
    config_name = BAKING.blue.groups[0].config_name
    again = replace(BAKING, green=replace(BAKING.green, groups=(replace(group, config_name=config_name),)))
    assert await requests_seen(tmp_path, again, World(), blue) == 0
    assert await requests_seen(tmp_path, again, World(), blue, Summary(group.id, "a:1", 1020, 3)) == 3


async def test_where_they_cannot_be_read_everything_else_is_still_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An alarm that trips, a request to roll back and the longest time do not wait for a damaged file."""

    async def damaged(*_: object, **__: object) -> None:
        raise Unavailable("The metric store cannot be used: database disk image is malformed.")

    monkeypatch.setattr(MemoryMetrics, "read", damaged)
    assert await requests_seen(tmp_path, BAKING, World()) == 0


@pytest.mark.parametrize(
    ("one", "world"),
    [
        (BAKING, World(at=1040.0)),
        (BAKING, World(covered_since=None)),
        (replace(BAKING, phase=Phase.SHIFTING, baking_since=None), World()),
        (replace(BAKING, blue=None), World()),
        (replace(BAKING, steps=(replace(BAKING.steps[0], bake_seconds=0),)), World()),
    ],
    ids=["not over", "not covered", "not baking", "a creation", "no bake"],
)
async def test_they_are_not_counted_where_they_decide_nothing(tmp_path: Path, one: Deployment, world: World) -> None:
    assert await requests_seen(tmp_path, one, world) is None


@pytest.mark.parametrize("tripped", [True, False], ids=["tripped", "set by hand"])
async def test_of_an_alarm_that_tripped_the_values_are_seen_that_tripped_it(tripped: bool) -> None:
    """A newer evaluation may look at others before the deployer looks, and a new control plane's first one has not been."""
    rule = AlarmRule(None, "Average", 10, 1, 1, 0.05, Comparison.GREATER)
    breach = Datapoint(1020.0, 0.5, 40.0)
    evidence = evidence_of(rule, 1030, 1030, (None, None, breach)) if tripped else {"set_by_request": True}
    body = {"to": AlarmValue.ALARM.value, "reason": "because", **evidence}
    state, anything = MemoryState(), World()
    world: Any = anything
    await state.commit(
        [Put(ALARMS, "errors", Alarm("errors", rule, initial_state(0.0), 0.0), 0)],
        [Record(1030.5, "alarm/errors", "alarm.transitioned", body)],
    )
    one = replace(BAKING, alarms_seen=0, policy=replace(BAKING.policy, alarms=("errors",)))
    observer = Observer(state, world, world, world, world)
    (seen,) = (await observer.observe(Endpoint("e", 0, 0, deployment=one, blue=one.blue), one)).alarms
    assert seen.tripped_at == 1030.5
    assert seen.datapoints == ((None, None, breach) if tripped else (None, LATER))


@pytest.mark.parametrize(
    ("kind", "body"), [("alarm.transitioned", {"to": "ALARM", "reason": "because"}), ("alarm.deleted", {})]
)
async def test_what_stops_a_deployment_is_seen_behind_thousands_of_other_entries(
    kind: str, body: dict[str, Any]
) -> None:
    """Of an alarm that flaps between OK and INSUFFICIENT_DATA for hours, with an action each time; read at once, and while it comes."""
    rule = AlarmRule(None, "Average", 10, 1, 1, 0.05, Comparison.GREATER)
    one = replace(BAKING, alarms_seen=0, policy=replace(BAKING.policy, alarms=("errors",)))
    endpoint = Endpoint("e", 0, 0, deployment=one, blue=one.blue)
    state, anything = MemoryState(), World()
    world: Any = anything
    await state.commit([Put(ALARMS, "errors", Alarm("errors", rule, initial_state(0.0), 0.0), 0)], [])
    follows, looks_once = (Observer(state, world, world, world, world) for _ in range(2))
    for number in range(3 * ENTRIES_AT_ONCE):
        to = (AlarmValue.OK, AlarmValue.INSUFFICIENT_DATA)[number % 2]
        acted = Record(1020.0, "alarm/errors", "alarm.acted", {})
        await state.commit([], [Record(1020.0, "alarm/errors", "alarm.transitioned", {"to": to.value}), acted])
        if number % 100 == 0:
            (seen,) = (await follows.observe(endpoint, one)).alarms
            assert (seen.tripped_at, seen.value) == (None, AlarmValue.INSUFFICIENT_DATA)
    await state.commit([], [Record(1030.5, "alarm/errors", kind, body)])
    await state.commit([], [Record(1031.0, "alarm/errors", "alarm.transitioned", {"to": AlarmValue.OK.value})])
    for observer in (follows, looks_once, follows):
        (seen,) = (await observer.observe(endpoint, one)).alarms
        assert (seen.tripped_at == 1030.5) if kind == "alarm.transitioned" else (seen.value is None)


async def test_requests_are_counted_from_where_the_bake_counts() -> None:
    """An alarm looks at compared answers, and nobody compared any for a while: the bake began again after that."""
    metric = identity(SHADOW_NAMESPACE, "NumericDifference", {"EndpointName": "e", "VariantName": "Shadow"})
    rule = AlarmRule(metric, "Average", 10, 1, 1, 0.05, Comparison.LESS)
    one = replace(BAKING, alarms_seen=0, policy=replace(BAKING.policy, alarms=("agreement",)))
    state, metrics = MemoryState(), MemoryMetrics(Settings(Path()))
    await state.commit([Put(ALARMS, "agreement", Alarm("agreement", rule, initial_state(0.0), 0.0), 0)], [])
    (group,) = one.green.groups
    await metrics.register(GroupDimensions(group.id, group.endpoint, group.variant, group.config_name, 2))
    await metrics.record(
        Report("r", 1, None, None, (Summary(group.id, "a:1", 1020, 500), Summary(group.id, "a:1", 1050, 2)))
    )
    world: Any = World(at=1075.0, compared_since=1040.0)
    found = await Observer(state, world, world, world, world, metrics).observe(
        Endpoint("e", 0, 0, deployment=one, blue=one.blue), one
    )
    assert (found.covered_since, found.green_requests) == (1040.0, 2)
