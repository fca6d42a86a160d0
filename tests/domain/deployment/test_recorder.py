"""The flight recorder: every decision can be taken again from its record, and a record that is not the truth is found."""

import json
from dataclasses import replace

import msgspec
import pytest
from tests.domain.deployment.worlds import deployment, observation

from bannister.domain.alarm.alarm import AlarmRule, AlarmValue, Comparison
from bannister.domain.alarm.judgement import Datapoint
from bannister.domain.deployment.deployment import ENDED, Deployment, Phase
from bannister.domain.deployment.machine import Event, advance, notice
from bannister.domain.deployment.observation import AlarmObservation, Limits, Observation
from bannister.domain.deployment.outlook import waits_longer
from bannister.domain.deployment.recorder import Unreplayable, disagreements, evidence, replay, replay_wait, waited
from bannister.domain.deployment.wish import replay_wish, wish, wished
from bannister.domain.metric.identity import identity
from bannister.errors import Invalid

LIMITS = Limits(alarm_clear_timeout_seconds=100.5)
RULE = AlarmRule(
    identity("AWS/SageMaker", "ModelLatency", {"EndpointName": "e"}),
    "p99",
    10,
    1,
    1,
    threshold=0.1,
    comparison=Comparison.GREATER,
)


def decide(one: Deployment, seen: Observation) -> tuple[Deployment, dict]:
    """A decision, and its record as it comes back from the journal."""
    noticed = notice(one, seen, LIMITS)
    assert noticed is not None
    after = advance(one, noticed, seen)
    body = evidence(one, after, noticed, seen, LIMITS, "1.2.3")
    return after, json.loads(msgspec.json.encode(body))


def flight(*, tripped: bool) -> list[dict]:
    """All decisions of a canary, the recorded way."""
    one, now, bodies = deployment(), 1000.1, []
    while one.phase not in ENDED:
        now += 40.0
        alarm = AlarmObservation(
            "errors",
            AlarmValue.OK,
            now,
            *((now - 1, "3 > 1") if tripped and one.phase is Phase.BAKING else (None, None)),
            rule=RULE,
            datapoints=(None, Datapoint(now - 10, 0.1 + 0.2, 3.0)),
            reason="all is well",
        )
        one, body = decide(one, observation(now, alarms=(alarm,), blue_gone=True, green_gone=True))
        bodies.append(body)
    return bodies


@pytest.mark.parametrize("tripped", [False, True])
def test_every_decision_of_a_deployment_is_the_same_when_taken_again(tripped: bool) -> None:
    bodies = flight(tripped=tripped)
    assert bodies[-1]["to"] == ("rolled back" if tripped else "completed")
    assert disagreements(bodies) == []
    again = replay(bodies[-1])
    assert again.noticed is not None
    assert again.after.phase.value == bodies[-1]["to"]
    assert again.after.ended_at == bodies[-1]["observation"]["now"]


def test_the_record_holds_what_was_seen() -> None:
    body = flight(tripped=True)[2]
    assert body["event"] == "stopped"
    (alarm,) = body["observation"]["alarms"]
    assert alarm["rule"]["threshold"] == 0.1
    assert alarm["datapoints"][1]["value"] == 0.1 + 0.2
    assert alarm["tripped_reason"] == "3 > 1"
    assert body["observation"]["green"][0]["ready"] == 2
    assert body["limits"]["alarm_clear_timeout_seconds"] == 100.5
    assert body["version"] == "1.2.3"


def falsified(bodies: list[dict], index: int, **observed: object) -> list[dict]:
    bodies = json.loads(json.dumps(bodies))
    bodies[index]["observation"].update(observed)
    return bodies


def test_a_record_that_does_not_hold_what_was_seen_is_found() -> None:
    bodies = flight(tripped=False)
    undecided, discontinued = disagreements(falsified(bodies, 1, split_acknowledged=False))
    assert "is None when taken again" in undecided
    assert "did not start from" in discontinued
    assert "'stopped'" in disagreements(falsified(bodies, 2, silent_seconds=61.0))[0]


def test_a_decision_that_did_not_start_where_the_one_before_it_ended_is_found() -> None:
    bodies = flight(tripped=False)
    del bodies[1]
    (found,) = disagreements(bodies)
    assert "did not start from" in found


def test_a_persons_wish_between_two_decisions_is_no_disagreement() -> None:
    one, first = decide(deployment(), observation(1040.0))
    wished = replace(one, stop_requested="it looks wrong")
    after, second = decide(wished, observation(1041.0, stop_requested="it looks wrong"))
    assert after.phase is Phase.ROLLING_BACK
    assert after.reason == "A rollback was asked for: it looks wrong"
    assert disagreements([first, second]) == []


def test_a_record_that_is_not_whole_is_refused() -> None:
    body = flight(tripped=False)[0]
    del body["before"]
    with pytest.raises(Unreplayable, match="not whole"):
        replay(body)
    assert len(disagreements([body])) == 1


@pytest.mark.parametrize("phase", [Phase.PROVISIONING, Phase.HELD, Phase.SHIFTING, Phase.BAKING])
def test_a_person_is_heard_before_everything_else(phase: Phase) -> None:
    one = replace(deployment(), phase=phase, step=-1 if phase in (Phase.PROVISIONING, Phase.HELD) else 0)
    deleted = (AlarmObservation("errors", None, None),)
    noticed = notice(one, observation(9999.0, alarms=deleted, stop_requested="wrong answers"), LIMITS)
    assert noticed is not None
    assert noticed.event is Event.STOPPED
    assert "wrong answers" in noticed.reason


def test_a_person_cannot_stop_what_already_retires_blue() -> None:
    one = replace(deployment(), phase=Phase.RETIRING, step=1)
    assert notice(one, observation(2000.0, stop_requested="too late"), LIMITS) is None


def test_a_wait_is_the_same_when_it_is_decided_again() -> None:
    baking = replace(deployment(), phase=Phase.BAKING, step=0, baking_since=1010.0, alarms_seen=0)
    seen = observation(1050.0, silent_seconds=5.0, alarms=(AlarmObservation("errors", AlarmValue.OK, 1039.0),))
    found = waits_longer(baking, seen, LIMITS)
    assert found is not None
    body = json.loads(json.dumps(waited(baking, found[1], seen, LIMITS, "1.2.3")))
    assert replay_wait(body) == found[1]
    (other,) = falsified([body], 0, silent_seconds=0.0)
    assert replay_wait(other) != found[1]


def test_a_wish_is_the_same_when_it_is_judged_again() -> None:
    baking, retiring = (replace(deployment(), phase=phase, step=1) for phase in (Phase.BAKING, Phase.RETIRING))
    assert wished(baking, "wrong").stop_requested == "wrong"
    assert replay_wish(json.loads(json.dumps(wish(baking, "wrong", "1.2.3")))) is None
    with pytest.raises(Invalid, match="being retired") as refusal:
        wished(retiring, "wrong")
    body = json.loads(json.dumps(wish(retiring, "wrong", "1.2.3", refusal.value)))
    assert replay_wish(body) == body["reason"] == str(refusal.value)
    with pytest.raises(Unreplayable, match="not whole"):
        replay_wish({"reason": "wrong", "version": "0.9"})
