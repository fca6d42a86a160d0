"""What each registered proxy confirms: acknowledged resources, joined with which instances it sees healthy.

Health is asked from the proxies' admin sockets. An answer counts for an endpoint list only if it was asked for after the proxy had
acknowledged that list; otherwise an instance that just came back under its old address could pass for healthy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from bannister.envoy.admin import HostStatus
from bannister.envoy.discovery import Proxy
from bannister.envoy.resources.names import ROUTE_TABLE
from bannister.envoy.snapshot import Kind
from bannister.errors import Unavailable
from bannister.publisher.planning import ProxyView

Clusters = Mapping[str, Mapping[str, HostStatus]]


class Admin(Protocol):
    """What is asked of one proxy."""

    async def clusters(self) -> Clusters:
        """By cluster and `host:port`: every instance of the clusters that are in use. Raises `Unavailable`: no answer."""
        ...

    async def pending_requests(self, cluster: str) -> int:
        """Requests for a cluster that wait for a connection. Raises `Unavailable`: no answer."""
        ...

    async def held_requests(self) -> int:
        """Requests that were given to no cluster yet, more or less. Raises `Unavailable`: no answer."""
        ...


@dataclass(frozen=True, slots=True)
class _Look:
    #: The stream and the proxy's count of acknowledgements when it was asked.
    stream: object
    as_of: int
    clusters: Clusters
    answered: bool = True


@dataclass(frozen=True, slots=True)
class _Seen:
    """A view, and what it was made of."""

    proxy: Proxy
    changes: int
    look: _Look | None
    published: frozenset[str]
    view: ProxyView


class Sight:
    """The last look at each proxy."""

    def __init__(self, admin_of: Callable[[str], Admin]) -> None:
        self._admin_of = admin_of
        self._looks: dict[str, _Look] = {}
        self._seen: dict[str, _Seen] = {}

    async def look(self, proxies: Sequence[Proxy]) -> None:
        """Ask every proxy now. One that does not answer is seen without healthy instances."""
        looks = {}
        for proxy in proxies:
            stream, as_of = proxy.stream, proxy.acknowledgements
            try:
                looks[proxy.node] = _Look(stream, as_of, await self._admin_of(proxy.node).clusters())
            except Unavailable:
                looks[proxy.node] = _Look(stream, as_of, {}, answered=False)
        self._looks = looks

    def view(self, proxy: Proxy, published: frozenset[str]) -> ProxyView:
        """What this proxy has confirmed; where its routes are not known, it may route to all that is `published`."""
        look, seen = self._looks.get(proxy.node), self._seen.get(proxy.node)
        if (
            seen is not None
            and (seen.proxy is proxy and seen.changes == proxy.changes)
            and (seen.look is look and seen.published is published)
        ):
            return seen.view
        view = self._view(proxy, look, published)
        self._seen[proxy.node] = _Seen(proxy, proxy.changes, look, published, view)
        return view

    def _view(self, proxy: Proxy, look: _Look | None, published: frozenset[str]) -> ProxyView:
        current = look is not None and look.stream is proxy.stream
        healthy = {group: self._healthy(proxy, look, group) for group in published} if look and current else {}
        return ProxyView(healthy, published if not proxy.known(Kind.ROUTES) else routed_groups(proxy))

    def _healthy(self, proxy: Proxy, look: _Look, group: str) -> frozenset[str]:
        members = proxy.held(Kind.ENDPOINTS, group)
        if members is None or proxy.held_since(Kind.ENDPOINTS, group) > look.as_of:
            return frozenset()
        seen = look.clusters.get(group, {})
        return frozenset(address for address in members.about.rotation if address in seen and seen[address].healthy)

    def in_flight(self, proxies: Sequence[Proxy]) -> dict[str, dict[str, int]] | None:
        """By cluster and `host:port`, requests in flight over these proxies, as of the last look; None: one of them did not answer."""
        found: dict[str, dict[str, int]] = {}
        for proxy in proxies:
            look = self._looks.get(proxy.node)
            if look is None or not look.answered:
                return None
            for group, hosts in look.clusters.items():
                of_group = found.setdefault(group, {})
                for address, host in hosts.items():
                    of_group[address] = of_group.get(address, 0) + host.active_requests
        return found

    async def active_requests(self, proxies: Sequence[Proxy], group: str, address: str | None = None) -> int:
        """Requests in flight on a group, asked now from every proxy: those on an instance, and those that wait for a connection to one.

        Args:
            proxies: Which to ask.
            group: On which group.
            address: Only those on this instance, and those that wait for any.

        Raises:
            Unavailable: A proxy that is connected does not answer.
        """
        total = 0
        for proxy in proxies:
            try:
                # Those that wait first: in between they may only become those on an instance.
                total += await self._admin_of(proxy.node).pending_requests(group)
                clusters = await self._admin_of(proxy.node).clusters()
            except Unavailable:
                if proxy.stream is not None:
                    raise
                continue  # its process has ended, and with it all that was in flight
            hosts = clusters.get(group, {})
            total += sum(host.active_requests for at, host in hosts.items() if address in (None, at))
        return total

    async def held_requests(self, proxy: Proxy) -> int:
        """Requests that a proxy has given to nobody yet, as far as one look can tell. Raises `Unavailable`: it is connected and does not answer."""
        try:
            return await self._admin_of(proxy.node).held_requests()
        except Unavailable:
            if proxy.stream is not None:
                raise
            return 0


def spares(proxy: Proxy, group: str, address: str) -> bool:
    """Whether the proxy sends an instance no new requests, now and when it has applied what is on its way."""
    if not proxy.known(Kind.ENDPOINTS) or proxy.inherited(Kind.ENDPOINTS, group):
        return False
    held, pending = proxy.held(Kind.ENDPOINTS, group), proxy.pending(Kind.ENDPOINTS, group)
    return not any(
        address in one.about.rotation or address in one.about.standby for one in (held, pending) if one is not None
    )


def routed_groups(proxy: Proxy) -> frozenset[str]:
    """Groups that the proxy's routes name, or will when it applies what is on its way to it."""
    held, pending = proxy.held(Kind.ROUTES, ROUTE_TABLE), proxy.pending(Kind.ROUTES, ROUTE_TABLE)
    return frozenset[str]().union(*(one.needs for one in (held, pending) if one is not None))
