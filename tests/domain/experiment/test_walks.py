"""The pure machine, walked at random: whatever happens to deployments, models, clock and endpoint, the rules hold."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.domain.experiment.worlds import World, endpoint, experiment

from bannister.domain.deployment.construction import same_but_instances
from bannister.domain.deployment.deployment import Phase
from bannister.domain.experiment.experiment import ENDED, Ending, Status, Stop
from bannister.domain.experiment.machine import TRANSITIONS, Event, moved

HAPPENINGS = (
    "time",
    "time",
    "complete",
    "complete",
    "complete",
    "roll back",
    "retire",
    "sampling",
    "restore",
    "promote",
    "retain",
    "model gone",
    "model back",
    "lost",
)


def happen(world: World, what: str) -> None:
    running = world.endpoint is not None and world.endpoint.deployment is not None
    match what:
        case "time":
            world.now += 1500.0
        case "complete" if running:
            world.deployed()
        case "roll back" if running:
            world.rolled_back()
        case "retire" if running:
            world.in_phase(Phase.RETIRING)
        case "model gone":
            world.containers.pop("candidate", None)
        case "model back":
            world.containers["candidate"] = next(iter(world.containers.values()))
        case "sampling" if world.experiment.status is Status.RUNNING:
            world.experiment = moved(replace(world.experiment, sampling_percent=7), Event.SAMPLING_ASKED, world.now)
        case "restore" | "promote" | "retain":
            stoppable = Event.STOP_ASKED in TRANSITIONS[world.experiment.status]
            in_service = world.experiment.status in (Status.RUNNING, Status.UPDATING)
            if stoppable and (in_service or what == "restore"):
                asked = Stop(Ending(what), Status.COMPLETED)
                world.experiment = replace(moved(world.experiment, Event.STOP_ASKED, world.now), stop=asked)
        case "lost" if world.endpoint is not None and world.experiment.begun is not None:
            world.endpoint = replace(world.endpoint, deleting=True)
        case _:
            pass


def check(world: World) -> None:
    """What must be true of an endpoint after an experiment has ended."""
    one, now = world.experiment, world.endpoint
    assert one.status in ENDED
    assert one.completed_at is not None
    if now is None or now.deleting:
        return
    assert now.experiment is None
    if one.begun is None:
        assert one.found is None
        return
    if one.status is Status.COMPLETED:
        ending = one.stop.ending if one.stop is not None else Ending.RESTORE
        assert now.blue is not None
        match ending:
            case Ending.RESTORE if one.found is not None:
                assert same_but_instances(now.blue, one.found)
            case Ending.PROMOTE:
                assert [group.variant for group in now.blue.groups] == ["Shadow-01"]
            case Ending.RETAIN:
                assert now.blue.shadow is not None
    elif one.found is not None and now.blue is not None and not same_but_instances(now.blue, one.found):
        assert now.blue.shadow is None, "a cancelled experiment leaves no shadow behind"
        assert now.blue.capture == one.found.capture
        assert one.failure is not None


@given(st.lists(st.sampled_from(HAPPENINGS), max_size=40), st.booleans())
@settings(max_examples=600, deadline=None)
def test_walks(happenings: list[str], creates: bool) -> None:
    world = World(experiment(creates_endpoint=creates), endpoint())
    if creates:
        world.endpoint = None
    for what in happenings:
        world.settle()
        happen(world, what)
    # Whatever happened: when deployments come through and time passes, it ends.
    for _ in range(12):
        world.settle()
        happen(world, "complete")
        world.settle()
        world.now += 1000.0
    check(world)


def test_walks_reach_every_status_and_event() -> None:
    """Else they would show nothing."""
    seen: set[str] = set()
    statuses: set[Status] = set()

    @given(st.lists(st.sampled_from(HAPPENINGS), min_size=5, max_size=30))
    @settings(max_examples=400, deadline=None, database=None, derandomize=True)
    def walk(happenings: list[str]) -> None:
        world = World()
        for what in happenings:
            world.settle()
            statuses.add(world.experiment.status)
            happen(world, what)
            statuses.add(world.experiment.status)
        seen.update(world.events)

    walk()
    by_request = {Event.STOP_ASKED.value, Event.SAMPLING_ASKED.value}
    assert seen == {event.value for event in Event} - by_request
    # The first two pass before anybody looks.
    assert statuses >= set(Status) - {Status.CREATING, Status.CREATED}
