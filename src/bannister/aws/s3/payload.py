"""The content of a request's body: unwrapped, measured and verified while it streams."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from bannister.aws.s3 import aws_chunked
from bannister.aws.s3.checksums import checks_of, verified
from bannister.aws.s3.faults import Fault
from bannister.aws.s3.request import Request


@dataclass(frozen=True, slots=True)
class Payload:
    """Content that ends with a fault if it is not what the request's headers promise."""

    chunks: AsyncIterator[bytes]
    #: By algorithm, base64; complete behind the last chunk.
    checksums: dict[str, str]


def payload(request: Request, bytes_max: int) -> Payload:
    """Content of at most `bytes_max`.

    Raises:
        Fault: The headers already say that it is too large, unmeasured, or has a checksum that is none.
    """
    headers = request.headers
    checks_of(headers)
    encoded = _is_aws_chunked(headers)
    length = _length(headers, "x-amz-decoded-content-length" if encoded else "content-length")
    if length is None and "transfer-encoding" not in headers and not encoded:
        raise Fault("MissingContentLength", "You must provide the Content-Length HTTP header.")
    if length is not None and length > bytes_max:
        raise too_large(bytes_max)
    trailers: dict[str, str] = {}
    checksums: dict[str, str] = {}
    content = aws_chunked.decoded(request.body, trailers) if encoded else request.body
    measured = _measured(content, length, bytes_max)
    return Payload(verified(measured, headers, trailers, checksums), checksums)


async def read_whole(request: Request, bytes_max: int) -> bytes:
    """A body that is a document, verified. Raises `Fault`."""
    return b"".join([chunk async for chunk in payload(request, bytes_max).chunks])


def too_large(bytes_max: int) -> Fault:
    return Fault("EntityTooLarge", f"Your proposed upload exceeds the maximum allowed size of {bytes_max} bytes.")


def _is_aws_chunked(headers: dict[str, str]) -> bool:
    encodings = [part.strip().lower() for part in headers.get("content-encoding", "").split(",")]
    return "aws-chunked" in encodings or headers.get("x-amz-content-sha256", "").startswith("STREAMING-")


def _length(headers: dict[str, str], name: str) -> int | None:
    text = headers.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise Fault("InvalidArgument", f"{name} is not a number of bytes.")
    return int(text)


async def _measured(content: AsyncIterator[bytes], length: int | None, bytes_max: int) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in content:
        size += len(chunk)
        if size > bytes_max:
            raise too_large(bytes_max)
        yield chunk
    if length is not None and size != length:
        raise Fault(
            "IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header"
        )
