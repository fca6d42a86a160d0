"""What a deployment makes of a shadow's instances: waited for while green starts, and never looked at again."""

from dataclasses import replace

import pytest
from tests.domain.deployment.worlds import deployment, observation

from bannister.domain.deployment.deployment import Phase
from bannister.domain.deployment.machine import Event, advance, notice
from bannister.domain.deployment.observation import GroupObservation, Limits, Observation

PRODUCTION = GroupObservation("e.AllTraffic.v2", wanted=2, ready=2, restarts=0)
SHADOW = GroupObservation("e.Shadow.v2", wanted=1, ready=1, restarts=0, shadow=True)


def seen(shadow: GroupObservation, now: float = 1000.0) -> Observation:
    return replace(observation(now), green=(PRODUCTION, shadow))


def test_the_first_shift_waits_for_the_shadow() -> None:
    one = deployment()
    assert notice(one, seen(replace(SHADOW, ready=0)), Limits()) is None
    ready = notice(one, seen(SHADOW), Limits())
    assert ready is not None
    assert ready.event is Event.GREEN_READY


def test_a_shadow_that_cannot_start_rolls_the_update_back_with_its_reason() -> None:
    found = notice(
        deployment(), seen(replace(SHADOW, ready=0, failure="The shadow's model cannot be loaded.")), Limits()
    )
    assert found is not None
    assert (found.event, found.reason) == (Event.STOPPED, "The shadow's model cannot be loaded.")


@pytest.mark.parametrize(
    "shadow",
    [
        replace(SHADOW, ready=0),
        replace(SHADOW, restarts=9),
        replace(SHADOW, ready=0, failure="It died too often."),
    ],
)
@pytest.mark.parametrize(
    ("phase", "step", "expected"),
    [
        (Phase.HELD, -1, Event.ALARMS_CLEAR),
        (Phase.SHIFTING, 0, Event.SPLIT_ACKNOWLEDGED),
        (Phase.BAKING, 0, Event.STEP_BAKED),
        (Phase.BAKING, 1, Event.LAST_STEP_BAKED),
    ],
)
def test_whatever_becomes_of_the_shadow_later_changes_nothing(
    shadow: GroupObservation, phase: Phase, step: int, expected: Event
) -> None:
    one = replace(deployment(), phase=phase, step=step, baking_since=1000.0)
    without = notice(one, replace(observation(2000.0), green=(PRODUCTION,)), Limits())
    found = notice(one, seen(shadow, 2000.0), Limits())
    assert found == without
    assert found is not None
    assert found.event is expected
    after = advance(one, found, seen(shadow, 2000.0))
    assert after.green_restarts == advance(one, found, replace(observation(2000.0), green=(PRODUCTION,))).green_restarts


def test_a_shadow_that_was_restarted_while_green_started_is_not_counted() -> None:
    one = deployment()
    found = notice(one, seen(replace(SHADOW, restarts=3)), Limits())
    assert found is not None
    assert advance(one, found, seen(replace(SHADOW, restarts=3, deaths=3))).green_restarts == 0
