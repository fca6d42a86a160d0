"""Places for copies in a real Envoy: they change in place, and count what a shadow has had from before."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from bannister.domain.routing import Membership, Mirror, RoutePlan, Weight
from bannister.envoy.admin import HopStatus
from bannister.launcher import bootstrap

pytestmark = pytest.mark.real

MIB = 1024 * 1024


@pytest.fixture
def settings(settings):
    """Room for one shadow, and a little more."""
    return replace(
        settings,
        shadow_requests_max=8,
        shadow_large_requests_max=1,
        shadow_bytes_max=40 * MIB,
        proxy_heap_bytes_max=200 * MIB,
    )


def plan(endpoint: str, shadow: str) -> RoutePlan:
    mirror = Mirror(shadow, "Shadow", 1_000_000, "blue")
    weights = (Weight("blue", "AllTraffic", 1_000_000, 1_000_000),)
    return RoutePlan(endpoint, (Membership("blue", 1, 0),), weights, (mirror,), ways=(mirror,))


async def test_a_second_shadow_gets_its_part_and_the_first_keeps_what_it_has_under_way(edge, until, answer):
    stuck = asyncio.Event()

    async def hangs(_request):
        await stuck.wait()
        return answer(200, b"late")

    async def hop(name):
        return (await edge.admin.copies()).hops.get(name, HopStatus())

    await edge.model("blue")
    await edge.model("first", hangs)
    await edge.model("second", hangs, name="two")
    one, both = plan("one", "first"), [plan("one", "first"), plan("two", "second")]
    edge.publisher.ask([one])
    await until(lambda: edge.publisher.mirrored("first"), "the first shadow gets copies")
    client = edge.client()
    for _ in range(10):
        assert (await client.invoke("one", b"1")).status == 200
    assert await hop("shadow/first/small") == HopStatus(8, 8)

    edge.publisher.ask(both)
    await until(lambda: edge.publisher.mirrored("second"), "the second shadow gets copies")
    assert await hop("shadow/first/small") == HopStatus(4, 8)
    for _ in range(10):
        assert (await client.invoke("one", b"1")).status == (await client.invoke("two", b"1")).status == 200
    assert await hop("shadow/first/small") == HopStatus(4, 8)
    assert await hop("shadow/second/small") == HopStatus(4, 4)
    stuck.set()

    async def over() -> bool:
        return await hop("shadow/first/small") == HopStatus(4, 0)

    await until(over, "the copies have ended")
    edge.publisher.ask([one])
    await until(lambda: edge.publisher.unrouted("second"), "no route copies to the second")
    edge.instances.remove("two")

    async def alone() -> bool:
        return (await hop("shadow/first/small")).places == 8

    await until(alone, "the room of a shadow that is gone is the others'")


async def test_a_proxy_that_starts_anew_has_no_place_until_it_is_given_some(edge, until):
    await edge.model("blue")
    await edge.model("first")
    edge.publisher.ask([plan("one", "first")])
    await until(lambda: edge.publisher.mirrored("first"), "copies are made")
    asked = await edge.admin.copies()
    assert {name: one.places for name, one in asked.hops.items()} == {"shadow/first/small": 8, "shadow/first/large": 1}

    async def weighed() -> bool:
        return 0.01 <= (await edge.admin.copies()).heap_share < 0.5

    await until(weighed, "the proxy says how full its heap is")
    await edge.kill_envoy()
    await edge.start_envoy()
    await edge.open()

    async def given() -> bool:
        return (await edge.admin.copies()).hops == asked.hops

    await until(given, "the new proxy has the same places")


async def test_a_proxy_of_an_earlier_version_serves_on_and_it_is_said_that_it_makes_no_copies(
    edge, until, monkeypatch, caplog
):
    """Its bootstrap document had no layer for what is set while it runs."""
    document = bootstrap.bootstrap_document

    def earlier(settings):
        made = document(settings)
        made["layered_runtime"]["layers"] = [one for one in made["layered_runtime"]["layers"] if "static_layer" in one]
        return made

    monkeypatch.setattr(bootstrap, "bootstrap_document", earlier)
    await edge.kill_envoy()
    await edge.start_envoy()
    await edge.open()
    await edge.model("blue")
    await edge.model("first")
    assert edge.publisher.copies_trouble is None
    asked = plan("one", "first")
    edge.publisher.ask([asked])
    await until(lambda: edge.publisher.copies_trouble is not None, "it is said")
    await until(lambda: edge.publisher.acknowledged(asked), "the plan is acknowledged all the same")
    assert (await edge.client().invoke("one", b"1")).status == 200
    assert not edge.publisher.mirrored("first")
    assert len([one for one in caplog.records if "proxy.copies_not_made" in one.getMessage()]) == 1
    await edge.kill_envoy()
    monkeypatch.undo()
    await edge.start_envoy()
    await until(lambda: edge.publisher.mirrored("first"), "copies are made")
    assert edge.publisher.copies_trouble is None
