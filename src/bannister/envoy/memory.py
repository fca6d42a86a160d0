"""Proxies that are only pretended: they are told what to do by the same discovery service, and do it in memory.

For simulation, and for tests of what is above the proxies. All that decides what a proxy is sent, in which order, and what it has accepted
(`discovery`, `subscription`, `snapshot`) is the code that serves real proxies; only the proxy and the way to it differ. A `MemoryNetwork` outlives
the control plane, as Envoy does: give it to the next `MemoryDiscovery` and its proxies come back with what they have.

A proxy does as Envoy does: it applies responses in the order in which they come, answers each, asks for the endpoint lists of the clusters that it
was given and for the routes of its listener, checks the health of each instance on its own, and serves on without a control plane. A new cluster
is *warm*, and can be routed to, once its list has come and each instance in it was checked once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from typing import Any, Final

from bannister.clock import Clock
from bannister.domain.routing import Forwarding, Members, Mirror, Weight
from bannister.envoy.admin import Copies, HopStatus, HostStatus
from bannister.envoy.discovery import Discovery, Request, Response, Stream
from bannister.envoy.resources.names import LISTENER, ROUTE_TABLE
from bannister.envoy.resources.shadow import is_hop, place_bytes, size_of
from bannister.envoy.snapshot import Kind
from bannister.errors import Unavailable
from bannister.settings import Settings

_NOTHING: Final[Mapping[str, Forwarding]] = {}
_NO_ROUTE: Final = Forwarding()


def _at_once() -> float:
    return 0.0


def _never(_: Response) -> str | None:
    return None


@dataclass(slots=True)
class Conduct:
    """How a proxy behaves; lengths of time in seconds, asked for anew each time."""

    #: From sending a response to having applied it.
    apply_seconds: Callable[[], float] = _at_once
    #: From having applied it to the answer's arrival.
    answer_seconds: Callable[[], float] = _at_once
    #: From losing the stream, or not getting one, to the next attempt.
    reconnect_seconds: Callable[[], float] = lambda: 0.05
    #: To an instance's first health check.
    first_check_seconds: Callable[[], float] = lambda: 0.005
    #: Why it refuses a response; None: it accepts.
    refuses: Callable[[Response], str | None] = _never
    #: What its heap holds beside the bodies of copies, as a part of its bound.
    heap_share: Callable[[], float] = _at_once


class MemoryNetwork:
    """Where a discovery service listens, and the proxies that look for it."""

    def __init__(self, settings: Settings, answers: Callable[[str], bool]) -> None:
        """`answers` tells whether the instance at an address answers `/ping`."""
        self.settings = settings
        self.answers = answers
        self.proxies: dict[str, MemoryProxy] = {}
        self.listening: MemoryDiscovery | None = None

    def add(self, node: str, conduct: Conduct | None = None) -> MemoryProxy:
        """A proxy starts."""
        proxy = self.proxies[node] = MemoryProxy(node, self, conduct or Conduct())
        proxy.start()
        return proxy

    def listen(self, discovery: MemoryDiscovery) -> None:
        """Take the place of whoever listened before. Its streams stay until it hangs up, as those of a socket do whose path another one has taken."""
        self.listening = discovery

    def hang_up(self, discovery: MemoryDiscovery) -> None:
        """The streams of a discovery service end: it closed them, or its process is gone."""
        if self.listening is discovery:
            self.listening = None
        for proxy in self.proxies.values():
            proxy.lose(discovery)


class MemoryDiscovery(Discovery):
    """The discovery service of one control plane on a memory network."""

    def __init__(
        self, network: MemoryNetwork, lease_seconds: float, clock: Clock, expected: Iterable[str] = ()
    ) -> None:
        super().__init__(lease_seconds, clock, expected)
        self._network = network
        #: Its side of a stream runs in the context in which it was started.
        self.context = Context()

    async def start(self) -> None:
        """Listen. Proxies come by themselves."""
        self.context = copy_context()
        self._network.listen(self)
        self.listens()

    async def close(self) -> None:
        """Hang up. Proxies go on with what they have."""
        self._network.hang_up(self)


@dataclass(slots=True)
class _Host:
    address: str
    healthy: bool = False
    checked: bool = False
    misses: int = 0
    #: Requests in flight from before it (last) joined the list: they go on, and are not counted with it.
    uncounted: int = 0
    #: It gets nothing new.
    draining: bool = False
    #: It gets something only where no other can take it. (Envoy gives it a part already where most of the others are unhealthy.)
    stands_by: bool = False
    timer: asyncio.TimerHandle | None = None


@dataclass(slots=True)
class _Cluster:
    #: By address; None: the list has not come.
    hosts: dict[str, _Host] | None = None
    #: Once warm, it stays so, whoever joins it.
    warmed: bool = False

    @property
    def warm(self) -> bool:
        self.warmed = self.warmed or (self.hosts is not None and all(host.checked for host in self.hosts.values()))
        return self.warmed


@dataclass(slots=True)
class _Held:
    """What a proxy has applied: lost when its process ends."""

    clusters: dict[str, _Cluster] = field(default_factory=dict)
    listener: bool = False
    routes: Mapping[str, Forwarding] = field(default_factory=dict)
    versions: dict[Kind, str] = field(default_factory=dict)
    #: By hop cluster: how many copies may be under way.
    places: dict[str, int] = field(default_factory=dict)
    #: Whether the capture process is told of exchanges.
    observes: bool = True
    #: How many are; also of a hop that is gone, until they have ended.
    under_way: Counter[str] = field(default_factory=Counter)
    #: How many found no place.
    overflows: Counter[str] = field(default_factory=Counter)


class MemoryProxy:
    """One proxy. It lives in the context in which it was made, whoever talks to it."""

    def __init__(self, node: str, network: MemoryNetwork, conduct: Conduct) -> None:
        self.node = node
        self.conduct = conduct
        self.running = False
        self._network = network
        #: Whatever it does, it does in here.
        self.context = copy_context()
        self._held = _Held()
        self._line: _Line | None = None
        self._active: dict[str, int] = {}
        #: When its process started, by the loop's clock.
        self.started_at = 0.0
        #: How often it has applied something, for whoever watches.
        self.applied = 0

    # --- its process

    def start(self) -> None:
        """It starts with nothing, and looks for its control plane."""
        self.running = True
        self.started_at = asyncio.get_running_loop().time()
        self._later(0.0, self._connect)

    def end(self) -> None:
        """Its process ends: what it held and the requests in flight are gone."""
        self.running = False
        self.disconnect()
        for cluster in self._held.clusters.values():
            _forget(cluster)
        self._held = _Held()
        self._active.clear()

    # --- its connection

    @property
    def connected(self) -> bool:
        """Whether it has a stream with who listens now, and not still with one that was replaced."""
        return self._line is not None and self._line.discovery is self._network.listening

    @property
    def heard(self) -> bool:
        """Whether its control plane has heard of it since it connected."""
        return self._line is not None and self.connected and self._line.heard

    @property
    def owes_answers(self) -> bool:
        """Whether something that it was told, or an answer of it, is still on its way."""
        return self._line is not None and self._line.busy

    def disconnect(self) -> None:
        """The stream breaks, on both sides; it stays away until `reconnect`."""
        line, self._line = self._line, None
        if line is not None:
            line.close()

    def reconnect(self) -> None:
        """Look for a control plane again."""
        if self.running and self._line is None:
            self._later(self.conduct.reconnect_seconds(), self._connect)

    def lose(self, discovery: MemoryDiscovery) -> None:
        """Its control plane is gone; it looks for another."""
        if self._line is not None and self._line.discovery is discovery:
            self.disconnect()
            self.reconnect()

    def _connect(self) -> None:
        if not self.running or self._line is not None:
            return
        discovery = self._network.listening
        if discovery is None:
            self.reconnect()
            return
        self._line = line = _Line(discovery, self)
        for kind in Kind:
            if kind in (Kind.CLUSTER, Kind.LISTENER) or self._names(kind):
                line.ask(self._request(kind))

    def _request(self, kind: Kind, nonce: str = "", refusal: str | None = None) -> Request:
        return Request(kind, self.node, self._held.versions.get(kind, ""), nonce, self._names(kind), refusal)

    def _names(self, kind: Kind) -> frozenset[str]:
        match kind:
            case Kind.ENDPOINTS:
                return frozenset(name for name in self._held.clusters if not is_hop(name))
            case Kind.ROUTES:
                return frozenset({ROUTE_TABLE}) if self._held.listener else frozenset()
            case Kind.CLUSTER | Kind.LISTENER:
                return frozenset()

    # --- what it is told

    def receive(self, response: Response, line: _Line) -> None:
        """Apply a response, or refuse it, and answer."""
        if line is not self._line:
            return
        refusal = self.conduct.refuses(response)
        # What it asks for follows from its clusters and its listener.
        names = {kind: self._names(kind) for kind in (Kind.ENDPOINTS, Kind.ROUTES)} if response.kind.whole else {}
        if refusal is None:
            self._apply(response)
        line.nonces[response.kind] = response.version
        line.ask(self._request(response.kind, response.version, refusal))
        for kind, before in names.items():
            if self._names(kind) != before:
                line.ask(self._request(kind, line.nonces.get(kind, "")))

    def _apply(self, response: Response) -> None:
        held = self._held
        held.versions[response.kind] = response.version
        match response.kind:
            case Kind.CLUSTER:
                self._apply_clusters({one.name for one in response.resources})
            case Kind.ENDPOINTS:
                # Each draws its times, in an order that no set decides.
                for one in sorted(response.resources, key=attrgetter("name")):
                    if one.name in held.clusters:
                        self._apply_hosts(held.clusters[one.name], one.about)
            case Kind.LISTENER:
                held.listener = any(one.name == LISTENER for one in response.resources)
            case Kind.ROUTES:
                for one in response.resources:
                    held.routes = one.about
        self.applied += 1

    def _apply_clusters(self, names: set[str]) -> None:
        clusters = self._held.clusters
        for name in [name for name in clusters if name not in names]:
            _forget(clusters.pop(name))
        for name in sorted(names - clusters.keys()):
            clusters[name] = _Cluster()

    def _apply_hosts(self, cluster: _Cluster, members: Members) -> None:
        before, addresses = cluster.hosts or {}, (*members.rotation, *members.standby, *members.draining)
        for host in before.values():
            if host.address not in addresses:
                _stop_checking(host)
        cluster.hosts = {address: before.get(address) or self._new_host(address) for address in addresses}
        for host in cluster.hosts.values():
            host.draining = host.address in members.draining
            host.stands_by = host.address in members.standby

    # --- health

    def _new_host(self, address: str) -> _Host:
        host = _Host(address, uncounted=self._active.get(address, 0))
        host.timer = self._later(self.conduct.first_check_seconds(), self._check, host)
        return host

    def _check(self, host: _Host) -> None:
        settings = self._network.settings
        if self._network.answers(host.address):
            host.healthy, host.misses = True, 0
        else:
            host.misses += 1
            if not host.checked or host.misses >= settings.health_check_unhealthy_count:
                host.healthy = False
        host.checked = True
        host.timer = self._later(settings.health_check_interval_seconds, self._check, host)

    async def clusters(self) -> Mapping[str, Mapping[str, HostStatus]]:
        """As `bannister.envoy.admin.Admin.clusters`."""
        if not self.running:
            raise Unavailable(f"The proxy {self.node} does not run.")
        return {
            name: {
                host.address: HostStatus(host.healthy, self._active.get(host.address, 0) - host.uncounted)
                for host in cluster.hosts.values()
            }
            for name, cluster in self._held.clusters.items()
            if cluster.hosts is not None and cluster.warm
        }

    async def copies(self) -> Copies:
        """As `bannister.envoy.admin.Admin.copies`; every copy holds as much as it may."""
        if not self.running:
            raise Unavailable(f"The proxy {self.node} does not run.")
        places, under_way, settings = self._held.places, self._held.under_way, self._network.settings
        copied = sum(count * place_bytes(size_of(name), settings) for name, count in under_way.items())
        percent = int(100 * (self.conduct.heap_share() + copied / settings.proxy_heap_bytes_max))
        names = dict.fromkeys([*places, *under_way])
        return Copies(
            percent / 100, {one: HopStatus(places.get(one, 0), under_way[one]) for one in names}, self._held.observes
        )

    async def set_places(self, places: Mapping[str, int]) -> None:
        """As `bannister.envoy.admin.Admin.set_places`."""
        if not self.running:
            raise Unavailable(f"The proxy {self.node} does not run.")
        now = {**self._held.places, **places}
        self._held.places = {name: count for name, count in now.items() if count > 0}

    async def observe(self, *, on: bool) -> None:
        """As `bannister.envoy.admin.Admin.observe`."""
        if not self.running:
            raise Unavailable(f"The proxy {self.node} does not run.")
        self._held.observes = on

    @property
    def observes(self) -> bool:
        """Whether the capture process is told of exchanges that begin now."""
        return self._held.observes

    @property
    def places(self) -> Mapping[str, int]:
        """How many copies may be under way, by hop."""
        return self._held.places

    @property
    def under_way(self) -> Mapping[str, int]:
        """How many are, by hop."""
        return self._held.under_way

    @property
    def overflows(self) -> Mapping[str, int]:
        """How many found no place since it started, by hop."""
        return self._held.overflows

    def begin_copy(self, hop: str) -> Callable[[], None] | None:
        """A copy is to be made: what is to be called at its end; None: it found no place, and was not made."""
        held = self._held
        if held.under_way[hop] >= held.places.get(hop, 0):
            held.overflows[hop] += 1
            return None
        held.under_way[hop] += 1
        return partial(_end_copy, held.under_way, hop)

    async def pending_requests(self, cluster: str) -> int:
        """As `bannister.envoy.admin.Admin.pending_requests`: here a connection is there at once."""
        del cluster
        return 0

    async def held_requests(self) -> int:
        """As `bannister.envoy.admin.Admin.held_requests`: here bodies come whole."""
        return 0

    # --- requests

    def weights(self, endpoint: str) -> tuple[Weight, ...]:
        """The weights of the routes of an endpoint that it applies now; empty: it has none."""
        return self.forwardings().get(endpoint, _NO_ROUTE).weights

    def mirrors(self, endpoint: str) -> tuple[Mirror, ...]:
        """The copies that the routes of an endpoint make now."""
        return self.forwardings().get(endpoint, _NO_ROUTE).mirrors

    def routes(self) -> Mapping[str, tuple[Weight, ...]]:
        """All weights, by endpoint."""
        return {endpoint: one.weights for endpoint, one in self.forwardings().items()}

    def forwardings(self) -> Mapping[str, Forwarding]:
        """All that its routes do, by endpoint."""
        return self._held.routes if self.running and self._held.listener else _NOTHING

    def reachable(self, group: str) -> tuple[str, ...]:
        """The addresses to which it would send a request for a group now; empty: the caller would get an error."""
        cluster = self._held.clusters.get(group)
        if cluster is None or not cluster.warm:
            return ()
        able = [host for host in (cluster.hosts or {}).values() if host.healthy and not host.draining]
        return tuple(host.address for host in able if not host.stands_by) or tuple(host.address for host in able)

    def knows(self, group: str) -> bool:
        """Whether it has the cluster of a group, or a hop's."""
        return group in self._held.clusters

    def begin(self, address: str) -> None:
        """A request is in flight on an instance."""
        self._active[address] = self._active.get(address, 0) + 1

    def finish(self, address: str) -> None:
        """One that was is no longer; the oldest end first."""
        for cluster in self._held.clusters.values():
            host = (cluster.hosts or {}).get(address)
            if host is not None and host.uncounted > 0:
                host.uncounted -= 1
        if self._active.get(address, 0) <= 1:
            self._active.pop(address, None)
        else:
            self._active[address] -= 1

    def in_flight(self, address: str) -> int:
        return self._active.get(address, 0)

    def counted(self, address: str) -> int:
        """Of those, the ones that it tells of: none of an instance that has left its lists, or from before it came back."""
        hosts = [(cluster.hosts or {}).get(address) for cluster in self._held.clusters.values()]
        return sum(self._active.get(address, 0) - host.uncounted for host in hosts if host is not None)

    def _later(self, delay_seconds: float, do: Callable[..., object], *about: object) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(delay_seconds, do, *about, context=self.context.copy())


class _Line:
    """One stream, from both ends; what is said on it arrives in order."""

    def __init__(self, discovery: MemoryDiscovery, proxy: MemoryProxy) -> None:
        self.discovery = discovery
        self.nonces: dict[Kind, str] = {}
        self._proxy = proxy
        self._open = True
        self._heard = False
        self._stream: Stream | None = None
        self._sender: asyncio.Task[None] | None = None
        self._next_response_at = self._next_request_at = 0.0
        self._at_server(0.0, self._accepted)

    def ask(self, request: Request) -> None:
        """The proxy says something."""
        self._next_request_at = self._at_server(
            self._proxy.conduct.answer_seconds(), self._asked, request, not_before=self._next_request_at
        )

    def close(self) -> None:
        """The connection breaks."""
        self._open = False
        self._at_server(0.0, self._ended)

    @property
    def heard(self) -> bool:
        return self._heard

    @property
    def busy(self) -> bool:
        return max(self._next_response_at, self._next_request_at) >= asyncio.get_running_loop().time()

    # --- at the server

    def _accepted(self) -> None:
        if self._open:
            self._stream = self.discovery.open(self._write)
            self._sender = asyncio.get_running_loop().create_task(self._stream.send())

    def _asked(self, request: Request) -> None:
        if self._open and self._stream is not None:
            self._heard = True
            self._stream.receive(request)

    async def _write(self, response: Response) -> None:
        loop = asyncio.get_running_loop()
        at = max(loop.time() + self._proxy.conduct.apply_seconds(), self._next_response_at)
        self._next_response_at = at
        loop.call_at(at, self._proxy.receive, response, self, context=self._proxy.context.copy())

    def _ended(self) -> None:
        if self._sender is not None and self._stream is not None:
            self._sender.cancel()
            self._stream.close()

    def _at_server(
        self, delay_seconds: float, do: Callable[..., Any], *about: object, not_before: float = 0.0
    ) -> float:
        loop = asyncio.get_running_loop()
        at = max(loop.time() + delay_seconds, not_before)
        loop.call_at(at, do, *about, context=self.discovery.context.copy())
        return at


def _end_copy(under_way: Counter[str], hop: str) -> None:
    under_way[hop] -= 1
    if under_way[hop] == 0:
        del under_way[hop]


def _forget(cluster: _Cluster) -> None:
    for host in (cluster.hosts or {}).values():
        _stop_checking(host)


def _stop_checking(host: _Host) -> None:
    if host.timer is not None:
        host.timer.cancel()
