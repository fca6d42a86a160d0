"""Shadow variants: what is accepted, what is refused with which sentence, and what an endpoint makes of them."""

from dataclasses import replace

import pytest
from tests.operations.test_resources import context as context  # the same stores
from tests.operations.test_resources import models

from bannister.domain.deployment.admission import Retention
from bannister.domain.deployment.deployment import Phase
from bannister.domain.deployment.policy import CapacitySize, CapacityType, DeploymentPolicy, Routing
from bannister.domain.endpoint import Endpoint, Variant
from bannister.domain.fleet import Fleet
from bannister.errors import Invalid, NotFound
from bannister.operations.context import Context
from bannister.operations.endpoint_configs import create_endpoint_config
from bannister.operations.endpoints import create_endpoint, update_endpoint
from bannister.state.store import Put
from bannister.state.tables import ENDPOINT_CONFIGS, ENDPOINTS

PRODUCTION, SHADOW = Variant("Production-01", "m", 2), Variant("Shadow-01", "n", 1, weight=0.5)


@pytest.mark.parametrize(
    ("production", "shadows", "sentence"),
    [
        ([PRODUCTION, Variant("b", "m", 1)], [SHADOW], "exactly one production variant and one shadow variant"),
        ([PRODUCTION], [SHADOW, Variant("c", "n", 1)], "ShadowProductionVariants 2"),
        ([PRODUCTION], [replace(SHADOW, name="Production-01")], "used more than once"),
        ([PRODUCTION], [replace(SHADOW, weight=-1.0)], 'InitialVariantWeight of variant "Shadow-01"'),
        ([PRODUCTION], [replace(SHADOW, instance_count=1000)], 'InitialInstanceCount of variant "Shadow-01"'),
        ([replace(PRODUCTION, weight=0.0)], [SHADOW], "At least one variant must have"),
    ],
)
async def test_a_configuration_that_could_not_be_served_is_refused_and_nothing_is_stored(
    context: Context, production: list[Variant], shadows: list[Variant], sentence: str
) -> None:
    await models(context, "m", "n")
    with pytest.raises(Invalid, match=sentence):
        await create_endpoint_config(context, "c", production, shadows)
    assert await context.state.rows(ENDPOINT_CONFIGS) == []


async def test_a_shadow_of_a_model_that_does_not_exist_is_refused(context: Context) -> None:
    await models(context, "m")
    with pytest.raises(NotFound, match="n"):
        await create_endpoint_config(context, "c", [PRODUCTION], [SHADOW])


async def in_service(context: Context) -> Fleet:
    """An endpoint `e` on a configuration with a shadow, its creation completed."""
    await models(context, "m", "n")
    await create_endpoint_config(context, "one", [PRODUCTION], [SHADOW])
    created = await create_endpoint(context, "e", "one")
    assert created.deployment is not None
    assert created.deployment.phase is Phase.PROVISIONING
    row = await context.state.get(ENDPOINTS, "e")
    assert row is not None
    fleet = created.deployment.green
    await context.state.commit([Put(ENDPOINTS, "e", replace(created, blue=fleet, deployment=None), row.revision)])
    return fleet


def green_of(endpoint: Endpoint) -> Fleet:
    assert endpoint.deployment is not None
    return endpoint.deployment.green


async def test_an_endpoint_has_its_own_copy_of_the_shadow(context: Context) -> None:
    fleet = await in_service(context)
    assert fleet.shadow is not None
    assert fleet.shadow.sampled_parts == 500_000
    assert (fleet.shadow.group.variant, fleet.shadow.group.model_name) == ("Shadow-01", "n")
    assert fleet.shadow.group.id not in {group.id for group in fleet.groups}
    assert [group.variant for group in fleet.groups] == ["Production-01"]


async def test_retained_properties_are_the_shadows_too(context: Context) -> None:
    await in_service(context)
    await create_endpoint_config(
        context,
        "two",
        [replace(PRODUCTION, instance_count=1)],
        [replace(SHADOW, weight=1.0, instance_count=3)],
    )
    green = green_of(await update_endpoint(context, "e", "two", retention=Retention(variant_properties=True)))
    assert green.shadow is not None
    assert (green.groups[0].instance_count, green.shadow.group.instance_count) == (2, 1)
    assert green.shadow.sampled_parts == 500_000


async def test_what_is_excluded_from_retention_comes_from_the_new_configuration(context: Context) -> None:
    await in_service(context)
    await create_endpoint_config(context, "two", [PRODUCTION], [replace(SHADOW, weight=0.25, instance_count=3)])
    retention = Retention(variant_properties=True, except_weight=True)
    green = green_of(await update_endpoint(context, "e", "two", retention=retention))
    assert green.shadow is not None
    assert (green.shadow.sampled_parts, green.shadow.group.instance_count) == (250_000, 1)


async def test_a_plain_update_promotes_the_shadow_under_its_own_name(context: Context) -> None:
    """AWS's shadow notebook does that; a guarded update must keep the names."""
    await in_service(context)
    await create_endpoint_config(context, "promoted", [replace(SHADOW, weight=1.0)])
    canary = DeploymentPolicy(Routing.CANARY, CapacitySize(CapacityType.CAPACITY_PERCENT, 10), 60, 0)
    for guarded in (canary, DeploymentPolicy(), DeploymentPolicy(given=False, alarms=("a",))):
        with pytest.raises(Invalid, match="a guarded update must keep"):
            await update_endpoint(context, "e", "promoted", guarded)
    updated = await update_endpoint(context, "e", "promoted")
    green = green_of(updated)
    assert [group.variant for group in green.groups] == ["Shadow-01"]
    assert green.shadow is None
    assert updated.deployment is not None
    assert len(updated.deployment.steps) == 1
