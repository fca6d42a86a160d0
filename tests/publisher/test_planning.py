"""The publisher's decisions, as a pure function."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bannister.domain.instance import Instance, InstancePhase
from bannister.domain.routing import Members, Membership, Mirror, RoutePlan, Weight
from bannister.envoy.resources.routes import groups_named
from bannister.publisher.planning import ProxyView, Publication, next_publication, restricted

READY = InstancePhase.READY


def instance(name: str, group: str, phase: InstancePhase = READY, started_at: float = 0.0) -> Instance:
    return Instance(name, group, phase, "127.0.0.1", sum(name.encode()), started_at=started_at)


def address(one: Instance) -> str:
    assert one.address is not None
    return one.address


BLUE, GREEN = instance("blue-1", "blue"), instance("green-1", "green")
ALL_BLUE = RoutePlan(
    "flights",
    (Membership("blue", 1, 0), Membership("green", 1, 1)),
    (Weight("blue", "v", 1_000_000, 1_000_000), Weight("green", "v", 0, 0)),
)
CANARY = replace(ALL_BLUE, weights=(Weight("blue", "v", 900_000, 900_000), Weight("green", "v", 100_000, 100_000)))
SEES_GREEN = ProxyView({"green": frozenset({address(GREEN)})}, frozenset({"blue"}))
SEES_NOTHING = ProxyView({}, frozenset({"blue"}))
SERVING_BLUE = next_publication([ALL_BLUE], [BLUE], Publication(), [])


def test_an_endpoint_that_waits_for_nobody_is_published_before_any_proxy_comes():
    assert SERVING_BLUE.weights == {"flights": ALL_BLUE.weights}
    assert SERVING_BLUE.rotation == {"blue": (address(BLUE),), "green": ()}
    assert not SERVING_BLUE.waiting


@pytest.mark.parametrize(
    ("instances", "proxies", "shifts"),
    [
        pytest.param([BLUE, GREEN], [SEES_GREEN], True, id="green is healthy in the only proxy"),
        pytest.param([BLUE, GREEN], [SEES_GREEN, SEES_GREEN], True, id="green is healthy in both proxies"),
        pytest.param([BLUE, GREEN], [SEES_GREEN, SEES_NOTHING], False, id="one of two proxies does not see green"),
        pytest.param([BLUE, GREEN], [SEES_NOTHING], False, id="the proxy does not see green"),
        pytest.param([BLUE, GREEN], [], False, id="there is no proxy"),
        pytest.param([BLUE], [SEES_GREEN], False, id="green is healthy in the proxy and gone in truth"),
        pytest.param(
            [BLUE, replace(GREEN, phase=InstancePhase.UNREADY)], [SEES_GREEN], False, id="green stopped answering"
        ),
    ],
)
def test_traffic_moves_only_to_what_every_proxy_sees_healthy(instances, proxies, shifts):
    following = next_publication([CANARY], instances, SERVING_BLUE, proxies)
    assert following.weights["flights"] == (CANARY.weights if shifts else ALL_BLUE.weights)
    assert following.waiting == (frozenset() if shifts else {"flights"})


def test_going_back_to_blue_waits_for_nothing():
    shifted = next_publication([CANARY], [BLUE, GREEN], SERVING_BLUE, [SEES_GREEN])
    back = next_publication([ALL_BLUE], [], shifted, [SEES_NOTHING])
    assert back.weights["flights"] == ALL_BLUE.weights
    assert not back.waiting


def test_a_blue_that_was_replaced_stands_in_for_nothing_after_a_restart():
    """A rolling update has replaced all of one variant and half of the other; a proxy has been started again, too, and sees nobody healthy yet (seed 8212 of revision bf3516e)."""
    a_blue, a_green, b_green = instance("1", "a-blue"), instance("2", "a-green"), instance("3", "b-green")
    plan = RoutePlan(
        "flights",
        (
            Membership("a-blue", 1, 0),
            Membership("b-blue", 0, 0),
            Membership("a-green", 1, 1),
            Membership("b-green", 1, 1),
        ),
        (
            Weight("a-blue", "a", 300_000, 500_000),
            Weight("b-blue", "b", 0, 0),
            Weight("a-green", "a", 300_000, 500_000),
            Weight("b-green", "b", 400_000, 1_000_000),
        ),
        shared=True,
    )
    following = next_publication([plan], [a_blue, a_green, b_green], Publication(), [SEES_NOTHING])
    assert {one.group: one.parts for one in following.weights["flights"]} == {"a-blue": 600_000, "b-green": 400_000}
    assert following.waiting == {"flights"}


def test_in_a_rolling_update_whoever_names_a_variant_gets_a_group_that_has_instances():
    """Also of a variant of weight 0, where nobody else sees that one is missing."""
    weights = (
        Weight("a", "a", 1_000_000, 1_000_000),
        Weight("b-blue", "b", 0, 300_000),
        Weight("b-green", "b", 0, 700_000),
    )
    memberships = tuple(Membership(group, 1, 0) for group in ("a", "b-blue", "b-green"))
    plan = RoutePlan("flights", memberships, weights, shared=True)
    there = [instance("1", "a"), instance("2", "b-green")]
    following = next_publication([plan], there, Publication(), [SEES_NOTHING])
    assert {one.group: (one.parts, one.named_parts) for one in following.weights["flights"]} == {
        "a": (1_000_000, 1_000_000),
        "b-blue": (0, 0),
        "b-green": (0, 1_000_000),
    }
    assert following.borne == {"flights": (weights, following.weights["flights"])}


def test_a_variant_of_weight_zero_waits_for_its_instances_too():
    weights = (
        Weight("a", "a", 1_000_000, 1_000_000),
        Weight("blue", "b", 0, 900_000),
        Weight("green", "b", 0, 100_000),
    )
    memberships = (Membership("a", 1, 0), Membership("blue", 1, 0), Membership("green", 1, 1))
    plan = RoutePlan("flights", memberships, weights)
    there = [instance("1", "a"), BLUE, GREEN]
    waits = next_publication([plan], there, Publication(), [SEES_NOTHING])
    assert waits.waiting == {"flights"}
    assert {one.group: one.named_parts for one in waits.weights["flights"]} == {"a": 1_000_000, "blue": 1_000_000}
    assert next_publication([plan], there, waits, [SEES_GREEN]).weights["flights"] == weights


def test_green_gets_no_more_than_its_share_where_blue_is_gone_for_a_moment():
    """The control plane is new, no proxy sees green yet, and blue's instance has just died: it comes back, or the deployment is stopped."""
    following = next_publication([CANARY], [GREEN], Publication(), [SEES_NOTHING])
    assert {one.group: one.parts for one in following.weights["flights"]} == {"blue": 1_000_000}
    following = next_publication([ALL_BLUE], [GREEN], Publication(), [SEES_NOTHING])
    assert {one.group for one in following.weights["flights"] if one.parts > 0} == {"blue"}


def test_a_published_split_stays_when_its_instance_dies():
    """The deployer rolls back; until then the proxy answers 503 for green's share rather than hiding the failure."""
    shifted = next_publication([CANARY], [BLUE, GREEN], SERVING_BLUE, [SEES_GREEN])
    died = next_publication([CANARY], [BLUE], shifted, [SEES_NOTHING])
    assert died.weights["flights"] == CANARY.weights
    assert died.rotation["green"] == ()


def test_one_endpoint_that_waits_does_not_hold_up_another():
    other = RoutePlan("other", (Membership("o", 1, 1),), (Weight("o", "v", 1_000_000, 1_000_000),))
    seen = ProxyView({"o": frozenset({address(instance("o-1", "o"))})}, frozenset({"blue"}))
    following = next_publication([CANARY, other], [BLUE, GREEN, instance("o-1", "o")], SERVING_BLUE, [seen])
    assert following.weights["other"] == other.weights
    assert following.waiting == {"flights"}


def test_as_many_instances_rotate_as_the_membership_allows_oldest_first():
    instances = [instance(f"g-{n}", "green", started_at=10.0 - n) for n in range(4)]
    plan = RoutePlan("flights", (Membership("green", 2, 2),))
    following = next_publication([plan], instances, Publication(), [])
    assert following.rotation["green"] == (address(instances[3]), address(instances[2]))


def test_ready_instances_beyond_the_rotation_stand_by_and_the_next_one_moves_up_when_one_dies():
    three = [instance(f"g{number}", "green", started_at=number) for number in range(3)]
    plan = RoutePlan("e", (Membership("green", in_rotation=1, required=1),))
    before = next_publication([plan], three, Publication(), [])
    assert before.rotation["green"] == (address(three[0]),)
    assert before.standby["green"] == (address(three[1]), address(three[2]))
    after = next_publication([plan], three[1:], before, [])
    assert after.rotation["green"] == (address(three[1]),)
    assert after.standby["green"] == (address(three[2]),)


SILENT = replace(BLUE, phase=InstancePhase.UNREADY, answered=True)


def test_the_last_ones_stay_when_they_fall_silent_and_the_proxies_judge():
    following = next_publication([ALL_BLUE], [SILENT], SERVING_BLUE, [])
    assert following.rotation["blue"] == (address(SILENT),)
    restarted = next_publication([ALL_BLUE], [SILENT], Publication(), [])
    assert restarted.rotation["blue"] == (address(SILENT),)


def test_a_silent_one_leaves_when_another_can_take_its_requests():
    other = instance("blue-2", "blue")
    following = next_publication([ALL_BLUE], [SILENT, other], SERVING_BLUE, [])
    assert following.rotation["blue"] == (address(other),)


def test_a_process_that_never_answered_is_not_published():
    started_again = replace(SILENT, answered=False)
    assert next_publication([ALL_BLUE], [started_again], SERVING_BLUE, []).rotation["blue"] == ()


def test_one_that_drains_stays_known_and_takes_nothing_new():
    leaves = replace(instance("blue-2", "blue"), answered=True, draining=True)
    following = next_publication([ALL_BLUE], [BLUE, leaves], SERVING_BLUE, [])
    assert following.members("blue") == Members((address(BLUE),), draining=(address(leaves),))
    stopped = replace(leaves, phase=InstancePhase.STOPPING)
    assert next_publication([ALL_BLUE], [BLUE, stopped], following, []).members("blue") == Members((address(BLUE),))


def test_where_two_fleets_share_the_instances_one_without_any_hands_its_share_on():
    free = tuple(replace(one, required=0) for one in CANARY.memberships)
    shared = replace(CANARY, memberships=free, shared=True)
    both = next_publication([shared], [BLUE, GREEN], Publication(), [SEES_GREEN])
    assert (both.weights["flights"], both.borne) == (CANARY.weights, {})
    for left, parts in (([BLUE], (1_000_000, 0)), ([GREEN], (0, 1_000_000))):
        alone = next_publication([shared], left, both, [SEES_GREEN])
        assert tuple(one.parts for one in alone.weights["flights"]) == parts
        assert alone.borne["flights"] == (CANARY.weights, alone.weights["flights"])
        assert next_publication([shared], [BLUE, GREEN], alone, [SEES_GREEN]).weights["flights"] == CANARY.weights
        apart = replace(shared, shared=False)  # a canary has others that stand by, and a blue that is whole
        assert next_publication([apart], left, both, [SEES_GREEN]).weights["flights"] == CANARY.weights
    nobody = next_publication([shared], [], both, [SEES_GREEN])
    assert nobody.weights["flights"] == CANARY.weights


def test_without_an_instance_in_rotation_none_stands_by():
    plan = RoutePlan("e", (Membership("green", in_rotation=0, required=0),))
    assert next_publication([plan], [GREEN], Publication(), []).standby == {}


def test_after_a_restart_traffic_stays_on_blue_until_green_is_seen():
    following = next_publication([CANARY], [BLUE, GREEN], Publication(), [SEES_NOTHING])
    assert following.weights["flights"] == (Weight("blue", "v", 1_000_000, 1_000_000),)
    assert following.waiting == {"flights"}
    assert next_publication([CANARY], [BLUE, GREEN], following, [SEES_GREEN]).weights["flights"] == CANARY.weights


def test_after_a_restart_an_endpoint_without_any_usable_group_is_not_routed():
    creation = RoutePlan("flights", (Membership("green", 1, 1),), (Weight("green", "v", 1_000_000, 1_000_000),))
    following = next_publication([creation], [GREEN], Publication(), [SEES_NOTHING])
    assert following.weights == {}
    assert following.waiting == {"flights"}


def test_a_group_that_no_plan_names_stays_while_it_has_instances_or_a_proxy_may_route_to_it():
    published = next_publication([ALL_BLUE], [BLUE], Publication(), [])
    gone = RoutePlan("flights")
    retired = next_publication([gone], [BLUE], published, [ProxyView()])
    assert retired.rotation == {"blue": (address(BLUE),)}
    assert retired.weights == {}
    still_routed = next_publication([gone], [], retired, [ProxyView(routed=frozenset({"blue"}))])
    assert still_routed.rotation == {"blue": ()}
    assert next_publication([gone], [], still_routed, [ProxyView()]).rotation == {}


@pytest.mark.parametrize(
    ("usable", "expected"),
    [
        ({"a-blue", "a-green", "b"}, {"a-blue": 540, "a-green": 60, "b": 400}),
        ({"a-blue", "b"}, {"a-blue": 600, "b": 400}),
        ({"a-green"}, {"a-green": 1000}),
        (set(), {}),
    ],
)
def test_what_cannot_take_traffic_leaves_it_to_its_own_variant_first(usable, expected):
    weights = [Weight("a-blue", "a", 540, 900), Weight("a-green", "a", 60, 100), Weight("b", "b", 400, 1000)]
    assert {one.group: one.parts for one in restricted(weights, usable)} == expected


def test_a_fleet_that_had_no_traffic_takes_all_of_it_when_the_other_is_not_usable():
    weights = [Weight("blue", "v", 0, 0), Weight("green", "v", 1_000_000, 1_000_000)]
    assert restricted(weights, {"blue"}) == (Weight("blue", "v", 1_000_000, 1_000_000),)


def test_a_fleet_of_other_variants_goes_on_until_the_new_one_is_usable():
    """After a restart in the middle of an update that changes the variant's name: the plan says all green, and green is not seen yet."""
    weights = [Weight("blue", "old", 0, 1_000_000), Weight("green", "new", 1_000_000, 1_000_000)]
    assert restricted(weights, {"blue"}) == (Weight("blue", "old", 1_000_000, 1_000_000),)


# --- shadows ------------------------------------------------------------------------------------

SHADOW = instance("shadow-1", "shadow")
MIRRORS = (Mirror("shadow", "s", 500_000, "blue"),)
MIRRORED = replace(ALL_BLUE, mirrors=MIRRORS, ways=MIRRORS, captured_parts=500_000)


def test_a_mirror_is_there_while_an_instance_of_its_group_is_ready():
    there = next_publication([MIRRORED], [BLUE, SHADOW], Publication(), [])
    assert there.mirrors == {"flights": MIRRORED.mirrors}
    assert there.captured == {"flights": 500_000}
    assert there.rotation["shadow"] == (address(SHADOW),)
    gone = next_publication([MIRRORED], [BLUE], there, [])
    assert gone.mirrors == {}
    assert gone.weights == there.weights
    assert gone.hops == there.hops, "the way stays while the plan needs it"
    assert not gone.waiting
    assert next_publication([MIRRORED], [BLUE, SHADOW], gone, []) == there


def test_the_old_copies_are_made_until_the_weights_that_the_new_ones_belong_to():
    before = next_publication([MIRRORED], [BLUE, SHADOW], Publication(), [SEES_NOTHING])
    other = instance("other-1", "other")
    new = (Mirror("other", "s", 1_000_000, "green"),)
    asked = replace(CANARY, mirrors=new, ways=MIRRORS + new)
    waits = next_publication([asked], [BLUE, GREEN, SHADOW, other], before, [SEES_NOTHING])
    assert waits.waiting == {"flights"}
    assert waits.mirrors == before.mirrors
    shifted = next_publication([asked], [BLUE, GREEN, SHADOW, other], waits, [SEES_GREEN])
    assert shifted.mirrors == {"flights": asked.mirrors}


def test_a_shadow_that_no_plan_names_keeps_its_clusters_until_no_proxy_copies_to_it():
    before = next_publication([MIRRORED], [BLUE, SHADOW], Publication(), [])
    copying = ProxyView(routed=frozenset({"blue", "shadow"}))
    without = next_publication([ALL_BLUE], [BLUE], before, [copying])
    assert without.mirrors == {}
    assert "shadow" in without.rotation
    assert without.hops == before.hops
    after = next_publication([ALL_BLUE], [BLUE], without, [SEES_NOTHING])
    assert "shadow" not in after.rotation
    assert after.hops == ()


# --- laws ---------------------------------------------------------------------------------------

ENDPOINTS = ("e1", "e2")


@st.composite
def plans(draw: st.DrawFn) -> list[RoutePlan]:
    result = []
    for endpoint in draw(st.sets(st.sampled_from(ENDPOINTS))):
        blue, green = f"{endpoint}-blue", f"{endpoint}-green"
        parts = draw(st.sampled_from([0, 1, 500_000, 1_000_000]))
        instances = draw(st.integers(1, 3))
        result.append(
            draw(
                st.sampled_from(
                    [
                        RoutePlan(endpoint),
                        RoutePlan(endpoint, (Membership(blue, 2, 0),), (Weight(blue, "v", 1_000_000, 1_000_000),)),
                        RoutePlan(
                            endpoint,
                            (Membership(blue, 2, 0), Membership(green, instances, instances)),
                            (Weight(blue, "v", 1_000_000 - parts, 1_000_000 - parts), Weight(green, "v", parts, parts)),
                        ),
                    ]
                )
            )
        )
    return result


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[RoutePlan], list[Instance], list[ProxyView]]:
    every = [f"{endpoint}-{fleet}" for endpoint in ENDPOINTS for fleet in ("blue", "green")]
    instances = [
        instance(f"{group}-{n}", group, draw(st.sampled_from([READY, READY, InstancePhase.STARTING])), float(n))
        for group in every
        for n in range(draw(st.integers(0, 3)))
    ]
    proxies = [
        ProxyView(
            {
                group: frozenset(address(one) for one in instances if one.group == group and draw(st.booleans()))
                for group in every
            },
            frozenset(draw(st.sets(st.sampled_from(every)))),
        )
        for _ in range(draw(st.integers(0, 2)))
    ]
    return draw(plans()), instances, proxies


def _nobody_else(weight: Weight, plan: RoutePlan, following: Publication) -> bool:
    """The group is to have all of its variant, and no other of the variant has an instance."""
    others = [one for one in plan.weights if one.variant == weight.variant and one.group != weight.group]
    return bool(others) and not any(one.parts or following.rotation.get(one.group) for one in others)


@given(st.lists(worlds(), min_size=1, max_size=5))
def test_laws_over_any_history(history):
    published = Publication()
    for asked, instances, proxies in history:
        following = next_publication(asked, instances, published, proxies)
        ready = {address(one) for one in instances if one.phase is READY}
        memberships = {one.group: one for plan in asked for one in plan.memberships}
        assert all(ready.issuperset(addresses) for addresses in following.rotation.values())
        for proxy in proxies:
            assert proxy.routed & published.rotation.keys() <= following.rotation.keys()
        for plan in asked:
            chosen = following.weights.get(plan.endpoint, ())
            before = published.weights.get(plan.endpoint)
            assert groups_named(chosen) <= following.rotation.keys()
            if all(memberships[one.group].required == 0 for one in plan.weights if one.parts):
                assert chosen == plan.weights, "going back to blue was held back"
            if chosen != before:
                for weight in chosen:
                    if weight.parts and (needed := memberships[weight.group].required):
                        if before is None and _nobody_else(weight, plan, following):
                            continue
                        first = following.rotation[weight.group][:needed]
                        assert len(first) == needed
                        assert proxies
                        assert all(set(first) <= proxy.healthy[weight.group] for proxy in proxies)
        assert following.weights.keys() <= {plan.endpoint for plan in asked}
        for plan in asked:
            alone = next_publication([plan], instances, published, proxies)
            assert alone.weights.get(plan.endpoint) == following.weights.get(plan.endpoint)
        assert next_publication(asked, instances, following, proxies) == following, "a second look changes nothing"
        published = following
