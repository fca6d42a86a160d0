"""The pure machine, walked at random: whatever the facts, the rules hold, and there is no transition that no walk takes."""

import random
from collections import Counter
from functools import cache

from bannister.domain.alarm.alarm import AlarmValue
from bannister.domain.deployment.deployment import ENDED, STOPPABLE, Deployment, Phase
from bannister.domain.deployment.machine import TRANSITIONS, Event, advance, notice
from bannister.domain.deployment.observation import AlarmObservation, GroupObservation, Limits, Observation
from bannister.domain.deployment.plan import steps
from bannister.domain.deployment.policy import CapacitySize, CapacityType, DeploymentPolicy, Routing
from bannister.domain.deployment.targets import asked_split, wanted_instances, wants_blue, wants_green
from bannister.domain.fleet import Fleet, Group
from bannister.domain.model import Container

WALKS = 100_000
STEPS_MAX = 14
LIMITS = Limits(alarm_clear_timeout_seconds=60.0, blind_timeout_seconds=30.0)
#: Seconds between two looks.
PASSES = (0.0, 10.0, 21.0, 21.0)
#: Seconds that a deployment may take: some walks come to their end, others never do.
DEADLINES = (100.0, 300.0)
#: After the first shift and before blue retires: here an alarm that trips, and telemetry that is silent, stop a deployment.
SHIFTED = (Phase.SHIFTING, Phase.BAKING, Phase.SHRINKING, Phase.GROWING)
#: Green is whole as far as it is asked for: here one instance that is not ready stops a deployment.
WHOLE = (Phase.HELD, Phase.SHIFTING, Phase.BAKING, Phase.SHRINKING)
BLUE, GREEN = "e.a.v1", "e.a.v2"
INSTANCES = 2


def _fleet(config: str) -> Fleet:
    return Fleet(config, (Group(f"e.a.{config}", "e", "a", config, config, Container("i"), INSTANCES, 1.0, 60.0),), 0.0)


def _deployments() -> list[Deployment]:
    found = []
    for routing in Routing:
        step = None if routing is Routing.ALL_AT_ONCE else CapacitySize(CapacityType.CAPACITY_PERCENT, 25)
        for alarms in ((), ("errors",)):
            for blue in (None, _fleet("v1")):
                policy = DeploymentPolicy(routing, step, 10, 20, alarms=alarms)
                plan = steps(policy, {"a": INSTANCES})
                found += [Deployment("d", "e", policy, blue, _fleet("v2"), plan, 0.0, at) for at in DEADLINES]
    return found


#: A fleet as it can be seen; each made once, because walks are many.
@cache
def _seen(
    group: str, wanted: int, ready: int, healthy: int, restarts: int = 0, draining: int = 0, failure: str | None = None
) -> tuple[GroupObservation, ...]:
    return (
        GroupObservation(
            group, wanted, ready, restarts, failure, existing=wanted + draining, healthy=healthy, deaths=restarts
        ),
    )


VALUES = (*AlarmValue, AlarmValue.OK, None)


def _green(rng: random.Random, wanted: int, *, usual: bool) -> tuple[GroupObservation, ...]:
    chance = rng.random
    ready = wanted if usual or chance() < 0.8 else rng.randrange(wanted + 1)
    healthy = ready if chance() < 0.8 else rng.randrange(ready + 1)  # proxies see later that one is ready
    return _seen(GREEN, wanted, ready, healthy, 0 if usual else rng.choice((0, 0, 1)))


def _blue(rng: random.Random, wanted: int, *, usual: bool) -> tuple[GroupObservation, ...]:
    """Only a rolling update asks what blue has: whether a batch has gone, and on the way back whether it has come."""
    chance = rng.random
    ready = wanted if chance() < 0.5 else rng.randrange(wanted + 1)
    failure = None if usual or chance() < 0.5 else "It cannot be started any more."
    return _seen(BLUE, wanted, ready, rng.randrange(ready + 1), 0, int(chance() < 0.3), failure)


def _alarm(rng: random.Random, name: str, now: float, *, usual: bool, held: bool) -> AlarmObservation:
    chance = rng.random
    if held and chance() < 0.7:
        value: AlarmValue | None = AlarmValue.ALARM  # it takes its time to clear
    else:
        value = AlarmValue.OK if usual else rng.choice(VALUES)
    tripped = None if usual or chance() < 0.8 else now
    evaluated = (None, now - 5, now, now)[int(chance() * 4)]
    return AlarmObservation(name, value, evaluated, tripped, None if tripped is None else "why")


def _facts(rng: random.Random, deployment: Deployment, now: float, sequence: int) -> Observation:
    """Anything that could be seen; mostly nothing is wrong, so that walks get somewhere."""
    chance = rng.random
    usual, held, rolling = chance() < 0.85, deployment.phase is Phase.HELD, deployment.rolling
    wanted = wanted_instances(deployment) if rolling else {}
    return Observation(
        now=now,
        journal_sequence=sequence,
        split_acknowledged=chance() < 0.7,
        green=_green(rng, wanted.get(GREEN, INSTANCES), usual=usual),
        alarms=tuple([_alarm(rng, name, now, usual=usual, held=held) for name in deployment.policy.alarms]),
        covered_since=(None, 0.0, 0.0, now - 3)[int(chance() * 4)],
        silent_seconds=0.0 if usual or chance() < 0.5 else 40.0,
        blue_gone=chance() < 0.5,
        green_gone=chance() < 0.5,
        stop_requested=None if usual or chance() < 0.9 else "It answers oddly.",
        blue=_blue(rng, wanted.get(BLUE, 0), usual=usual) if rolling else (),
    )


def _must_stop(deployment: Deployment, seen: Observation) -> str | None:
    """What leaves no choice but to roll back, told anew and without the machine's words; None: nothing does."""
    phase, shifted = deployment.phase, deployment.phase in SHIFTED
    if seen.stop_requested is not None:
        return "a person"
    if seen.now >= deployment.deadline_at:
        return "the deadline"
    if phase in WHOLE and any(group.ready < group.wanted for group in seen.green):
        return "an instance of green"
    for alarm in seen.alarms:
        if alarm.value is None:
            return "an alarm that was deleted"
        if shifted and alarm.tripped_at is not None:
            return "an alarm that tripped"
        if shifted and seen.silent_seconds >= LIMITS.blind_timeout_seconds:
            return "silence"
        if phase is Phase.HELD and alarm.value is AlarmValue.ALARM and seen.now - deployment.phase_since >= 60.0:
            return "an alarm that does not clear"
    return None


CAUSES = {
    "a person", "the deadline", "an instance of green", "an alarm that was deleted", "an alarm that tripped", "silence",
    "an alarm that does not clear",
}  # fmt: skip


def _check(before: Deployment, event: Event, seen: Observation, after: Deployment) -> None:
    named = before.policy.alarms
    if after.phase is Phase.SHIFTING:
        assert after.step == before.step + 1
        assert all(alarm.tripped_at is None for alarm in seen.alarms) or before.phase not in SHIFTED
        assert all(alarm.value is not None for alarm in seen.alarms)
        if before.step < 0:
            assert all(alarm.value is not AlarmValue.ALARM for alarm in seen.alarms)
            assert all(group.ready == group.wanted for group in seen.green)
            assert after.alarms_seen == seen.journal_sequence
        else:
            assert after.alarms_seen == before.alarms_seen
    if after.phase in (Phase.BAKING, Phase.REMOVING):
        assert seen.split_acknowledged
    if event in (Event.STEP_BAKED, Event.BATCH_BAKED, Event.LAST_STEP_BAKED):
        assert before.baking_since is not None
        since = before.baking_since if not named else max(before.baking_since, seen.covered_since or 0.0)
        over = since + before.steps[before.step].bake_seconds
        assert seen.now >= over
        assert all(alarm.evaluated_until is not None and alarm.evaluated_until >= over for alarm in seen.alarms)
    if after.phase is Phase.RETIRING:
        assert before.phase is Phase.BAKING
        assert after.step == len(after.steps) - 1
        assert asked_split(after).all_green
    if after.phase is Phase.COMPLETED:
        assert seen.blue_gone or seen.now >= before.deadline_at
    if after.phase in (Phase.ROLLING_BACK, Phase.REMOVING, Phase.ROLLED_BACK):
        # A rolling update goes back batch by batch: tests/domain/deployment/test_rolling.py.
        assert asked_split(after).all_blue or (after.retreat and after.phase is Phase.ROLLING_BACK)
        assert after.reason
        assert wants_blue(after)
    assert wants_green(after) or after.phase in (Phase.REMOVING, Phase.ROLLED_BACK)
    if before.rolling:
        _check_batches(before, event, seen, after)


def _check_batches(before: Deployment, event: Event, seen: Observation, after: Deployment) -> None:
    """No batch is counted on before it has come, and none is begun before the one that makes room for it has gone."""
    if event is Event.BATCH_READY:
        assert all(min(group.ready, group.healthy) >= group.wanted for group in seen.green)
    if event is Event.BATCH_RESTORED:
        assert all(min(group.ready, group.healthy) >= group.wanted for group in seen.blue)
    if event in (Event.BATCH_RETIRED, Event.GREEN_GONE):
        assert all(group.existing == group.wanted for group in seen.blue)
    if event is Event.BLUE_RESTORED:
        assert wanted_instances(after)[BLUE] == INSTANCES
    if after.phase is Phase.ROLLBACK_FAILED:
        assert wants_blue(after)
        assert after.reason is not None
        assert before.reason is not None
        assert after.reason.endswith(before.reason)
        late = seen.now >= before.phase_since + 60.0
        assert late or any(group.failure for group in seen.blue)


def test_a_hundred_thousand_walks() -> None:
    rng = random.Random(20261123)
    chance, starts = rng.random, _deployments()
    taken: Counter[tuple[Phase, Event]] = Counter()
    stopped: Counter[str] = Counter()
    endings: Counter[Phase] = Counter()
    for _ in range(WALKS):
        deployment, now, sequence = rng.choice(starts), 0.0, 0
        for _ in range(STEPS_MAX):
            now += PASSES[int(chance() * 4)]
            sequence += chance() < 0.5
            seen = _facts(rng, deployment, now, sequence)
            noticed = notice(deployment, seen, LIMITS)
            cause = _must_stop(deployment, seen) if deployment.phase in STOPPABLE else None
            if cause is not None:
                assert noticed is not None, cause
                assert noticed.event is Event.STOPPED, cause
                stopped[cause] += 1
            if noticed is None:
                continue
            after = advance(deployment, noticed, seen)
            _check(deployment, noticed.event, seen, after)
            taken[deployment.phase, noticed.event] += 1
            deployment = after
            if deployment.phase in ENDED:
                break
        endings[deployment.phase] += 1
    # The walks went everywhere: else nothing was shown.
    assert taken.keys() == {(phase, event) for phase, events in TRANSITIONS.items() for event in events}
    assert stopped.keys() == CAUSES
    assert endings[Phase.COMPLETED] > WALKS / 50
    assert endings[Phase.ROLLED_BACK] > WALKS / 50
