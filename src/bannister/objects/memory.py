"""Objects in memory: for simulations and tests, with the same promises as a folder's."""

from __future__ import annotations

import hashlib
import tempfile
from bisect import bisect_left
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bannister.errors import Invalid, NotFound, Resource
from bannister.objects import listing, names
from bannister.objects.store import UPLOADS_BUCKET, Listing, ObjectInfo


@dataclass(frozen=True, slots=True)
class _Object:
    """An `OpenObject` in memory."""

    info: ObjectInfo
    content: bytes

    async def read(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        if content := self.content[start:end]:
            yield content


class MemoryObjects:
    """An `ObjectStore` that ends with its process."""

    def __init__(self, object_bytes_max: int) -> None:
        self._bytes_max = object_bytes_max
        self._created_at: dict[str, float] = {UPLOADS_BUCKET: 0.0}
        self._objects: dict[str, dict[bytes, _Object]] = {UPLOADS_BUCKET: {}}
        self._fetched: tempfile.TemporaryDirectory[str] | None = None

    async def create_bucket(self, bucket: str, at: float) -> None:
        names.check_bucket(bucket)
        self._created_at.setdefault(bucket, at)
        self._objects.setdefault(bucket, {})

    async def delete_bucket(self, bucket: str) -> None:
        if self._in(bucket):
            raise Invalid(f"The bucket {bucket} is not empty.", code="BucketNotEmpty")
        del self._created_at[bucket], self._objects[bucket]

    async def buckets(self) -> list[tuple[str, float]]:
        return sorted(found for found in self._created_at.items() if found[0] != UPLOADS_BUCKET)

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
        encoded = names.key_bytes(key)
        self._in(bucket)
        content = bytearray()
        async for chunk in chunks:
            content += chunk
            if len(content) > self._bytes_max:
                raise Invalid(
                    f"Your proposed upload exceeds the maximum allowed size of {self._bytes_max} bytes.",
                    code="EntityTooLarge",
                )
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        info = ObjectInfo(
            bucket,
            key,
            len(content),
            etag or f'"{md5}"',
            at,
            content_type,
            dict(metadata or {}),
            dict(checksums or {}),
            dict(headers or {}),
        )
        self._in(bucket)[encoded] = _Object(info, bytes(content))
        return info

    async def head(self, bucket: str, key: str) -> ObjectInfo:
        return self._find(bucket, key).info

    @asynccontextmanager
    async def open(self, bucket: str, key: str) -> AsyncIterator[_Object]:
        yield self._find(bucket, key)

    async def fetch(self, bucket: str, key: str) -> Path:
        found = self._find(bucket, key)
        self._fetched = self._fetched or tempfile.TemporaryDirectory(prefix="bannister-objects-")
        path = Path(self._fetched.name) / hashlib.sha256(found.content).hexdigest()
        path.write_bytes(found.content)
        return path

    async def delete(self, bucket: str, key: str) -> None:
        self._in(bucket).pop(names.key_bytes(key), None)

    async def list(
        self, bucket: str, *, prefix: str = "", delimiter: str = "", after: str = "", limit: int = 1000
    ) -> Listing:
        objects = self._in(bucket)
        ordered = sorted(objects)

        def scan(lower: bytes) -> Iterator[ObjectInfo]:
            return (objects[key].info for key in ordered[bisect_left(ordered, lower) :])

        return listing.page(scan, prefix=prefix, delimiter=delimiter, after=after, limit=limit)

    def _in(self, bucket: str) -> dict[bytes, _Object]:
        try:
            return self._objects[bucket]
        except KeyError:
            raise NotFound(Resource.BUCKET, bucket) from None

    def _find(self, bucket: str, key: str) -> _Object:
        found = self._in(bucket).get(names.key_bytes(key))
        if found is None:
            raise NotFound(Resource.OBJECT, key)
        return found
