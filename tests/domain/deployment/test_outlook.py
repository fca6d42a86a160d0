"""What a deployment is said to wait for is what its rule in the machine asks for."""

from dataclasses import replace

import pytest
from tests.domain.deployment.worlds import deployment, observation

from bannister.domain.alarm.alarm import AlarmValue
from bannister.domain.deployment.deployment import ENDED, Deployment, Phase, WaitCause
from bannister.domain.deployment.machine import advance, notice
from bannister.domain.deployment.observation import AlarmObservation, GroupObservation, Limits, Observation
from bannister.domain.deployment.outlook import (
    LATE_SECONDS,
    DeploymentStatus,
    StepState,
    deployment_status,
    earliest_end,
    step_states,
    waiting,
    waits_longer,
)

LIMITS = Limits(bake_requests_min=9)
BAKING = replace(deployment(), phase=Phase.BAKING, step=0, baking_since=1010.0, phase_since=1010.0, alarms_seen=0)
STARTING = (GroupObservation("e.AllTraffic.v2", wanted=2, ready=1, restarts=0),)
IN_ALARM = (AlarmObservation("errors", AlarmValue.ALARM, 2000.0),)


@pytest.mark.parametrize(
    ("one", "seen", "part", "until"),
    [
        (deployment(), observation(1001.0, green=STARTING), "1 of 2 are ready", None),
        (
            replace(deployment(), phase=Phase.HELD, phase_since=1005.0),
            observation(1010.0, alarms=IN_ALARM),
            '"errors" is in ALARM',
            1005.0 + LIMITS.alarm_clear_timeout_seconds,
        ),
        (replace(BAKING, phase=Phase.SHIFTING), observation(1010.0), "acknowledge the split", None),
        (BAKING, observation(1020.0), "Bakes at step 1 of 2", 1040.0),
        (BAKING, observation(1020.0, covered_since=1011.9), "Bakes at step 1 of 2.", 1041.9),
        (BAKING, observation(1020.0, covered_since=1015.0), "again from 1970-01-01T00:16:55Z on: until then", 1045.0),
        (BAKING, observation(1020.0, silent_seconds=15.0), "no progress", 1065.0),
        (BAKING, observation(1020.0, covered_since=None), "first word", None),
        (BAKING, observation(1041.0, alarms=(AlarmObservation("errors", AlarmValue.OK, 1039.0),)), "evaluated", None),
        (BAKING, observation(1041.0, green_requests=8), "waits until green has had 9 requests in it, 8 so far", None),
        (replace(BAKING, stop_requested="why"), observation(1020.0), "rollback that was asked for", None),
        (replace(BAKING, phase=Phase.RETIRING), observation(1020.0), "waits for blue", None),
        (replace(BAKING, phase=Phase.ROLLING_BACK), observation(1020.0), "all traffic is back on blue", None),
        (replace(BAKING, phase=Phase.ROLLING_BACK, blue=None), observation(1020.0), "no traffic goes to green", None),
        (replace(BAKING, phase=Phase.REMOVING), observation(1020.0), "waits for green", None),
    ],
)
def test_each_wait_has_its_sentence(one: Deployment, seen: Observation, part: str, until: float | None) -> None:
    found = waiting(one, seen, LIMITS)
    assert found is not None
    assert part in found.sentence
    assert found.until == until


def test_every_bake_is_announced_with_the_moment_at_which_it_ends() -> None:
    """The announced end is when the machine moves on, and not a moment before."""
    announced = waiting(BAKING, observation(1020.0), LIMITS)
    assert announced is not None
    assert announced.until is not None
    assert notice(BAKING, observation(announced.until - 0.1), LIMITS) is None
    assert notice(BAKING, observation(announced.until), LIMITS) is not None


def test_the_earliest_end_is_when_a_deployment_that_goes_well_retires_blue() -> None:
    one, now = deployment(), 1000.0
    promised = earliest_end(one, observation(now))
    while one.phase is not Phase.RETIRING:
        seen = observation(now)
        assert earliest_end(one, seen) == promised
        noticed = notice(one, seen, LIMITS)
        one = advance(one, noticed, seen) if noticed is not None else one
        now += 0.0 if noticed is not None else 0.5
    assert promised == now
    assert earliest_end(one, observation(now)) is None


def test_steps_and_status_on_the_way_to_success_and_after_a_stop() -> None:
    assert step_states(deployment()) == (StepState.TO_COME, StepState.TO_COME)
    assert step_states(BAKING) == (StepState.CURRENT, StepState.TO_COME)
    assert step_states(replace(BAKING, step=1)) == (StepState.DONE, StepState.CURRENT)
    assert step_states(replace(BAKING, phase=Phase.RETIRING, step=1)) == (StepState.DONE, StepState.DONE)
    assert step_states(replace(BAKING, phase=Phase.REMOVING)) == (StepState.STOPPED, StepState.SKIPPED)
    assert {phase: deployment_status(replace(BAKING, phase=phase)) for phase in ENDED} == {
        Phase.COMPLETED: DeploymentStatus.COMPLETED,
        Phase.ROLLED_BACK: DeploymentStatus.ROLLED_BACK,
        Phase.ROLLBACK_FAILED: DeploymentStatus.ROLLBACK_FAILED,
    }
    assert deployment_status(replace(BAKING, phase=Phase.REMOVING)) is DeploymentStatus.ROLLING_BACK
    assert waiting(replace(BAKING, phase=Phase.COMPLETED), observation(1020.0), LIMITS) is None


def test_a_bake_that_takes_longer_says_so_once_for_each_cause() -> None:
    one, told = BAKING, []
    in_time, late = BAKING.baking_since + 30.0, BAKING.baking_since + 30.0 + LATE_SECONDS
    behind = (AlarmObservation("errors", AlarmValue.OK, 1039.0),)
    silent = GroupObservation("e.AllTraffic.v2", wanted=2, ready=2, restarts=0, overdue=1)
    without_traffic = replace(silent, overdue=0, asked_parts=100_000, acknowledged_parts=0)
    for seen in (
        observation(1021.0, silent_seconds=5.0),
        observation(in_time + 1.0, alarms=behind),
        observation(late, alarms=behind),
        observation(late + 1.0, silent_seconds=5.0, alarms=behind),
        observation(late + 2.0, covered_since=late + 1.5),
        observation(late + 3.0, silent_seconds=5.0, alarms=behind),
        observation(late + 4.0, covered_since=late + 3.5),
        observation(late + 5.0, covered_since=None),
        observation(late + 38.0, covered_since=late + 3.5, green=(without_traffic,), green_requests=8),
        observation(late + 39.0, covered_since=late + 3.5, green=(silent,), green_requests=8),
        observation(late + 40.0, covered_since=late + 3.5, green_requests=8),
        observation(late + 41.0, covered_since=late + 3.5, green_requests=8),
    ):
        assert notice(one, seen, LIMITS) is None
        found = waits_longer(one, seen, LIMITS)
        if found is not None:
            one, waits = found
            told.append((seen.now, waits.cause))
    assert told == [
        (late, WaitCause.NOT_EVALUATED),
        (late + 1.0, WaitCause.TELEMETRY_SILENT),
        (late + 2.0, WaitCause.GAP),
        (late + 5.0, WaitCause.NOT_SEEN),
        (late + 38.0, WaitCause.SPLIT_LOST),
        (late + 39.0, WaitCause.OVERDUE),
        (late + 40.0, WaitCause.FEW_REQUESTS),
    ]
    seen = observation(late + 42.0, covered_since=late + 3.5, green_requests=9)
    noticed = notice(one, seen, LIMITS)
    assert noticed is not None
    assert advance(one, noticed, seen).waited_for == ()


@pytest.mark.parametrize("phase", [one for one in Phase if one is not Phase.BAKING])
def test_outside_a_bake_no_wait_is_longer_than_planned(phase: Phase) -> None:
    assert waits_longer(replace(BAKING, phase=phase), observation(1099.0, silent_seconds=9.0), LIMITS) is None
