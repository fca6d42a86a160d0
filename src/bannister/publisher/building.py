"""Makes snapshots out of publications, and makes again only what changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from bannister.domain.fleet import PLAIN, Traits
from bannister.domain.routing import Forwarding, Members, Mirror
from bannister.domain.runtime_texts import RuntimeTexts
from bannister.envoy.resources.clusters import group_cluster
from bannister.envoy.resources.endpoints import group_endpoints
from bannister.envoy.resources.listener import edge_listener
from bannister.envoy.resources.messages import packed
from bannister.envoy.resources.names import LISTENER, ROUTE_TABLE, SHADOW_LISTENER
from bannister.envoy.resources.routes import EndpointRoutes, clusters_named, route_table
from bannister.envoy.resources.shadow import Size, hop_cluster, hop_name, shadow_listener
from bannister.envoy.snapshot import Resource, Snapshot
from bannister.publisher.planning import Publication
from bannister.settings import Settings


class Messages(Protocol):
    """What resources hold for a proxy, beside what they are about."""

    def listeners(self) -> dict[str, Any]: ...

    def cluster(self, group: str, traits: Traits) -> Any: ...

    def hop(self, mirror: Mirror, size: Size) -> Any: ...

    def members(self, group: str, members: Members) -> Any: ...

    def route_table(self, forwardings: Mapping[str, Forwarding]) -> Any: ...


class EnvoyMessages:
    """Envoy's; the routes of an endpoint are made again only when its forwarding changes."""

    def __init__(self, settings: Settings, texts: RuntimeTexts) -> None:
        self._settings = settings
        self._texts = texts
        self._routes = EndpointRoutes(settings, texts)
        self._tree: dict[str, tuple[Forwarding, dict[str, bytes]]] = {}

    def listeners(self) -> dict[str, Any]:
        return {
            LISTENER: packed(edge_listener(self._settings, self._texts)),
            SHADOW_LISTENER: packed(shadow_listener(self._settings)),
        }

    def cluster(self, group: str, traits: Traits) -> Any:
        return packed(group_cluster(group, self._settings, traits))

    def hop(self, mirror: Mirror, size: Size) -> Any:
        return packed(hop_cluster(mirror, size, self._settings))

    def members(self, group: str, members: Members) -> Any:
        return packed(group_endpoints(group, members))

    def route_table(self, forwardings: Mapping[str, Forwarding]) -> Any:
        self._tree = {endpoint: self._tree_entries(endpoint, one) for endpoint, one in forwardings.items()}
        entries = [one for _, some in self._tree.values() for one in some.items()]
        return packed(route_table(dict(entries)))

    def _tree_entries(self, endpoint: str, forwarding: Forwarding) -> tuple[Forwarding, dict[str, bytes]]:
        known = self._tree.get(endpoint)
        if known is not None and known[0] == forwarding:
            return known
        return forwarding, self._routes.tree_entries(endpoint, forwarding)


class SnapshotBuilder:
    """Turns publications into snapshots; the resources, and whole kinds, that did not change stay the same objects."""

    def __init__(self, messages: Messages) -> None:
        self._messages = messages
        listeners = messages.listeners()
        self._last = Snapshot(version=0, listeners={name: Resource(name, one) for name, one in listeners.items()})

    def build(self, publication: Publication, withheld: frozenset[str], traits: Mapping[str, Traits]) -> Snapshot:
        """The next snapshot. `traits`: of groups that are out of the ordinary; a cluster that is there stays as it was made."""
        last = self._last
        self._last = Snapshot(
            version=last.version + 1,
            clusters=_same_if_equal(last.clusters, self._clusters(publication, traits)),
            endpoints=_same_if_equal(last.endpoints, self._endpoints(publication)),
            listeners=last.listeners,
            routes=self._route_tables(publication.forwardings()),
            withheld=withheld,
        )
        return self._last

    def _clusters(self, publication: Publication, traits: Mapping[str, Traits]) -> dict[str, Resource]:
        known = self._last.clusters
        groups = {
            group: known.get(group) or Resource(group, self._messages.cluster(group, traits.get(group, PLAIN)))
            for group in publication.rotation
        }
        hops = {hop_name(mirror, size): (mirror, size) for mirror in publication.hops for size in Size}
        return groups | {
            name: known.get(name) or Resource(name, self._messages.hop(mirror, size))
            for name, (mirror, size) in hops.items()
        }

    def _endpoints(self, publication: Publication) -> dict[str, Resource]:
        return {group: self._members(group, publication.members(group)) for group in publication.rotation}

    def _members(self, group: str, members: Members) -> Resource:
        known = self._last.endpoints.get(group)
        if known is not None and known.about == members:
            return known
        return Resource(group, self._messages.members(group, members), members)

    def _route_tables(self, forwardings: Mapping[str, Forwarding]) -> Mapping[str, Resource]:
        known = self._last.routes.get(ROUTE_TABLE)
        if known is not None and known.about == forwardings:
            return self._last.routes
        needs = frozenset[str]().union(*map(clusters_named, forwardings.values()))
        return {ROUTE_TABLE: Resource(ROUTE_TABLE, self._messages.route_table(forwardings), dict(forwardings), needs)}


def _same_if_equal(last: Mapping[str, Resource], now: Mapping[str, Resource]) -> Mapping[str, Resource]:
    return last if last == now else now
