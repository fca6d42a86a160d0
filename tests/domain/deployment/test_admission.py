"""Which updates are accepted, and what is made of them: what is kept of the endpoint, and where guardrails do not apply."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.domain.deployment.worlds import CANARY, fleet

from bannister.domain.deployment.admission import Retention, UpdateRequest, admit
from bannister.domain.deployment.policy import CapacitySize, CapacityType, DeploymentPolicy, Routing, Unguarded
from bannister.domain.endpoint import Endpoint, EndpointConfig, Variant
from bannister.domain.fleet import Fleet
from bannister.errors import Invalid

KEPT = Retention(variant_properties=True)
ROLLING = DeploymentPolicy(
    Routing.ROLLING,
    CapacitySize(CapacityType.CAPACITY_PERCENT, 50),
    wait_seconds=60,
    alarms=("errors",),
    rollback_step=CapacitySize(CapacityType.CAPACITY_PERCENT, 50),
)
ALL_AT_ONCE = DeploymentPolicy(termination_wait_seconds=60, timeout_seconds=1800)


def endpoint(blue: Fleet) -> Endpoint:
    return Endpoint("e", 0.0, 0.0, blue=blue)


def asked(
    *variants: Variant,
    policy: DeploymentPolicy | None = None,
    retention: Retention | None = None,
    shadows: tuple[Variant, ...] = (),
) -> UpdateRequest:
    config = EndpointConfig("v2", variants, 0.0, shadow_variants=shadows)
    return UpdateRequest("v2", config, policy, retention or Retention())


# --- what is kept


@pytest.mark.parametrize("shadows", [(), (Variant("s", "n", 1, 0.5),)], ids=["alone", "with a shadow"])
def test_an_update_that_would_leave_no_variant_any_requests_is_refused(shadows: tuple[Variant, ...]) -> None:
    """Variant a was taken out of production before; the configuration has nobody else."""
    present = endpoint(fleet("v1", variants=("a", "b"), weights=(0.0, 1.0)))
    with pytest.raises(Invalid, match='no variant of endpoint configuration "v2" would get requests: a has Desired'):
        admit(present, asked(Variant("a", "m", 2), retention=KEPT, shadows=shadows))
    fresh = replace(KEPT, except_weight=True)
    (variant,) = admit(present, asked(Variant("a", "m", 1), retention=fresh, shadows=shadows)).variants
    assert (variant.weight, variant.instance_count) == (1.0, 2)


def test_one_of_several_may_be_kept_without_weight() -> None:
    present = endpoint(fleet("v1", variants=("a", "b"), weights=(0.0, 3.0)))
    found = admit(present, asked(Variant("a", "m", 1), Variant("b", "m", 1), Variant("c", "m", 1), retention=KEPT))
    assert [(one.name, one.weight, one.instance_count) for one in found.variants] == [
        ("a", 0.0, 2),
        ("b", 3.0, 2),
        ("c", 1.0, 1),
    ]


# --- where guardrails do not apply


def typed(fleet_: Fleet, instance_type: str | None) -> Fleet:
    return replace(fleet_, groups=tuple(replace(group, instance_type=instance_type) for group in fleet_.groups))


@pytest.mark.parametrize("policy", [CANARY, ROLLING, ALL_AT_ONCE], ids=["canary", "rolling", "with a final bake"])
@pytest.mark.parametrize(
    ("before", "after"), [(None, "ml.inf1.xlarge"), ("ml.inf1.xlarge", None), ("ml.inf1.xlarge", "ml.inf1.2xlarge")]
)
def test_inf1_falls_back_to_all_at_once_without_a_final_bake(
    policy: DeploymentPolicy, before: str | None, after: str | None
) -> None:
    present = endpoint(typed(fleet("v1"), before))
    found = admit(present, asked(Variant("AllTraffic", "m", 2, instance_type=after), policy=policy))
    assert found.policy == DeploymentPolicy(alarms=policy.alarms, timeout_seconds=policy.timeout_seconds)
    assert found.unguarded == Unguarded("AllTraffic", after or before or "")
    assert f"of type {after or before}, which AWS excludes" in str(found.unguarded)


@pytest.mark.parametrize(
    ("policy", "instance_type"),
    [(CANARY, "ml.inf2.xlarge"), (CANARY, None), (None, "ml.inf1.xlarge"), (DeploymentPolicy(), "ml.inf1.xlarge")],
)
def test_all_others_are_as_they_were_asked_for(policy: DeploymentPolicy | None, instance_type: str | None) -> None:
    given = asked(Variant("AllTraffic", "m", 2, instance_type=instance_type), policy=policy)
    found = admit(endpoint(typed(fleet("v1"), instance_type)), given)
    assert found.policy == (policy or DeploymentPolicy(given=False))
    assert found.unguarded is None


def test_what_would_be_refused_is_refused_all_the_same() -> None:
    too_large = replace(CANARY, step=CapacitySize(CapacityType.CAPACITY_PERCENT, 80))
    with pytest.raises(Invalid, match="80 % is not allowed"):
        admit(
            endpoint(fleet("v1")),
            asked(Variant("AllTraffic", "m", 2, instance_type="ml.inf1.xlarge"), policy=too_large),
        )
