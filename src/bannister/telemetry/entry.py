"""What one access log entry of Envoy says: an invocation with its outcome, or a heartbeat.

Envoy gives times as lengths from the start of the request, in nanoseconds. Those between Envoy and the instance tell the model's latency:
from the first byte sent to it until the last byte received from it. They are missing where that never happened.

`response_code` is what the client got. Where a filter has rewritten a model's error to 424, the status that the model answered is in the
entry's metadata (`bannister: original_status`). Whether there was an answer of the model at all is told by `response_code_details`:
`via_upstream`, and anything else for a reply that Envoy made by itself.

Envoy names the cluster only where it chose an instance. So that requests to a group without healthy instances count as well, the access log is
configured with a custom tag `group` of `%UPSTREAM_CLUSTER_RAW%`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

#: The route whose requests are heartbeats.
HEARTBEAT_ROUTE = "heartbeat"
#: The route of copies for shadows.
SHADOW_ROUTE = "shadow"
#: The metadata that the error filter sets.
METADATA_NAMESPACE = "bannister"
ORIGINAL_STATUS = "original_status"
#: … and what the filter of streamed answers sets where it had to end one with an error.
STREAM_BROKEN = "stream_broken"
#: The custom tag that names the cluster also where no instance could be chosen.
GROUP_TAG = "group"

_NANOSECONDS = 1_000_000_000
_VIA_UPSTREAM = "via_upstream"

# Envoy's response flags, by what they mean for an invocation.
#: No instance could be reached: UH, UF, UO, NR, NC, OM, DF.
_UNREACHABLE = (
    "no_healthy_upstream",
    "upstream_connection_failure",
    "upstream_overflow",
    "no_route_found",
    "no_cluster_found",
    "overload_manager",
    "dns_resolution_failure",
)
#: An instance was reached and gave no complete answer: UT, UC, UR, LR, UPE, UMSDR, DT, SI, URX.
_UNANSWERED = (
    "upstream_request_timeout",
    "upstream_connection_termination",
    "upstream_remote_reset",
    "local_reset",
    "upstream_protocol_error",
    "upstream_max_stream_duration_reached",
    "duration_timeout",
    "stream_idle_timeout",
    "upstream_retry_limit_exceeded",
)
#: The client hung up: DC, DR.
_ABANDONED = ("downstream_connection_termination", "downstream_remote_reset")


@dataclass(slots=True)
class Invocation:
    """One request to a model, as the proxy saw it."""

    group: str
    #: `host:port`; "" where no instance was chosen.
    address: str
    #: The second in which it ended.
    second: int
    #: What the model answered; None: no complete answer.
    status: int | None
    unreachable: bool
    abandoned: bool
    retries: int
    #: Microseconds, for complete answers.
    model_latency: int | None
    overhead_latency: int | None
    #: It was a copy of production's request, for a shadow.
    copy: bool = False


@dataclass(slots=True)
class Heartbeat:
    """One of telemetry's own requests has come back as a log entry."""

    run: str
    number: int
    #: When Envoy had answered it.
    ended_at: float


def read_entry(entry: Any) -> Invocation | Heartbeat | None:
    """What an `HTTPAccessLogEntry` says; None: a request that reached no group and concerns no metric."""
    common = entry.common_properties
    if common.route_name == HEARTBEAT_ROUTE:
        return _heartbeat(entry)
    group = common.upstream_cluster or common.custom_tags.get(GROUP_TAG, "")
    if not group:
        return None
    code = entry.response.response_code.value
    original_status = _original_status(common)
    answered = original_status is not None or entry.response.response_code_details == _VIA_UPSTREAM
    unreachable = abandoned = unanswered = False
    if common.HasField("response_flags"):
        flags = common.response_flags
        unreachable = not answered and _any(flags, _UNREACHABLE)
        unanswered = unreachable or _any(flags, _UNANSWERED)
        abandoned = _any(flags, _ABANDONED)
    abandoned = abandoned or (code == 0 and not unanswered)
    if _noted(common, STREAM_BROKEN) is not None:
        # The caller was told that the model's time is over, and need not have stayed for the rest.
        unanswered, abandoned = True, False
    if not (answered or unanswered or abandoned) and code < 500:
        # The proxy refused the request by itself (a body over the limit): not an invocation of the model.
        return None
    complete = answered and not unanswered
    ended_ns, elapsed_ns = _end(common)
    model_us, overhead_us = _latencies(common, elapsed_ns) if complete and not abandoned else (None, None)
    return Invocation(
        group,
        _address(common),
        ended_ns // _NANOSECONDS,
        (original_status or code or None) if complete else None,
        unreachable,
        abandoned,
        max(common.upstream_request_attempt_count - 1, 0),
        model_us,
        overhead_us,
        common.route_name == SHADOW_ROUTE,
    )


def _heartbeat(entry: Any) -> Heartbeat | None:
    query = parse_qs(urlsplit(entry.request.original_path or entry.request.path).query)
    try:
        run, number = query["run"][0], int(query["n"][0])
    except (KeyError, ValueError):
        return None
    return Heartbeat(run, number, _end(entry.common_properties)[0] / _NANOSECONDS)


def _any(flags: Any, names: tuple[str, ...]) -> bool:
    return any(getattr(flags, name) for name in names)


def _noted(common: Any, name: str) -> Any:
    """What a filter has noted, as `google.protobuf.Value`; None: nothing."""
    metadata = common.metadata.filter_metadata
    if METADATA_NAMESPACE not in metadata or name not in metadata[METADATA_NAMESPACE].fields:
        return None
    return metadata[METADATA_NAMESPACE].fields[name]


def _original_status(common: Any) -> int | None:
    value = _noted(common, ORIGINAL_STATUS)
    if value is None:
        return None
    try:
        return int(value.number_value or value.string_value)
    except ValueError:
        return None


def _end(common: Any) -> tuple[int, int]:
    """When the request ended, since the epoch, and how long it took; nanoseconds.

    A client that hung up never got a last byte; then the whole duration counts, or the last thing known to have happened.
    """
    start = common.start_time.seconds * _NANOSECONDS + common.start_time.nanos
    if common.HasField("time_to_last_downstream_tx_byte"):
        elapsed = _ns(common.time_to_last_downstream_tx_byte)
    elif common.HasField("duration"):
        elapsed = _ns(common.duration)
    else:
        known = (
            common.time_to_last_upstream_rx_byte,
            common.time_to_last_upstream_tx_byte,
            common.time_to_last_rx_byte,
        )
        elapsed = max(map(_ns, known))
    return start + elapsed, elapsed


def _latencies(common: Any, elapsed_ns: int) -> tuple[int | None, int | None]:
    if not (common.HasField("time_to_first_upstream_tx_byte") and common.HasField("time_to_last_upstream_rx_byte")):
        return None, None
    model_ns = _ns(common.time_to_last_upstream_rx_byte) - _ns(common.time_to_first_upstream_tx_byte)
    model_us = max(model_ns // 1000, 0)
    return model_us, max(elapsed_ns // 1000 - model_us, 0)


def _ns(duration: Any) -> int:
    return int(duration.seconds * _NANOSECONDS + duration.nanos)


def _address(common: Any) -> str:
    if not common.HasField("upstream_remote_address"):
        return ""
    socket = common.upstream_remote_address.socket_address
    return f"{socket.address}:{socket.port_value}"
