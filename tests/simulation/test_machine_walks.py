"""The pure machine, walked at random: whatever the facts, the rules hold."""

import random

from bannister.domain.alarm.alarm import AlarmValue
from bannister.domain.deployment.deployment import ENDED, Deployment, Phase
from bannister.domain.deployment.machine import Event, advance, notice
from bannister.domain.deployment.observation import AlarmObservation, GroupObservation, Limits, Observation
from bannister.domain.deployment.plan import steps
from bannister.domain.deployment.policy import CapacitySize, CapacityType, DeploymentPolicy, Routing
from bannister.domain.deployment.targets import asked_split, wants_blue, wants_green
from bannister.domain.fleet import Fleet, Group
from bannister.domain.model import Container

WALKS = 100_000
STEPS_MAX = 14
LIMITS = Limits(alarm_clear_timeout_seconds=60.0, blind_timeout_seconds=30.0)
#: Seconds between two looks.
PASSES = (0.0, 10.0, 21.0, 21.0)
SHIFTED = (Phase.SHIFTING, Phase.BAKING)


def _fleet(config: str) -> Fleet:
    return Fleet(config, (Group(f"e.a.{config}", "e", "a", config, config, Container("i"), 2, 1.0, 60.0),), 0.0)


def _deployments() -> list[Deployment]:
    found = []
    for routing in Routing:
        step = None if routing is Routing.ALL_AT_ONCE else CapacitySize(CapacityType.CAPACITY_PERCENT, 25)
        for alarms in ((), ("errors",)):
            for blue in (None, _fleet("v1")):
                policy = DeploymentPolicy(routing, step, 10, 20, alarms=alarms)
                plan = steps(policy, {"a": 2})
                found.append(Deployment("d", "e", policy, blue, _fleet("v2"), plan, 0.0, 300.0))
    return found


#: Green as it can be seen, by instances that are ready and restarts; made once, because walks are many.
GREEN = {
    (ready, restarts): (GroupObservation("e.a.v2", 2, ready, restarts, None),)
    for ready in range(3)
    for restarts in (0, 1)
}
WELL = GREEN[2, 0]
VALUES = (*AlarmValue, AlarmValue.OK, None)


def _green(rng: random.Random) -> tuple[GroupObservation, ...]:
    ready = 2 if rng.random() < 0.8 else rng.choice((0, 1))
    return GREEN[ready, rng.choice((0, 0, 1))]


def _facts(rng: random.Random, deployment: Deployment, now: float, sequence: int) -> Observation:
    """Anything that could be seen; mostly nothing is wrong, so that walks get somewhere."""
    chance = rng.random
    usual = chance() < 0.85
    alarms = []
    for name in deployment.policy.alarms:
        value = AlarmValue.OK if usual else rng.choice(VALUES)
        tripped = None if usual or chance() < 0.8 else now
        evaluated = (None, now - 5, now, now)[int(chance() * 4)]
        alarms.append(AlarmObservation(name, value, evaluated, tripped, None if tripped is None else "why"))
    return Observation(
        now=now,
        journal_sequence=sequence,
        split_acknowledged=chance() < 0.7,
        green=WELL if usual else _green(rng),
        alarms=tuple(alarms),
        covered_since=(None, 0.0, 0.0, now - 3)[int(chance() * 4)],
        silent_seconds=0.0 if usual or chance() < 0.5 else 40.0,
        blue_gone=chance() < 0.5,
        green_gone=chance() < 0.5,
    )


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
    if event in (Event.STEP_BAKED, Event.LAST_STEP_BAKED):
        assert before.baking_since is not None
        since = before.baking_since if not named else max(before.baking_since, seen.covered_since or 0.0)
        over = since + before.steps[before.step].bake_seconds
        assert seen.now >= over
        assert all(alarm.evaluated_until is not None and alarm.evaluated_until >= over for alarm in seen.alarms)
    if after.phase is Phase.RETIRING:
        assert after.step == len(after.steps) - 1
        assert asked_split(after).all_green
    if after.phase in (Phase.ROLLING_BACK, Phase.REMOVING, Phase.ROLLED_BACK):
        # A rolling update goes back batch by batch: tests/domain/deployment/test_rolling.py.
        assert asked_split(after).all_blue or (after.retreat and after.phase is Phase.ROLLING_BACK)
        assert after.reason
        assert wants_blue(after)
    assert wants_green(after) or after.phase in (Phase.REMOVING, Phase.ROLLED_BACK)


def test_a_hundred_thousand_walks() -> None:
    rng = random.Random(20261123)
    chance, starts = rng.random, _deployments()
    endings: dict[Phase, int] = dict.fromkeys(Phase, 0)
    for _ in range(WALKS):
        deployment, now, sequence = rng.choice(starts), 0.0, 0
        for _ in range(STEPS_MAX):
            now += PASSES[int(chance() * 4)]
            sequence += chance() < 0.5
            seen = _facts(rng, deployment, now, sequence)
            noticed = notice(deployment, seen, LIMITS)
            if noticed is None:
                continue
            after = advance(deployment, noticed, seen)
            _check(deployment, noticed.event, seen, after)
            deployment = after
            if deployment.phase in ENDED:
                break
        endings[deployment.phase] += 1
    # The walks went everywhere: else nothing was shown.
    assert endings[Phase.COMPLETED] > WALKS / 50
    assert endings[Phase.ROLLED_BACK] > WALKS / 50
