"""What the object store promises.

Keys are taken raw (`a//b c/../x` is a key, not a path) and can never name anything outside the store.

Every store passes `tests/objects/test_conformance.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object without its bytes."""

    bucket: str
    key: str
    size: int
    #: Quoted hexadecimal MD5, as S3 prints it (of parts: `"…-N"`).
    etag: str
    modified_at: float
    content_type: str = "binary/octet-stream"
    #: `x-amz-meta-` headers without the prefix.
    metadata: dict[str, str] = field(default_factory=dict)
    #: Checksums the client gave or asked for, by algorithm, base64.
    checksums: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of a listing."""

    objects: tuple[ObjectInfo, ...]
    common_prefixes: tuple[str, ...]
    #: Continue after this key; None: the listing is complete.
    next_after: str | None


class ObjectStore(Protocol):
    """Buckets and objects. For one event loop; a put is visible whole or not at all, the last one wins."""

    async def create_bucket(self, bucket: str, at: float) -> None:
        """Idempotent. Raises `Invalid` for a name that S3 would not take."""
        ...

    async def buckets(self) -> list[tuple[str, float]]:
        """Names and creation times, by name."""
        ...

    async def put(
        self,
        bucket: str,
        key: str,
        chunks: AsyncIterator[bytes],
        at: float,
        *,
        content_type: str = "binary/octet-stream",
        metadata: dict[str, str] | None = None,
        checksums: dict[str, str] | None = None,
        etag: str | None = None,
    ) -> ObjectInfo:
        """Stream an object to disk and make it visible. If `chunks` raises, nothing changes.

        Raises:
            NotFound: The bucket does not exist.
            Invalid: The key or the size is not acceptable.
        """
        ...

    async def head(self, bucket: str, key: str) -> ObjectInfo:
        """Raises `NotFound` for an unknown bucket or object."""
        ...

    async def get(self, bucket: str, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes [start, end) of an object. Raises `NotFound` before the first chunk."""
        ...

    async def fetch(self, bucket: str, key: str) -> Path:
        """A local file with the object's bytes, to read now; it may be the store's own. Raises `NotFound`."""
        ...

    async def delete(self, bucket: str, key: str) -> None:
        """Idempotent."""
        ...

    async def list(
        self, bucket: str, *, prefix: str = "", delimiter: str = "", after: str = "", limit: int = 1000
    ) -> Listing:
        """Objects whose key starts with `prefix` and is greater than `after`, in the order of their UTF-8 bytes."""
        ...
