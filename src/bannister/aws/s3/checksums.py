"""Checksums that clients give with a body: verified while it streams, and kept with the object.

Those that Python has no fast code for (CRC32C, CRC64NVME, xxHash) are kept and given back as they came.
"""

from __future__ import annotations

import binascii
import hashlib
import zlib
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final, Protocol

from bannister.aws.s3.faults import Fault


class Hasher(Protocol):
    def update(self, data: bytes, /) -> object: ...
    def digest(self) -> bytes: ...


class _Crc32:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


def _md5() -> Hasher:
    return hashlib.md5(usedforsecurity=False)


def _sha1() -> Hasher:
    return hashlib.sha1(usedforsecurity=False)


#: By S3's names.
HASHERS: Final[dict[str, Callable[[], Hasher]]] = {
    "CRC32": _Crc32,
    "SHA1": _sha1,
    "SHA256": hashlib.sha256,
    "SHA512": hashlib.sha512,
    "MD5": _md5,
}
_DIGEST_BYTES: Final = {
    "CRC32": 4,
    "CRC32C": 4,
    "CRC64NVME": 8,
    "SHA1": 20,
    "SHA256": 32,
    "SHA512": 64,
    "MD5": 16,
    "XXHASH64": 8,
    "XXHASH3": 8,
    "XXHASH128": 16,
}
ALGORITHMS: Final = tuple(_DIGEST_BYTES)


@dataclass(frozen=True, slots=True)
class Check:
    """A digest that the body must have."""

    hasher: Hasher
    #: None: it comes with the trailer.
    expected: bytes | None
    code: str
    message: str
    #: The algorithm, where the checksum is kept.
    algorithm: str = ""


def digest_of(algorithm: str, text: str) -> bytes:
    """A checksum's bytes from its base64. Raises `Fault`."""
    try:
        digest = binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != _DIGEST_BYTES[algorithm]:
        raise Fault("InvalidRequest", f"Value for x-amz-checksum-{algorithm.lower()} header is invalid.")
    return digest


def base64_of(digest: bytes) -> str:
    return b64encode(digest).decode()


def checks_of(headers: dict[str, str]) -> list[Check]:
    """What the headers of a request say about its body. Raises `Fault` for a value that is no checksum."""
    checks = [check for algorithm in HASHERS if (check := _checksum(algorithm, headers))]
    if "content-md5" in headers:
        try:
            expected = digest_of("MD5", headers["content-md5"])
        except Fault:
            raise Fault("InvalidDigest", "The Content-MD5 you specified was invalid.") from None
        message = "The Content-MD5 you specified did not match what we received."
        checks.append(Check(_md5(), expected, "BadDigest", message))
    payload = headers.get("x-amz-content-sha256", "")
    if len(payload) == 64:
        try:
            expected = bytes.fromhex(payload)
        except ValueError:
            raise Fault("InvalidArgument", "x-amz-content-sha256 must be a valid SHA-256.") from None
        message = "The provided 'x-amz-content-sha256' header does not match what was computed."
        checks.append(Check(hashlib.sha256(), expected, "XAmzContentSHA256Mismatch", message))
    return checks


def _checksum(algorithm: str, headers: dict[str, str]) -> Check | None:
    name = f"x-amz-checksum-{algorithm.lower()}"
    given = headers.get(name)
    trailers = [one.strip() for one in headers.get("x-amz-trailer", "").lower().split(",")]
    if given is None and name not in trailers:
        return None
    message = f"The {algorithm} you specified did not match the calculated checksum."
    expected = None if given is None else digest_of(algorithm, given)
    return Check(HASHERS[algorithm](), expected, "BadDigest", message, algorithm)


async def verified(
    content: AsyncIterator[bytes], headers: dict[str, str], trailers: dict[str, str], checksums: dict[str, str]
) -> AsyncIterator[bytes]:
    """The content, unchanged. It ends with a fault if it is not what `headers` and `trailers` say.

    `trailers` is read, and `checksums` filled, behind the last chunk.
    """
    checks = checks_of(headers)
    async for chunk in content:
        for check in checks:
            check.hasher.update(chunk)
        yield chunk
    given = headers | trailers
    for algorithm in ALGORITHMS:
        name = f"x-amz-checksum-{algorithm.lower()}"
        if name in given:
            checksums[algorithm] = base64_of(digest_of(algorithm, given[name]))
    for check in checks:
        if check.expected is None and check.algorithm not in checksums:
            raise Fault("MalformedTrailerError", f"The trailer with the {check.algorithm} checksum is missing.")
        expected = check.expected or digest_of(check.algorithm, checksums[check.algorithm])
        if check.hasher.digest() != expected:
            raise Fault(check.code, check.message)
