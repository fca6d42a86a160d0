"""A request as the operations see it, from an ASGI scope.

The bucket is the first segment of the path, or the part of the host before `.localhost` (`bucket.localhost:3594`). The
key is all the rest of the *raw* path, percent-decoded once and never normalised: `a//b/../c` is a key.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, unquote_to_bytes

from bannister.aws.s3.faults import ClientGone, Fault
from bannister.objects.names import bucket_limitation

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_VIRTUAL_HOST: Final = ".localhost"
_QUERY_FIELDS_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class Request:
    """One call of an operation."""

    id: str
    method: str
    #: The raw path as it came, for error messages.
    resource: str
    #: Empty: the call is about the service.
    bucket: str
    #: Empty: the call is about the bucket.
    key: str
    query: dict[str, str]
    #: Names in lower case.
    headers: dict[str, str]
    #: The body as it came, undecoded. Read once.
    body: AsyncIterator[bytes]
    #: Closed when the answer has been sent: for what the answer still reads from.
    held: AsyncExitStack

    def header(self, name: str) -> str | None:
        return self.headers.get(name)

    def count(self, name: str, default: int, *, least: int = 0) -> int:
        """A number from the query. Raises `Fault` (`InvalidArgument`)."""
        text = self.query.get(name, "")
        if not text:
            return default
        if not re.fullmatch("[0-9]{1,10}", text) or int(text) < least:
            raise Fault("InvalidArgument", f"Provided {name} not an integer or within integer range")
        return int(text)


def read_request(scope: MutableMapping[str, Any], receive: Receive, request_id: str, held: AsyncExitStack) -> Request:
    """Raises `Fault`: the path or query is not UTF-8, or the bucket has no name that could exist."""
    raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    bucket, key = _bucket_and_key(raw_path, headers.get("host", ""))
    return Request(
        id=request_id,
        method=scope["method"],
        resource=raw_path.decode("latin-1"),
        bucket=bucket,
        key=key,
        query=_query(scope["query_string"]),
        headers=headers,
        body=_body(receive),
        held=held,
    )


def check_bucket_name(bucket: str) -> None:
    """Raises `Fault`: S3 has no such bucket, and neither may a client reach one that S3's rules exclude."""
    limitation = bucket_limitation(bucket)
    if limitation is not None:
        raise Fault("InvalidBucketName", f"The specified bucket is not valid. {limitation}")


def decode(raw: bytes) -> str:
    """Percent-decoded once. Raises `Fault` (`InvalidURI`)."""
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise _invalid_uri() from None


def _bucket_and_key(raw_path: bytes, host: str) -> tuple[str, str]:
    name = re.sub(r":[0-9]*$", "", host).lower()
    bucket = name.removesuffix(_VIRTUAL_HOST)
    if bucket == name or bucket_limitation(bucket) is not None:
        raw_bucket, _, raw_key = raw_path.removeprefix(b"/").partition(b"/")
        bucket = decode(raw_bucket)
    else:
        raw_key = raw_path.removeprefix(b"/")
    if bucket:
        check_bucket_name(bucket)
    elif raw_key:
        raise _invalid_uri()
    return bucket, decode(raw_key)


def _query(raw: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_QUERY_FIELDS_MAX
        )
    except ValueError:
        raise _invalid_uri() from None
    return dict(pairs)


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        more = message.get("more_body", False)
        yield message.get("body", b"")


def _invalid_uri() -> Fault:
    return Fault("InvalidURI", "Couldn't parse the specified URI.")
