"""The way of a copy to a shadow: mirror, hop cluster, internal listener, group.

    edge route ── mirror ─▶ hop cluster (bounded) ─▶ internal listener ─▶ the shadow's group
                                                      └ whole body first, then the request; has its own access log

Envoy streams a copy while the request itself streams, and lets the slower of the two set the pace. So nothing on this way may push back before a whole
body fits: the hop's connections and the internal listener take `BUFFER_BYTES`, and the listener's buffer filter passes a request on only when its body is
complete. What the group does then (answering late, reading nothing, being gone) ends at the listener.

**Which group.** The mirror sets two headers on each copy, and only on the copy; the one route of the listener takes its cluster from the first. A third says of a stream
that it is one: its copy holds its place as long as the shadow sends, and at most as long as production's stream may last. What a
client sends under these names is overwritten on a copy, and taken off before any model sees it.

**The bound.** A shadow has two hop clusters, one for small bodies and one for large ones (and those without a Content-Length), so that a few large copies
cannot take the place of many small ones. Each has *places* for copies under way; a copy that finds none is not made, which Envoy counts (`upstream_rq_active_overflow`,
`upstream_rq_pending_overflow`). The bodies of one shadow's copies together hold at most

    shadow_requests_max x shadow_small_body_bytes_max + shadow_large_requests_max x invocation_body_bytes_max

bytes of the proxy's memory: with the default settings 128 MiB + 200 MiB, and in practice almost nothing, because an answer frees a copy, and so does its end after
`shadow_timeout_seconds`. A noise copy has hop clusters of its own, with an eighth of the places. The bodies of all copies to all shadows hold at most `shadow_bytes_max`: the publisher shares the places out
(`bannister.publisher.places`), and a cluster has none until it did.

A body is held once: it moves from the hop's connection to the buffer filter and from there to the connection to the group, where the kernel takes some of it off the proxy's hands
(measured: 3.9 MiB a connection, so all of a small body).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final, TypeAlias

from envoy.config.cluster.v3 import circuit_breaker_pb2, cluster_pb2
from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.config.core.v3 import address_pb2, base_pb2, protocol_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.http.buffer.v3 import buffer_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.transport_sockets.internal_upstream.v3 import internal_upstream_pb2
from envoy.extensions.transport_sockets.raw_buffer.v3 import raw_buffer_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from envoy.type.matcher.v3 import string_pb2
from google.protobuf import any_pb2, wrappers_pb2

from bannister.domain.routing import Forwarding, Mirror
from bannister.envoy.resources.clusters import PROTOCOL_OPTIONS, UNBOUNDED
from bannister.envoy.resources.listener import HEADERS_MAX, access_log, router
from bannister.envoy.resources.messages import fraction_of, packed, seconds, set_header
from bannister.envoy.resources.names import (
    COPY_GROUP_HEADER,
    COPY_KIND_HEADER,
    COPY_STREAM_HEADER,
    NOISE,
    SHADOW,
    SHADOW_LISTENER,
)
from bannister.envoy.resources.observing import latency_mark, observed_lengths, observer
from bannister.envoy.resources.streaming import cut_after_seconds
from bannister.settings import Settings

_Manager: TypeAlias = http_connection_manager_pb2.HttpConnectionManager

#: More than a whole body with its headers: what pushes back only above this never does.
_SLACK_BYTES: Final = 7 * 1024 * 1024
#: A copy has a few headers more than the request.
_ADDED_HEADERS_MAX: Final = 20
_HEADERS_KIB_MAX: Final = 96
#: Noise is measured with a small share of the requests.
_NOISE_PLACES_PART: Final = 8


class Size(StrEnum):
    """The two classes of copies, by their body."""

    SMALL = "small"
    #: Or of unknown length.
    LARGE = "large"


def hop_name(mirror: Mirror, size: Size) -> str:
    """The hop cluster. Telemetry reads the shadow's group out of it (`bannister.telemetry.skipped`)."""
    return f"{NOISE if mirror.noise else SHADOW}/{mirror.group}/{size}"


def hop_names(mirrors: Iterable[Mirror]) -> frozenset[str]:
    """Every hop cluster of these mirrors."""
    return frozenset(hop_name(mirror, size) for mirror in mirrors for size in Size)


def size_of(hop: str) -> Size:
    """Which copies take the way of this hop cluster."""
    return Size(hop.rpartition("/")[2])


def is_hop(cluster: str) -> bool:
    """Whether this is the name of a hop cluster; no group's name has a slash."""
    return "/" in cluster


def copied_to(forwarding: Forwarding) -> frozenset[str]:
    """Every cluster that the mirrors name: the hops, and the groups behind them."""
    return hop_names(forwarding.mirrors) | {mirror.group for mirror in forwarding.mirrors}


def places_max(size: Size, settings: Settings, *, noise: bool = False) -> int:
    """The most copies that may be under way on a hop cluster; fewer, where there are many shadows."""
    most = settings.shadow_requests_max if size is Size.SMALL else settings.shadow_large_requests_max
    return max(1, most // _NOISE_PLACES_PART) if noise else most


def place_bytes(size: Size, settings: Settings) -> int:
    """The most that the body of a copy may hold of the proxy's memory."""
    return settings.shadow_small_body_bytes_max if size is Size.SMALL else settings.invocation_body_bytes_max


def copies_bytes_max(settings: Settings) -> int:
    """The most that the bodies of one shadow's copies may hold of the proxy's memory; all shadows' together: `shadow_bytes_max`.

    What capturing may hold comes on top (`observing`).
    """
    own = sum(places_max(size, settings) * place_bytes(size, settings) for size in Size)
    return min(own, settings.shadow_bytes_max)


def mirror_policy(
    mirror: Mirror, size: Size, *, streamed: bool = False
) -> route_components_pb2.RouteAction.RequestMirrorPolicy:
    """Copy a share of a route's requests. `streamed`: their answers are streams."""
    headers = {COPY_GROUP_HEADER: mirror.group, COPY_KIND_HEADER: NOISE if mirror.noise else SHADOW}
    headers[COPY_STREAM_HEADER] = str(streamed).lower()
    return route_components_pb2.RouteAction.RequestMirrorPolicy(
        cluster=hop_name(mirror, size),
        runtime_fraction=fraction_of(mirror.parts),
        disable_shadow_host_suffix_append=True,
        request_headers_mutations=[
            mutation_rules_pb2.HeaderMutation(append=set_header(name, value)) for name, value in headers.items()
        ],
    )


def hop_cluster(mirror: Mirror, size: Size, settings: Settings) -> cluster_pb2.Cluster:
    """The bounded way to the internal listener."""
    name = hop_name(mirror, size)
    listener = address_pb2.EnvoyInternalAddress(server_listener_name=SHADOW_LISTENER, endpoint_id=name)
    endpoint = endpoint_components_pb2.LbEndpoint(
        endpoint=endpoint_components_pb2.Endpoint(address=address_pb2.Address(envoy_internal_address=listener))
    )
    return cluster_pb2.Cluster(
        name=name,
        type=cluster_pb2.Cluster.STATIC,
        connect_timeout=seconds(1.0),
        per_connection_buffer_limit_bytes=wrappers_pb2.UInt32Value(value=_buffer_bytes(settings)),
        circuit_breakers=circuit_breaker_pb2.CircuitBreakers(thresholds=[_no_places()]),
        load_assignment=endpoint_pb2.ClusterLoadAssignment(
            cluster_name=name,
            endpoints=[endpoint_components_pb2.LocalityLbEndpoints(lb_endpoints=[endpoint])],
        ),
        transport_socket=_internal(),
        typed_extension_protocol_options={PROTOCOL_OPTIONS: _http_options(settings)},
    )


def shadow_listener(settings: Settings) -> listener_pb2.Listener:
    """Where copies arrive. Constant, like the edge's."""
    manager = listener_components_pb2.Filter(
        name="envoy.filters.network.http_connection_manager", typed_config=packed(_manager(settings))
    )
    return listener_pb2.Listener(
        name=SHADOW_LISTENER,
        internal_listener=listener_pb2.Listener.InternalListenerConfig(),
        filter_chains=[listener_components_pb2.FilterChain(filters=[manager])],
        per_connection_buffer_limit_bytes=wrappers_pb2.UInt32Value(value=_buffer_bytes(settings)),
    )


def _manager(settings: Settings) -> _Manager:
    return _Manager(
        stat_prefix="shadow",
        codec_type=_Manager.HTTP1,
        route_config=_routes(settings),
        http_filters=[_whole_body(settings), observer(settings, disabled=False), router()],
        access_log=[access_log(settings, SHADOW_LISTENER, f"xds.route_name == '{SHADOW}'")],
        # A copy has the request's own id, by which their answers are found to belong together.
        generate_request_id=wrappers_pb2.BoolValue(value=False),
        use_remote_address=wrappers_pb2.BoolValue(value=False),
        skip_xff_append=True,
        max_request_headers_kb=wrappers_pb2.UInt32Value(value=_HEADERS_KIB_MAX),
        common_http_protocol_options=protocol_pb2.HttpProtocolOptions(
            idle_timeout=seconds(settings.downstream_idle_timeout_seconds),
            max_headers_count=wrappers_pb2.UInt32Value(value=HEADERS_MAX + _ADDED_HEADERS_MAX),
        ),
        stream_idle_timeout=seconds(settings.shadow_timeout_seconds),
    )


def _whole_body(settings: Settings) -> http_connection_manager_pb2.HttpFilter:
    most = wrappers_pb2.UInt32Value(value=_buffer_bytes(settings))
    return http_connection_manager_pb2.HttpFilter(
        name="envoy.filters.http.buffer", typed_config=packed(buffer_pb2.Buffer(max_request_bytes=most))
    )


def _routes(settings: Settings) -> route_pb2.RouteConfiguration:
    """By the headers that the mirror has set. A group that is gone is answered with an error that nobody reads.

    All are observed; by which way depends on the length of the body (`observing`).
    """
    noise, stream = _says(COPY_KIND_HEADER, NOISE), _says(COPY_STREAM_HEADER, "true")
    kinds: tuple[tuple[str, list[route_components_pb2.HeaderMatcher], float], ...] = (
        (NOISE, [noise, stream], cut_after_seconds(settings)),
        (SHADOW, [stream], cut_after_seconds(settings)),
        (NOISE, [noise], settings.shadow_timeout_seconds),
        (SHADOW, [], settings.shadow_timeout_seconds),
    )
    routes = [
        route_components_pb2.Route(
            name=name,
            match=route_components_pb2.RouteMatch(prefix="/", headers=[*kind, *length.headers]),
            route=route_components_pb2.RouteAction(cluster_header=COPY_GROUP_HEADER, timeout=seconds(timeout_seconds)),
            typed_per_filter_config=length.observed,
        )
        for name, kind, timeout_seconds in kinds
        for length in observed_lengths(settings)
    ]
    return route_pb2.RouteConfiguration(
        name=SHADOW_LISTENER,
        virtual_hosts=[route_components_pb2.VirtualHost(name="all", domains=["*"], routes=routes)],
        response_headers_to_add=[latency_mark()],
    )


def _says(header: str, value: str) -> route_components_pb2.HeaderMatcher:
    return route_components_pb2.HeaderMatcher(name=header, string_match=string_pb2.StringMatcher(exact=value))


def _no_places() -> circuit_breaker_pb2.CircuitBreakers.Thresholds:
    """Until the publisher gives it some (`Admin.set_places`): so many copies may then be under way, and as many may wait for the moment that a connection takes."""
    none, unbounded = wrappers_pb2.UInt32Value(), wrappers_pb2.UInt32Value(value=UNBOUNDED)
    return circuit_breaker_pb2.CircuitBreakers.Thresholds(
        max_connections=unbounded, max_pending_requests=none, max_requests=none, max_retries=none
    )


def _buffer_bytes(settings: Settings) -> int:
    return settings.invocation_body_bytes_max + _SLACK_BYTES


def _http_options(settings: Settings) -> any_pb2.Any:
    options = http_protocol_options_pb2.HttpProtocolOptions(
        common_http_protocol_options=protocol_pb2.HttpProtocolOptions(
            idle_timeout=seconds(settings.upstream_idle_timeout_seconds)
        )
    )
    options.explicit_http_config.http_protocol_options.SetInParent()
    return packed(options)


def _internal() -> base_pb2.TransportSocket:
    raw = base_pb2.TransportSocket(
        name="envoy.transport_sockets.raw_buffer", typed_config=packed(raw_buffer_pb2.RawBuffer())
    )
    return base_pb2.TransportSocket(
        name="envoy.transport_sockets.internal_upstream",
        typed_config=packed(internal_upstream_pb2.InternalUpstreamTransport(transport_socket=raw)),
    )
