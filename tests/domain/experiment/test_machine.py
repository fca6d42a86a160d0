"""The pure machine of experiments: what it decides, and what the endpoint is afterwards."""

from dataclasses import replace

import pytest
from tests.domain.deployment.worlds import fleet
from tests.domain.experiment.worlds import CAPTURE, LIMITS, OTHER_CAPTURE, World, endpoint, experiment

from bannister.domain.deployment.construction import same_but_instances
from bannister.domain.deployment.deployment import Phase
from bannister.domain.endpoint import EndpointConfig
from bannister.domain.experiment.experiment import Ending, ExperimentVariant, Status, Stop
from bannister.domain.experiment.machine import TRANSITIONS, Event, IllegalEvent, Noticed, advance, moved
from bannister.domain.experiment.recorder import disagreements, evidence

RESTORE = Stop(Ending.RESTORE, Status.CANCELLED, "enough")
PROMOTE = Stop(Ending.PROMOTE, Status.COMPLETED, "better")


def stop(world: World, how: Stop) -> None:
    world.experiment = replace(moved(world.experiment, Event.STOP_ASKED, world.now), stop=how)


def test_it_waits_for_its_start_and_leaves_the_endpoint_alone() -> None:
    world = World(now=999.0)
    world.settle()
    assert world.experiment.status is Status.CREATED
    assert world.endpoint == endpoint()
    world.now = 1000.0
    assert world.turn() == Noticed(Event.DUE, "The start time has come.")


def test_at_its_start_the_endpoint_gets_production_and_shadow() -> None:
    world = World()
    world.settle()
    assert world.experiment.status is Status.STARTING
    assert world.endpoint is not None
    assert world.endpoint.experiment == "x"
    green = world.deployed()
    (production,) = green.groups
    assert green.shadow is not None
    shadow = green.shadow.group
    assert (production.model_name, production.instance_count, production.instance_type) == (
        "model-v1",
        3,
        "ml.m5.large",
    )
    assert (shadow.variant, shadow.container.artifact_url, shadow.instance_count) == ("Shadow-01", "s3://m/c", 2)
    assert green.shadow.sampled_parts == 500_000
    assert green.capture == CAPTURE
    config = world.configs[green.config_name]
    assert isinstance(config, EndpointConfig)
    assert [one.weight for one in config.shadow_variants] == [0.5]
    assert config.data_capture == CAPTURE
    world.settle()
    assert world.experiment.status is Status.RUNNING


def test_production_is_the_endpoints_own_copy_and_its_model_may_be_gone() -> None:
    world = World()
    del world.containers["model-v1"]
    world.running()
    assert world.experiment.status is Status.RUNNING


def test_without_a_storage_of_its_own_the_endpoint_goes_on_being_captured() -> None:
    world = World(experiment(capture=None))
    world.settle()
    assert world.deployed().capture == OTHER_CAPTURE


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"blue": replace(fleet("v1"), groups=())}, "0 production variants"),
        ({"blue": fleet("v1", variants=("AllTraffic", "b"))}, "2 production variants"),
        ({"blue": replace(fleet("v1"), groups=(*fleet("v1").groups, *fleet("v2").groups))}, "two versions serve"),
        ({"blue": fleet("v2")}, 'runs model "model-v2"'),
        ({"blue": fleet("v1", variants=("other",))}, 'as variant "other"'),
        ({"blue": None}, "is Failed"),
        ({"experiment": "y"}, 'Inference experiment "y" runs on'),
    ],
)
def test_an_endpoint_that_changed_before_the_start_is_left_alone(changes: dict[str, object], says: str) -> None:
    world = World(at=endpoint(**changes))
    world.settle()
    assert world.experiment.status is Status.CANCELLED
    assert says in (world.experiment.reason or "")
    assert world.endpoint == endpoint(**changes)


def test_a_model_that_was_deleted_before_the_start() -> None:
    world = World()
    del world.containers["candidate"]
    world.settle()
    assert world.experiment.reason == (
        'The experiment could not start. Model "candidate" of the shadow variant does not exist.'
    )


def test_an_endpoint_that_was_deleted_cancels_it_before_the_start_time() -> None:
    world = World(now=950.0)
    world.settle()
    world.endpoint = None
    world.settle()
    assert world.experiment.status is Status.CANCELLED
    assert "was deleted before the start" in (world.experiment.reason or "")


def test_it_waits_for_an_update_that_somebody_else_began() -> None:
    world = World()
    world.settle()
    theirs = replace(world.endpoint, experiment=None)
    world = World(at=theirs)
    world.settle()
    assert (world.experiment.status, world.experiment.begun) == (Status.STARTING, None)
    world.rolled_back()
    world.settle()
    assert world.experiment.begun is not None


def test_an_update_that_goes_on_until_the_end_time() -> None:
    world = World()
    world.settle()
    world = World(at=replace(world.endpoint, experiment=None), now=1000.0)
    world.settle()
    world.now = 5000.0
    world.settle()
    assert world.experiment.status is Status.CANCELLED


def test_a_start_that_is_rolled_back_is_cancelled_with_the_reason() -> None:
    world = World()
    world.settle()
    world.rolled_back("The shadow did not answer /ping.")
    world.settle()
    assert world.experiment.status is Status.CANCELLED
    assert world.experiment.reason == "The experiment could not start. The shadow did not answer /ping."
    assert world.endpoint == endpoint(failure_reason="The shadow did not answer /ping.", modified_at=1000.0)


def test_it_ends_by_itself_and_the_endpoint_is_as_it_was() -> None:
    world = World().running()
    world.now = 4999.9
    assert world.turn() is None
    world.now = 5000.0
    world.settle()
    assert world.experiment.status is Status.STOPPING
    restored = world.deployed()
    assert same_but_instances(restored, endpoint().blue)  # type: ignore[arg-type]
    world.settle()
    assert (world.experiment.status, world.experiment.completed_at) == (Status.COMPLETED, 5000.0)
    assert world.experiment.reason == "The end time, 1970-01-01T01:23:20Z, has come."
    assert world.endpoint is not None
    assert world.endpoint.experiment is None
    assert len(world.configs) == 1  # what was found has its own


def test_stopped_with_production_retained() -> None:
    world = World().running()
    stop(world, RESTORE)
    world.settle()
    assert same_but_instances(world.deployed(), endpoint().blue)  # type: ignore[arg-type]
    world.settle()
    assert (world.experiment.status, world.experiment.reason) == (Status.CANCELLED, "enough")


def test_stopped_with_other_instances_for_production() -> None:
    world = World().running()
    desired = ExperimentVariant("AllTraffic", "model-v1", "ml.c5.large", 5)
    stop(world, replace(RESTORE, desired=(desired,)))
    world.settle()
    (group,) = world.deployed().groups
    assert (group.instance_count, group.instance_type, group.config_name) == (5, "ml.c5.large", "v1")


@pytest.mark.parametrize("desired", [(), (ExperimentVariant("Shadow-01", "candidate", "ml.c5.large", 7),)])
def test_promoted(desired: tuple[ExperimentVariant, ...]) -> None:
    world = World().running()
    stop(world, replace(PROMOTE, desired=desired))
    world.settle()
    promoted = world.deployed()
    (group,) = promoted.groups
    assert (group.variant, group.container.artifact_url, group.weight) == ("Shadow-01", "s3://m/c", 1.0)
    assert group.instance_count == (7 if desired else 2)
    assert (promoted.shadow, promoted.capture) == (None, OTHER_CAPTURE)
    assert promoted.config_name in world.configs
    world.settle()
    assert (world.experiment.status, world.experiment.reason) == (Status.COMPLETED, "better")


def test_both_retained() -> None:
    world = World().running()
    running = world.endpoint
    assert running is not None
    stop(world, Stop(Ending.RETAIN, Status.COMPLETED))
    world.settle()
    assert world.experiment.status is Status.COMPLETED
    assert world.endpoint == replace(running, experiment=None, modified_at=1000.0)


def test_the_sampling_changes_in_the_running_fleet() -> None:
    world = World().running()
    world.experiment = moved(replace(world.experiment, sampling_percent=5), Event.SAMPLING_ASKED, world.now)
    assert world.experiment.status is Status.UPDATING
    world.settle()
    assert world.experiment.status is Status.RUNNING
    assert world.endpoint is not None
    assert world.endpoint.blue is not None
    assert world.endpoint.blue.shadow is not None
    assert world.endpoint.blue.shadow.sampled_parts == 50_000
    assert world.endpoint.deployment is None


def test_stopped_while_it_starts_the_change_is_taken_back() -> None:
    world = World()
    world.settle()
    stop(world, RESTORE)
    world.settle()
    assert world.events[-1] == "withdrawn"
    assert world.endpoint is not None
    assert world.endpoint.deployment is not None
    assert "was stopped" in (world.endpoint.deployment.stop_requested or "")
    world.rolled_back()
    world.settle()
    assert world.experiment.status is Status.CANCELLED
    assert world.endpoint.blue == endpoint().blue


def test_stopped_when_the_change_cannot_be_taken_back_any_more() -> None:
    world = World()
    world.settle()
    world.in_phase(Phase.RETIRING)
    stop(world, RESTORE)
    world.settle()
    world.deployed()
    world.settle()
    assert same_but_instances(world.deployed(), endpoint().blue)  # type: ignore[arg-type]


def test_stopped_before_it_began() -> None:
    world = World(now=900.0)
    world.settle()
    stop(world, RESTORE)
    world.settle()
    assert world.experiment.status is Status.CANCELLED
    assert world.endpoint == endpoint()


def test_a_promotion_that_fails_becomes_a_restoration() -> None:
    world = World().running()
    stop(world, PROMOTE)
    world.settle()
    world.rolled_back("No port is free.")
    world.settle()
    assert same_but_instances(world.deployed(), endpoint().blue)  # type: ignore[arg-type]
    world.settle()
    assert world.experiment.status is Status.CANCELLED
    assert "did not end as asked (promote)" in (world.experiment.reason or "")
    assert "No port is free." in (world.experiment.reason or "")


def test_a_restoration_is_tried_again_and_then_the_shadow_goes_at_least() -> None:
    world = World().running()
    stop(world, RESTORE)
    for attempt in (1, 2, 3):
        world.settle()
        world.rolled_back("Nothing starts.")
        world.settle()
        if attempt < 3:
            assert world.experiment.status is Status.STOPPING
            assert world.endpoint is not None
            assert world.endpoint.deployment is None, "it waits before it tries again"
            world.now += attempt * LIMITS.retry_seconds
    assert world.experiment.status is Status.CANCELLED
    assert "could not be restored in 3 attempts" in (world.experiment.reason or "")
    assert world.endpoint is not None
    assert world.endpoint.blue is not None
    assert (world.endpoint.blue.shadow, world.endpoint.blue.capture) == (None, OTHER_CAPTURE)
    assert world.endpoint.experiment is None


def test_it_waits_no_longer_for_another_attempt_when_the_clock_is_set_back() -> None:
    world = World().running()
    stop(world, RESTORE)
    world.settle()
    world.rolled_back("Nothing starts.")
    world.settle()
    world.now -= 86_400
    world.settle()
    assert world.endpoint is not None
    assert world.endpoint.deployment is not None


@pytest.mark.parametrize("status", [Status.CREATING, Status.CREATED, Status.STARTING])
def test_one_whose_whole_time_has_passed_never_begins(status: Status) -> None:
    world = World(replace(experiment(), status=status), now=experiment().ends_at)
    world.settle()
    assert world.experiment.status is Status.CANCELLED
    assert "had come before the experiment could begin" in (world.experiment.reason or "")
    assert world.endpoint == endpoint()


@pytest.mark.parametrize(
    "lost", [None, endpoint(deleting=True, experiment="x"), endpoint(experiment=None), endpoint(experiment="y")]
)
def test_an_endpoint_that_is_lost_is_touched_no_more(lost: object) -> None:
    world = World().running()
    world.endpoint = lost  # type: ignore[assignment]
    world.settle()
    assert world.experiment.status is Status.CANCELLED
    assert 'Endpoint "e" was' in (world.experiment.reason or "")
    if world.endpoint is not None:
        assert world.endpoint.blue == endpoint().blue


def test_an_endpoint_that_is_not_there_yet_is_made_and_keeps_production() -> None:
    world = World(experiment(creates_endpoint=True))
    world.endpoint = None
    world.settle()
    assert world.endpoint is not None
    assert world.endpoint.deployment is not None
    assert world.endpoint.deployment.blue is None
    started = world.deployed()
    world.settle()
    assert world.experiment.status is Status.RUNNING
    world.now = 5000.0
    world.settle()
    kept = world.deployed()
    assert [group.variant for group in kept.groups] == ["AllTraffic"]
    assert (kept.shadow, kept.capture) == (None, None)
    assert {kept.config_name, started.config_name} == set(world.configs)
    assert len(world.configs) == 2
    world.settle()
    assert world.experiment.status is Status.COMPLETED


def test_a_reason_is_one_line_and_not_too_long() -> None:
    world = World()
    world.settle()
    world.rolled_back("line\nline\n" + "x" * 2000)
    world.settle()
    assert world.experiment.reason is not None
    assert "\n" not in world.experiment.reason
    assert len(world.experiment.reason) == 1024


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("event", Event)
def test_an_event_that_the_table_does_not_list_changes_nothing(status: Status, event: Event) -> None:
    one = experiment(status=status)
    if event in TRANSITIONS[status]:
        assert moved(one, event, 1.0).status is TRANSITIONS[status][event]
    else:
        with pytest.raises(IllegalEvent):
            moved(one, event, 1.0)


def test_a_recorded_decision_is_the_same_when_taken_again_and_a_false_record_is_found() -> None:
    world = World()
    bodies = []
    for _ in range(4):
        seen, before = world.seen(), world.experiment
        from bannister.domain.experiment.machine import notice

        noticed = notice(before, seen, LIMITS)
        if noticed is not None:
            decision = advance(before, noticed, seen, LIMITS)
            bodies.append(evidence(before, decision, noticed, seen, LIMITS, "1"))
            world.take(decision)
    assert len(bodies) == 3
    assert disagreements(bodies) == []
    bodies[1]["observation"]["now"] = 10.0
    assert len(disagreements(bodies)) == 1


@pytest.mark.parametrize("desired", [(), (ExperimentVariant("Shadow-01", "candidate", "ml.m5.xlarge", 1),)])
def test_what_is_retained_copies_the_share_that_was_asked_for_just_before(
    desired: tuple[ExperimentVariant, ...],
) -> None:
    """The stop comes before the experimenter has looked at the new share."""
    world = World().running()
    world.experiment = moved(replace(world.experiment, sampling_percent=10), Event.SAMPLING_ASKED, world.now)
    stop(world, Stop(Ending.RETAIN, Status.COMPLETED, desired=desired))
    world.settle()
    if desired:
        world.deployed()
        world.settle()
    assert world.experiment.status is Status.COMPLETED
    assert world.endpoint is not None
    assert world.endpoint.blue is not None
    assert world.endpoint.blue.shadow is not None
    assert world.endpoint.blue.shadow.sampled_parts == 100_000
    assert world.endpoint.blue.shadow.group.weight == pytest.approx(0.1)
