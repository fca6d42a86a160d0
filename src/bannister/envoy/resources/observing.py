"""Observing: the filter that tells the capture process of an exchange, and the routes that switch it on.

Envoy's ext_proc in observability mode sends pieces and never waits for an answer. It is off in both listeners' chains; on the edge a captured route switches it on,
on the hop every copy's route does, because a copy is made only of requests that are captured. It stands last before the router, so that it sees a model's
own answer and not what is made of it for the caller.

**It must not push back.** By default Envoy stops reading a request whose capture is not taken off its hands: a capture process that stands still would hold up callers with bodies over a few
hundred KiB until they give up. The bootstrap document switches that off (`grpc_side_stream_flow_control`). What is not sent then stays in Envoy's memory until the exchange
is over and `capture_close_seconds` have passed, so the number of streams is the bound. It is a bound for each of two clusters, by the length of the request:

    capture_streams_max x (capture_small_body_bytes_max + the answer) + capture_large_streams_max x (the body + the answer)

bytes of the proxy's memory. A request that finds its cluster full is not told of, which Envoy counts. A body that is longer than what is captured
(`capture_body_bytes_max`) is not sent at all; only one of unknown length can be. Answers have no bound of their own, and are held until a moment after their end; taken to be no longer than the
requests, all is 624 MiB with the default settings (`bannister.settings.capture_bytes_max`), which must fit beside the copies for shadows. Where they are longer and not taken, no exchange is told of as soon as the
proxy's heap is over `PROXY_COPIES_SHARE` (`bannister.publisher.places`); and with a capture process that stands still the connection is given up within seconds, so that what goes on does not grow without end.

A stream ends when the capture process has seen both ends of the exchange, so with a capture process that keeps up few are open.

**Latency** is Envoy's own: from the last byte given to the model to the first that came from it, in a header that a captured route adds and that is taken off again before the
answer leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.config.core.v3 import base_pb2, grpc_service_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.filters.http.ext_proc.v3 import ext_proc_pb2, processing_mode_pb2
from envoy.extensions.filters.http.header_mutation.v3 import header_mutation_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from google.protobuf import any_pb2

from bannister.envoy.resources.messages import longer_than, packed, seconds, set_header, without_length
from bannister.envoy.resources.names import CAPTURE, CAPTURE_LARGE, LATENCY_HEADER
from bannister.settings import Settings

_Filter: TypeAlias = http_connection_manager_pb2.HttpFilter
_Mode: TypeAlias = processing_mode_pb2.ProcessingMode

_OBSERVE: Final = "bannister.observe"
_UNMARK: Final = "bannister.unmark"
#: What Envoy says of a request with its headers: which group was chosen for it, by which route, and when it began.
_ATTRIBUTES: Final = ("xds.cluster_name", "xds.route_name", "request.time")


def observing_filters(settings: Settings) -> list[_Filter]:
    """Off until a route switches them on; to stand last before the router."""
    return [
        _Filter(name=_UNMARK, typed_config=packed(header_mutation_pb2.HeaderMutation()), disabled=True),
        observer(settings, disabled=True),
    ]


def observer(settings: Settings, *, disabled: bool) -> _Filter:
    """The filter that tells of an exchange."""
    config = ext_proc_pb2.ExternalProcessor(
        grpc_service=_service(CAPTURE),
        observability_mode=True,
        failure_mode_allow=True,
        deferred_close_timeout=seconds(settings.capture_close_seconds),
        request_attributes=_ATTRIBUTES,
        processing_mode=_mode(_Mode.STREAMED, _Mode.STREAMED),
    )
    return _Filter(name=_OBSERVE, typed_config=packed(config), disabled=disabled)


def observed(*, large: bool = False, bodies: bool = True) -> Mapping[str, any_pb2.Any]:
    """What a route has to configure, by filter, for its exchanges to be told of.

    Args:
        large: By the way for large bodies.
        bodies: With the request's body; without, it is too long to be captured.
    """
    overrides = ext_proc_pb2.ExtProcOverrides()
    if large:
        overrides.grpc_service.CopyFrom(_service(CAPTURE_LARGE))
    if not bodies:
        overrides.processing_mode.CopyFrom(_mode(_Mode.NONE, _Mode.STREAMED))
    unmark = header_mutation_pb2.HeaderMutationPerRoute(
        mutations=header_mutation_pb2.Mutations(
            response_mutations=[mutation_rules_pb2.HeaderMutation(remove=LATENCY_HEADER)]
        )
    )
    return {
        _OBSERVE: packed(ext_proc_pb2.ExtProcPerRoute(overrides=overrides)),
        _UNMARK: packed(unmark),
    }


@dataclass(frozen=True, slots=True)
class ObservedLength:
    """Requests with bodies of one kind, and what a route configures to have them told of."""

    headers: list[route_components_pb2.HeaderMatcher]
    #: By filter.
    observed: Mapping[str, any_pb2.Any]
    #: Of unknown length.
    is_unknown: bool = False


def observed_lengths(settings: Settings) -> list[ObservedLength]:
    """Every kind of body; the first that matches counts."""
    return [
        ObservedLength([without_length()], observed(large=True), is_unknown=True),
        ObservedLength([longer_than(settings.capture_body_bytes_max)], observed(large=True, bodies=False)),
        ObservedLength([longer_than(settings.capture_small_body_bytes_max)], observed(large=True)),
        ObservedLength([], observed()),
    ]


def latency_mark() -> base_pb2.HeaderValueOption:
    """The header that carries the latency from the router to the filter, whatever the model sent under its name."""
    return set_header(LATENCY_HEADER, "%COMMON_DURATION(US_TX_END:US_RX_BEG:us)%")


def _service(cluster: str) -> grpc_service_pb2.GrpcService:
    return grpc_service_pb2.GrpcService(envoy_grpc=grpc_service_pb2.GrpcService.EnvoyGrpc(cluster_name=cluster))


def _mode(request_body: int, response_body: int) -> _Mode:
    return _Mode(
        request_header_mode=_Mode.SEND,
        response_header_mode=_Mode.SEND,
        request_body_mode=request_body,
        response_body_mode=response_body,
        request_trailer_mode=_Mode.SKIP,
        response_trailer_mode=_Mode.SKIP,
    )
