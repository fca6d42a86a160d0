"""One captured exchange: a request to one group, and that group's answer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """A request's or an answer's body."""

    body: bytes
    content_type: str | None = None
    #: The body is whole: its end was seen, and it was not longer than what is captured.
    complete: bool = True
    #: As the header Content-Encoding says; the body is as it was sent.
    content_encoding: str | None = None


@dataclass(frozen=True, slots=True)
class Exchange:
    """Immutable, once both ends were seen or nothing more can come."""

    #: Envoy's x-request-id: the same for a request and its copies, different for every attempt of a client.
    request_id: str
    endpoint: str
    group: str
    #: When Envoy had the request's headers, and when the answer had ended; seconds since the epoch.
    started_at: float
    ended_at: float
    request: Message
    #: None: the group gave no answer.
    response: Message | None
    #: What the model answered, not what a caller was told; None: no answer.
    status: int | None
    #: Microseconds from the request's last byte, given to the group, to the answer's last; to its first, where the answer is short and
    #: of known length, so that nothing that happens on the way to us counts. 0: no answer.
    latency_us: int
    #: The caller's X-Amzn-SageMaker-Inference-Id and -Custom-Attributes.
    #: Of production's: a copy of it was made for the shadow, and one for production's own group (unless a bound was reached).
    copied: bool = False
    noise_copied: bool = False
    inference_id: str | None = None
    custom_attributes: str | None = None
