"""EDS: the addresses of a group's instances. A group without instances has an empty list, never no resource."""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.core.v3 import address_pb2, base_pb2
from envoy.config.core.v3 import health_check_pb2 as health_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2

from bannister.domain.routing import Members
from bannister.envoy.resources.messages import socket_address


def group_endpoints(group: str, members: Members) -> endpoint_pb2.ClusterLoadAssignment:
    """The instances that take the group's traffic, of equal weight; those that stand by get what they cannot take, those that drain get nothing new."""
    priorities = [
        _locality([*_endpoints(members.rotation), *_endpoints(members.draining, health_pb2.DRAINING)], 0),
        _locality(_endpoints(members.standby), 1),
    ]
    return endpoint_pb2.ClusterLoadAssignment(
        cluster_name=group, endpoints=[one for one in priorities if one.lb_endpoints]
    )


def _endpoints(
    addresses: Iterable[str], health: health_pb2.HealthStatus = health_pb2.UNKNOWN
) -> list[endpoint_components_pb2.LbEndpoint]:
    return [
        endpoint_components_pb2.LbEndpoint(
            endpoint=endpoint_components_pb2.Endpoint(address=_socket_address(address)), health_status=health
        )
        for address in addresses
    ]


def _socket_address(address: str) -> address_pb2.Address:
    host, _, port = address.rpartition(":")
    return socket_address(host, int(port))


def _locality(
    hosts: list[endpoint_components_pb2.LbEndpoint], priority: int
) -> endpoint_components_pb2.LocalityLbEndpoints:
    return endpoint_components_pb2.LocalityLbEndpoints(
        locality=base_pb2.Locality(zone="local"), lb_endpoints=hosts, priority=priority
    )
