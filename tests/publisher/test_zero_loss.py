"""No request is lost by what the publisher does: real Envoy, 200 requests a second, no retries."""

from __future__ import annotations

import asyncio
import random

import pytest

from bannister.domain.instance import InstancePhase
from bannister.domain.routing import Membership, RoutePlan, Weight
from bannister.domain.traffic import TRAFFIC_PARTS

pytestmark = pytest.mark.real


async def named(edge, group, *, ready=True, name=None):
    """A model that answers with its group's name."""

    async def says_who(request):
        return answer_of(group)

    answer_of = edge.answer_of
    return await edge.model(group, says_who, ready=ready, name=name)


@pytest.fixture
def edge(edge, answer):
    edge.answer_of = lambda text: answer(body=text.encode())
    return edge


async def test_fifty_flips_of_the_weights(edge, split, traffic):
    await named(edge, "blue")
    await named(edge, "green")
    await edge.serve(split("flights", "blue", "green", 0))
    chance = random.Random(7)
    async with traffic() as load:
        for _ in range(50):
            await edge.serve(split("flights", "blue", "green", chance.choice([0, 50_000, 500_000, 1_000_000])))
            await asyncio.sleep(0.02)
    assert load.lost == []
    assert min(load.answered["blue"], load.answered["green"]) > 20


async def test_a_new_fleet_takes_over_and_the_old_one_goes(edge, split, steady, until, traffic):
    blue = "g0"
    await named(edge, blue, name=blue)
    await edge.serve(steady("flights", blue))
    async with traffic() as load:
        for turn in range(1, 8):
            green = f"g{turn}"
            old = edge.servers[-1]
            edge.publisher.ask([split("flights", blue, green, 0)])
            await named(edge, green, name=green)
            await edge.serve(split("flights", blue, green, 500_000))
            await edge.serve(steady("flights", green))
            await until(lambda group=blue: edge.publisher.drained(group), "blue has drained")
            await old.stop()
            edge.instances.remove(blue)
            blue = green
    assert load.lost == []
    assert load.answered.keys() == {f"g{turn}" for turn in range(8)}


async def test_instances_come_and_go_within_a_group(edge, steady, until, traffic):
    keeper = await named(edge, "g1", name="keeper")
    await edge.serve(steady("flights", "g1", count=10))
    async with traffic() as load:
        for turn in range(6):
            model = await named(edge, "g1", name=f"i{turn}")
            await until(lambda model=model: len(model.invocations) > 0, "the new instance gets requests")
            edge.instances.phase(f"i{turn}", InstancePhase.STOPPING)
            seen = -1
            while seen != len(model.invocations):
                seen = len(model.invocations)
                await asyncio.sleep(0.2)
            await model.stop()
            edge.instances.remove(f"i{turn}")
    assert load.lost == []
    assert keeper.invocations


async def test_traffic_follows_an_instance_only_when_it_is_healthy_in_the_proxy(edge, split, traffic, until):
    await named(edge, "blue")
    await edge.serve(split("flights", "blue", "green", 0))
    green = await named(edge, "green", ready=True)
    green.healthy = False
    plan = split("flights", "blue", "green", 1_000_000)
    async with traffic() as load:
        edge.publisher.ask([plan])
        await asyncio.sleep(0.5)
        assert not edge.publisher.acknowledged(plan)
        assert not green.invocations
        green.healthy = True
        await until(lambda: edge.publisher.acknowledged(plan), "green is healthy")
        await until(lambda: len(green.invocations) > 20, "green gets the traffic")
    assert load.lost == []


async def test_the_control_plane_restarts_in_the_middle_of_a_canary(edge, split, traffic, until):
    await named(edge, "blue", name="b")
    await named(edge, "green", name="g")
    canary = split("flights", "blue", "green", 500_000)
    await edge.serve(canary)
    async with traffic() as load:
        await edge.stop_publisher()
        await asyncio.sleep(0.3)
        # The next one observes its instances one after the other, as a backend that adopts them does.
        edge.instances.phase("b", InstancePhase.STARTING)
        edge.instances.phase("g", InstancePhase.STARTING)
        await edge.restart_publisher()
        edge.publisher.ask([canary])
        await until(lambda: edge.publisher.proxies() != (), "the proxy comes back")
        await asyncio.sleep(0.3)
        assert not edge.publisher.acknowledged(canary)
        assert not edge.publisher.unrouted("green"), "the proxy may still route to it"
        edge.instances.phase("b", InstancePhase.READY)
        await asyncio.sleep(0.2)
        edge.instances.phase("g", InstancePhase.READY)
        await until(lambda: edge.publisher.acknowledged(canary), "the canary is acknowledged again")
        await edge.serve(split("flights", "blue", "green", 0))
        load.answered.clear()
        await until(lambda: load.answered["blue"] > 20, "blue takes everything")
    assert load.lost == []
    assert load.answered["green"] <= 10, "only what was in flight"


async def test_two_variants_shift_apart(edge, traffic):
    def plan(parts):
        return RoutePlan(
            "flights",
            (Membership("a", 1, 0), Membership("a2", 1, 1), Membership("b", 1, 0)),
            (
                Weight("a", "A", 600_000 - parts, TRAFFIC_PARTS - parts * 10 // 6),
                Weight("a2", "A", parts, parts * 10 // 6),
                Weight("b", "B", 400_000, TRAFFIC_PARTS),
            ),
        )

    for group in ("a", "a2", "b"):
        await named(edge, group)
    await edge.serve(plan(0))
    async with traffic() as load:
        for parts in (100_000, 600_000, 0):
            await edge.serve(plan(parts))
            await asyncio.sleep(0.3)
    assert load.lost == []
    assert load.answered.keys() == {"a", "a2", "b"}


@pytest.mark.parametrize(
    ("head", "pieces"),
    [
        (b"transfer-encoding: chunked", (b"5\r\nhalf \r\n", b"5\r\nwhole\r\n0\r\n\r\n")),
        (b"x-amzn-sagemaker-session-id: NEW_SESSION\r\ncontent-length: 10", (b"half ", b"whole")),
        (b"content-length: 10", (b"half ", b"whole")),
    ],
    ids=["chunked", "of a session", "of known length"],
)
async def test_a_request_whose_body_is_still_coming_is_waited_for(edge, split, steady, until, traffic, head, pieces):
    """Its group was chosen when it came; the proxy may hold it until its body is whole, and counts it with no group until then, whatever others ask meanwhile."""
    await named(edge, "blue")
    await named(edge, "green")
    await edge.serve(split("flights", "blue", "green", 0))
    await until(lambda: _holds(edge, 0), "nothing is held")
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.settings.port)
    path = b"POST /endpoints/flights/invocations HTTP/1.1\r\nhost: localhost\r\n"
    writer.write(path + head + b"\r\n\r\n" + pieces[0])
    await until(lambda: _is_under_way(edge), "the request has come")
    await edge.serve(steady("flights", "green"))
    await until(lambda: edge.publisher.unrouted("blue"), "blue is unrouted")
    async with traffic():
        for _ in range(40):
            assert not await edge.publisher.drained("blue")
            await asyncio.sleep(0.02)
    writer.write(pieces[1])
    answer = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).decode()
    assert answer.startswith("HTTP/1.1 200 ")
    assert await asyncio.wait_for(reader.readexactly(4), 10) == b"blue"
    await until(lambda: edge.publisher.drained("blue"), "blue has drained")
    writer.close()


async def _is_under_way(edge) -> bool:
    return await edge.admin.held_requests() + await edge.publisher.active_requests("blue") == 1


async def test_who_held_nothing_once_is_not_waited_for_again(edge, split, steady, until):
    """Uploads to other groups hold up nobody's end for longer than until one look finds none."""
    await named(edge, "blue")
    await named(edge, "green")
    await edge.serve(split("flights", "blue", "green", 0))
    await edge.serve(steady("flights", "green"))
    await until(lambda: edge.publisher.drained("blue"), "blue has drained")
    _, writer = await asyncio.open_connection("127.0.0.1", edge.settings.port)
    writer.write(
        b"POST /endpoints/flights/invocations HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n"
    )
    await until(lambda: _holds(edge, 1), "a request for green is held")
    assert await edge.publisher.drained("blue")
    writer.close()


async def _holds(edge, count: int) -> bool:
    return await edge.admin.held_requests() == count
