"""When a proxy's word about an instance's health counts."""

from __future__ import annotations

from bannister.domain.routing import Members
from bannister.envoy.admin import HostStatus
from bannister.envoy.discovery import Proxy
from bannister.envoy.resources.names import ROUTE_TABLE
from bannister.envoy.snapshot import Kind, Resource
from bannister.envoy.subscription import Subscription
from bannister.errors import Unavailable
from bannister.publisher.sight import Sight, spares

ADDRESS = "127.0.0.1:1"
PUBLISHED = frozenset({"g"})

PENDING = 3


class Admin:
    def __init__(self, *, healthy: bool = True, answers: bool = True) -> None:
        self.healthy = healthy
        self.answers = answers

    async def clusters(self):
        if not self.answers:
            raise Unavailable("no")
        return {"g": {ADDRESS: HostStatus(self.healthy, 2)}}

    async def pending_requests(self, cluster):
        return PENDING if cluster == "g" else 0

    async def held_requests(self):
        return 0


def proxy_holding(*addresses: str) -> Proxy:
    proxy = Proxy("edge-1", stream=object())
    endpoints = Subscription(Kind.ENDPOINTS, names=PUBLISHED)
    endpoints.pending = {"g": Resource("g", None, Members(addresses))}
    proxy.acknowledgements += 1
    endpoints.acknowledge(proxy.acknowledgements)
    proxy.subscriptions[Kind.ENDPOINTS] = endpoints
    return proxy


async def seen(proxy: Proxy, admin: Admin) -> frozenset[str]:
    sight = Sight(lambda _node: admin)
    await sight.look([proxy])
    return sight.view(proxy, PUBLISHED).healthy["g"]


async def test_an_acknowledged_instance_that_the_proxy_sees_healthy_counts():
    assert await seen(proxy_holding(ADDRESS), Admin()) == {ADDRESS}


async def test_a_sick_one_does_not():
    assert await seen(proxy_holding(ADDRESS), Admin(healthy=False)) == frozenset()


async def test_one_that_is_not_in_the_acknowledged_list_does_not():
    assert await seen(proxy_holding(), Admin()) == frozenset()


async def test_a_proxy_that_does_not_answer_sees_nothing():
    assert await seen(proxy_holding(ADDRESS), Admin(answers=False)) == frozenset()


async def test_a_look_from_before_the_acknowledgement_says_nothing_about_the_list():
    proxy = proxy_holding(ADDRESS)
    sight = Sight(lambda _node: Admin())
    await sight.look([proxy])
    endpoints = proxy.subscriptions[Kind.ENDPOINTS]
    for addresses in ((), (ADDRESS,)):  # it goes and comes back under the same address
        endpoints.pending = {"g": Resource("g", None, Members(addresses))}
        proxy.acknowledgements += 1
        endpoints.acknowledge(proxy.acknowledgements)
    assert sight.view(proxy, PUBLISHED).healthy["g"] == frozenset()
    await sight.look([proxy])
    assert sight.view(proxy, PUBLISHED).healthy["g"] == {ADDRESS}


async def test_a_look_at_an_earlier_process_of_the_same_name_says_nothing():
    proxy = proxy_holding(ADDRESS)
    sight = Sight(lambda _node: Admin())
    await sight.look([proxy])
    proxy.stream = object()
    assert sight.view(proxy, PUBLISHED).healthy == {}


def test_routes_that_are_not_known_may_name_everything():
    proxy = Proxy("edge-1", {Kind.ROUTES: Subscription(Kind.ROUTES, held=None)})
    assert Sight(lambda _node: Admin()).view(proxy, PUBLISHED).routed == PUBLISHED


def test_routes_on_their_way_count_as_routed():
    routes = Subscription(Kind.ROUTES, held={ROUTE_TABLE: Resource(ROUTE_TABLE, None, {}, frozenset({"old"}))})
    routes.pending = {ROUTE_TABLE: Resource(ROUTE_TABLE, None, {}, frozenset({"new"}))}
    proxy = Proxy("edge-1", {Kind.ROUTES: routes})
    assert Sight(lambda _node: Admin()).view(proxy, PUBLISHED).routed == {"old", "new"}


async def test_requests_in_flight_are_added_up_over_proxies():
    proxies = [proxy_holding(ADDRESS), proxy_holding(ADDRESS)]
    assert await Sight(lambda _node: Admin()).active_requests(proxies, "g") == 4 + 2 * PENDING
    assert await Sight(lambda _node: Admin()).active_requests(proxies, "other") == 0


def test_a_list_that_an_earlier_control_plane_gave_may_hold_anybody():
    proxy = proxy_holding(ADDRESS)
    assert not spares(proxy, "g", ADDRESS)
    assert spares(proxy, "g", "127.0.0.1:2")
    endpoints = proxy.subscriptions[Kind.ENDPOINTS] = Subscription(
        Kind.ENDPOINTS, held=None, names=PUBLISHED | {"other"}, inherited=True
    )
    assert not spares(proxy, "g", "127.0.0.1:2")
    endpoints.pending = {"other": Resource("other", None, Members())}
    endpoints.acknowledge(1)  # of another group: of this one it still has what it came with
    assert not spares(proxy, "g", "127.0.0.1:2")
    endpoints.pending = {"g": Resource("g", None, Members((ADDRESS,)))}
    endpoints.acknowledge(2)
    assert spares(proxy, "g", "127.0.0.1:2")


async def test_requests_in_flight_are_those_of_all_proxies_or_of_none():
    one, other = proxy_holding(ADDRESS), Proxy("edge-2", stream=object())
    sight = Sight(lambda _node: Admin())
    assert sight.in_flight([one]) is None, "nobody has looked yet"
    await sight.look([one, other])
    assert sight.in_flight([one]) == {"g": {ADDRESS: 2}}
    assert sight.in_flight([one, other]) == {"g": {ADDRESS: 4}}
    silent = Sight(lambda node: Admin(answers=node == "edge-1"))
    await silent.look([one, other])
    assert silent.in_flight([one, other]) is None
