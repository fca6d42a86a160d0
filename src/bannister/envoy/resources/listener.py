"""LDS: the one port. Constant while a server runs, because a changed listener drains its connections.

The filters, in the order in which a request passes them:

    stream   off; a route of InvokeEndpointWithResponseStream switches it on: on the way back only, and last of all, it frames the answer (streaming.py)
    limits   refuses headers that hold what their members may not (header_limits.py)
    session  off; routes of sessions switch it on: it finds the instance that holds one (sessions.py)
    buffer   off; a route switches it on for bodies without a Content-Length, to count them against the limit
    lua      on the way back only: turns a model's error into AWS's ModelError (model_errors.lua)
    observe  off; a captured route switches it on (observing.py)
    router

Paths are taken as they are: nothing is decoded, merged or rejected here, because S3 keys may hold anything (`routes.py`).
"""

from __future__ import annotations

from typing import TypeAlias

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import address_pb2, grpc_service_pb2, protocol_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.extensions.access_loggers.filters.cel.v3 import cel_pb2
from envoy.extensions.access_loggers.grpc.v3 import als_pb2
from envoy.extensions.filters.http.buffer.v3 import buffer_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.type.tracing.v3 import custom_tag_pb2
from google.protobuf import wrappers_pb2

from bannister.domain.runtime_texts import ModelErrorText, RuntimeTexts
from bannister.envoy.resources.header_limits import header_limit_filter
from bannister.envoy.resources.local_replies import local_replies
from bannister.envoy.resources.lua import Table, lua_filter
from bannister.envoy.resources.messages import from_ads, packed, seconds, socket_address
from bannister.envoy.resources.names import (
    ACCESS_LOG,
    GROUP_TAG,
    HEARTBEAT,
    INVOCATION,
    INVOCATION_COPIED,
    LISTENER,
    METADATA,
    ROUTE_TABLE,
    VARIANT_HEADER,
)
from bannister.envoy.resources.observing import observing_filters
from bannister.envoy.resources.sessions import session_filter
from bannister.envoy.resources.streaming import stream_filter
from bannister.settings import Settings

_Manager: TypeAlias = http_connection_manager_pb2.HttpConnectionManager
_Filter: TypeAlias = http_connection_manager_pb2.HttpFilter

_ACCESS_LOG_BUFFER_BYTES = 64 * 1024
_REQUEST_HEADERS_TIMEOUT_SECONDS = 10.0
HEADERS_MAX = 200
#: An address that no caller has (RFC 5737). Without any range Envoy takes private addresses and loopback, where everybody calls from, for internal.
_NOBODY = address_pb2.CidrRange(address_prefix="192.0.2.0", prefix_len=wrappers_pb2.UInt32Value(value=32))
#: Invocations and heartbeats. What we refused by ourselves never reached a model and is not its doing: a body that is too large, a session whose instance is gone.
_LOGGED_ROUTES = [INVOCATION, *INVOCATION_COPIED.values(), HEARTBEAT]
_LOGGED = (
    f"xds.route_name in {_LOGGED_ROUTES} && response.code_details != 'request_payload_too_large' "
    "&& !(response.code == 400 && response.code_details == 'no_healthy_upstream')"
)


def edge_listener(settings: Settings, texts: RuntimeTexts) -> listener_pb2.Listener:
    """The listener on 127.0.0.1:`settings.port`."""
    manager = listener_components_pb2.Filter(
        name="envoy.filters.network.http_connection_manager", typed_config=packed(_manager(settings, texts))
    )
    return listener_pb2.Listener(
        name=LISTENER,
        address=socket_address("127.0.0.1", settings.port),
        filter_chains=[listener_components_pb2.FilterChain(filters=[manager])],
        # Two processes must never share the port silently.
        enable_reuse_port=wrappers_pb2.BoolValue(value=False),
    )


def _manager(settings: Settings, texts: RuntimeTexts) -> _Manager:
    return _Manager(
        stat_prefix="edge",
        codec_type=_Manager.AUTO,
        rds=http_connection_manager_pb2.Rds(route_config_name=ROUTE_TABLE, config_source=from_ads()),
        http_filters=[
            stream_filter(settings, texts),
            header_limit_filter(texts.header_limits),
            session_filter(),
            _buffer(settings),
            _model_errors(texts),
            *observing_filters(settings),
            router(),
        ],
        local_reply_config=local_replies(texts),
        access_log=[access_log(settings, LISTENER, _LOGGED)],
        # Nobody is trusted: who is internal may set x-envoy-* headers, which change time-outs and retries, and the request's id.
        use_remote_address=wrappers_pb2.BoolValue(value=True),
        internal_address_config=_Manager.InternalAddressConfig(cidr_ranges=[_NOBODY]),
        skip_xff_append=True,
        server_header_transformation=_Manager.PASS_THROUGH,
        common_http_protocol_options=protocol_pb2.HttpProtocolOptions(
            idle_timeout=seconds(settings.downstream_idle_timeout_seconds),
            max_headers_count=wrappers_pb2.UInt32Value(value=HEADERS_MAX),
        ),
        # `ab`, `curl -0` and old proxies speak it; a request without a Host is still refused.
        http_protocol_options=protocol_pb2.Http1ProtocolOptions(accept_http_10=True),
        # When it is over Envoy closes the connection with what is not yet written, also where only its own thread was held up.
        delayed_close_timeout=seconds(settings.downstream_close_seconds),
        request_headers_timeout=seconds(_REQUEST_HEADERS_TIMEOUT_SECONDS),
        stream_idle_timeout=seconds(settings.stream_idle_timeout_seconds),
    )


def _buffer(settings: Settings) -> _Filter:
    limit = wrappers_pb2.UInt32Value(value=settings.invocation_body_bytes_max)
    return _Filter(
        name="envoy.filters.http.buffer",
        typed_config=packed(buffer_pb2.Buffer(max_request_bytes=limit)),
        disabled=True,
    )


def _model_errors(texts: RuntimeTexts) -> _Filter:
    # A Lua filter reads a route's metadata under its own name.
    values = {"client": _model_error(texts.model_client_error), "server": _model_error(texts.model_server_error)}
    return lua_filter(METADATA, "model_errors.lua", "TEXTS", values)


def _model_error(text: ModelErrorText) -> Table:
    return {
        "error_type": text.error_type,
        "content_type": text.content_type,
        "opening": text.opening,
        "middle": text.middle,
        "closing": text.closing,
        "status": text.status,
        "original_bytes_max": text.original_bytes_max,
    }


def router() -> _Filter:
    return _Filter(name="envoy.filters.http.router", typed_config=packed(router_pb2.Router()))


def access_log(settings: Settings, name: str, wanted: str) -> accesslog_pb2.AccessLog:
    """To telemetry, under this name: the requests for which the CEL expression `wanted` holds."""
    common = als_pb2.CommonGrpcAccessLogConfig(
        log_name=name,
        transport_api_version="V3",
        grpc_service=grpc_service_pb2.GrpcService(
            envoy_grpc=grpc_service_pb2.GrpcService.EnvoyGrpc(cluster_name=ACCESS_LOG)
        ),
        buffer_flush_interval=seconds(settings.access_log_flush_seconds),
        buffer_size_bytes=wrappers_pb2.UInt32Value(value=_ACCESS_LOG_BUFFER_BYTES),
        custom_tags=[custom_tag_pb2.CustomTag(tag=GROUP_TAG, value="%UPSTREAM_CLUSTER_RAW%")],
    )
    return accesslog_pb2.AccessLog(
        name="envoy.access_loggers.http_grpc",
        filter=accesslog_pb2.AccessLogFilter(
            extension_filter=accesslog_pb2.ExtensionFilter(
                name="cel", typed_config=packed(cel_pb2.ExpressionFilter(expression=wanted))
            )
        ),
        typed_config=packed(
            als_pb2.HttpGrpcAccessLogConfig(
                common_config=common, additional_response_headers_to_log=[VARIANT_HEADER.lower()]
            )
        ),
    )
