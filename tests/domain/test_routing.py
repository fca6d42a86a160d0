"""Weights and rotations that follow from an endpoint and its deployment."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.domain.deployment.worlds import CANARY, deployment, fleet

from bannister.domain.capture.data_capture import CaptureMode, DataCapture
from bannister.domain.deployment.deployment import Phase
from bannister.domain.deployment.plan import steps
from bannister.domain.deployment.policy import CapacitySize, CapacityType, DeploymentPolicy, Routing
from bannister.domain.endpoint import Endpoint
from bannister.domain.fleet import Fleet, Shadow, sampled_parts
from bannister.domain.routing import Mirror, Weight, plan_of, wanted_instances
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
    assert wanted_instances(endpoint(Phase.RETIRING, 1)).keys() == {GREEN}
    assert [one.group for one in plan_of(endpoint(Phase.RETIRING, 1)).memberships] == [GREEN]
    assert wanted_instances(endpoint(Phase.REMOVING, 1)).keys() == {BLUE}
    assert [one.group for one in plan_of(endpoint(Phase.REMOVING, 1)).memberships] == [BLUE]


def test_a_creation_has_no_route_until_its_first_shift() -> None:
    assert plan_of(endpoint(Phase.PROVISIONING, -1, creation=True)).weights == ()


def test_an_endpoint_that_is_deleted_has_no_routes_and_wants_no_groups() -> None:
    gone = Endpoint("e", 0.0, 0.0, blue=fleet("v1"), deleting=True)
    assert plan_of(gone).weights == ()
    assert wanted_instances(gone) == {}


# --- shadows ------------------------------------------------------------------------------------


def with_shadow(one: Fleet, parts: int) -> Fleet:
    (production,) = one.groups
    group = replace(production, id=f"e.Shadow.{one.config_name}", variant="Shadow")
    return replace(one, shadow=Shadow(group, parts))


def shadowed(phase: Phase, step: int, *, blue: int | None = 300_000, green: int | None = 700_000) -> Endpoint:
    """An endpoint in the middle of a canary; `blue` and `green`: what their shadows sample, None: no shadow."""
    one = endpoint(phase, step)
    running = one.deployment
    assert running is not None
    assert running.blue is not None
    old = with_shadow(running.blue, blue) if blue is not None else running.blue
    new = with_shadow(running.green, green) if green is not None else running.green
    return replace(one, blue=old, deployment=replace(running, blue=old, green=new))


OLD = Mirror("e.Shadow.v1", "Shadow", 300_000, compared_with=BLUE)
NEW = Mirror("e.Shadow.v2", "Shadow", 700_000, compared_with=GREEN)


@pytest.mark.parametrize(
    ("phase", "step", "expected"),
    [
        (Phase.PROVISIONING, -1, OLD),
        (Phase.SHIFTING, 0, OLD),
        (Phase.BAKING, 0, OLD),
        (Phase.SHIFTING, 1, NEW),
        (Phase.BAKING, 1, NEW),
        (Phase.RETIRING, 1, NEW),
        (Phase.ROLLING_BACK, 1, OLD),
        (Phase.REMOVING, 1, OLD),
    ],
)
def test_one_shadow_is_fed_at_a_time(phase: Phase, step: int, expected: Mirror) -> None:
    one = shadowed(phase, step)
    assert plan_of(one).mirrors == (expected,)
    assert plan_of(one).captured_parts == expected.parts
    without = shadowed(phase, step, blue=None, green=None)
    assert (plan_of(one).weights, plan_of(one).memberships) == (plan_of(without).weights, plan_of(without).memberships)
    assert {one.group for one in plan_of(one).mirrors} <= wanted_instances(one).keys()


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("deleting", [False, True])
def test_the_ways_of_copies_stay_as_long_as_the_endpoint_has_the_fleet(phase: Phase, *, deleting: bool) -> None:
    """A control plane that has just been started cannot know which copies a proxy still makes (found by simulation: seed 6187 of revision 7e488d9)."""
    ways = plan_of(replace(shadowed(phase, 1), deleting=deleting)).ways
    assert {one.group for one in ways if not one.noise} == {OLD.group, NEW.group}
    steady = Endpoint("e", 0.0, 0.0, blue=with_shadow(fleet("v1"), 300_000), deleting=deleting)
    assert {one.group for one in plan_of(steady).ways if not one.noise} == {OLD.group}


def test_a_fleet_without_a_shadow_or_with_one_of_weight_zero_copies_nothing() -> None:
    assert plan_of(shadowed(Phase.BAKING, 0, blue=None)).mirrors == ()
    assert plan_of(shadowed(Phase.BAKING, 0, blue=0)).mirrors == ()
    assert "e.Shadow.v1" in wanted_instances(shadowed(Phase.BAKING, 0, blue=0)), "its instances are there all the same"


def test_noise_is_copied_to_productions_own_group_where_there_is_a_shadow() -> None:
    noise = Mirror(BLUE, "AllTraffic", 20_000, BLUE, noise=True)
    assert plan_of(shadowed(Phase.BAKING, 0), noise_parts=20_000).mirrors == (OLD, noise)
    assert plan_of(shadowed(Phase.BAKING, 0, blue=None), noise_parts=20_000).mirrors == ()


@pytest.mark.parametrize(
    ("shadow", "production", "parts"),
    [
        (0.5, 1.0, 500_000),
        (1.0, 1.0, TRAFFIC_PARTS),
        (7.0, 2.0, TRAFFIC_PARTS),
        (0.0, 1.0, 0),
        (1e-30, 1.0, 1),
        (1e38, 1e-300, TRAFFIC_PARTS),
    ],
)
def test_the_share_copied_is_the_ratio_of_the_weights(shadow: float, production: float, parts: int) -> None:
    assert sampled_parts(shadow, production) == parts


def test_a_capturing_configuration_is_observed_as_it_says_or_as_much_as_is_copied() -> None:
    capture = DataCapture(True, 40, "s3://b/p", (CaptureMode.INPUT,))
    plain = Endpoint("e", 0.0, 0.0, blue=replace(fleet("v1"), capture=capture))
    assert plan_of(plain).captured_parts == 400_000
    assert plan_of(replace(plain, blue=with_shadow(fleet("v1"), 500_000))).captured_parts == 500_000
    both = replace(with_shadow(fleet("v1"), 100_000), capture=capture)
    assert plan_of(replace(plain, blue=both)).captured_parts == 400_000
    assert plan_of(replace(plain, blue=replace(fleet("v1"), capture=replace(capture, enabled=False)))) == plan_of(
        replace(plain, blue=fleet("v1"))
    )


# --- other names --------------------------------------------------------------------------------


def renamed(phase: Phase, step: int) -> Endpoint:
    """An update, all at once, to a configuration whose variant has another name."""
    green = fleet("v2", variants=("Promoted",))
    plan = steps(DeploymentPolicy(given=False), {"Promoted": 2})
    one = replace(deployment(), green=green, steps=plan, phase=phase, step=step)
    return Endpoint("e", 0.0, 0.0, blue=one.blue, deployment=one)


def test_an_update_that_changes_the_names_moves_all_traffic_in_one_step() -> None:
    before = plan_of(renamed(Phase.PROVISIONING, -1))
    assert before.weights == (Weight(BLUE, "AllTraffic", TRAFFIC_PARTS, TRAFFIC_PARTS),), (
        "the new name cannot be invoked yet"
    )
    assert {one.group for one in before.memberships} == {BLUE, "e.Promoted.v2"}
    assert parts(renamed(Phase.SHIFTING, 0)) == {BLUE: 0, "e.Promoted.v2": TRAFFIC_PARTS}
    assert parts(renamed(Phase.RETIRING, 0)) == {"e.Promoted.v2": TRAFFIC_PARTS}
    assert parts(renamed(Phase.ROLLING_BACK, 0)) == {BLUE: TRAFFIC_PARTS}


def test_variants_share_by_weight() -> None:
    steady = Endpoint("e", 0.0, 0.0, blue=fleet("v1", variants=("a", "b"), weights=(9.0, 1.0)))
    assert parts(steady) == {"e.a.v1": 900_000, "e.b.v1": 100_000}


@pytest.mark.parametrize(
    ("blue", "green"),
    [((1.0, 0.0), (1.0, 0.0)), ((1.0, 0.0), (1.0, 1.0)), ((9.0, 1.0), (1.0, 9.0)), ((1.0, 1.0), (1.0, 0.0))],
)
@pytest.mark.parametrize(
    ("phase", "step", "share"),
    [(Phase.PROVISIONING, -1, 0.0), (Phase.SHIFTING, 0, 0.1), (Phase.BAKING, 1, 1.0), (Phase.ROLLING_BACK, 1, 0.0)],
)
def test_who_names_a_variant_gets_green_by_the_step_whatever_the_variant_weighs(
    blue, green, phase, step, share
) -> None:
    one = between(blue, green, phase, step)
    named = {weight.group: weight.named_parts for weight in plan_of(one).weights}
    for variant in ("a", "b"):
        assert named[f"e.{variant}.v2"] == share * TRAFFIC_PARTS
        assert named[f"e.{variant}.v1"] == (1 - share) * TRAFFIC_PARTS


def between(
    blue: tuple[float, ...], green: tuple[float, ...], phase: Phase, step: int, policy: DeploymentPolicy = CANARY
) -> Endpoint:
    """A deployment from one fleet of two variants to another, with these weights."""
    old, new = (
        fleet(name, instances=10, variants=("a", "b"), weights=some) for name, some in (("v1", blue), ("v2", green))
    )
    plan = steps(policy, {"a": 10, "b": 10})
    running = replace(deployment(policy), blue=old, green=new, steps=plan, phase=phase, step=step)
    return Endpoint("e", 0.0, 0.0, blue=old, deployment=running)


def test_in_a_rolling_update_a_variant_of_weight_zero_follows_its_instances() -> None:
    size = CapacitySize(CapacityType.INSTANCE_COUNT, 3)
    policy = DeploymentPolicy(Routing.ROLLING, size, wait_seconds=30)
    weights = plan_of(between((1.0, 0.0), (1.0, 0.0), Phase.BAKING, 1, policy)).weights
    assert {one.group: one.named_parts for one in weights if one.variant == "b"} == {
        "e.b.v1": 400_000,
        "e.b.v2": 600_000,
    }


def test_versions_that_share_a_variant_of_weight_zero_share_what_names_it_by_their_instances() -> None:
    """After a rollback that has failed."""
    (old,), (new,) = fleet("v1", instances=3, weights=(0.0,)).groups, fleet("v2", instances=1, weights=(0.0,)).groups
    (other,) = fleet("v1", variants=("other",)).groups
    mixed = replace(fleet("v1"), groups=(old, new, other))
    found = {one.group: one.named_parts for one in plan_of(Endpoint("e", 0.0, 0.0, blue=mixed)).weights}
    assert found == {BLUE: 750_000, GREEN: 250_000, "e.other.v1": TRAFFIC_PARTS}


def test_a_variant_that_the_update_leaves_out_is_shared_by_name_as_it_was() -> None:
    """Of a mixed fleet, while all other traffic is green's already (found by simulation: seed 764 of revision bb78083)."""
    one = renamed(Phase.SHIFTING, 0)
    assert one.deployment is not None
    (old,), (new,) = fleet("v1", weights=(2.0,)).groups, fleet("v3", weights=(1.0,)).groups
    mixed = replace(fleet("v1"), groups=(old, new))
    plan = plan_of(replace(one, blue=mixed, deployment=replace(one.deployment, blue=mixed)))
    named = {weight.group: weight.named_parts for weight in plan.weights}
    assert named == {old.id: 666_667, new.id: 333_333, "e.Promoted.v2": TRAFFIC_PARTS}


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
