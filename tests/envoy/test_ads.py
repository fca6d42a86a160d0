"""The discovery service as a proxy sees it, over a real gRPC stream: order, acknowledgements, refusals, reconnection."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2
from google.protobuf import wrappers_pb2
from google.rpc import status_pb2

from bannister.clock import SystemClock
from bannister.domain.routing import Members
from bannister.envoy.ads import DiscoveryServer
from bannister.envoy.resources.messages import packed
from bannister.envoy.snapshot import Kind, Resource, Snapshot
from bannister.errors import Fenced

PATIENCE_SECONDS = 30.0


def resource(name: str, *needs: str, about: object = None) -> Resource:
    return Resource(name, packed(wrappers_pb2.StringValue(value=name)), about, frozenset(needs))


BLUE, BLUE_HOSTS = resource("blue"), resource("blue", about=Members(("h:1",)))
TABLE = resource("edge", "blue")
SNAPSHOT = Snapshot(1, clusters={"blue": BLUE}, endpoints={"blue": BLUE_HOSTS}, routes={"edge": TABLE})


class Proxy:
    """A hand-driven proxy: says exactly what the test tells it to."""

    def __init__(self, channel: grpc.aio.Channel, node: str = "p") -> None:
        self._call = ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel).StreamAggregatedResources()
        self._node = node
        self._received: dict[Kind, discovery_pb2.DiscoveryResponse] = {}

    async def ask(self, kind: Kind, *names: str, version: str = "", nonce: str = "", error: str | None = None) -> None:
        detail = status_pb2.Status(message=error) if error is not None else None
        await self._call.write(
            discovery_pb2.DiscoveryRequest(
                node=base_pb2.Node(id=self._node),
                type_url=kind.value,
                resource_names=names,
                version_info=version,
                response_nonce=nonce,
                error_detail=detail,
            )
        )

    async def receive(self, kind: Kind) -> set[str]:
        """The next response, which must be of this kind; the names it holds."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            response = await self._call.read()
        assert Kind(response.type_url) is kind
        self._received[kind] = response
        return {_value(one) for one in response.resources}

    async def nothing(self) -> None:
        """No response is on its way: a question about an unknown kind of cluster list is answered before any other."""
        await self.ask(Kind.LISTENER)
        assert await self.receive(Kind.LISTENER) == set()

    async def accept(self, kind: Kind, *names: str) -> None:
        response = self._received[kind]
        await self.ask(kind, *names, version=response.version_info, nonce=response.nonce)

    async def refuse(self, kind: Kind, *names: str, reason: str = "bad") -> None:
        await self.ask(kind, *names, nonce=self._received[kind].nonce, error=reason)

    async def is_hung_up_on(self) -> None:
        """The stream ends, and no response comes before its end."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            with pytest.raises(grpc.aio.AioRpcError):
                await self._call.read()

    def version(self, kind: Kind) -> str:
        return self._received[kind].version_info

    def close(self) -> None:
        self._call.cancel()


def _value(body) -> str:
    message = wrappers_pb2.StringValue()
    return message.value if body.Unpack(message) else "(empty)"


class Fence:
    """Closed once another control plane has taken over. The product's does not return then: it ends the process."""

    def __init__(self) -> None:
        self.is_closed = False

    def __call__(self) -> None:
        if self.is_closed:
            raise Fenced("Another control plane has taken over.")


@pytest.fixture
def fence() -> Fence:
    return Fence()


@pytest.fixture
async def server(tmp_path: Path, fence: Fence):
    server = DiscoveryServer(tmp_path / "xds.sock", 10.0, SystemClock(), fence)
    await server.start()
    yield server
    await server.close()


@pytest.fixture
async def channel(server, tmp_path: Path):
    async with grpc.aio.insecure_channel(f"unix:{tmp_path / 'xds.sock'}") as channel:
        yield channel


async def until(server: DiscoveryServer, condition) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await server.changed.wait_past(server.changed.version, 0.05)


def held(server: DiscoveryServer, kind: Kind, name: str) -> Resource | None:
    return next((proxy.held(kind, name) for proxy in server.proxies()), None)


async def configured(server, channel) -> Proxy:
    """A proxy that has acknowledged everything in SNAPSHOT."""
    server.publish(SNAPSHOT)
    proxy = Proxy(channel)
    for kind, names in ((Kind.CLUSTER, ()), (Kind.ENDPOINTS, ("blue",)), (Kind.ROUTES, ("edge",))):
        await proxy.ask(kind, *names)
        await proxy.receive(kind)
        await proxy.accept(kind, *names)
    await until(server, lambda: held(server, Kind.ROUTES, "edge") is TABLE)
    return proxy


async def test_routes_come_after_the_proxy_has_accepted_what_they_name(server, channel):
    server.publish(SNAPSHOT)
    proxy = Proxy(channel)
    await proxy.ask(Kind.ROUTES, "edge")
    await proxy.ask(Kind.CLUSTER)
    assert await proxy.receive(Kind.CLUSTER) == {"blue"}
    await proxy.nothing()
    await proxy.accept(Kind.CLUSTER)
    await proxy.ask(Kind.ENDPOINTS, "blue")
    assert await proxy.receive(Kind.ENDPOINTS) == {"blue"}
    assert held(server, Kind.CLUSTER, "blue") is BLUE
    assert held(server, Kind.ENDPOINTS, "blue") is None, "sent is not accepted"
    await proxy.accept(Kind.ENDPOINTS, "blue")
    assert await proxy.receive(Kind.ROUTES) == {"edge"}


async def test_a_cluster_that_does_not_exist_has_an_empty_endpoint_list(server, channel):
    server.publish(SNAPSHOT)
    proxy = Proxy(channel)
    await proxy.ask(Kind.ENDPOINTS, "gone")
    assert await proxy.receive(Kind.ENDPOINTS) == {"(empty)"}


async def test_only_what_changed_is_sent(server, channel):
    proxy = await configured(server, channel)
    green, green_hosts = resource("green"), resource("green", about=Members())
    server.publish(
        Snapshot(
            2,
            clusters={"blue": BLUE, "green": green},
            endpoints={"blue": BLUE_HOSTS, "green": green_hosts},
            routes=SNAPSHOT.routes,
        )
    )
    assert await proxy.receive(Kind.CLUSTER) == {"blue", "green"}, "clusters are always sent whole"
    await proxy.accept(Kind.CLUSTER)
    await proxy.ask(Kind.ENDPOINTS, "blue", "green", nonce=proxy._received[Kind.ENDPOINTS].nonce)
    assert await proxy.receive(Kind.ENDPOINTS) == {"green"}


async def test_a_refusal_is_kept_and_not_repeated_until_something_changes(server, channel):
    proxy = await configured(server, channel)
    worse = resource("edge", "blue")
    server.publish(Snapshot(2, SNAPSHOT.clusters, SNAPSHOT.endpoints, routes={"edge": worse}))
    await proxy.receive(Kind.ROUTES)
    await proxy.refuse(Kind.ROUTES, "edge", reason="x" * 4000)
    await until(server, lambda: bool(server.proxies()[0].refusals()))
    assert server.proxies()[0].refusals() == {"routes": "x" * 500}
    assert held(server, Kind.ROUTES, "edge") is TABLE, "it goes on with what it had"
    await proxy.nothing()
    assert server.proxies()[0].pending(Kind.ROUTES, "edge") is None
    server.publish(Snapshot(3, SNAPSHOT.clusters, SNAPSHOT.endpoints, routes={"edge": resource("edge", "blue")}))
    assert await proxy.receive(Kind.ROUTES) == {"edge"}


async def test_going_back_does_not_wait_for_clusters_that_were_refused(server, channel):
    proxy = await configured(server, channel)
    back = resource("edge", "blue")
    server.publish(Snapshot(2, {"blue": BLUE, "bad": resource("bad")}, SNAPSHOT.endpoints, routes={"edge": back}))
    await proxy.receive(Kind.CLUSTER)
    await proxy.refuse(Kind.CLUSTER)
    assert await proxy.receive(Kind.ROUTES) == {"edge"}


async def test_a_late_answer_to_an_earlier_response_accepts_nothing(server, channel):
    proxy = await configured(server, channel)
    old = proxy._received[Kind.ROUTES]
    newer = resource("edge", "blue")
    server.publish(Snapshot(2, SNAPSHOT.clusters, SNAPSHOT.endpoints, routes={"edge": newer}))
    await proxy.receive(Kind.ROUTES)
    await proxy.ask(Kind.ROUTES, "edge", version=old.version_info, nonce=old.nonce)
    await proxy.nothing()
    assert held(server, Kind.ROUTES, "edge") is TABLE
    await proxy.accept(Kind.ROUTES, "edge")
    await until(server, lambda: held(server, Kind.ROUTES, "edge") is newer)


async def test_a_proxy_that_comes_back_with_our_version_still_holds_it(server, channel):
    proxy = await configured(server, channel)
    versions = {kind: proxy.version(kind) for kind in (Kind.CLUSTER, Kind.ROUTES)}
    proxy.close()
    await until(server, lambda: server.proxies()[0].stream is None)
    again = Proxy(channel)
    await again.ask(Kind.CLUSTER, version=versions[Kind.CLUSTER])
    await again.receive(Kind.CLUSTER)
    await again.ask(Kind.ROUTES, "edge", version=versions[Kind.ROUTES])
    await until(server, lambda: server.proxies()[0].stream is not None)
    assert held(server, Kind.ROUTES, "edge") is TABLE
    assert len(server.proxies()) == 1


async def test_what_was_on_its_way_may_have_been_applied_until_the_proxy_says(server, channel):
    proxy = await configured(server, channel)
    versions = {kind: proxy.version(kind) for kind in (Kind.CLUSTER, Kind.ROUTES)}
    newer = resource("edge", "blue")
    server.publish(Snapshot(2, SNAPSHOT.clusters, SNAPSHOT.endpoints, routes={"edge": newer}))
    await proxy.receive(Kind.ROUTES)  # and its acknowledgement is lost
    server.publish(SNAPSHOT)
    proxy.close()
    await until(server, lambda: server.proxies()[0].stream is None)
    again = Proxy(channel)
    await again.ask(Kind.CLUSTER, version=versions[Kind.CLUSTER])
    await again.receive(Kind.CLUSTER)
    (seen,) = server.proxies()
    assert seen.pending(Kind.ROUTES, "edge") is newer, "it speaks of its clusters, and may route by either table"
    await again.ask(Kind.ROUTES, "edge", version=versions[Kind.ROUTES])
    await until(server, lambda: seen.pending(Kind.ROUTES, "edge") is not newer)
    assert held(server, Kind.ROUTES, "edge") is TABLE


async def test_a_new_process_of_the_same_name_holds_nothing(server, channel):
    proxy = await configured(server, channel)
    proxy.close()
    await until(server, lambda: server.proxies()[0].stream is None)
    again = Proxy(channel)
    await again.ask(Kind.CLUSTER)
    await again.receive(Kind.CLUSTER)
    assert held(server, Kind.ROUTES, "edge") is None
    assert server.proxies()[0].known(Kind.ROUTES)


async def test_what_an_earlier_control_plane_gave_is_unknown_and_left_alone(server, channel):
    server.publish(
        Snapshot(1, SNAPSHOT.clusters, SNAPSHOT.endpoints, routes=SNAPSHOT.routes, withheld=frozenset({"blue", "edge"}))
    )
    proxy = Proxy(channel)
    await proxy.ask(Kind.CLUSTER, version="earlier/7")
    await proxy.receive(Kind.CLUSTER)
    await proxy.accept(Kind.CLUSTER)
    await proxy.ask(Kind.ENDPOINTS, "blue", version="earlier/8")
    await proxy.ask(Kind.ROUTES, "edge", version="earlier/9")
    await proxy.nothing()
    assert not server.proxies()[0].known(Kind.ROUTES)
    server.publish(SNAPSHOT)
    assert await proxy.receive(Kind.ENDPOINTS) == {"blue"}
    await proxy.accept(Kind.ENDPOINTS, "blue")
    assert await proxy.receive(Kind.ROUTES) == {"edge"}
    await proxy.accept(Kind.ROUTES, "edge")
    await until(server, lambda: server.proxies()[0].known(Kind.ROUTES))


async def test_a_proxy_that_is_new_is_not_kept_waiting(server, channel):
    server.publish(
        Snapshot(1, SNAPSHOT.clusters, SNAPSHOT.endpoints, routes=SNAPSHOT.routes, withheld=frozenset({"blue", "edge"}))
    )
    proxy = Proxy(channel)
    await proxy.ask(Kind.ENDPOINTS, "blue")
    assert await proxy.receive(Kind.ENDPOINTS) == {"blue"}


@pytest.mark.parametrize("asks_first", [False, True], ids=["of itself", "when it is asked"])
async def test_who_was_replaced_tells_a_proxy_nothing_more(server, channel, fence, asks_first):
    """As one that was stopped, replaced and woken: what it has for the proxy may be a split of long ago."""
    proxy = await configured(server, channel)
    fence.is_closed = True
    if asks_first:
        await proxy.ask(Kind.LISTENER)
    else:
        server.publish(Snapshot(2, SNAPSHOT.clusters, SNAPSHOT.endpoints, routes={"edge": resource("edge", "blue")}))
    await proxy.is_hung_up_on()
    await until(server, lambda: server.proxies()[0].stream is None)
    assert held(server, Kind.ROUTES, "edge") is TABLE, "it goes on with what it had"


async def test_the_socket_is_ours_alone(server, tmp_path: Path):
    assert (tmp_path / "xds.sock").stat().st_mode & 0o777 == 0o600
