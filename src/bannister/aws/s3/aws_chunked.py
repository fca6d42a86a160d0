"""The `aws-chunked` content encoding, decoded as a stream.

    SIZE[;chunk-signature=…]CRLF  DATA CRLF  …  0[;chunk-signature=…]CRLF  [NAME:VALUE CRLF …] CRLF

SIZE is hexadecimal; the lines behind the last chunk are trailers. SDKs send it when a body's checksum is known only
at its end. Signatures are not checked: there is no secret to check them with until access control exists.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Final

from bannister.aws.s3.faults import Fault

_LINE_BYTES_MAX: Final = 4096
_TRAILERS_MAX: Final = 16
#: At most 4 GiB a chunk; signatures and other extensions follow a semicolon.
_CHUNK_HEADER = re.compile(rb"([0-9a-fA-F]{1,8})(?:;.*)?")


async def decoded(raw: AsyncIterator[bytes], trailers: dict[str, str]) -> AsyncIterator[bytes]:
    """The content; `trailers` is complete, names in lower case, once it has ended.

    Raises:
        Fault: `IncompleteBody`, or `InvalidRequest` for what is not this encoding.
    """
    buffer = _Buffer(raw)
    while size := _chunk_size(await buffer.line()):
        async for piece in buffer.take(size):
            yield piece
        if await buffer.line():
            raise _not_chunked()
    while line := await buffer.line(or_end=True):
        name, separator, value = line.decode("latin-1").partition(":")
        if not separator or len(trailers) >= _TRAILERS_MAX:
            raise _not_chunked()
        trailers[name.strip().lower()] = value.strip()


def _chunk_size(line: bytes) -> int:
    found = _CHUNK_HEADER.fullmatch(line)
    if found is None:
        raise _not_chunked()
    return int(found[1], 16)


class _Buffer:
    """What has arrived and is not yet decoded: never more than one piece of the connection's and a line."""

    def __init__(self, raw: AsyncIterator[bytes]) -> None:
        self._raw = raw
        self._bytes = bytearray()

    async def line(self, *, or_end: bool = False) -> bytes:
        """The next line without its CRLF. At the end of the body: an empty one with `or_end`, or a fault."""
        while (end := self._bytes.find(b"\r\n", 0, _LINE_BYTES_MAX)) < 0:
            if len(self._bytes) >= _LINE_BYTES_MAX:
                raise _not_chunked()
            if not await self._more():
                if or_end and not self._bytes:
                    return b""
                raise _incomplete()
        line = bytes(self._bytes[:end])
        del self._bytes[: end + 2]
        return line

    async def take(self, size: int) -> AsyncIterator[bytes]:
        """The next `size` bytes."""
        while size:
            if not self._bytes and not await self._more():
                raise _incomplete()
            piece = bytes(self._bytes[:size])
            del self._bytes[: len(piece)]
            size -= len(piece)
            yield piece

    async def _more(self) -> bool:
        chunk = await anext(self._raw, None)
        if chunk is not None:
            self._bytes += chunk
        return chunk is not None


def _not_chunked() -> Fault:
    return Fault("InvalidRequest", "The body is not encoded as its headers say (aws-chunked).")


def _incomplete() -> Fault:
    return Fault("IncompleteBody", "The request body terminated unexpectedly")
