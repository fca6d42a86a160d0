"""Which updates are accepted, and what is kept of the endpoint."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.domain.deployment.worlds import fleet

from bannister.domain.deployment.admission import Retention, UpdateRequest, admit
from bannister.domain.endpoint import Endpoint, EndpointConfig, Variant
from bannister.domain.fleet import Fleet
from bannister.errors import Invalid

KEPT = Retention(variant_properties=True)


def endpoint(blue: Fleet) -> Endpoint:
    return Endpoint("e", 0.0, 0.0, blue=blue)


def asked(*variants: Variant, retention: Retention | None = None, shadows: tuple[Variant, ...] = ()) -> UpdateRequest:
    config = EndpointConfig("v2", variants, 0.0, shadow_variants=shadows)
    return UpdateRequest("v2", config, None, retention or Retention())


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
