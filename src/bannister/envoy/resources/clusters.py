"""CDS: one cluster per group of instances.

What each choice is for:

* `update_merge_window` 0 and a short first health check: a new instance is usable about 40 ms after it is published, not a second later.
* `healthy_panic_threshold` 1 %: an unhealthy instance gets no requests, unless all are unhealthy: pings that are late on an overloaded machine
  must not turn away requests that a model would still answer.
* An instance leaves at once when it is no longer published, whatever its health; requests in flight on it are finished.
* Idle connections are closed before a model server would close them, so that no request meets a closing connection.
* Envoy's default circuit breakers (1,024 of each) would refuse requests that a model could take. Only connections are bounded: requests
  beyond them wait in Envoy, where waiting is cheap, and not as threads of a model server.
* The model sees the request's documented headers, and the caller the answer's (`headers`): the rest is taken off here, on the way to the model at the last
  moment and on the way back at the first, so that routes and logs still see all of the request, and what we add to an answer stays.
* Where a model has paths of its own (`Paths`), its cluster knows them: it is pinged there, and the path of a request, which every route has made `/invocations`,
  becomes the model's at the last moment. So whatever brings a request to a group (a share, a session, a stream, a copy) brings it to the right path.
"""

from __future__ import annotations

from envoy.config.cluster.v3 import circuit_breaker_pb2, cluster_pb2
from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.config.core.v3 import extension_pb2, health_check_pb2, protocol_pb2
from envoy.extensions.filters.http.header_mutation.v3 import header_mutation_pb2
from envoy.extensions.filters.http.upstream_codec.v3 import upstream_codec_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.load_balancing_policies.least_request.v3 import least_request_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from envoy.type.matcher.v3 import regex_pb2, string_pb2
from google.protobuf import any_pb2, wrappers_pb2

from bannister.domain.fleet import PLAIN, RoutingStrategy, Traits
from bannister.domain.model import CONTRACT
from bannister.envoy.resources.headers import not_for_the_caller, not_for_the_model
from bannister.envoy.resources.lua import lua_filter
from bannister.envoy.resources.messages import from_ads, header_if_absent, packed, seconds
from bannister.settings import Settings

#: As good as none: what bounds the requests in flight is the number of client connections.
UNBOUNDED = 1_000_000
_ANY_STATUS = health_check_pb2.HealthStatusSet(
    statuses=[health_check_pb2.UNKNOWN, health_check_pb2.HEALTHY, health_check_pb2.DEGRADED, health_check_pb2.UNHEALTHY]
)
#: AWS gives the container this where the caller sent no Content-Type.
DEFAULT_CONTENT_TYPE = "application/octet-stream"

_FIRST_CHECK_JITTER_SECONDS = 0.005
_OWN_PATH = "bannister.own_path"
PROTOCOL_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def group_cluster(group: str, settings: Settings, traits: Traits = PLAIN) -> cluster_pb2.Cluster:
    """The cluster of a group; its instances come by EDS.

    Args:
        group: The cluster's name.
        settings: Time-outs and bounds.
        traits: How its instances share its requests (where nothing is said: the less busy of two that are drawn), and where they answer.
    """
    strategy = traits.routing
    at_random = strategy is RoutingStrategy.RANDOM
    return cluster_pb2.Cluster(
        name=group,
        type=cluster_pb2.Cluster.EDS,
        eds_cluster_config=cluster_pb2.Cluster.EdsClusterConfig(eds_config=from_ads()),
        lb_policy=cluster_pb2.Cluster.RANDOM if at_random else cluster_pb2.Cluster.LEAST_REQUEST,
        load_balancing_policy=_fewest() if strategy is RoutingStrategy.LEAST_OUTSTANDING_REQUESTS else None,
        connect_timeout=seconds(settings.upstream_connect_timeout_seconds),
        circuit_breakers=_no_breakers(settings.upstream_connections_max),
        common_lb_config=cluster_pb2.Cluster.CommonLbConfig(
            update_merge_window=seconds(0),
            healthy_panic_threshold={"value": 1.0},
            close_connections_on_host_set_change=False,
            # A session goes to the instance that holds it also where that is late with its pings, or to none.
            override_host_status=_ANY_STATUS,
        ),
        ignore_health_on_host_removal=True,
        health_checks=[_ping(settings, traits.paths.ping)],
        typed_extension_protocol_options={PROTOCOL_OPTIONS: _http_options(settings, traits.paths.invocations)},
    )


def _fewest() -> cluster_pb2.LoadBalancingPolicy:
    """All instances are looked at, not two of them."""
    scan = least_request_pb2.LeastRequest(selection_method=least_request_pb2.LeastRequest.FULL_SCAN)
    policy = extension_pb2.TypedExtensionConfig(
        name="envoy.load_balancing_policies.least_request", typed_config=packed(scan)
    )
    return cluster_pb2.LoadBalancingPolicy(
        policies=[cluster_pb2.LoadBalancingPolicy.Policy(typed_extension_config=policy)]
    )


def _no_breakers(connections_max: int = UNBOUNDED) -> circuit_breaker_pb2.CircuitBreakers:
    unbounded = wrappers_pb2.UInt32Value(value=UNBOUNDED)
    connections = wrappers_pb2.UInt32Value(value=connections_max)
    thresholds = circuit_breaker_pb2.CircuitBreakers.Thresholds(
        max_connections=connections, max_pending_requests=unbounded, max_requests=unbounded, max_retries=unbounded
    )
    return circuit_breaker_pb2.CircuitBreakers(thresholds=[thresholds])


def _ping(settings: Settings, path: str) -> health_check_pb2.HealthCheck:
    interval = seconds(settings.health_check_interval_seconds)
    return health_check_pb2.HealthCheck(
        timeout=seconds(settings.ping_timeout_seconds),
        interval=interval,
        no_traffic_interval=interval,
        initial_jitter=seconds(_FIRST_CHECK_JITTER_SECONDS),
        unhealthy_threshold=wrappers_pb2.UInt32Value(value=settings.health_check_unhealthy_count),
        healthy_threshold=wrappers_pb2.UInt32Value(value=1),
        http_health_check=health_check_pb2.HealthCheck.HttpHealthCheck(path=path),
    )


def _http_options(settings: Settings, path: str) -> any_pb2.Any:
    own_path = [] if path == CONTRACT.invocations else [lua_filter(_OWN_PATH, "own_path.lua", "MODEL", {"path": path})]
    options = http_protocol_options_pb2.HttpProtocolOptions(
        common_http_protocol_options=protocol_pb2.HttpProtocolOptions(
            idle_timeout=seconds(settings.upstream_idle_timeout_seconds)
        ),
        http_filters=[_strip_headers(), *own_path, _codec()],
    )
    options.explicit_http_config.http_protocol_options.SetInParent()
    return packed(options)


def _strip_headers() -> http_connection_manager_pb2.HttpFilter:
    default = mutation_rules_pb2.HeaderMutation(append=header_if_absent("content-type", DEFAULT_CONTENT_TYPE))
    mutation = header_mutation_pb2.HeaderMutation(
        mutations=header_mutation_pb2.Mutations(
            request_mutations=[_remove(not_for_the_model()), default],
            response_mutations=[_remove(not_for_the_caller())],
        )
    )
    return http_connection_manager_pb2.HttpFilter(
        name="envoy.filters.http.header_mutation", typed_config=packed(mutation)
    )


def _remove(pattern: str) -> mutation_rules_pb2.HeaderMutation:
    matcher = string_pb2.StringMatcher(safe_regex=regex_pb2.RegexMatcher(regex=pattern))
    return mutation_rules_pb2.HeaderMutation(
        remove_on_match=mutation_rules_pb2.HeaderMutation.RemoveOnMatch(key_matcher=matcher)
    )


def _codec() -> http_connection_manager_pb2.HttpFilter:
    return http_connection_manager_pb2.HttpFilter(
        name="envoy.filters.http.upstream_codec", typed_config=packed(upstream_codec_pb2.UpstreamCodec())
    )
