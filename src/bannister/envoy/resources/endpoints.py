"""EDS: the addresses of a group's instances. A group without instances has an empty list, never no resource."""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.core.v3 import base_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2

from bannister.envoy.resources.messages import socket_address


def group_endpoints(
    group: str, addresses: Iterable[tuple[str, int]], standby: Iterable[tuple[str, int]] = ()
) -> endpoint_pb2.ClusterLoadAssignment:
    """The instances that take the group's traffic, of equal weight; those that stand by get what they cannot take."""
    priorities = [_locality(addresses, 0), _locality(standby, 1)]
    return endpoint_pb2.ClusterLoadAssignment(
        cluster_name=group, endpoints=[one for one in priorities if one.lb_endpoints]
    )


def _locality(addresses: Iterable[tuple[str, int]], priority: int) -> endpoint_components_pb2.LocalityLbEndpoints:
    hosts = [
        endpoint_components_pb2.LbEndpoint(
            endpoint=endpoint_components_pb2.Endpoint(address=socket_address(host, port))
        )
        for host, port in addresses
    ]
    return endpoint_components_pb2.LocalityLbEndpoints(
        locality=base_pb2.Locality(zone="local"), lb_endpoints=hosts, priority=priority
    )
