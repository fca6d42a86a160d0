"""What the capture process is told follows the state, and what did not change costs nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.domain.deployment.worlds import fleet

from bannister.collector.instructing import instruct_capture
from bannister.domain import routing
from bannister.domain.capture.instructions import Instructions
from bannister.domain.comparison.rules import Rules
from bannister.domain.endpoint import Endpoint
from bannister.domain.fleet import Shadow
from bannister.state.memory import MemoryState
from bannister.state.store import Put
from bannister.state.tables import COMPARISON_RULES, ENDPOINTS


class Told:
    def __init__(self) -> None:
        self.instructions: list[Instructions] = []

    async def instruct(self, instructions: Instructions) -> None:
        self.instructions.append(instructions)


def beside(name: str, parts: int) -> Endpoint:
    blue = fleet(name)
    groups = tuple(replace(one, endpoint=name) for one in blue.groups)
    group = replace(groups[0], id=f"{name}-shadow", variant="Shadow")
    return Endpoint(name, 0.0, 0.0, replace(blue, groups=groups, shadow=Shadow(group, parts)))


async def test_only_an_endpoint_that_has_changed_is_planned_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    planned: list[str] = []
    honest = routing.plan_of

    def plan_of(endpoint: Endpoint, noise_parts: int = 0) -> routing.RoutePlan:
        planned.append(endpoint.name)
        return honest(endpoint, noise_parts)

    monkeypatch.setattr(routing, "plan_of", plan_of)
    state, told, names = MemoryState(), Told(), ["a", "b", "c"]
    await state.commit([Put(ENDPOINTS, name, beside(name, 1000), 0) for name in names])
    running = asyncio.create_task(instruct_capture(told, state))

    async def change(*puts: Put[object]) -> Instructions:
        seen = len(told.instructions)
        await state.commit(puts)
        async with asyncio.timeout(10):
            while len(told.instructions) == seen:
                await asyncio.sleep(0)
        return told.instructions[-1]

    try:
        async with asyncio.timeout(10):
            while not told.instructions:
                await asyncio.sleep(0)
        assert planned == names
        rules = Rules(noise_parts=10_000, relative_tolerance=0.5)
        found = await change(Put(COMPARISON_RULES, "b", rules, 0))
        assert planned == [*names, "b"]
        assert {one.endpoint for one in found.pairs if one.rules == rules} == {"b"}
        row = await state.get(ENDPOINTS, "c")
        assert row is not None
        await change(Put(ENDPOINTS, "c", beside("c", 2000), row.revision))
        assert planned == [*names, "b", "c"]
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
