"""A request's body as bytes: all of it, never more than the limit, also after decompression.

botocore compresses large PutMetricData requests (`Content-Encoding: gzip`). A few kilobytes can decompress to gigabytes, so
decompression stops at the limit, too.
"""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

_GZIP = 16 + zlib.MAX_WBITS


class TooLarge(Exception):
    """The body, or what it decompresses to, is over the limit."""


class Undecodable(Exception):
    """The body is not what its Content-Encoding says; the message says what it is not."""


class Disconnected(Exception):
    """The client went away before the body was whole."""


async def read(receive: Callable[[], Awaitable[Any]], headers: Mapping[str, str], bytes_max: int) -> bytes:
    """The whole body, decompressed.

    Raises:
        TooLarge: More than `bytes_max` bytes, on the wire or decompressed. The rest is unread.
        Undecodable: It is not gzip although it says so, or has an encoding that nobody here reads.
        Disconnected: There is nobody to answer.
    """
    declared = headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > bytes_max:
        raise TooLarge
    pieces: list[bytes] = []
    size = 0
    more = True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise Disconnected
        pieces.append(event.get("body", b""))
        size += len(pieces[-1])
        if size > bytes_max:
            raise TooLarge
        more = event.get("more_body", False)
    return decoded(b"".join(pieces), headers.get("content-encoding", ""), bytes_max)


def decoded(body: bytes, encoding: str, bytes_max: int) -> bytes:
    """The body without its Content-Encoding."""
    match encoding.strip().lower():
        case "" | "identity":
            return body
        case "gzip":
            return _gunzipped(body, bytes_max)
        case _:
            raise Undecodable(f"The Content-Encoding {encoding!r} is not supported; gzip and identity are.")


def _gunzipped(body: bytes, bytes_max: int) -> bytes:
    stream = zlib.decompressobj(wbits=_GZIP)
    try:
        plain = stream.decompress(body, bytes_max + 1)
    except zlib.error:
        raise Undecodable("The body is not in gzip format, although its Content-Encoding says so.") from None
    if len(plain) > bytes_max:
        raise TooLarge
    if not stream.eof or stream.unused_data:
        raise Undecodable("The body is not exactly one whole gzip stream.")
    return plain
