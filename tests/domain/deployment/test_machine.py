"""The rules that keep requests safe, each shown by one story; then random walks over everything."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.domain.deployment.worlds import CANARY, deployment, observation

from bannister.domain.alarm.alarm import AlarmValue
from bannister.domain.deployment.deployment import ENDED, Deployment, Phase
from bannister.domain.deployment.machine import TRANSITIONS, Event, IllegalEvent, Noticed, advance, heard, notice
from bannister.domain.deployment.model_warning import MODEL_WARNINGS_MAX
from bannister.domain.deployment.observation import AlarmObservation, GroupObservation, Limits, Observation
from bannister.domain.deployment.targets import asked_split, wants_blue, wants_green

LIMITS = Limits()
IN_ALARM = (AlarmObservation("errors", AlarmValue.ALARM, evaluated_until=2000.0),)


def turn(one: Deployment, seen: Observation) -> Deployment:
    noticed = notice(one, seen, LIMITS)
    return advance(one, noticed, seen) if noticed is not None else one


def walked_to(phase: Phase, step: int = 0) -> Deployment:
    """A canary that went well until the phase (at that step)."""
    one = deployment()
    now = 1000.0
    while (one.phase, one.step) != (phase, step):
        now += 40.0
        one = turn(one, observation(now))
        assert one.phase not in ENDED, f"never came to {phase} {step}"
    return one


def percent(one: Deployment) -> float:
    return asked_split(one).variants[0].green_parts / 10_000


def test_a_canary_that_goes_well() -> None:
    one, story = deployment(), []
    for now in range(1010, 1400, 10):
        one = turn(one, observation(float(now), blue_gone=True))
        if not story or story[-1] != (one.phase, percent(one)):
            story.append((one.phase, percent(one)))
    assert story == [
        (Phase.SHIFTING, 10),
        (Phase.BAKING, 10),
        (Phase.SHIFTING, 100),
        (Phase.BAKING, 100),
        (Phase.RETIRING, 100),
        (Phase.COMPLETED, 100),
    ]
    assert one.ended_at is not None


@pytest.mark.parametrize(
    ("phase", "step"), [(Phase.SHIFTING, 0), (Phase.BAKING, 0), (Phase.SHIFTING, 1), (Phase.BAKING, 1)]
)
def test_any_transition_to_alarm_after_the_first_shift_rolls_back_even_if_the_alarm_is_ok_again(phase, step) -> None:
    one = walked_to(phase, step)
    tripped = (AlarmObservation("errors", AlarmValue.OK, 9999.0, tripped_at=1100.0, tripped_reason="3 > 1"),)
    after = turn(one, observation(one.phase_since + 1, alarms=tripped))
    assert after.phase is Phase.ROLLING_BACK
    assert asked_split(after).all_blue
    assert wants_blue(after)
    assert wants_green(after)
    assert '"errors"' in after.reason
    assert "3 > 1" in after.reason


def test_a_bake_without_a_request_passes_and_says_that_it_is_no_evidence() -> None:
    one = walked_to(Phase.BAKING)
    passed = notice(one, observation(one.phase_since + 100, green_requests=0), LIMITS)
    assert passed is not None
    assert passed.event is Event.STEP_BAKED
    assert "without evidence: no request to green was seen" in passed.reason
    asked = notice(one, observation(one.phase_since + 100, green_requests=1), LIMITS)
    assert asked is not None
    assert "evidence" not in asked.reason


def test_a_bake_waits_for_the_requests_it_needs_and_can_be_stopped_meanwhile() -> None:
    one, limits = walked_to(Phase.BAKING), Limits(bake_requests_min=20)
    late = one.phase_since + 100
    assert notice(one, observation(late, green_requests=19), limits) is None
    enough = notice(one, observation(late, green_requests=20), limits)
    assert enough is not None
    assert enough.event is Event.STEP_BAKED
    stopped = notice(one, observation(late, green_requests=19, stop_requested="why"), limits)
    assert stopped is not None
    assert stopped.event is Event.STOPPED


def test_an_alarm_in_alarm_holds_the_first_shift_until_it_clears() -> None:
    held = turn(deployment(), observation(1010.0, alarms=IN_ALARM))
    assert held.phase is Phase.HELD
    assert percent(held) == 0
    assert turn(held, observation(1100.0, alarms=IN_ALARM)) == held
    assert turn(held, observation(1101.0)).phase is Phase.SHIFTING


def test_an_alarm_that_does_not_clear_rolls_back_after_the_bound() -> None:
    held = turn(deployment(), observation(1010.0, alarms=IN_ALARM))
    late = 1010.0 + LIMITS.alarm_clear_timeout_seconds
    assert turn(held, observation(late - 1, alarms=IN_ALARM)) == held
    assert turn(held, observation(late, alarms=IN_ALARM)).phase is Phase.ROLLING_BACK


def test_insufficient_data_does_not_trip() -> None:
    unknown = (AlarmObservation("errors", AlarmValue.INSUFFICIENT_DATA, 9999.0),)
    assert turn(deployment(), observation(1010.0, alarms=unknown)).phase is Phase.SHIFTING


@pytest.mark.parametrize("phase", [Phase.PROVISIONING, Phase.BAKING])
def test_a_deleted_alarm_rolls_back(phase) -> None:
    one = deployment() if phase is Phase.PROVISIONING else walked_to(phase)
    gone = (AlarmObservation("errors", None, None),)
    assert "deleted" in turn(one, observation(1100.0, alarms=gone)).reason


def test_the_position_of_the_journal_is_kept_from_the_first_shift_on() -> None:
    one = turn(deployment(), observation(1010.0, journal_sequence=41))
    assert one.alarms_seen == 41
    while one.step < 1:
        one = turn(one, observation(one.phase_since + 100, journal_sequence=99))
    assert one.alarms_seen == 41


def test_a_bake_begins_with_the_acknowledgement() -> None:
    one = turn(deployment(), observation(1010.0))
    assert turn(one, observation(1090.0, split_acknowledged=False)) == one
    assert turn(one, observation(1091.0)).baking_since == 1091.0


def test_a_bake_ends_when_its_deadline_has_passed_and_every_alarm_was_evaluated_up_to_it() -> None:
    one = walked_to(Phase.BAKING)
    deadline = one.baking_since + 30

    def at(now: float, evaluated: float | None) -> Phase:
        return turn(one, observation(now, alarms=(AlarmObservation("errors", AlarmValue.OK, evaluated),))).phase

    assert at(deadline - 1, deadline + 100) is Phase.BAKING
    assert at(deadline + 50, deadline - 1) is Phase.BAKING
    assert at(deadline + 50, None) is Phase.BAKING
    assert at(deadline + 1, deadline) is Phase.SHIFTING


@pytest.mark.parametrize(
    ("acknowledged", "over"),
    [(None, False), (0, False), (99_999, False), (100_000, True), (300_000, True)],
    ids=["the proxies differ", "all on blue", "less", "what was asked", "more, where blue has no instance"],
)
@pytest.mark.parametrize("by_name", [False, True], ids=["of all requests", "of those that name its variant"])
def test_no_bake_is_over_while_a_proxy_gives_green_less_than_its_share(
    acknowledged: int | None, over: bool, by_name: bool
) -> None:
    """A control plane that is new has given its traffic to blue for a moment, say."""
    one = walked_to(Phase.BAKING)
    named = acknowledged if by_name else 100_000
    green = GroupObservation(
        "e.AllTraffic.v2",
        2,
        2,
        restarts=0,
        asked_parts=0 if by_name else 100_000,
        acknowledged_parts=0 if by_name else acknowledged,
        asked_named_parts=100_000,
        acknowledged_named_parts=named,
    )
    after = turn(one, observation(one.baking_since + 100, green=(green,)))
    assert after.phase is (Phase.SHIFTING if over else Phase.BAKING)


def test_a_gap_in_what_telemetry_saw_starts_the_bake_again() -> None:
    one = walked_to(Phase.BAKING)
    gap_end = one.baking_since + 25
    assert turn(one, observation(one.baking_since + 31, covered_since=gap_end)) == one
    assert turn(one, observation(gap_end + 31, covered_since=gap_end)).phase is Phase.SHIFTING


def test_without_alarms_a_bake_is_a_plain_wait() -> None:
    one = deployment(replace(CANARY, alarms=()))
    blind = {"alarms": (), "covered_since": None, "silent_seconds": 9999.0}
    one = turn(turn(one, observation(1010.0, **blind)), observation(1011.0, **blind))
    assert one.phase is Phase.BAKING
    assert turn(one, observation(1040.0, **blind)) == one
    assert turn(one, observation(1041.0, **blind)).phase is Phase.SHIFTING


def test_an_alarm_that_is_never_evaluated_does_not_hold_a_bake_for_ever() -> None:
    one = walked_to(Phase.BAKING)
    deadline = one.baking_since + 30
    behind = (AlarmObservation("errors", AlarmValue.OK, deadline - 1),)
    assert turn(one, observation(deadline + LIMITS.blind_timeout_seconds - 1, alarms=behind)) == one
    after = turn(one, observation(deadline + LIMITS.blind_timeout_seconds, alarms=behind))
    assert after.phase is Phase.ROLLING_BACK
    assert "could not be evaluated" in after.reason


def test_blind_is_not_quiet() -> None:
    one = walked_to(Phase.BAKING)
    late = one.baking_since + 40
    unseen = (AlarmObservation("errors", AlarmValue.OK, one.baking_since),)
    assert turn(one, observation(late, alarms=unseen, silent_seconds=30.0)) == one
    after = turn(one, observation(late, alarms=unseen, silent_seconds=LIMITS.blind_timeout_seconds))
    assert after.phase is Phase.ROLLING_BACK
    assert "silent" in after.reason


@pytest.mark.parametrize(
    "green",
    [
        GroupObservation("e.AllTraffic.v2", wanted=2, ready=1, restarts=0),
        GroupObservation("e.AllTraffic.v2", wanted=2, ready=2, restarts=1, deaths=1),
        GroupObservation("e.AllTraffic.v2", wanted=2, ready=2, restarts=0, failure="it broke"),
    ],
    ids=["fewer ready", "restarted", "given up"],
)
@pytest.mark.parametrize("phase", [Phase.SHIFTING, Phase.BAKING])
def test_a_green_instance_that_dies_before_blue_retires_rolls_back(phase, green) -> None:
    one = walked_to(phase)
    assert turn(one, observation(one.phase_since + 1, green=(green,))).phase is Phase.ROLLING_BACK


def test_green_that_cannot_start_rolls_back_with_its_reason_and_green_that_starts_is_waited_for() -> None:
    starting = (GroupObservation("e.AllTraffic.v2", wanted=2, ready=1, restarts=3),)
    assert turn(deployment(), observation(1010.0, green=starting)).phase is Phase.PROVISIONING
    failed = (GroupObservation("e.AllTraffic.v2", wanted=2, ready=0, restarts=3, failure="no /ping"),)
    after = turn(deployment(), observation(1010.0, green=failed))
    assert (after.phase, after.reason) == (Phase.ROLLING_BACK, "no /ping")


def test_a_time_out_rolls_back_until_blue_begins_to_retire_and_completes_afterwards() -> None:
    for phase in (Phase.SHIFTING, Phase.BAKING):
        after = turn(walked_to(phase), observation(5000.0))
        assert after.phase is Phase.ROLLING_BACK
        assert "4000 seconds" in after.reason
    assert turn(walked_to(Phase.RETIRING, 1), observation(5000.0, blue_gone=False)).phase is Phase.COMPLETED


def test_green_goes_only_after_every_proxy_is_back_on_blue() -> None:
    one = walked_to(Phase.BAKING)
    tripped = (AlarmObservation("errors", AlarmValue.ALARM, 9999.0, tripped_at=1100.0, tripped_reason="x"),)
    rolling = turn(one, observation(1200.0, alarms=tripped))
    assert turn(rolling, observation(1201.0, split_acknowledged=False)) == rolling
    assert wants_green(rolling)
    removing = turn(rolling, observation(1202.0))
    assert removing.phase is Phase.REMOVING
    assert not wants_green(removing)
    assert turn(removing, observation(1203.0, green_gone=False)) == removing
    assert turn(removing, observation(1204.0, green_gone=True)).phase is Phase.ROLLED_BACK


def test_blue_is_wanted_until_the_last_bake_is_over() -> None:
    assert wants_blue(walked_to(Phase.BAKING, 1))
    assert not wants_blue(walked_to(Phase.RETIRING, 1))


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("event", list(Event))
def test_an_event_that_the_table_does_not_list_raises(phase, event) -> None:
    one = replace(deployment(), phase=phase)
    if event in TRANSITIONS[phase]:
        assert advance(one, Noticed(event, ""), observation(2000.0)).phase is TRANSITIONS[phase][event]
    else:
        with pytest.raises(IllegalEvent):
            advance(one, Noticed(event, ""), observation(2000.0))


SEEN = st.builds(
    lambda ready, restarts, value, evaluated, tripped, acknowledged, gone, silent, covered: {
        "green": (GroupObservation("e.AllTraffic.v2", 2, ready, restarts, deaths=restarts),),
        "alarms": (AlarmObservation("errors", value, evaluated, *((1.0, "x") if tripped else (None, None))),),
        "split_acknowledged": acknowledged,
        "blue_gone": gone,
        "green_gone": gone,
        "silent_seconds": silent,
        "covered_since": covered,
    },
    ready=st.sampled_from([2, 2, 2, 2, 1]),
    restarts=st.sampled_from([0, 0, 0, 1]),
    value=st.sampled_from([AlarmValue.OK, AlarmValue.OK, AlarmValue.ALARM, AlarmValue.INSUFFICIENT_DATA]),
    evaluated=st.sampled_from([None, 1e9, 1e9]),
    tripped=st.sampled_from([False, False, False, False, True]),
    acknowledged=st.booleans(),
    gone=st.booleans(),
    silent=st.sampled_from([0.0, 0.0, 61.0]),
    covered=st.sampled_from([None, 0.0, 0.0]),
)


@settings(max_examples=400)
@given(st.lists(st.tuples(st.floats(0.1, 60.0), SEEN), max_size=60))
def test_random_walks_keep_the_safety_properties(walk) -> None:
    one, now = deployment(), 1000.0
    for seconds, facts in walk:
        now += seconds
        seen = observation(now, **facts)
        before, one = one, turn(one, seen)
        alarm = seen.alarms[0]
        if percent(one) > percent(before):
            assert alarm.tripped_at is None or before.alarms_seen is None
            assert before.alarms_seen is not None or alarm.value is not AlarmValue.ALARM
            assert seen.green[0].ready == 2
        if percent(one) < percent(before):
            assert one.phase is Phase.ROLLING_BACK
        if one.phase in (Phase.RETIRING, Phase.COMPLETED):
            assert percent(one) == 100
        assert wants_blue(one) or percent(one) == 100
        assert wants_green(one) or percent(one) == 0
    # With nothing in the way, every deployment ends.
    for _ in range(20):
        now += 100.0
        one = turn(one, observation(now, blue_gone=True, green_gone=True))
    assert one.phase in ENDED


def saying(*warnings: str) -> tuple[GroupObservation, ...]:
    return (GroupObservation("e.AllTraffic.v2", wanted=2, ready=1, restarts=0, warnings=warnings),)


def test_what_a_model_says_against_itself_is_heard_once_and_stops_nothing() -> None:
    one = deployment()
    assert heard(one, observation(1001.0)) is None
    warned = heard(one, observation(1001.0, green=saying("It is old.", "It is old.")))
    assert warned is not None
    assert [(each.variant, each.text) for each in warned.model_warnings] == [("AllTraffic", "It is old.")]
    assert replace(warned, model_warnings=()) == one
    assert heard(warned, observation(1002.0, green=saying("It is old."))) is None
    more = heard(warned, observation(1002.0, green=saying("It is odd.", "It is old.")))
    assert more is not None
    assert [each.text for each in more.model_warnings] == ["It is old.", "It is odd."]
    ready = replace(saying("It is old.")[0], ready=2)
    assert turn(warned, observation(1003.0, green=(ready,))).phase is Phase.SHIFTING


def test_a_model_that_never_says_the_same_twice_is_not_heard_for_ever() -> None:
    one = deployment()
    for number in range(MODEL_WARNINGS_MAX + 3):
        one = heard(one, observation(1001.0, green=saying(f"It is {number}.", f"It was {number}."))) or one
    assert len(one.model_warnings) == MODEL_WARNINGS_MAX


@pytest.mark.parametrize("phase", [Phase.ROLLING_BACK, Phase.REMOVING, Phase.ROLLED_BACK, Phase.COMPLETED])
def test_a_model_on_its_way_out_is_not_heard(phase: Phase) -> None:
    assert heard(replace(deployment(), phase=phase), observation(1001.0, green=saying("It is old."))) is None
