"""The messages of one stream become one exchange.

Envoy tells of a request in pieces: its headers, its body, the answer's headers, its body. For each side it says where the body ends; where that never comes, the caller hung up or
the group did. An answer that Envoy made by itself (no instance, a time-out) is no answer of the group: it lacks the header that
Envoy's router adds to those.

Bodies are kept up to a bound each, and up to a bound together; beyond it they are cut, and said to be.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from bannister.domain.capture.exchange import Exchange, Message

#: The names of the routes whose requests are observed, and of the headers that Envoy adds for us (`bannister.envoy.resources`).
INVOCATION_ROUTE: Final = "invocation"
#: The same, copied: for whom.
COPIED_ROUTES: Final = {
    "invocation-copied": frozenset({"shadow"}),
    "invocation-copied-noise": frozenset({"noise"}),
    "invocation-copied-both": frozenset({"shadow", "noise"}),
}
SHADOW_ROUTE: Final = "shadow"
NOISE_ROUTE: Final = "noise"
HEARTBEAT_ROUTE: Final = "capture-heartbeat"
LATENCY_HEADER: Final = "x-bannister-model-microseconds"

_ATTRIBUTES: Final = "envoy.filters.http.ext_proc"
_ANSWERED: Final = "x-envoy-upstream-service-time"
_INFERENCE_ID: Final = "x-amzn-sagemaker-inference-id"
_CUSTOM_ATTRIBUTES: Final = "x-amzn-sagemaker-custom-attributes"
_READ_HEADERS: Final = frozenset(
    {":path", ":status", "content-type", "content-encoding", "content-length", "x-request-id"}
    | {_ANSWERED, _INFERENCE_ID, _CUSTOM_ATTRIBUTES, LATENCY_HEADER}
)
#: An answer up to this length comes whole with its headers: its last byte is not waited for.
_SHORT_ANSWER_BYTES: Final = 64 * 1024


class Role(StrEnum):
    """What an exchange is to the endpoint."""

    PRODUCTION = INVOCATION_ROUTE
    SHADOW = SHADOW_ROUTE
    #: Production's own answer to a copy.
    NOISE = NOISE_ROUTE
    HEARTBEAT = HEARTBEAT_ROUTE


_ROLES: Final = {role.value: role for role in Role} | dict.fromkeys(COPIED_ROUTES, Role.PRODUCTION)


class Budget:
    """How many bytes of bodies may be held together."""

    def __init__(self, limit: int) -> None:
        self._left = limit

    def take(self, size: int) -> bool:
        """Whether there was room; then it is taken."""
        if size > self._left:
            return False
        self._left -= size
        return True

    def give_back(self, size: int) -> None:
        self._left += size


@dataclass(slots=True)
class _Body:
    """One side's body as it comes in."""

    limit: int
    budget: Budget
    content: bytearray
    ended: bool = False
    cut: bool = False

    def add(self, chunk: bytes, *, last: bool) -> None:
        if not self.cut and len(self.content) + len(chunk) <= self.limit and self.budget.take(len(chunk)):
            self.content += chunk
        elif chunk:  # what more there is is of no use: nothing of it need be told
            self.cut = self.ended = True
        self.ended = self.ended or last

    def message(self, headers: dict[str, str]) -> Message:
        is_whole = self.ended and not self.cut
        return Message(bytes(self.content), headers.get("content-type"), is_whole, headers.get("content-encoding"))


class Assembly:
    """One exchange in the making."""

    def __init__(self, budget: Budget, body_bytes_max: int) -> None:
        self._budget = budget
        self._bytes_max = body_bytes_max
        self._request = _Body(body_bytes_max, budget, bytearray())
        self._answer = _Body(body_bytes_max, budget, bytearray())
        self._request_headers: dict[str, str] = {}
        self._answer_headers: dict[str, str] | None = None
        self._answer_began_at = 0.0
        self.group = ""
        self.role: Role | None = None
        self._copies: frozenset[str] = frozenset()
        self.path = ""
        self.started_at = 0.0

    @property
    def is_whole(self) -> bool:
        """Both ends were seen: nothing more comes that is of interest."""
        return self._request.ended and self._answer.ended

    @property
    def request_id(self) -> str:
        """Envoy's; "": it was not told."""
        return self._request_headers.get("x-request-id", "")

    @property
    def size(self) -> int:
        """Bytes of both bodies."""
        return len(self._request.content) + len(self._answer.content)

    @property
    def was_answered(self) -> bool:
        """An answer came, of the group or of Envoy."""
        return self._answer_headers is not None

    def take(self, message: Any, monotonic: float) -> None:
        """One message of the stream (`ProcessingRequest`)."""
        match message.WhichOneof("request"):
            case "request_headers":
                self._begin(message)
            case "request_body":
                self._request.add(message.request_body.body, last=message.request_body.end_of_stream)
            case "response_headers":
                self._answer_headers = _plain(message.response_headers)
                self._answer_began_at = monotonic
                self._answer.ended = message.response_headers.end_of_stream
            case "response_body":
                self._answer.add(message.response_body.body, last=message.response_body.end_of_stream)
            case _:
                return

    def skip(self) -> None:
        """A message that was longer than what is captured: the rest of the side that is being told."""
        side = self._request if self._answer_headers is None else self._answer
        side.cut = side.ended = True

    def _begin(self, message: Any) -> None:
        headers = self._request_headers = _plain(message.request_headers)
        told = message.attributes[_ATTRIBUTES].fields
        self.group = told["xds.cluster_name"].string_value
        route = told["xds.route_name"].string_value
        self.role = _ROLES.get(route)
        self._copies = COPIED_ROUTES.get(route, frozenset())
        self.started_at = _seconds(told["request.time"].string_value)
        self.path = headers.get(":path", "")
        self._request.ended = message.request_headers.end_of_stream
        if _length(headers) > self._bytes_max:  # then Envoy was told not to send it at all
            self._request.ended = self._request.cut = True

    def exchange(self, endpoint: str, now: float, monotonic: float) -> Exchange:
        """What was seen of it."""
        headers = self._request_headers
        answer = self._answer_headers if self._answer_headers and _ANSWERED in self._answer_headers else None
        return Exchange(
            request_id=self.request_id,
            endpoint=endpoint,
            group=self.group,
            started_at=self.started_at,
            ended_at=now,
            request=self._request.message(headers),
            response=self._answer.message(answer) if answer is not None else None,
            status=int(answer[":status"]) if answer is not None else None,
            latency_us=self._latency(answer, monotonic) if answer is not None else 0,
            copied=SHADOW_ROUTE in self._copies,
            noise_copied=NOISE_ROUTE in self._copies,
            inference_id=headers.get(_INFERENCE_ID),
            custom_attributes=headers.get(_CUSTOM_ATTRIBUTES),
        )

    def _latency(self, answer: dict[str, str], monotonic: float) -> int:
        try:
            to_first = int(answer[LATENCY_HEADER])
        except (KeyError, ValueError):  # it answered before it had the whole request
            to_first = int(answer[_ANSWERED]) * 1000
        if _length(answer, unknown=_SHORT_ANSWER_BYTES + 1) <= _SHORT_ANSWER_BYTES:
            return to_first
        return to_first + round((monotonic - self._answer_began_at) * 1_000_000)

    def release(self) -> None:
        """Its bodies are no longer held here."""
        self._budget.give_back(self.size)


def _plain(headers: Any) -> dict[str, str]:
    return {one.key: one.raw_value.decode("latin-1") for one in headers.headers.headers if one.key in _READ_HEADERS}


def _length(headers: dict[str, str], unknown: int = 0) -> int:
    text = headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else unknown


def _seconds(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0
