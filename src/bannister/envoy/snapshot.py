"""One whole, immutable set of resources: what every proxy should have.

A resource is compared by identity: whoever builds snapshots keeps the resources that did not change, so that one change is one new
resource and only that is sent. `about` is what the resource means in the builder's words, so that an acknowledged resource can be
read back without decoding it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from bannister.envoy.resources.names import CONTROL

_TYPE = "type.googleapis.com/envoy.config."


class Kind(Enum):
    """The kinds of resources, in the order in which a proxy must get them; the value is the type's URL."""

    CLUSTER = _TYPE + "cluster.v3.Cluster"
    ENDPOINTS = _TYPE + "endpoint.v3.ClusterLoadAssignment"
    LISTENER = _TYPE + "listener.v3.Listener"
    ROUTES = _TYPE + "route.v3.RouteConfiguration"

    @property
    def whole(self) -> bool:
        """A response holds all resources of the kind, and what is missing is removed; else it holds those that changed."""
        return self in (Kind.CLUSTER, Kind.LISTENER)


@dataclass(frozen=True, slots=True, eq=False)
class Resource:
    """One resource, ready to be sent."""

    name: str
    #: `google.protobuf.Any`.
    body: Any
    #: What it means, in the words of its maker.
    about: Any = None
    #: Clusters that it names.
    needs: frozenset[str] = frozenset()


class Inconsistent(AssertionError):
    """A snapshot that must not reach a proxy: a bug in its maker."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All resources, by kind and name."""

    #: Grows with every snapshot.
    version: int
    clusters: Mapping[str, Resource] = field(default_factory=dict)
    endpoints: Mapping[str, Resource] = field(default_factory=dict)
    listeners: Mapping[str, Resource] = field(default_factory=dict)
    routes: Mapping[str, Resource] = field(default_factory=dict)
    #: Endpoint lists and route tables that are not for a proxy which still serves what an earlier control plane gave it: the world is
    #: not yet observed well enough to do better.
    withheld: frozenset[str] = frozenset()

    def of(self, kind: Kind) -> Mapping[str, Resource]:
        match kind:
            case Kind.CLUSTER:
                return self.clusters
            case Kind.ENDPOINTS:
                return self.endpoints
            case Kind.LISTENER:
                return self.listeners
            case Kind.ROUTES:
                return self.routes

    def check(self) -> None:
        """Refuse what would lose requests.

        Raises:
            Inconsistent: A route names a cluster, or an endpoint list belongs to one, that the snapshot does not hold.
        """
        known = self.clusters.keys() | {CONTROL}
        for routes in self.routes.values():
            if missing := routes.needs - known:
                raise Inconsistent(f"Route table {routes.name} names clusters that do not exist: {sorted(missing)}.")
        if strays := self.endpoints.keys() - self.clusters.keys():
            raise Inconsistent(f"Endpoints without a cluster: {sorted(strays)}.")
