"""Warm-up requests: what a model is asked before it gets its first request from a caller.

The first prediction of many models takes a thousand times as long as the next (kernels are compiled, caches filled, weights paged in). So a model may bring
requests that are like its callers', one JSON object a line:

    {"content_type": "text/csv", "body": "5.1,3.5,1.4,0.2"}
    {"body": {"instances": [[5.1, 3.5, 1.4, 0.2]]}, "count": 3}
    {"content_type": "application/x-npy", "body_base64": "k05VTVBZ..."}

| member | meaning | where it is not given |
| --- | --- | --- |
| `body` | text is sent as it is; any other value as JSON | one of the two has to be |
| `body_base64` | bytes | |
| `content_type` | of the body | `application/json` for a value that is sent as JSON; for others it has to be given |
| `accept` | what the answer may be | none is sent |
| `count` | how often it is sent, one after the other | 1 |
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from bannister.errors import Invalid

#: The member of an artifact that holds a model's requests.
WARMUP_FILE: Final = "code/warmup.jsonl"
#: In a model's environment: its requests, in place of the file's; empty: none.
WARMUP_VARIABLE: Final = "BANNISTER_WARMUP"
_JSON: Final = "application/json"
_HEADER_CHARACTERS_MAX: Final = 1024


@dataclass(frozen=True, slots=True)
class WarmupRequest:
    """One request, sent `count` times."""

    line: int
    body: bytes
    content_type: str
    accept: str | None = None
    count: int = 1


@dataclass(frozen=True, slots=True)
class Warmup:
    """All requests of a model."""

    requests: tuple[WarmupRequest, ...] = ()
    #: Where they come from, for sentences.
    source: str = WARMUP_FILE

    def called(self, request: WarmupRequest) -> str:
        """One of the requests, in a sentence."""
        return f"warm-up request {request.line} of {self.source}"


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    body: Any = msgspec.UNSET
    body_base64: str | None = None
    content_type: str | None = None
    accept: str | None = None
    count: int = 1


def parse(content: bytes, source: str, requests_max: int) -> Warmup:
    """The requests of a file or a variable.

    Raises:
        Invalid: It is none of this; the sentence names the line.
    """
    found = []
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip():
            found.append(_request(line, number, source))
    if (count := sum(one.count for one in found)) > requests_max:
        raise Invalid(f"{source} has {count} warm-up requests; it may have {requests_max}.")
    return Warmup(tuple(found), source)


def _request(text: bytes, number: int, source: str) -> WarmupRequest:
    where = f"Line {number} of {source}"
    try:
        line = msgspec.json.decode(text, type=_Line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"{where} is no warm-up request: {error}.") from error
    if (line.body is msgspec.UNSET) == (line.body_base64 is None):
        raise Invalid(f"{where} is no warm-up request: give either body or body_base64.")
    if line.count < 1:
        raise Invalid(f"{where} is no warm-up request: count is {line.count}; it must be 1 or more.")
    for name, value in (("content_type", line.content_type), ("accept", line.accept)):
        if value is not None and not _is_header(value):
            raise Invalid(f"{where} is no warm-up request: its {name} cannot be sent as a header.")
    content_type = line.content_type
    if line.body_base64 is not None:
        try:
            body = base64.b64decode(line.body_base64, validate=True)
        except (binascii.Error, ValueError) as error:
            raise Invalid(f"{where} is no warm-up request: its body_base64 is not base64 ({error}).") from error
    elif isinstance(line.body, str):
        body = line.body.encode()
    else:
        body, content_type = msgspec.json.encode(line.body), content_type or _JSON
    if content_type is None:
        raise Invalid(f"{where} is no warm-up request: give its content_type.")
    return WarmupRequest(number, body, content_type, line.accept, line.count)


def _is_header(value: str) -> bool:
    return 0 < len(value) <= _HEADER_CHARACTERS_MAX and value.isascii() and value.isprintable()
