"""CreateEndpoint, where two ask at the same time."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from bannister.domain.deployment.room import MachineMemory
from bannister.domain.endpoint import EndpointConfig, Variant
from bannister.domain.model import Container, Model
from bannister.operations.context import Context
from bannister.operations.endpoints import create_endpoint
from bannister.state.store import Put
from bannister.state.tables import ENDPOINT_CONFIGS, ENDPOINTS, MODELS


@pytest.mark.parametrize("other", ["Flights", "flights"])
async def test_of_two_names_that_differ_in_case_only_one_is_created(context: Context, other: str) -> None:
    """Both have found the name free before either writes."""
    looks, both_look = 0, asyncio.Event()

    async def looked() -> MachineMemory | None:
        nonlocal looks
        looks += 1
        if looks == 2:
            both_look.set()
        await both_look.wait()
        return None

    context = replace(context, memory=looked)
    config = EndpointConfig("c", (Variant("v", "m", 1),), 0.0)
    model = Model("m", Container("i"), 0.0)
    await context.state.commit([Put(MODELS, "m", model, 0), Put(ENDPOINT_CONFIGS, "c", config, 0)])
    asked = (create_endpoint(context, name, "c") for name in ("flights", other))
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert sorted(type(one).__name__ for one in found) == ["AlreadyExists", "Endpoint"]
    assert len(await context.state.rows(ENDPOINTS)) == 1
