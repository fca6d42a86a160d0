"""The names that resources, the bootstrap document and telemetry must agree on.

`bannister.launcher.bootstrap` repeats the names of the static clusters: it may import nothing of this package.
"""

from __future__ import annotations

from typing import Final

#: Static cluster, in the bootstrap document: the control plane's HTTP API.
CONTROL: Final = "control"
#: Static cluster, in the bootstrap document: telemetry's access-log service.
ACCESS_LOG: Final = "access-log"
#: Static cluster, in the bootstrap document: the control plane's discovery service.
XDS: Final = "xds"
#: Static clusters, in the bootstrap document: the capture process, for small bodies and for large ones.
CAPTURE: Final = "capture"
CAPTURE_LARGE: Final = "capture-large"

#: In the bootstrap document: by which our own Envoy is known.
PROXY_NODE: Final = "edge-1"

LISTENER: Final = "edge"
#: The internal listener that copies for shadows go through (`bannister.envoy.resources.shadow`).
SHADOW_LISTENER: Final = "shadow"
ROUTE_TABLE: Final = "edge"

#: Route names, as the access log shows them. Only these up to `SHADOW` are logged.
INVOCATION: Final = "invocation"
#: An invocation that is copied, by what its copies are: the capture process knows from it which copies there must be.
INVOCATION_COPIED: Final = {
    frozenset({"shadow"}): "invocation-copied",
    frozenset({"noise"}): "invocation-copied-noise",
    frozenset({"shadow", "noise"}): "invocation-copied-both",
}
HEARTBEAT: Final = "heartbeat"
#: On the internal listener: a copy for a shadow, and one for production's own group, which is no invocation of it.
SHADOW: Final = "shadow"
NOISE: Final = "noise"
#: The names of hop clusters (`shadow.hop_name`): regular expression.
HOP_PATTERN: Final = rf"(?:{SHADOW}|{NOISE})/[^/]+/(?:small|large)"
#: The capture process's own heartbeats: observed, not logged.
CAPTURE_HEARTBEAT: Final = "capture-heartbeat"
REFUSAL: Final = "refusal"
API: Final = "api"

#: Where telemetry sends its heartbeats; answered by the proxy itself.
HEARTBEAT_PATH: Final = "/-/heartbeat"
#: Where the capture process sends its own.
CAPTURE_HEARTBEAT_PATH: Final = "/-/heartbeat/capture"

#: The namespace of what routes carry for the filters (`endpoint`), and of what filters note for the access log
#: (`original_status`: the status that the model answered, where the caller got 424).
METADATA: Final = "bannister"
#: The tag of an access-log entry that names the group. Envoy fills its own field only where it chose an instance.
GROUP_TAG: Final = "group"

#: On a copy: the group that it is for, and what it is (`SHADOW` or `NOISE`). The mirror sets both, whatever a client sent; no model sees any of these.
COPY_GROUP_HEADER: Final = "x-bannister-copy-group"
COPY_KIND_HEADER: Final = "x-bannister-copy-kind"
#: On a copy of a request whose answer is streamed.
COPY_STREAM_HEADER: Final = "x-bannister-copy-stream"

#: On a captured answer between router and capture: microseconds that the model took to begin it.
LATENCY_HEADER: Final = "x-bannister-model-microseconds"

ERROR_TYPE_HEADER: Final = "x-amzn-errortype"
REQUEST_ID_HEADER: Final = "x-amzn-requestid"
VARIANT_HEADER: Final = "x-Amzn-Invoked-Production-Variant"
TARGET_VARIANT_HEADER: Final = "x-amzn-sagemaker-target-variant"
