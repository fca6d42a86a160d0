"""Which instance of a group gets a request, by the variant's RoutingStrategy."""

from __future__ import annotations

import asyncio

import pytest

from bannister.domain.fleet import RoutingStrategy, Traits

pytestmark = pytest.mark.real

REQUESTS = 45


@pytest.mark.parametrize("strategy", RoutingStrategy)
async def test_requests_in_flight_are_spread_evenly_or_at_random(edge, steady, answer, until, strategy):
    released = asyncio.Event()

    async def waits(request):
        await released.wait()
        return answer(200, b"ok")

    models = [await edge.model("g1", waits) for _ in range(3)]
    await edge.serve(steady("flights", "g1", count=3), traits={"g1": Traits(strategy)})

    async def all_are_healthy() -> bool:
        return sum(one.healthy for one in (await edge.admin.clusters())["g1"].values()) == 3

    await until(all_are_healthy, "all are healthy")
    callers, widest = [], 0
    for count in range(1, REQUESTS + 1):
        callers.append(asyncio.create_task(edge.client().invoke("flights", b"1")))
        await until(lambda count=count: sum(len(one.invocations) for one in models) == count, "it has arrived")
        in_flight = [len(one.invocations) for one in models]
        widest = max(widest, max(in_flight) - min(in_flight))
    released.set()
    assert {one.status for one in await asyncio.gather(*callers)} == {200}
    assert (widest <= 1) == (strategy is RoutingStrategy.LEAST_OUTSTANDING_REQUESTS), widest
