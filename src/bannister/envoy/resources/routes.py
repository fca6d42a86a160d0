"""RDS: which request goes where.

One table for everything, found by prefix tree, so that its cost does not grow with the number of endpoints:

    foreign Host header                       the control plane, which refuses it
    GET /-/heartbeat                          answered here
    POST /endpoints/NAME/invocations          the endpoint's groups, by weight
    everything else                           the control plane, unlimited in size and time: uploads to s3:// stream through

An invocation of a known endpoint is recognised exactly: method, whole path, no foreign `Origin` (the control plane refuses those), not signed for
S3 (a bucket may be called `endpoints`). Paths are never normalised, because S3 keys are taken raw. Within an endpoint the first match counts:

    body too large by its Content-Length      413
    TargetVariant names a variant             that variant's groups, in the ratio of their parts
    TargetVariant names nothing we know       400
    otherwise                                 all groups, by their parts

A body without Content-Length can only be limited by counting it, which the buffer filter does; each forwarding route is therefore there twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.http.buffer.v3 import buffer_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2
from envoy.extensions.retry.priority.previous_priorities.v3 import previous_priorities_config_pb2
from envoy.type.matcher.v3 import http_inputs_pb2, regex_pb2, string_pb2
from envoy.type.v3 import range_pb2
from google.protobuf import wrappers_pb2
from xds.core.v3 import extension_pb2
from xds.type.matcher.v3 import matcher_pb2

from bannister.domain.routing import Weight
from bannister.domain.runtime_texts import Reply, RuntimeTexts
from bannister.envoy.resources.messages import header_if_absent, metadata, packed, seconds, set_header
from bannister.envoy.resources.names import (
    API,
    CONTROL,
    ERROR_TYPE_HEADER,
    HEARTBEAT,
    HEARTBEAT_PATH,
    INVOCATION,
    METADATA,
    REFUSAL,
    REQUEST_ID_HEADER,
    ROUTE_TABLE,
    TARGET_VARIANT_HEADER,
    VARIANT_HEADER,
)
from bannister.settings import Settings

#: Names by which a client on this machine may call us, with any port.
LOCAL_HOSTS = ("localhost", "*.localhost", "127.0.0.1", "[::1]")
#: Where a page of this machine comes from.
LOCAL_ORIGIN = r"(?i)https?://(([a-z0-9._-]+\.)?localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?"

_INT64_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Share:
    """One group's part of what a route forwards."""

    group: str
    variant: str
    parts: int


def weighted_shares(weights: Iterable[Weight]) -> tuple[Share, ...]:
    """How requests that name no variant are shared: the groups with parts."""
    return tuple(Share(one.group, one.variant, one.parts) for one in weights if one.parts > 0)


def variant_shares(weights: Iterable[Weight]) -> dict[str, tuple[Share, ...]]:
    """How requests that name a variant are shared, by variant: in the ratio of its groups' parts.

    A variant whose groups all have no parts can still be named (AWS allows weight 0): its first group, which is blue's where there are
    two, takes all.
    """
    by_variant: dict[str, list[Weight]] = {}
    for one in weights:
        by_variant.setdefault(one.variant, []).append(one)
    return {
        variant: weighted_shares(groups) or (Share(groups[0].group, variant, 1),)
        for variant, groups in by_variant.items()
    }


@lru_cache(maxsize=1024)  # asked again for the same few weights at every turn of a loop
def groups_named(weights: tuple[Weight, ...]) -> frozenset[str]:
    """Every group that an endpoint's routes name."""
    if not weighted_shares(weights):
        return frozenset()
    named = {share.group for share in weighted_shares(weights)}
    for shares in variant_shares(weights).values():
        named |= {share.group for share in shares}
    return frozenset(named)


class EndpointRoutes:
    """Makes the routes of one endpoint at a time. What all endpoints have in common is made once."""

    def __init__(self, settings: Settings, texts: RuntimeTexts) -> None:
        self._settings = settings
        self._texts = texts
        self._retry = _retry_policy()
        self._guards = [
            _to_control([_foreign_origin()]),
            _to_control([_header("authorization", string_pb2.StringMatcher(contains="/s3/aws4_request"))]),
        ]
        limit = settings.invocation_body_bytes_max
        self._too_large = route_components_pb2.HeaderMatcher(
            name="content-length", range_match=range_pb2.Int64Range(start=limit + 1, end=_INT64_MAX)
        )
        self._counted = {
            "envoy.filters.http.buffer": packed(
                buffer_pb2.BufferPerRoute(
                    buffer=buffer_pb2.Buffer(max_request_bytes=wrappers_pb2.UInt32Value(value=limit))
                )
            )
        }

    def tree_entry(self, endpoint: str, weights: Iterable[Weight]) -> tuple[str, bytes]:
        """The endpoint's prefix and, serialised, what is matched under it."""
        routes = route_components_pb2.RouteList(routes=self._routes(endpoint, tuple(weights)))
        return f"/endpoints/{endpoint}/", _action(routes).SerializeToString(deterministic=True)

    def _routes(self, endpoint: str, weights: tuple[Weight, ...]) -> Iterator[route_components_pb2.Route]:
        yield from self._guards
        path = f"/endpoints/{endpoint}/invocations"
        yield self._refuse(endpoint, path, self._too_large, self._texts.body_too_large)
        for variant, shares in variant_shares(weights).items():
            named = _header(TARGET_VARIANT_HEADER, string_pb2.StringMatcher(exact=variant))
            yield from self._forward(endpoint, path, [named], shares)
        yield self._refuse(endpoint, path, _present(TARGET_VARIANT_HEADER), self._texts.unknown_variant_unnamed)
        yield from self._forward(endpoint, path, [], weighted_shares(weights))
        yield _to_control([])

    def _forward(
        self,
        endpoint: str,
        path: str,
        headers: list[route_components_pb2.HeaderMatcher],
        shares: tuple[Share, ...],
    ) -> Iterator[route_components_pb2.Route]:
        action = self._action_to(shares)
        about = metadata(METADATA, endpoint=endpoint)
        counted = route_components_pb2.HeaderMatcher(name="content-length", present_match=True, invert_match=True)
        yield route_components_pb2.Route(
            name=INVOCATION,
            match=_invocation(path, [*headers, counted]),
            route=action,
            metadata=about,
            typed_per_filter_config=self._counted,
        )
        yield route_components_pb2.Route(
            name=INVOCATION, match=_invocation(path, headers), route=action, metadata=about
        )

    def _action_to(self, shares: tuple[Share, ...]) -> route_components_pb2.RouteAction:
        clusters = [
            route_components_pb2.WeightedCluster.ClusterWeight(
                name=share.group,
                weight=wrappers_pb2.UInt32Value(value=share.parts),
                response_headers_to_add=[set_header(VARIANT_HEADER, share.variant)],
            )
            for share in shares
        ]
        return route_components_pb2.RouteAction(
            weighted_clusters=route_components_pb2.WeightedCluster(clusters=clusters),
            prefix_rewrite="/invocations",
            timeout=seconds(self._settings.invocation_timeout_seconds),
            retry_policy=self._retry,
        )

    def _refuse(
        self, endpoint: str, path: str, header: route_components_pb2.HeaderMatcher, reply: Reply
    ) -> route_components_pb2.Route:
        reply = reply.about(endpoint=endpoint)
        return route_components_pb2.Route(
            name=REFUSAL,
            match=_invocation(path, [header]),
            direct_response=route_components_pb2.DirectResponseAction(
                status=reply.status, body=base_pb2.DataSource(inline_string=reply.body)
            ),
            response_headers_to_add=[
                set_header(ERROR_TYPE_HEADER, reply.error_type),
                set_header("content-type", "application/json"),
            ],
        )


def route_table(entries: Mapping[str, bytes]) -> route_pb2.RouteConfiguration:
    """The whole table: the endpoints' entries (`EndpointRoutes.tree_entry`) by prefix, and what is always there."""
    by_prefix = matcher_pb2.Matcher.MatcherTree.MatchMap()
    by_prefix.map[HEARTBEAT_PATH].CopyFrom(_action(_heartbeat()))
    for prefix, entry in entries.items():
        by_prefix.map[prefix].ParseFromString(entry)
    path = extension_pb2.TypedExtensionConfig(
        name="path", typed_config=packed(http_inputs_pb2.HttpRequestHeaderMatchInput(header_name=":path"))
    )
    local = route_components_pb2.VirtualHost(
        name="local",
        domains=LOCAL_HOSTS,
        matcher=matcher_pb2.Matcher(
            matcher_tree=matcher_pb2.Matcher.MatcherTree(input=path, prefix_match_map=by_prefix),
            on_no_match=_action(_to_control([])),
        ),
    )
    foreign = route_components_pb2.VirtualHost(name="foreign", domains=["*"], routes=[_to_control([])])
    return route_pb2.RouteConfiguration(
        name=ROUTE_TABLE,
        virtual_hosts=[local, foreign],
        ignore_port_in_host_matching=True,
        response_headers_to_remove=["server"],
        response_headers_to_add=[header_if_absent(REQUEST_ID_HEADER, "%REQ(X-REQUEST-ID)%")],
    )


def _action(message: Any) -> matcher_pb2.Matcher.OnMatch:
    return matcher_pb2.Matcher.OnMatch(
        action=extension_pb2.TypedExtensionConfig(name="route", typed_config=packed(message))
    )


def _heartbeat() -> route_components_pb2.Route:
    return route_components_pb2.Route(
        name=HEARTBEAT,
        match=route_components_pb2.RouteMatch(path=HEARTBEAT_PATH),
        direct_response=route_components_pb2.DirectResponseAction(status=200),
    )


def _to_control(headers: list[route_components_pb2.HeaderMatcher]) -> route_components_pb2.Route:
    return route_components_pb2.Route(
        name=API,
        match=route_components_pb2.RouteMatch(prefix="/", headers=headers),
        route=route_components_pb2.RouteAction(cluster=CONTROL, timeout=seconds(0), retry_policy=_retry_policy()),
    )


def _invocation(path: str, headers: list[route_components_pb2.HeaderMatcher]) -> route_components_pb2.RouteMatch:
    method = _header(":method", string_pb2.StringMatcher(exact="POST"))
    return route_components_pb2.RouteMatch(path=path, headers=[method, *headers])


def _header(name: str, matcher: string_pb2.StringMatcher) -> route_components_pb2.HeaderMatcher:
    return route_components_pb2.HeaderMatcher(name=name, string_match=matcher)


def _foreign_origin() -> route_components_pb2.HeaderMatcher:
    """Matches where there is an `Origin`, and it is not this machine's. The control plane looks closer."""
    local = string_pb2.StringMatcher(safe_regex=regex_pb2.RegexMatcher(regex=LOCAL_ORIGIN))
    return route_components_pb2.HeaderMatcher(name="origin", string_match=local, invert_match=True)


def _present(name: str) -> route_components_pb2.HeaderMatcher:
    return route_components_pb2.HeaderMatcher(name=name, present_match=True)


def _retry_policy() -> route_components_pb2.RetryPolicy:
    """Again only where the upstream cannot have seen the request, and not on the same instance: on one that stands by, if there is one."""
    other_host = route_components_pb2.RetryPolicy.RetryHostPredicate(
        name="envoy.retry_host_predicates.previous_hosts",
        typed_config=packed(previous_hosts_pb2.PreviousHostsPredicate()),
    )
    return route_components_pb2.RetryPolicy(
        retry_on="connect-failure,refused-stream,reset-before-request",
        num_retries=wrappers_pb2.UInt32Value(value=2),
        retry_host_predicate=[other_host],
        retry_priority=route_components_pb2.RetryPolicy.RetryPriority(
            name="envoy.retry_priorities.previous_priorities",
            typed_config=packed(previous_priorities_config_pb2.PreviousPrioritiesConfig(update_frequency=1)),
        ),
        host_selection_retry_max_attempts=3,
        retry_back_off=route_components_pb2.RetryPolicy.RetryBackOff(
            base_interval=seconds(0.005), max_interval=seconds(0.05)
        ),
    )
