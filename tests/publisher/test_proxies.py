"""Proxies come, go, restart and refuse; what the publisher says about them is true."""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import replace

import pytest

from bannister.clock import SystemClock
from bannister.domain.endpoint import Endpoint
from bannister.domain.instance import InstancePhase
from bannister.domain.routing import RoutePlan
from bannister.envoy.snapshot import Kind
from bannister.errors import Unavailable
from bannister.publisher.following import follow_endpoints
from bannister.publisher.publisher import LAPSED_ANSWER_SECONDS_MAX
from bannister.state.memory import MemoryState
from bannister.state.store import Put
from bannister.state.tables import ENDPOINTS

pytestmark = pytest.mark.real


@pytest.fixture
def settings(settings):
    # One thread, because each may have one connection whatever the bound is.
    return replace(settings, proxy_lease_seconds=1.0, upstream_connections_max=4, proxy_workers=1)


async def test_nothing_is_acknowledged_without_a_proxy(bare_edge, steady):
    await bare_edge.model("g1")
    await bare_edge.start_publisher()
    plan = steady("flights", "g1")
    bare_edge.publisher.ask([plan])
    await bare_edge.publisher.changed.wait_past(0, 5.0)
    assert bare_edge.publisher.proxies() == ()
    assert not bare_edge.publisher.acknowledged(plan)
    assert not bare_edge.publisher.serving("g1")


async def test_a_proxy_gets_nothing_before_the_first_plans(bare_edge, steady, until):
    await bare_edge.model("g1")
    await bare_edge.start_publisher()
    await bare_edge.start_envoy()
    await until(lambda: bare_edge.publisher.proxies() != (), "the proxy registers")
    assert not await bare_edge.admin.live()
    await bare_edge.serve(steady("flights", "g1"))
    await bare_edge.open()
    assert (await bare_edge.client().invoke("flights")).status == 200


async def test_a_proxy_that_starts_before_the_publisher_finds_it(bare_edge, steady):
    await bare_edge.model("g1")
    await bare_edge.start_envoy()
    await asyncio.sleep(0.3)
    await bare_edge.start_publisher()
    await bare_edge.serve(steady("flights", "g1"))


async def test_a_restarted_proxy_gets_everything_at_once(edge, steady, until):
    await edge.model("g1")
    plan = steady("flights", "g1")
    await edge.serve(plan)
    await edge.kill_envoy()
    await until(lambda: [one.connected for one in edge.publisher.proxies()] == [False], "the proxy is missed")
    await edge.start_envoy()
    await edge.open()
    await until(lambda: edge.publisher.acknowledged(plan), "the new process has acknowledged")
    await until(lambda: edge.publisher.serving("g1"), "the new process sees the instance")
    assert (await edge.client().invoke("flights")).status == 200


async def test_a_proxy_that_is_gone_holds_up_others_no_longer_than_its_lease(edge, steady, until):
    await edge.model("g1")
    plan = steady("flights", "g1")
    await edge.serve(plan)
    await edge.kill_envoy()
    await until(lambda: not any(one.connected for one in edge.publisher.proxies()), "the stream has ended")
    assert len(edge.publisher.proxies()) == 1, "the lease is not over"
    assert not edge.publisher.unrouted("g1")
    assert await edge.publisher.active_requests("g1") == 0, "a process that has ended has nothing in flight"
    await until(lambda: edge.publisher.proxies() == (), "the lease is over")
    assert not edge.publisher.acknowledged(plan)


async def test_a_proxy_that_hangs_holds_up_others_no_longer_than_its_lease(edge, steady, until):
    await edge.model("g1")
    await edge.serve(steady("flights", "g1"))
    edge.signal_envoy("SIGSTOP")
    try:
        await edge.model("g2")
        edge.publisher.ask([steady("flights", "g2")])
        await until(lambda: edge.publisher.proxies() == (), "it leaves a response unanswered for too long")
        began = time.monotonic()
        assert await edge.publisher.active_requests("g1") == 0, "nobody knows, and nobody waits for it"
        assert time.monotonic() - began < 2 * LAPSED_ANSWER_SECONDS_MAX
    finally:
        edge.signal_envoy("SIGCONT")
    await until(lambda: edge.publisher.acknowledged(steady("flights", "g2")), "it answers again")


async def test_what_a_proxy_refuses_is_told_and_never_acknowledged(bare_edge, steady, until):
    await bare_edge.model("g1")
    await bare_edge.start_publisher()
    plan = steady("flights", "g1")
    bare_edge.publisher.ask([plan])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", bare_edge.settings.port))
        taken.listen()
        await bare_edge.start_envoy()
        await until(lambda: any(one.refusals for one in bare_edge.publisher.proxies()), "the listener is refused")
        (proxy,) = bare_edge.publisher.proxies()
        assert "in use" in proxy.refusals["listener"].lower()
        assert len(proxy.refusals["listener"]) <= 500
        assert not bare_edge.publisher.acknowledged(plan)


async def test_requests_in_flight_are_counted_until_they_end(edge, steady, answer, until):
    release = asyncio.Event()

    async def slow(request):
        await release.wait()
        return answer(body=b"done")

    model = await edge.model("g1", slow)
    await edge.serve(steady("flights", "g1"))
    assert not edge.publisher.unrouted("g1")
    calls = [asyncio.ensure_future(edge.client().invoke("flights")) for _ in range(3)]
    await until(lambda: len(model.invocations) == 3, "three requests are in flight")
    assert await edge.publisher.active_requests("g1") == 3
    await edge.model("g2")
    await edge.serve(steady("flights", "g2"))
    await until(lambda: edge.publisher.unrouted("g1"), "no route names the group")
    assert await edge.publisher.active_requests("g1") == 3
    assert not await edge.publisher.drained("g1")
    release.set()
    assert [(await call).body for call in calls] == [b"done"] * 3
    await until(lambda: edge.publisher.drained("g1"), "its requests have ended")


async def test_a_request_is_counted_while_its_instance_stands_by_and_while_it_drains(edge, steady, answer, until):
    """A group that becomes smaller: the instance leaves the rotation, then drains, and never the proxy's list. `bannister.envoy.memory` does the same."""
    release = asyncio.Event()

    async def slow(request):
        await release.wait()
        return answer(body=b"done")

    stays, leaves = await edge.model("g1", slow, name="g1-001"), await edge.model("g1", slow, name="g1-002")
    address = f"127.0.0.1:{leaves.port}"
    await edge.serve(steady("flights", "g1", count=2))
    calls = [asyncio.ensure_future(edge.client().invoke("flights")) for _ in range(4)]
    await until(lambda: len(stays.invocations) + len(leaves.invocations) == 4, "all are with an instance")
    counted = len(leaves.invocations)
    assert counted > 0
    assert await edge.publisher.active_requests_on("g1", address) == counted
    edge.publisher.ask([steady("flights", "g1", count=1)])
    [proxy] = edge.publisher._server.proxies()
    await until(lambda: proxy.held(Kind.ENDPOINTS, "g1").about.standby == (address,), "it stands by")
    assert await edge.publisher.active_requests_on("g1", address) == counted
    [instance] = [one for one in edge.instances.snapshot() if one.id == "g1-002"]
    edge.instances.put(replace(instance, draining=True, answered=True))
    await until(lambda: edge.publisher.spared("g1", address), "it drains")
    assert await edge.publisher.active_requests_on("g1", address) == counted
    release.set()
    assert {(await call).status for call in calls} == {200}

    async def done() -> bool:
        return await edge.publisher.active_requests_on("g1", address) == 0

    await until(done, "its requests have ended")


async def test_requests_that_wait_for_a_connection_are_in_flight(edge, steady, answer, until):
    release = asyncio.Event()

    async def slow(request):
        await release.wait()
        return answer(body=b"done")

    model = await edge.model("g1", slow)
    await edge.serve(steady("flights", "g1"))
    most = edge.settings.upstream_connections_max
    calls = [asyncio.ensure_future(edge.client().invoke("flights")) for _ in range(most + 5)]
    await until(lambda: len(model.invocations) == most, "no more connections are made")

    async def all_counted():
        return await edge.publisher.active_requests("g1") == most + 5

    await until(all_counted, "the others wait, and are counted")
    release.set()
    assert [(await call).body for call in calls] == [b"done"] * (most + 5)
    assert await edge.publisher.active_requests("g1") == 0


async def test_requests_in_flight_are_not_guessed(edge, steady):
    await edge.model("g1")
    await edge.serve(steady("flights", "g1"))
    edge.settings.envoy_admin_socket.unlink()
    with pytest.raises(Unavailable):
        await edge.publisher.active_requests("g1")


async def test_a_deleted_endpoint_leaves_nothing_behind(edge, steady, until):
    await edge.model("g1", name="i1")
    await edge.serve(steady("flights", "g1"))
    await edge.serve(RoutePlan("flights"))
    assert (await edge.client().invoke("flights")).body == b"ok"
    assert len(edge.control.invocations) == 1
    await until(lambda: edge.publisher.unrouted("g1"), "no route names the group")
    assert "g1" in await edge.admin.clusters(), "requests in flight could still be counted"
    edge.publisher.ask([])
    edge.instances.phase("i1", InstancePhase.STOPPING)
    edge.instances.remove("i1")

    async def removed() -> bool:
        return "g1" not in await edge.admin.clusters()

    await until(removed, "the cluster is gone")
    assert edge.publisher.unrouted("g1")
    assert await edge.publisher.drained("g1")


async def test_a_group_that_never_existed_is_unrouted(edge):
    assert edge.publisher.unrouted("nobody")


async def test_one_that_waits_for_health_is_acknowledged_when_it_is_healthy(edge, split, until):
    await edge.model("blue")
    shift = split("flights", "blue", "green", 100_000)
    edge.publisher.ask([shift])
    await until(lambda: edge.publisher.acknowledged(split("flights", "blue", "green", 0)) is False, "asked")
    await until(lambda: bool(edge.publisher.proxies()), "the proxy is there")
    assert not edge.publisher.acknowledged(shift)
    await edge.model("green")
    await until(lambda: edge.publisher.acknowledged(shift), "green is healthy and the split acknowledged")
    assert edge.publisher.serving("green")


async def test_the_control_plane_restarts_with_nothing_changed(edge, steady, until):
    await edge.model("g1")
    plan = steady("flights", "g1")
    await edge.serve(plan)
    await edge.restart_publisher()
    assert not edge.publisher.acknowledged(plan)
    edge.publisher.ask([plan])
    await until(lambda: edge.publisher.acknowledged(plan), "acknowledged again")
    assert (await edge.client().invoke("flights")).status == 200


async def test_a_burst_of_plans_is_one_push(edge, split):
    await edge.model("blue")
    await edge.model("green")
    await edge.serve(split("flights", "blue", "green", 0))
    seen = edge.publisher.changed.version
    for parts in range(1, 101):
        edge.publisher.ask([split("flights", "blue", "green", parts)])
    await edge.serve(split("flights", "blue", "green", 100))
    assert edge.publisher.changed.version - seen < 20


async def test_stored_endpoints_are_followed(edge, until):
    state = MemoryState()
    following = asyncio.ensure_future(follow_endpoints(edge.publisher, state, 1.0))
    try:
        now = SystemClock().now()
        await state.commit([Put(ENDPOINTS, "flights", Endpoint("flights", now, now), 0)])
        await until(lambda: edge.publisher.acknowledged(RoutePlan("flights")), "the endpoint is known")
    finally:
        following.cancel()
