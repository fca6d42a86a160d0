"""Small pieces that most messages are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from envoy.config.core.v3 import address_pb2, base_pb2, config_source_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.type.v3 import percent_pb2, range_pb2
from google.protobuf import any_pb2, duration_pb2, struct_pb2

from bannister.domain.traffic import TRAFFIC_PARTS

_INT64_MAX = 2**63 - 1

assert TRAFFIC_PARTS == 1_000_000, "fractions are given in millionths"


def packed(message: Any) -> any_pb2.Any:
    """The message with its type's name, for Envoy's many extension points. The same message gives the same bytes."""
    result = any_pb2.Any()
    result.Pack(message, deterministic=True)
    return result


def seconds(value: float) -> duration_pb2.Duration:
    whole = int(value)
    return duration_pb2.Duration(seconds=whole, nanos=round((value - whole) * 1_000_000_000))


def socket_address(host: str, port: int) -> address_pb2.Address:
    return address_pb2.Address(socket_address=address_pb2.SocketAddress(address=host, port_value=port))


def pipe_address(path: Path) -> address_pb2.Address:
    return address_pb2.Address(pipe=address_pb2.Pipe(path=str(path)))


def from_ads(initial_fetch_timeout_seconds: float = 0.0) -> config_source_pb2.ConfigSource:
    """The resource comes over the one aggregated stream. 0: wait for its first version as long as it takes."""
    return config_source_pb2.ConfigSource(
        ads=config_source_pb2.AggregatedConfigSource(),
        resource_api_version=config_source_pb2.ApiVersion.V3,
        initial_fetch_timeout=seconds(initial_fetch_timeout_seconds),
    )


def fraction_of(parts: int) -> base_pb2.RuntimeFractionalPercent:
    """So many of `TRAFFIC_PARTS`."""
    share = percent_pb2.FractionalPercent(numerator=parts, denominator=percent_pb2.FractionalPercent.MILLION)
    return base_pb2.RuntimeFractionalPercent(default_value=share)


def longer_than(length: int) -> route_components_pb2.HeaderMatcher:
    """Matches a body that is longer than this by its Content-Length."""
    longer = range_pb2.Int64Range(start=length + 1, end=_INT64_MAX)
    return route_components_pb2.HeaderMatcher(name="content-length", range_match=longer)


def no_longer_than(length: int) -> route_components_pb2.HeaderMatcher:
    """Matches a body that is at most so long by its Content-Length."""
    within = range_pb2.Int64Range(start=0, end=length + 1)
    return route_components_pb2.HeaderMatcher(name="content-length", range_match=within)


def without_length() -> route_components_pb2.HeaderMatcher:
    """Matches a body without a Content-Length."""
    return route_components_pb2.HeaderMatcher(name="content-length", present_match=True, invert_match=True)


def set_header(name: str, value: str) -> base_pb2.HeaderValueOption:
    """Replace the header, or add it."""
    return base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key=name, value=value),
        append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )


def header_if_absent(name: str, value: str) -> base_pb2.HeaderValueOption:
    return base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key=name, value=value),
        append_action=base_pb2.HeaderValueOption.ADD_IF_ABSENT,
    )


def metadata(namespace: str, **values: str) -> base_pb2.Metadata:
    struct = struct_pb2.Struct()
    struct.update(values)
    return base_pb2.Metadata(filter_metadata={namespace: struct})
