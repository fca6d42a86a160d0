"""Rolling updates: batches forwards and backwards, walked at random, and what holds at every step."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import pytest

from bannister.domain.alarm.alarm import AlarmValue
from bannister.domain.deployment.capacity import Retreat
from bannister.domain.deployment.deployment import ENDED, STOPPABLE, Deployment, Phase
from bannister.domain.deployment.machine import Event, advance, notice
from bannister.domain.deployment.observation import AlarmObservation, GroupObservation, Limits, Observation
from bannister.domain.deployment.plan import steps
from bannister.domain.deployment.policy import CapacitySize, CapacityType, DeploymentPolicy, Routing, refusal
from bannister.domain.deployment.targets import asked_split, mixed_fleet, wanted_instances
from bannister.domain.endpoint import Endpoint
from bannister.domain.fleet import Fleet, Group
from bannister.domain.model import Container
from bannister.domain.routing import plan_of
from bannister.domain.traffic import TRAFFIC_PARTS

PERCENT, COUNT = CapacityType.CAPACITY_PERCENT, CapacityType.INSTANCE_COUNT
LIMITS = Limits()
WALKS = 6000


def fleet(config: str, **counts: int) -> Fleet:
    groups = [
        Group(f"e.{variant}.{config}", "e", variant, config, config, Container("i"), count, 1.0, 100_000.0)
        for variant, count in counts.items()
    ]
    return Fleet(config, tuple(groups), 0.0)


def rolling(
    blue: dict[str, int], green: dict[str, int], size: CapacitySize, back: CapacitySize | None = None
) -> Deployment:
    policy = DeploymentPolicy(Routing.ROLLING, size, 10, 0, alarms=("errors",), rollback_step=back)
    return Deployment("d", "e", policy, fleet("v1", **blue), fleet("v2", **green), steps(policy, green), 0.0, 10_000.0)


class Walk:
    """A world that does what is asked, in its own time. `trips`, `asks`: how likely an alarm trips in a turn, and somebody asks for a rollback."""

    def __init__(
        self,
        deployment: Deployment,
        rng: random.Random,
        *,
        trips: float = 0.0,
        asks: float = 0.0,
        blue_fails: bool = False,
    ) -> None:
        self.deployment = deployment
        self.rng = rng
        self.trips = trips
        self.asks = asks
        self.blue_fails = blue_fails
        self.now = 0.0
        self.asked: str | None = None
        #: Instances that exist and are ready, by group.
        self.there = dict.fromkeys(wanted_instances(deployment), 0)
        self.there |= {group.id: group.instance_count for group in deployment.blue.groups}  # type: ignore[union-attr]
        #: Of those, so many that every proxy sees healthy; they see it later.
        self.healthy = dict(self.there)
        self.seen_phases: list[Phase] = []

    def turn(self) -> None:
        self.now += self.rng.choice((0.0, 1.0, 11.0))
        wanted = wanted_instances(self.deployment)
        for group in self.there:
            target = wanted.get(group, 0)
            if self.rng.random() < 0.6 and self.there[group] != target:
                grows = self.there[group] < target
                if not (grows and self.blue_fails and group.endswith("v1")):
                    self.there[group] += 1 if grows else -1
            seen_healthy = self.there[group] if self.rng.random() < 0.5 else self.healthy[group]
            self.healthy[group] = min(seen_healthy, self.there[group])
        if self.rng.random() < self.asks:
            self.asked = "It answers oddly."
        seen = self.facts(wanted)
        noticed = notice(self.deployment, seen, LIMITS)
        if noticed is not None:
            self.deployment = advance(self.deployment, noticed, seen)
            self.seen_phases.append(self.deployment.phase)

    def facts(self, wanted: dict[str, int]) -> Observation:
        def seen(one: Fleet | None) -> tuple[GroupObservation, ...]:
            assert one is not None
            return tuple(
                GroupObservation(
                    group.id,
                    wanted.get(group.id, 0),
                    min(self.there[group.id], wanted.get(group.id, 0)),
                    0,
                    "It is broken."
                    if self.blue_fails and self.deployment.phase is Phase.RESTORING and group.id.endswith("v1")
                    else None,
                    existing=self.there[group.id],
                    healthy=self.healthy[group.id],
                )
                for group in one.groups
            )

        tripped = self.now if self.rng.random() < self.trips else None
        alarm = AlarmObservation("errors", AlarmValue.OK, self.now + 1, tripped, "why" if tripped is not None else None)
        blue = seen(self.deployment.blue)
        return Observation(
            self.now,
            1,
            self.rng.random() < 0.7,
            seen(self.deployment.green),
            (alarm,),
            covered_since=0.0,
            blue_gone=not any(self.there[one.group] for one in blue),
            green_gone=not any(self.there[one.group] for one in seen(self.deployment.green)),
            stop_requested=self.asked,
            blue=blue,
        )


def check(walk: Walk, largest: int) -> None:
    """Capacity is never below the old one, never more than a batch above the larger fleet, and traffic follows it; who is to go back does so at once."""
    deployment = walk.deployment
    assert deployment.phase not in STOPPABLE or (walk.now < deployment.deadline_at and walk.asked is None)
    if deployment.phase in (Phase.RETIRING, Phase.COMPLETED):
        assert asked_split(deployment).all_green, "blue goes when it has no traffic"
    if deployment.phase in ENDED or deployment.phase in (Phase.PROVISIONING, Phase.RETIRING, Phase.REMOVING):
        return
    assert deployment.blue is not None
    split, wanted = asked_split(deployment), wanted_instances(deployment)
    for blue, green in zip(deployment.blue.groups, deployment.green.groups, strict=True):
        parts = split.of(blue.variant)
        assert parts is not None
        share = parts.green_parts / TRAFFIC_PARTS
        assert wanted[blue.id] / blue.instance_count >= (1 - share) - 1e-6, (deployment.phase, wanted)
        assert wanted[green.id] / green.instance_count >= share - 1e-6, (deployment.phase, wanted)
        # Nor is there traffic for what proxies do not see yet. (That they see green at its first shift is the publisher's part.)
        assert walk.healthy[blue.id] / blue.instance_count >= (1 - share) - 1e-6, (deployment.phase, walk.healthy)
        if deployment.step > 0:
            assert walk.healthy[green.id] / green.instance_count >= share - 1e-6, (deployment.phase, walk.healthy)
        whole = max(blue.instance_count, green.instance_count)
        assert wanted[blue.id] + wanted[green.id] <= whole + largest, (deployment.phase, wanted)


SIZES = [CapacitySize(PERCENT, 5), CapacitySize(PERCENT, 33), CapacitySize(PERCENT, 50), CapacitySize(COUNT, 1)]


@dataclass(frozen=True)
class Course:
    """What befalls the walks of one test, and how they are to end, most of them or all."""

    ending: Phase
    trips: float = 0.0
    asks: float = 0.0
    #: The longest time that a deployment is given; they are drawn.
    seconds: float | None = None
    blue_fails: bool = False


COURSES = {
    "never stopped": Course(Phase.COMPLETED),
    "stopped late": Course(Phase.ROLLED_BACK, trips=0.02),
    "stopped early": Course(Phase.ROLLED_BACK, trips=0.2),
    "asked to stop": Course(Phase.ROLLED_BACK, asks=0.03),
    "out of time": Course(Phase.ROLLED_BACK, seconds=300.0),
    "with a blue fleet that does not come back": Course(Phase.ROLLBACK_FAILED, trips=0.02, blue_fails=True),
}


@pytest.mark.parametrize("course", COURSES.values(), ids=COURSES)
def test_walks_keep_capacity_and_traffic_together(course: Course) -> None:
    rng = random.Random(f"{course}")
    ends: dict[Phase, int] = dict.fromkeys(Phase, 0)
    for _ in range(WALKS // len(COURSES)):
        blue = {"a": rng.randint(2, 7), "b": rng.randint(2, 4)}
        green = blue if rng.random() < 0.6 else {"a": rng.randint(2, 7), "b": rng.randint(2, 4)}
        back = rng.choice((None, *SIZES))
        begun = rolling(blue, green, rng.choice(SIZES), back)
        if course.seconds is not None:
            begun = replace(begun, deadline_at=rng.uniform(0.0, course.seconds))
        walk = Walk(begun, rng, trips=course.trips, asks=course.asks, blue_fails=course.blue_fails)
        batches = [*green.values(), *blue.values()]
        largest = max(batches) if back is None else max(batches) // 2 + 1
        for _ in range(2000):
            walk.turn()
            check(walk, largest)
            if walk.deployment.phase in ENDED:
                break
        ends[walk.deployment.phase] += 1
        deployment = walk.deployment
        assert deployment.phase in ENDED, deployment.phase
        if deployment.phase is Phase.ROLLED_BACK:
            assert {group.id: group.instance_count for group in deployment.blue.groups} == {  # type: ignore[union-attr]
                group: count for group, count in walk.there.items() if group.endswith("v1")
            }
            assert plan_of(Endpoint("e", 0, 0, blue=deployment.blue)).weights
    assert ends[course.ending] > WALKS // 30
    assert course.blue_fails or not ends[Phase.ROLLBACK_FAILED]


def test_four_instances_by_one() -> None:
    walk = Walk(rolling({"a": 4}, {"a": 4}, CapacitySize(COUNT, 1)), random.Random(1), trips=0.0)
    counts = []
    while walk.deployment.phase not in ENDED:
        walk.turn()
        if walk.deployment.phase is Phase.BAKING:
            wanted = wanted_instances(walk.deployment)
            state = (wanted["e.a.v1"], wanted["e.a.v2"], asked_split(walk.deployment).variants[0].green_parts)
            if state not in counts:
                counts.append(state)
    assert counts == [(4, 1, 250_000), (3, 2, 500_000), (2, 3, 750_000), (1, 4, 1_000_000)]
    assert walk.deployment.phase is Phase.COMPLETED


def test_thirds_leave_no_instance_too_many() -> None:
    walk = Walk(rolling({"a": 3}, {"a": 3}, CapacitySize(PERCENT, 33)), random.Random(1), trips=0.0)
    most = 0
    while walk.deployment.phase not in ENDED:
        walk.turn()
        if walk.deployment.phase is not Phase.COMPLETED:
            most = max(most, sum(wanted_instances(walk.deployment).values()))
    assert most == 4


def test_a_rollback_goes_to_what_blue_has_at_once_and_then_batch_by_batch() -> None:
    deployment = rolling({"a": 4}, {"a": 4}, CapacitySize(COUNT, 1), CapacitySize(COUNT, 1))
    walk = Walk(deployment, random.Random(2), trips=0.0)
    while not (walk.deployment.phase is Phase.BAKING and walk.deployment.step == 2):
        walk.turn()
    walk.trips = 1.0
    shares: list[float] = []
    while walk.deployment.phase not in ENDED:
        walk.turn()
        walk.trips = 0.0 if walk.deployment.retreat else walk.trips
        share = asked_split(walk.deployment).variants[0].green_parts / TRAFFIC_PARTS
        if walk.deployment.phase is Phase.ROLLING_BACK and share not in shares:
            shares.append(share)
    assert shares == [0.5, 0.25, 0.0]
    assert walk.deployment.phase is Phase.ROLLED_BACK


def test_on_the_way_back_no_proxy_waits_for_green() -> None:
    deployment = rolling({"a": 4}, {"a": 4}, CapacitySize(COUNT, 1), CapacitySize(COUNT, 1))
    walk = Walk(deployment, random.Random(2), trips=0.0)
    while not (walk.deployment.phase is Phase.GROWING and walk.deployment.step == 1):
        walk.turn()
    walk.trips = 1.0
    while not walk.deployment.retreat:
        walk.turn()
    plan = plan_of(Endpoint("e", 0.0, 0.0, blue=deployment.blue, deployment=walk.deployment))
    assert [one.parts for one in plan.weights] == [500_000, 500_000]
    assert {one.required for one in plan.memberships} == {0}


def test_blue_has_the_time_to_start_that_its_instances_have_one_after_the_other() -> None:
    deployment = rolling({"a": 4}, {"a": 4}, CapacitySize(COUNT, 1))
    groups = tuple(replace(group, startup_timeout_seconds=60.0) for group in deployment.blue.groups)  # type: ignore[union-attr]
    blue = replace(fleet("v1", a=4), groups=groups)
    back = replace(
        deployment,
        blue=blue,
        phase=Phase.RESTORING,
        phase_since=1000.0,
        step=2,
        reason="why",
        retreat=(Retreat("a", 2, 2),),
    )
    seen = (GroupObservation("e.a.v1", 4, 3, 0, None, existing=4, healthy=2),)

    def decided(now: float, watched_since: float = 0.0) -> str | None:
        facts = Observation(now, 1, False, (), blue=seen, watched_since=watched_since)
        noticed = notice(back, facts, LIMITS)
        return None if noticed is None else noticed.reason

    assert decided(1119.0) is None, "two are missing, 60 s each"
    assert decided(1120.0) == (
        "The old fleet could not be restored: of 4 instances 3 were ready, and every proxy saw 2 healthy, after 120 seconds."
    )
    assert decided(5000.0, watched_since=4990.0) is None, "while nobody was there, nobody was started"


def test_a_failed_rollback_to_the_same_configuration_is_mixed_too() -> None:
    same = fleet("v1", a=2)
    assert not same.mixed
    assert replace(same, groups=(*same.groups, replace(same.groups[0], id="again"))).mixed


def test_who_names_a_variant_gets_the_instances_that_there_are() -> None:
    deployment = rolling({"a": 4, "b": 2}, {"a": 4, "b": 2}, CapacitySize(PERCENT, 25))
    walk = Walk(deployment, random.Random(5), trips=0.0)
    while not (walk.deployment.phase is Phase.BAKING and walk.deployment.step == 2):
        walk.turn()
    plan = plan_of(Endpoint("e", 0.0, 0.0, blue=deployment.blue, deployment=walk.deployment))
    named = {one.group: one.named_parts for one in plan.weights}
    assert named == {"e.a.v1": 250_000, "e.a.v2": 750_000, "e.b.v1": 0, "e.b.v2": 1_000_000}
    assert {one.required for one in plan.memberships} == {0}, (
        "after a restart nothing falls back to a blue that is gone"
    )


def test_a_rollback_that_fails_leaves_both_serving_with_what_they_have() -> None:
    deployment = rolling({"a": 4}, {"a": 4}, CapacitySize(COUNT, 1))
    walk = Walk(deployment, random.Random(3), trips=0.0)
    while not (walk.deployment.phase is Phase.BAKING and walk.deployment.step == 2):
        walk.turn()
    walk.trips, walk.blue_fails = 1.0, True
    while walk.deployment.phase not in ENDED:
        walk.turn()
    assert walk.deployment.phase is Phase.ROLLBACK_FAILED
    assert walk.deployment.reason is not None
    assert walk.deployment.reason.startswith(
        "The old fleet could not be restored. It is broken.\nIt was rolled back because"
    )
    mixed = mixed_fleet(walk.deployment)
    assert mixed.mixed
    assert [(group.config_name, group.instance_count, group.weight) for group in mixed.groups] == [
        ("v1", 2, 0.5),
        ("v2", 2, 0.5),
    ]
    endpoint = Endpoint("e", 0.0, 0.0, blue=mixed)
    assert [one.parts for one in plan_of(endpoint).weights] == [500_000, 500_000]
    # The way out: another update from both, forwards or back, whatever its policy.
    again = rolling({"a": 4}, {"a": 4}, CapacitySize(COUNT, 1))
    again = replace(again, blue=mixed, green=fleet("v3", a=4))
    walk = Walk(again, random.Random(4), trips=0.0)
    while walk.deployment.phase not in ENDED:
        walk.turn()
        present = Endpoint("e", 0.0, 0.0, blue=mixed, deployment=walk.deployment)
        wanted = wanted_instances(walk.deployment)
        if walk.deployment.phase not in ENDED:
            assert all(wanted.get(one.group, 0) > 0 for one in plan_of(present).weights if one.parts > 0)
    assert walk.deployment.phase is Phase.COMPLETED


@pytest.mark.parametrize(
    ("size", "count", "accepted"),
    [
        (CapacitySize(PERCENT, 5), 2, True),
        (CapacitySize(PERCENT, 4), 2, False),
        (CapacitySize(PERCENT, 51), 2, False),
        (CapacitySize(COUNT, 1), 2, True),
        (CapacitySize(COUNT, 1), 1, False),
        (CapacitySize(COUNT, 2), 3, False),
        (CapacitySize(COUNT, 1), 21, False),
    ],
)
def test_a_batch_is_five_to_fifty_per_cent(size: CapacitySize, count: int, accepted: bool) -> None:
    assert (refusal(DeploymentPolicy(Routing.ROLLING, size, 0), {"a": count}) is None) is accepted


def test_a_rollback_batch_is_at_most_everything() -> None:
    policy = DeploymentPolicy(Routing.ROLLING, SIZES[0], 0, rollback_step=CapacitySize(PERCENT, 101))
    assert "RollbackMaximumBatchSize of 101 %" in (refusal(policy, {"a": 4}) or "")


def growing() -> Deployment:
    """Two of four instances serve, and the third is starting."""
    deployment = rolling({"a": 4}, {"a": 4}, CapacitySize(COUNT, 1))
    return replace(deployment, phase=Phase.GROWING, step=1, green_restarts=1, phase_since=100.0)


@pytest.mark.parametrize(
    ("green", "says"),
    [
        # The one that starts may take its time, and several attempts.
        (GroupObservation("e.a.v2", 3, 2, 5, existing=3, healthy=2, deaths=1), None),
        # It has come up, and stands in for one that was lost: by count alone nothing is wrong.
        (
            GroupObservation("e.a.v2", 3, 2, 1, existing=3, healthy=2, unready=1, deaths=1, trouble="It fell silent."),
            "died or stopped answering /ping: 2 of 3 are ready, and a batch is starting. It fell silent.",
        ),
        # It died and is back, between two looks.
        (GroupObservation("e.a.v2", 3, 3, 1, existing=3, healthy=3, deaths=2), "died and was restarted"),
        (
            GroupObservation("e.a.v2", 3, 1, 1, existing=3, healthy=1, deaths=1),
            "died or stopped answering /ping: 1 of 3 are ready",
        ),
    ],
    ids=["starting", "fell silent", "restarted", "fewer than serve"],
)
def test_a_batch_that_starts_does_not_hide_the_loss_of_an_instance_that_served(
    green: GroupObservation, says: str | None
) -> None:
    alarm = AlarmObservation("errors", AlarmValue.OK, 200.0)
    noticed = notice(growing(), Observation(200.0, 1, True, (green,), (alarm,), covered_since=0.0), LIMITS)
    if says is None:
        assert noticed is None
    else:
        assert noticed is not None
        assert (noticed.event, says in noticed.reason) == (Event.STOPPED, True), noticed.reason


def test_an_instance_that_died_while_a_batch_started_is_not_forgotten_with_its_shift() -> None:
    ready = GroupObservation("e.a.v2", 3, 3, 4, existing=3, healthy=3, deaths=1)
    seen = Observation(200.0, 1, True, (ready,), (AlarmObservation("errors", AlarmValue.OK, 200.0),), covered_since=0.0)
    noticed = notice(growing(), seen, LIMITS)
    assert noticed is not None
    after = advance(growing(), noticed, seen)
    assert (after.phase, after.step, after.green_restarts) == (Phase.SHIFTING, 2, 1)


@pytest.mark.parametrize("back", [None, CapacitySize(COUNT, 1)], ids=["at once", "in batches"])
def test_on_the_way_back_blue_does_not_wait_for_streams_to_end(back: CapacitySize | None) -> None:
    deployment = rolling({"a": 4}, {"a": 4}, CapacitySize(COUNT, 1), back)
    shedding = replace(deployment, phase=Phase.SHEDDING, step=2, reason="why", retreat=(Retreat("a", 2, 2),))
    blue = GroupObservation(
        "e.a.v1", 2, 2, 0, existing=3, healthy=2, leaving=1
    )  # one had a stream when it was replaced

    def decided(leaving: int) -> Event | None:
        green = GroupObservation("e.a.v2", 2, 2, 0, existing=3, healthy=2, leaving=leaving)
        noticed = notice(shedding, Observation(200.0, 1, True, (green,), blue=(blue,)), LIMITS)
        return None if noticed is None else noticed.event

    assert decided(leaving=0) is None, "one takes new requests still"
    assert decided(leaving=1) is Event.GREEN_SHED
