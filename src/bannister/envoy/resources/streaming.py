"""Streamed answers: the filter that makes an AWS event stream of what a model sends, and what a route has to do to have it made.

The model is asked as always, and answers in pieces (or not; then there is one event). Each piece is framed as it passes (`event_stream.lua`), on the thread that carries it.
The filter is off; the routes of InvokeEndpointWithResponseStream switch it on. It stands before all others, so on the way back it is last: it frames a success only, and what
observes an answer (`observing`) sees the model's own.

**Time.** A stream may take `stream_timeout_seconds` from the last byte of the request on. The first piece that comes after that becomes the event ModelStreamError
(ModelInvocationTimeExceeded), and what comes later is dropped; `stream_cut_seconds` after it Envoy ends the exchange, also where the model is silent. How much of the time was gone when the answer began is
told to the filter in a header that the route adds and the filter takes off.

**A stream that breaks** because the model's connection does ends without its last chunk: Envoy tells no filter of it, so no event can say so. A client sees an incomplete answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from envoy.config.core.v3 import base_pb2
from envoy.extensions.filters.http.lua.v3 import lua_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from google.protobuf import any_pb2

from bannister.domain.runtime_texts import RuntimeTexts
from bannister.envoy.resources.lua import Table, lua_filter
from bannister.envoy.resources.messages import packed, set_header
from bannister.settings import Settings

_Filter: TypeAlias = http_connection_manager_pb2.HttpFilter

_STREAM: Final = "bannister.stream"
_ELAPSED_HEADER: Final = "x-bannister-stream-elapsed"
#: Where a caller says what the answer should be like; `Accept` is that of the stream itself, and no model sees it.
ACCEPT_HEADER: Final = "x-amzn-sagemaker-accept"

#: Headers of members that InvokeEndpointWithResponseStream has, of those that no endpoint here supports; others mean nothing there.
STREAM_HEADERS: Final = frozenset(
    {"x-amzn-sagemaker-target-container-hostname", "x-amzn-sagemaker-inference-component"}
)


def stream_filter(settings: Settings, texts: RuntimeTexts) -> _Filter:
    """Off until a route switches it on; to stand first."""
    timed_out = texts.stream_timed_out
    values: Table = {
        "frame_bytes_max": settings.stream_frame_bytes_max,
        "limit_milliseconds": round(settings.stream_timeout_seconds * 1000),
        "timed_out": {"exception_type": timed_out.exception_type, "body": timed_out.body},
    }
    return lua_filter(_STREAM, "event_stream.lua", "STREAM", values, disabled=True)


def streamed() -> Mapping[str, any_pb2.Any]:
    """What a route has to configure, by filter, for its answers to be framed."""
    # An override without content: that there is one switches the filter on.
    return {_STREAM: packed(lua_pb2.LuaPerRoute(filter_context={}))}


def elapsed_mark() -> base_pb2.HeaderValueOption:
    """The header that tells the filter how many milliseconds a model took to begin its answer, whatever the model sent under its name."""
    return set_header(_ELAPSED_HEADER, "%COMMON_DURATION(DS_RX_END:US_RX_BEG:ms)%")


def accept_of_the_model() -> base_pb2.HeaderValueOption:
    """What the caller wants of the model, in the header in which a model looks for it."""
    return set_header("accept", f"%REQ({ACCEPT_HEADER})%")


def cut_after_seconds(settings: Settings) -> float:
    """When Envoy ends a stream that is not over, counted from the last byte of its request."""
    return settings.stream_timeout_seconds + settings.stream_cut_seconds
