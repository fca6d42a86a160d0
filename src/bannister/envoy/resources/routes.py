"""RDS: which request goes where.

One table for everything, found by prefix tree, so that its cost does not grow with the number of endpoints:

    foreign Host header                       the control plane, which refuses it
    GET /-/heartbeat, /-/heartbeat/capture    answered here
    POST /endpoints/NAME/invocations          the endpoint's groups, by weight
    POST /endpoints/NAME/invocations-response-stream    the same, with a streamed answer (`streaming`)
    everything else                           the control plane, unlimited in size and time: uploads to s3:// stream through

An invocation of a known endpoint is recognised exactly: method, whole path, no foreign `Origin` (the control plane refuses those), not signed for
S3 (a bucket may be called `endpoints`). Paths are never normalised, because S3 keys are taken raw. Within an endpoint the first match counts:

    body too large by its Content-Length      413 *
    asks for what no endpoint here has        400 (another model, container or component, an explanation) *
    TargetVariant names nothing we know       400 *
    of a session that one of its groups holds that group, and there that instance (`sessions`)
    of another session                        400
    TargetVariant names a variant             that variant's groups, in the ratio of their parts
    otherwise                                 all groups, by their parts

(*) Envoy reads no more of a request once it has answered, and who still sends a long body waits until it hangs up. So the control plane is told to
refuse those with long bodies: it reads them to their end first.

The two ways to invoke an endpoint have a list of their own each, found by the longer prefix, so that neither makes the other slower.

A body without Content-Length can only be limited by counting it, which the buffer filter does; each forwarding route is therefore there twice. Where requests are
copied it is there three times, because large bodies are copied by another way than small ones (`shadow`).

Where requests are captured, all of these are there twice: first those that match only the captured share of requests and switch observing on (`observing`), then the plain ones. A
route's fraction and a mirror's are decided by one random draw of Envoy for each request, so of two fractions the smaller is a part of the larger: a request that is
copied is also captured.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.http.buffer.v3 import buffer_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2
from envoy.extensions.retry.priority.previous_priorities.v3 import previous_priorities_config_pb2
from envoy.type.matcher.v3 import http_inputs_pb2, regex_pb2, string_pb2
from google.protobuf import any_pb2, wrappers_pb2
from xds.core.v3 import extension_pb2
from xds.type.matcher.v3 import matcher_pb2

from bannister.domain.routing import Forwarding, Weight, by_variant
from bannister.domain.runtime_texts import REFUSAL_HEADER, Reply, RuntimeTexts, written_refusal
from bannister.envoy.resources.messages import (
    fraction_of,
    header_if_absent,
    longer_than,
    metadata,
    no_longer_than,
    packed,
    seconds,
    set_header,
    without_length,
)
from bannister.envoy.resources.names import (
    API,
    CAPTURE_HEARTBEAT,
    CAPTURE_HEARTBEAT_PATH,
    CONTROL,
    ERROR_TYPE_HEADER,
    HEARTBEAT,
    HEARTBEAT_PATH,
    INVOCATION,
    INVOCATION_COPIED,
    METADATA,
    NOISE,
    REFUSAL,
    REQUEST_ID_HEADER,
    ROUTE_TABLE,
    SHADOW,
    TARGET_VARIANT_HEADER,
    VARIANT_HEADER,
)
from bannister.envoy.resources.observing import latency_mark, observed, observed_lengths
from bannister.envoy.resources.sessions import (
    ANSWER_HEADERS,
    GROUP_HEADER,
    NEW_SESSION,
    SESSION_HEADER,
    digest,
    holder_marks,
    of_session,
)
from bannister.envoy.resources.shadow import Size, copied_to, mirror_policy
from bannister.envoy.resources.streaming import (
    STREAM_HEADERS,
    accept_of_the_model,
    cut_after_seconds,
    elapsed_mark,
    streamed,
)
from bannister.settings import Settings

#: A client has sent so much before it looks for an answer: it fits into the buffers on the way.
_REFUSED_AT_ONCE_BYTES_MAX = 256 * 1024
#: Names by which a client on this machine may call us, with any port.
LOCAL_HOSTS = ("localhost", "*.localhost", "127.0.0.1", "[::1]")
#: Where a page of this machine comes from.
LOCAL_ORIGIN = r"(?i)https?://(([a-z0-9._-]+\.)?localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?"


@dataclass(frozen=True, slots=True)
class Share:
    """One group's part of what a route forwards."""

    group: str
    variant: str
    parts: int


@dataclass(frozen=True, slots=True)
class _Length:
    """Requests with bodies of one kind, and what is special about them."""

    headers: list[route_components_pb2.HeaderMatcher]
    size: Size
    filters: Mapping[str, any_pb2.Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Way:
    """One way to invoke an endpoint, and what its routes do differently."""

    #: The end of its path.
    suffix: str
    timeout_seconds: float
    #: Its answers are streams.
    streamed: bool = False
    #: Its requests ask for a session, or belong to one.
    of_session: bool = False
    filters: Mapping[str, any_pb2.Any] = field(default_factory=dict)
    request_headers_to_add: tuple[base_pb2.HeaderValueOption, ...] = ()
    request_headers_to_remove: tuple[str, ...] = ()
    response_headers_to_add: tuple[base_pb2.HeaderValueOption, ...] = ()

    def path(self, endpoint: str) -> str:
        return f"/endpoints/{endpoint}/{self.suffix}"


def weighted_shares(weights: Iterable[Weight]) -> tuple[Share, ...]:
    """How requests that name no variant are shared: the groups with parts."""
    return tuple(Share(one.group, one.variant, one.parts) for one in weights if one.parts > 0)


def variant_shares(weights: Iterable[Weight]) -> dict[str, tuple[Share, ...]]:
    """How requests that name a variant are shared, by variant. Also one of weight 0 can be named, as AWS allows."""
    return {
        variant: tuple([Share(one.group, variant, one.named_parts) for one in groups if one.named_parts > 0])
        for variant, groups in by_variant(weights).items()
    }


@lru_cache(maxsize=1024)  # asked again for the same few weights at every turn of a loop
def groups_named(weights: tuple[Weight, ...]) -> frozenset[str]:
    """Every group that an endpoint's routes name: also one without parts, which may hold sessions."""
    return frozenset(one.group for one in weights) if weighted_shares(weights) else frozenset()


def clusters_named(forwarding: Forwarding) -> frozenset[str]:
    """Every cluster that an endpoint's routes name: groups, also those that get copies, and the hops on the way to these."""
    groups = groups_named(forwarding.weights)
    return groups | copied_to(forwarding) if groups else groups


class EndpointRoutes:
    """Makes the routes of one endpoint at a time. What all endpoints have in common is made once."""

    def __init__(self, settings: Settings, texts: RuntimeTexts) -> None:
        self._settings = settings
        self._texts = texts
        self._guards = [
            _to_control([_foreign_origin()]),
            _to_control([_header("authorization", string_pb2.StringMatcher(contains="/s3/aws4_request"))]),
        ]
        limit = settings.invocation_body_bytes_max
        self._plain = _Way("invocations", settings.invocation_timeout_seconds)
        self._stream = _Way(
            "invocations-response-stream",
            cut_after_seconds(settings),
            streamed=True,
            filters=streamed(),
            request_headers_to_add=(accept_of_the_model(),),
            request_headers_to_remove=("accept",),
            response_headers_to_add=(elapsed_mark(),),
        )
        self._too_large = longer_than(limit)
        self._large = longer_than(settings.shadow_small_body_bytes_max)
        self._counted = {
            "envoy.filters.http.buffer": packed(
                buffer_pb2.BufferPerRoute(
                    buffer=buffer_pb2.Buffer(max_request_bytes=wrappers_pb2.UInt32Value(value=limit))
                )
            )
        }

    def tree_entries(self, endpoint: str, forwarding: Forwarding) -> dict[str, bytes]:
        """By prefix of the path, serialised: what is matched under it."""
        return {
            prefix: _action(
                route_components_pb2.RouteList(routes=self._routes(endpoint, forwarding, way))
            ).SerializeToString(deterministic=True)
            for prefix, way in (
                (f"/endpoints/{endpoint}/", self._plain),
                (self._stream.path(endpoint), self._stream),
            )
        }

    def _routes(self, endpoint: str, forwarding: Forwarding, way: _Way) -> Iterator[route_components_pb2.Route]:
        yield from self._guards
        path = way.path(endpoint)
        yield self._refuse_when_read(endpoint, path, [self._too_large], self._texts.body_too_large)
        for header, reply in self._texts.unsupported_headers.items():
            if not way.streamed or header in STREAM_HEADERS:
                yield from self._refuse(endpoint, path, [_present(header)], reply)
        unknown = _other_than(variant_shares(forwarding.weights))
        yield from self._refuse(endpoint, path, [unknown], self._texts.unknown_variant_unnamed)
        yield from self._sessions(endpoint, forwarding, way)
        yield from self._by_variant(endpoint, forwarding, way, [])
        yield _to_control([])

    def _sessions(self, endpoint: str, forwarding: Forwarding, way: _Way) -> Iterator[route_components_pb2.Route]:
        """Requests of sessions: of one that exists, where its group is known; of another; and those that ask for one."""
        forwarding = replace(forwarding, mirrors=())
        way = replace(way, of_session=True, filters={**way.filters, **of_session()})
        for one in forwarding.weights:
            held = _header(GROUP_HEADER, string_pb2.StringMatcher(exact=digest(one.group)))
            yield from self._forward(endpoint, way, [held], (Share(one.group, one.variant, 1),), forwarding)
        new = _header(SESSION_HEADER, string_pb2.StringMatcher(exact=NEW_SESSION))
        if way.streamed:
            yield from self._refuse(endpoint, way.path(endpoint), [new], self._texts.no_session_by_stream)
        else:
            yield from self._by_variant(endpoint, forwarding, way, [new])
        # At once, whatever the body: the filter of sessions lets nobody have it but an instance, which the control plane is not.
        unknown = self._refuse_at_once(
            endpoint, way.path(endpoint), [_present(SESSION_HEADER)], self._texts.unknown_session
        )
        for name, config in way.filters.items():
            unknown.typed_per_filter_config[name].CopyFrom(config)
        yield unknown

    def _by_variant(
        self, endpoint: str, forwarding: Forwarding, way: _Way, headers: list[route_components_pb2.HeaderMatcher]
    ) -> Iterator[route_components_pb2.Route]:
        """By the variant that they name. Where there is one only, it is the same to name it or not."""
        by_variant = variant_shares(forwarding.weights)
        for variant, shares in by_variant.items() if len(by_variant) > 1 else ():
            named = _header(TARGET_VARIANT_HEADER, string_pb2.StringMatcher(exact=variant))
            yield from self._forward(endpoint, way, [*headers, named], shares, forwarding)
        yield from self._forward(endpoint, way, headers, weighted_shares(forwarding.weights), forwarding)

    def _forward(
        self,
        endpoint: str,
        way: _Way,
        headers: list[route_components_pb2.HeaderMatcher],
        shares: tuple[Share, ...],
        forwarding: Forwarding,
    ) -> Iterator[route_components_pb2.Route]:
        """Every way a request may be forwarded, the first that matches counts: captured or not, by its length.

        Those that are captured also by their copies. Envoy draws one number for a request, by which every fraction decides: whoever is in the
        smaller share is also in the larger. So a route with the fraction of a mirror matches exactly the requests that this mirror copies.
        """
        mirrored = bool(forwarding.mirrors)
        for parts in _nested_shares(forwarding):
            for length in self._observed_lengths(mirrored=mirrored):
                match = _invocation(way.path(endpoint), [*headers, *length.headers], fraction_of(parts))
                route = self._route(_route_name(forwarding, parts), match, endpoint, way, length)
                route.route.CopyFrom(self._action_to(shares, forwarding, length.size, way))
                route.response_headers_to_add.append(latency_mark())
                yield route
        counted = [_Length([], Size.LARGE, self._counted)]
        # There are many routes and few requests of sessions: their bodies are counted whatever their length, so that one route is enough.
        for length in counted if way.of_session else self._lengths(mirrored=mirrored):
            match = _invocation(way.path(endpoint), [*headers, *length.headers])
            route = self._route(INVOCATION, match, endpoint, way, length)
            route.route.CopyFrom(self._action_to(shares, forwarding, length.size, way))
            yield route

    def _route(
        self, name: str, match: route_components_pb2.RouteMatch, endpoint: str, way: _Way, length: _Length
    ) -> route_components_pb2.Route:
        """What the routes to an endpoint's groups have in common."""
        return route_components_pb2.Route(
            name=name,
            match=match,
            metadata=metadata(METADATA, endpoint=endpoint),
            typed_per_filter_config={**length.filters, **way.filters},
            request_headers_to_add=way.request_headers_to_add,
            request_headers_to_remove=way.request_headers_to_remove,
            response_headers_to_add=way.response_headers_to_add,
        )

    def _observed_lengths(self, *, mirrored: bool) -> Iterator[_Length]:
        for one in observed_lengths(self._settings):
            if one.is_unknown:
                yield _Length(one.headers, Size.LARGE, {**self._counted, **one.observed})
                continue
            if mirrored:
                yield _Length([*one.headers, self._large], Size.LARGE, one.observed)
            yield _Length(one.headers, Size.SMALL, one.observed)

    def _lengths(self, *, mirrored: bool) -> Iterator[_Length]:
        yield _Length([without_length()], Size.LARGE, self._counted)
        if mirrored:
            yield _Length([self._large], Size.LARGE)
        yield _Length([], Size.SMALL)

    def _action_to(
        self, shares: tuple[Share, ...], forwarding: Forwarding, size: Size, way: _Way
    ) -> route_components_pb2.RouteAction:
        clusters = [
            route_components_pb2.WeightedCluster.ClusterWeight(
                name=share.group,
                weight=wrappers_pb2.UInt32Value(value=share.parts),
                response_headers_to_add=[
                    set_header(VARIANT_HEADER, share.variant),
                    *(holder_marks(share.group) if way.of_session else []),
                ],
                # Nobody asked for a session.
                response_headers_to_remove=[] if way.of_session else ANSWER_HEADERS,
            )
            for share in shares
        ]
        return route_components_pb2.RouteAction(
            weighted_clusters=route_components_pb2.WeightedCluster(clusters=clusters),
            prefix_rewrite="/invocations",
            timeout=seconds(way.timeout_seconds),
            request_mirror_policies=[
                mirror_policy(mirror, size, streamed=way.streamed) for mirror in forwarding.mirrors
            ],
        )

    def _refuse(
        self, endpoint: str, path: str, headers: list[route_components_pb2.HeaderMatcher], reply: Reply
    ) -> Iterator[route_components_pb2.Route]:
        """At once, or with a long body when that has been read."""
        short = [*headers, no_longer_than(_REFUSED_AT_ONCE_BYTES_MAX)]
        yield self._refuse_at_once(endpoint, path, short, reply)
        yield self._refuse_when_read(endpoint, path, headers, reply)

    def _refuse_at_once(
        self, endpoint: str, path: str, headers: list[route_components_pb2.HeaderMatcher], reply: Reply
    ) -> route_components_pb2.Route:
        about = reply.about(endpoint=endpoint)
        return route_components_pb2.Route(
            name=REFUSAL,
            match=_invocation(path, headers),
            direct_response=route_components_pb2.DirectResponseAction(
                status=about.status, body=base_pb2.DataSource(inline_string=about.body)
            ),
            response_headers_to_add=[
                set_header(ERROR_TYPE_HEADER, about.error_type),
                set_header("content-type", "application/json"),
            ],
        )

    def _refuse_when_read(
        self, endpoint: str, path: str, headers: list[route_components_pb2.HeaderMatcher], reply: Reply
    ) -> route_components_pb2.Route:
        """By the control plane."""
        return route_components_pb2.Route(
            name=REFUSAL,
            match=_invocation(path, headers),
            route=route_components_pb2.RouteAction(cluster=CONTROL, timeout=seconds(0)),
            request_headers_to_add=[set_header(REFUSAL_HEADER, written_refusal(reply.about(endpoint=endpoint)))],
        )


def route_table(entries: Mapping[str, bytes]) -> route_pb2.RouteConfiguration:
    """The whole table: the endpoints' entries (`EndpointRoutes.tree_entries`) by prefix, and what is always there."""
    by_prefix = matcher_pb2.Matcher.MatcherTree.MatchMap()
    by_prefix.map[HEARTBEAT_PATH].CopyFrom(_action(_heartbeat(HEARTBEAT, HEARTBEAT_PATH)))
    by_prefix.map[CAPTURE_HEARTBEAT_PATH].CopyFrom(
        _action(_heartbeat(CAPTURE_HEARTBEAT, CAPTURE_HEARTBEAT_PATH, observed()))
    )
    for prefix, entry in entries.items():
        by_prefix.map[prefix].ParseFromString(entry)
    path = extension_pb2.TypedExtensionConfig(
        name="path", typed_config=packed(http_inputs_pb2.HttpRequestHeaderMatchInput(header_name=":path"))
    )
    local = route_components_pb2.VirtualHost(
        name="local",
        domains=LOCAL_HOSTS,
        retry_policy=_retry_policy(),
        matcher=matcher_pb2.Matcher(
            matcher_tree=matcher_pb2.Matcher.MatcherTree(input=path, prefix_match_map=by_prefix),
            on_no_match=_action(_to_control([])),
        ),
    )
    foreign = route_components_pb2.VirtualHost(
        name="foreign", domains=["*"], retry_policy=_retry_policy(), routes=[_to_control([])]
    )
    return route_pb2.RouteConfiguration(
        name=ROUTE_TABLE,
        virtual_hosts=[local, foreign],
        ignore_port_in_host_matching=True,
        response_headers_to_remove=["server"],
        response_headers_to_add=[header_if_absent(REQUEST_ID_HEADER, "%REQ(X-REQUEST-ID)%")],
    )


def _nested_shares(forwarding: Forwarding) -> list[int]:
    """The shares of captured requests that are told apart, the smallest first: what each mirror copies, and all that are captured."""
    shares = {min(mirror.parts, forwarding.captured_parts) for mirror in forwarding.mirrors}
    return sorted(parts for parts in {*shares, forwarding.captured_parts} if parts > 0)


def _route_name(forwarding: Forwarding, parts: int) -> str:
    """Of the captured requests in this share and in no smaller one."""
    kinds = frozenset(NOISE if mirror.noise else SHADOW for mirror in forwarding.mirrors if mirror.parts >= parts)
    return INVOCATION_COPIED.get(kinds, INVOCATION)


def _action(message: Any) -> matcher_pb2.Matcher.OnMatch:
    return matcher_pb2.Matcher.OnMatch(
        action=extension_pb2.TypedExtensionConfig(name="route", typed_config=packed(message))
    )


def _heartbeat(name: str, path: str, filters: Mapping[str, any_pb2.Any] | None = None) -> route_components_pb2.Route:
    return route_components_pb2.Route(
        name=name,
        match=route_components_pb2.RouteMatch(path=path),
        direct_response=route_components_pb2.DirectResponseAction(status=200),
        typed_per_filter_config=filters,
    )


def _to_control(headers: list[route_components_pb2.HeaderMatcher]) -> route_components_pb2.Route:
    return route_components_pb2.Route(
        name=API,
        match=route_components_pb2.RouteMatch(prefix="/", headers=headers),
        route=route_components_pb2.RouteAction(cluster=CONTROL, timeout=seconds(0)),
    )


def _invocation(
    path: str,
    headers: list[route_components_pb2.HeaderMatcher],
    fraction: base_pb2.RuntimeFractionalPercent | None = None,
) -> route_components_pb2.RouteMatch:
    method = _header(":method", string_pb2.StringMatcher(exact="POST"))
    return route_components_pb2.RouteMatch(path=path, headers=[method, *headers], runtime_fraction=fraction)


def _header(name: str, matcher: string_pb2.StringMatcher) -> route_components_pb2.HeaderMatcher:
    return route_components_pb2.HeaderMatcher(name=name, string_match=matcher)


def _foreign_origin() -> route_components_pb2.HeaderMatcher:
    """Matches where there is an `Origin`, and it is not this machine's. The control plane looks closer."""
    local = string_pb2.StringMatcher(safe_regex=regex_pb2.RegexMatcher(regex=LOCAL_ORIGIN))
    return route_components_pb2.HeaderMatcher(name="origin", string_match=local, invert_match=True)


def _other_than(variants: Iterable[str]) -> route_components_pb2.HeaderMatcher:
    """Matches where there is a TargetVariant, and it is none of these. Names of variants hold nothing that a pattern would read otherwise."""
    one_of_them = string_pb2.StringMatcher(safe_regex=regex_pb2.RegexMatcher(regex="|".join(variants)))
    return route_components_pb2.HeaderMatcher(name=TARGET_VARIANT_HEADER, string_match=one_of_them, invert_match=True)


def _present(name: str) -> route_components_pb2.HeaderMatcher:
    return route_components_pb2.HeaderMatcher(name=name, present_match=True)


def _retry_policy() -> route_components_pb2.RetryPolicy:
    """Of all routes of a host. Again only where the upstream cannot have seen the request, and not on the same instance: on one that stands by, if there is one."""
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
