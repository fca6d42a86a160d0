"""Changes of weights and instance counts, as pure functions."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from bannister.domain.endpoint import Endpoint
from bannister.domain.fleet import Fleet, Group, Shadow
from bannister.domain.model import Container
from bannister.domain.routing import wanted_instances
from bannister.domain.scaling import (
    Desired,
    GroupCount,
    Observation,
    Scaling,
    ScalingPhase,
    advance,
    disagreements,
    evidence,
    fleet_of,
    notice,
    rescaled,
)
from bannister.errors import Invalid


def group(variant: str, count: int, weight: float) -> Group:
    return Group(f"e.{variant}.1", "e", variant, "c", "m", Container("image", None, {}), count, weight, 60.0)


BEFORE = Fleet("c", (group("a", 2, 9.0), group("b", 1, 1.0)), 0.0)
ASKED = (Desired("a", 1.0, 1), Desired("b", None, 3))


def scaling(phase: ScalingPhase = ScalingPhase.GROWING, reason: str | None = None) -> Scaling:
    return Scaling("s", BEFORE, rescaled(BEFORE, ASKED, 100), 0.0, 100.0, phase, 0.0, reason)


def form(one: Scaling) -> list[tuple[int, float]]:
    return [(group.instance_count, group.weight) for group in fleet_of(one).groups]


def seen(
    a: int,
    b: int,
    *,
    healthy_b: int | None = None,
    now: float = 1.0,
    acknowledged: bool = False,
    failure: str | None = None,
) -> Observation:
    """`healthy_b`: so many of b the proxies see; None: all."""
    counts = (GroupCount("e.a.1", a, a, a), GroupCount("e.b.1", b, b if healthy_b is None else healthy_b, b, failure))
    return Observation(now, counts, acknowledged)


def test_capacity_comes_before_traffic_and_goes_after_it():
    assert form(scaling()) == [(2, 9.0), (3, 1.0)]
    assert form(scaling(ScalingPhase.WEIGHING)) == [(2, 1.0), (3, 1.0)]
    assert form(scaling(ScalingPhase.SHRINKING)) == [(1, 1.0), (3, 1.0)]
    assert form(scaling(ScalingPhase.SHRINKING, "no")) == [(2, 9.0), (1, 1.0)]


@pytest.mark.parametrize(
    ("phase", "observed", "follows"),
    [
        (ScalingPhase.GROWING, seen(2, 2), None),
        (ScalingPhase.GROWING, seen(2, 3), ScalingPhase.WEIGHING),
        (ScalingPhase.GROWING, seen(2, 3, healthy_b=2), None),
        (ScalingPhase.GROWING, seen(0, 3), ScalingPhase.WEIGHING),  # a group that does not grow is not waited for
        (ScalingPhase.GROWING, seen(2, 1, failure="It broke."), ScalingPhase.SHRINKING),
        (ScalingPhase.GROWING, seen(2, 1, now=100.0), ScalingPhase.SHRINKING),
        (ScalingPhase.WEIGHING, seen(2, 3), None),
        (ScalingPhase.WEIGHING, seen(2, 3, acknowledged=True), ScalingPhase.SHRINKING),
        (ScalingPhase.WEIGHING, seen(2, 3, now=100.0), ScalingPhase.SHRINKING),
        (ScalingPhase.GROWING, seen(2, 3, now=100.0), ScalingPhase.WEIGHING),  # late is not too late
        (ScalingPhase.SHRINKING, seen(2, 3, now=1000.0), None),
        (ScalingPhase.SHRINKING, seen(1, 3), ScalingPhase.ENDED),
    ],
)
def test_what_the_facts_amount_to(phase, observed, follows):
    noticed = notice(scaling(phase), observed)
    assert (noticed.phase if noticed is not None else None) == follows


@pytest.mark.parametrize(
    ("weights", "a", "b", "follows"),
    [
        # Requests come to b, where nobody answers.
        ((1.0, 1.0), 2, 0, None),
        ((0.0, 1.0), 2, 0, None),
        ((1.0, 1.0), 2, 1, ScalingPhase.WEIGHING),
        # They leave b: nobody waits for it.
        ((9.0, 0.5), 2, 0, ScalingPhase.WEIGHING),
        ((9.0, 0.0), 1, 0, ScalingPhase.WEIGHING),
        # The shares are as they were.
        ((18.0, 2.0), 0, 0, ScalingPhase.WEIGHING),
    ],
)
def test_no_larger_share_goes_to_a_variant_of_which_no_instance_is_healthy(weights, a, b, follows):
    asked = rescaled(BEFORE, [Desired(name, weight) for name, weight in zip("ab", weights, strict=True)], 100)
    one = Scaling("s", BEFORE, asked, 0.0, 100.0)
    noticed = notice(one, seen(a, b))
    assert (noticed.phase if noticed is not None else None) == follows
    if follows is None:
        late = notice(one, seen(a, b, now=100.0))
        assert late is not None
        assert late.back
        assert late.reason == (
            "It was not done within 100 seconds: of 1 instances of b 0 are ready, and every proxy sees 0 healthy."
        )


def test_nor_to_one_whose_only_instance_has_fallen_silent():
    """The proxies keep the last instance of a group, and may not have missed it yet; we have."""
    asked = rescaled(BEFORE, [Desired("a", 0.0)], 100)
    one = Scaling("s", BEFORE, asked, 0.0, 100.0)
    assert notice(one, seen(2, 0, healthy_b=1)) is None
    assert notice(one, seen(2, 1, healthy_b=0)) is None
    assert notice(one, seen(2, 1)) is not None
    given_up = notice(one, seen(2, 0, failure="It broke."))
    assert given_up is not None
    assert (given_up.phase, given_up.reason, given_up.back) == (ScalingPhase.SHRINKING, "It broke.", True)
    elsewhere = replace(one, after=rescaled(BEFORE, [Desired("b", 0.0)], 100))
    assert notice(elsewhere, seen(2, 0, failure="It broke.")) == notice(elsewhere, seen(2, 1)), "they leave it"


def test_what_is_taken_back_says_why():
    noticed = notice(scaling(), seen(2, 1, now=100.0))
    assert noticed is not None
    assert noticed.back
    assert noticed.reason == (
        "It was not done within 100 seconds: of 3 instances of b 1 are ready, and every proxy sees 1 healthy."
    )
    after = advance(scaling(), noticed, 100.0)
    assert (after.reason, fleet_of(after)) == (noticed.reason, BEFORE)
    ended = notice(after, seen(2, 1, now=101.0))
    assert ended is not None
    assert advance(after, ended, 101.0).reason == noticed.reason


def test_how_many_instances_are_wanted_follows_the_phase():
    one = scaling(ScalingPhase.WEIGHING)
    endpoint = Endpoint("e", 0.0, 0.0, blue=fleet_of(one), scaling=one)
    assert wanted_instances(endpoint) == {"e.a.1": 2, "e.b.1": 3}


def test_a_shadow_has_another_share_of_requests():
    fleet = Fleet("c", (group("a", 1, 2.0),), 0.0, Shadow(group("s", 1, 1.0), 500_000))
    after = rescaled(fleet, (Desired("s", 0.5, 2),), 100)
    assert after.shadow == Shadow(replace(group("s", 2, 0.5)), 250_000)
    assert rescaled(fleet, (Desired("a", 4.0),), 100).shadow == Shadow(group("s", 1, 1.0), 250_000)


@pytest.mark.parametrize(
    "asked",
    [
        (Desired("x"),),
        (Desired("a", 1.0), Desired("a", 2.0)),
        (Desired("a", 0.0), Desired("b", 0.0)),
        (Desired("a", None, 101),),
        *((Desired("a", weight),) for weight in (-1.0, math.inf, math.nan, 1e39)),
    ],
    ids=repr,
)
def test_what_cannot_be_asked(asked):
    with pytest.raises(Invalid):
        rescaled(BEFORE, asked, 100)


def test_an_endpoint_that_runs_two_configurations_is_updated_first():
    other = replace(group("a", 1, 1.0), id="e.a.2", config_name="d")
    with pytest.raises(Invalid, match=r"runs two configurations, .*Call UpdateEndpoint"):
        rescaled(replace(BEFORE, groups=(*BEFORE.groups, other)), ASKED, 100)


def test_decisions_are_the_same_when_taken_again_from_their_record():
    bodies, one = [], scaling()
    while one.phase is not ScalingPhase.ENDED:
        facts = seen(1, 3, acknowledged=True)
        noticed = notice(one, facts)
        assert noticed is not None
        bodies.append(json.loads(json.dumps(evidence(one, noticed, facts, "1"))))
        one = advance(one, noticed, facts.now)
    assert disagreements(bodies) == []
    (undecided,) = disagreements([bodies[0] | {"reason": "It was so."}])
    assert "It was so." in undecided
    (discontinued,) = disagreements([bodies[0], bodies[0] | {"before": bodies[0]["before"] | {"deadline_at": 1.0}}])
    assert "did not start from what the decision before it left" in discontinued
