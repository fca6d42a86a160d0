"""Weights and rotations that follow from an endpoint and its deployment."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.domain.deployment.worlds import deployment, fleet

from bannister.domain.deployment.machine import Phase
from bannister.domain.endpoint import Endpoint
from bannister.domain.routing import plan_of, wanted_groups
from bannister.domain.traffic import TRAFFIC_PARTS, apportion

BLUE, GREEN = "e.AllTraffic.v1", "e.AllTraffic.v2"


def endpoint(phase: Phase, step: int, *, creation: bool = False, instances: int = 2) -> Endpoint:
    one = replace(deployment(creation=creation, instances=instances), phase=phase, step=step)
    return Endpoint("e", 0.0, 0.0, blue=one.blue, deployment=one)


def parts(one: Endpoint) -> dict[str, int]:
    return {weight.group: weight.parts for weight in plan_of(one).weights}


def test_while_green_starts_it_warms_up_its_first_instances_without_traffic() -> None:
    plan = plan_of(endpoint(Phase.PROVISIONING, -1))
    assert parts(endpoint(Phase.PROVISIONING, -1)) == {BLUE: TRAFFIC_PARTS, GREEN: 0}
    assert {(one.group, one.in_rotation, one.required) for one in plan.memberships} == {(BLUE, 2, 0), (GREEN, 1, 1)}


def test_a_canary_takes_its_share_on_its_instances() -> None:
    plan = plan_of(endpoint(Phase.SHIFTING, 0))
    assert parts(endpoint(Phase.SHIFTING, 0)) == {BLUE: 900_000, GREEN: 100_000}
    assert next(one for one in plan.memberships if one.group == GREEN).required == 1


def test_the_last_step_needs_every_green_instance() -> None:
    plan = plan_of(endpoint(Phase.SHIFTING, 1))
    assert next(one for one in plan.memberships if one.group == GREEN).required == 2
    assert parts(endpoint(Phase.SHIFTING, 1)) == {BLUE: 0, GREEN: TRAFFIC_PARTS}


def test_going_back_to_blue_waits_for_nothing() -> None:
    plan = plan_of(endpoint(Phase.ROLLING_BACK, 1))
    assert next(one for one in plan.memberships if one.group == BLUE).required == 0
    assert parts(endpoint(Phase.ROLLING_BACK, 1)) == {BLUE: TRAFFIC_PARTS, GREEN: 0}


def test_a_retiring_blue_and_a_removed_green_have_no_membership() -> None:
    assert wanted_groups(endpoint(Phase.RETIRING, 1)) == {GREEN}
    assert [one.group for one in plan_of(endpoint(Phase.RETIRING, 1)).memberships] == [GREEN]
    assert wanted_groups(endpoint(Phase.REMOVING, 1)) == {BLUE}
    assert [one.group for one in plan_of(endpoint(Phase.REMOVING, 1)).memberships] == [BLUE]


def test_a_creation_has_no_route_until_its_first_shift() -> None:
    assert plan_of(endpoint(Phase.PROVISIONING, -1, creation=True)).weights == ()


def test_an_endpoint_that_is_deleted_has_no_routes_and_wants_no_groups() -> None:
    gone = Endpoint("e", 0.0, 0.0, blue=fleet("v1"), deleting=True)
    assert plan_of(gone).weights == ()
    assert wanted_groups(gone) == set()


def test_variants_share_by_weight() -> None:
    steady = Endpoint("e", 0.0, 0.0, blue=fleet("v1", variants=("a", "b"), weights=(9.0, 1.0)))
    assert parts(steady) == {"e.a.v1": 900_000, "e.b.v1": 100_000}


@given(
    st.lists(
        st.floats(0, 1e6, allow_nan=False).map(lambda value: value if value > 1e-6 else 0.0), min_size=1, max_size=20
    )
)
def test_parts_always_add_up_to_the_whole_and_follow_the_shares(shares) -> None:
    found = apportion(shares)
    if sum(shares) == 0:
        assert not any(found)
        return
    assert sum(found) == TRAFFIC_PARTS
    for share, one in zip(shares, found, strict=True):
        assert (one == 0) == (share == 0)
        assert abs(one - share / sum(shares) * TRAFFIC_PARTS) <= len(shares) + 1


@pytest.mark.parametrize(
    ("shares", "parts"),
    [
        ([1e308, 1e308, 1e308, 1e308], (250_000,) * 4),
        ([1e300, 1e-300], (999_999, 1)),
        ([5e-324, 5e-324], (500_000, 500_000)),
    ],
)
def test_no_share_is_too_large_or_too_small_to_be_apportioned(shares: list[float], parts: tuple[int, ...]) -> None:
    assert apportion(shares) == parts
