"""What the object store promises.

Keys are taken raw (`a//b c/../x` is a key, not a path) and can never name anything outside the store.

Every store passes `tests/objects/test_conformance.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

#: A bucket that every store has, that is never listed and whose name no client can give (S3 forbids it): the
#: door keeps the parts of unfinished multipart uploads there.
UPLOADS_BUCKET: Final = ".uploads"


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
    #: Checksums the client gave or asked for, by algorithm, base64 (of parts: `"…-N"`).
    checksums: dict[str, str] = field(default_factory=dict)
    #: Headers that S3 keeps with an object and gives back (`content-encoding`, `cache-control`, …), lower case.
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of a listing."""

    objects: tuple[ObjectInfo, ...]
    common_prefixes: tuple[str, ...]
    #: Continue after this key or common prefix; None: the listing is complete.
    next_after: str | None


class OpenObject(Protocol):
    """One version of an object, held open: a put or delete meanwhile changes nothing here."""

    @property
    def info(self) -> ObjectInfo: ...

    def read(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes [start, end); `end` None: to the last."""
        ...


class ObjectStore(Protocol):
    """Buckets and objects. For one event loop; a put is visible whole or not at all, the last one wins.

    Every method may raise `Unavailable`: the disk is full or does not answer. Nothing has changed then.
    """

    async def create_bucket(self, bucket: str, at: float) -> None:
        """Idempotent. Raises `Invalid` for a name that S3 would not take."""
        ...

    async def delete_bucket(self, bucket: str) -> None:
        """Raises `NotFound`; `Invalid` (code `BucketNotEmpty`) while it holds an object."""
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
        headers: dict[str, str] | None = None,
        etag: str | None = None,
    ) -> ObjectInfo:
        """Stream an object to disk and make it visible. If `chunks` raises, nothing changes.

        `checksums` is read after the last chunk: a trailer may still fill it.

        Raises:
            NotFound: The bucket does not exist.
            Invalid: The key (code `KeyTooLongError`) or the size (`EntityTooLarge`) is not acceptable.
        """
        ...

    async def head(self, bucket: str, key: str) -> ObjectInfo:
        """Raises `NotFound` for an unknown bucket or object."""
        ...

    def open(self, bucket: str, key: str) -> AbstractAsyncContextManager[OpenObject]:
        """An object with its bytes, of one and the same version. Raises `NotFound` on entry."""
        ...

    async def fetch(self, bucket: str, key: str) -> Path:
        """A local file with the object's bytes, to read now; it may be the store's own. Raises `NotFound`."""
        ...

    async def delete(self, bucket: str, key: str) -> None:
        """Idempotent. Raises `NotFound` for an unknown bucket."""
        ...

    async def list(
        self, bucket: str, *, prefix: str = "", delimiter: str = "", after: str = "", limit: int = 1000
    ) -> Listing:
        """Objects whose key starts with `prefix`, in the order of their UTF-8 bytes.

        Keys that hold `delimiter` behind `prefix` are rolled up: what they share up to it is listed once, as a
        common prefix. Objects and common prefixes alike are listed if greater than `after`, and count towards `limit`.
        """
        ...
