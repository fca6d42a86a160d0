"""Multipart uploads: boto3 sends everything above 8 MB in parts.

An upload is a small record, and each part an object, in a bucket of the store's own that no client can name: so parts have
all that the store promises, and an upload survives a restart. Completing it streams the parts into one object. What
is older than a week there was abandoned, and is removed when the next upload begins.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Final
from urllib.parse import quote

import msgspec

from bannister.aws.s3 import xml
from bannister.aws.s3.checksums import ALGORITHMS, HASHERS, digest_of
from bannister.aws.s3.conditions import copied_range
from bannister.aws.s3.faults import Fault
from bannister.aws.s3.objects import (
    content_type,
    copy_result,
    kept_headers,
    open_copy_source,
    user_metadata,
)
from bannister.aws.s3.parts import chosen_parts, composite_checksum, etag_of, hashed, listed_parts, part_number
from bannister.aws.s3.patience import Patience
from bannister.aws.s3.payload import payload, read_whole, too_large
from bannister.aws.s3.reply import Reply, checksum_headers, checksum_members, iso_date, xml_reply
from bannister.aws.s3.request import Request
from bannister.clock import Clock
from bannister.errors import NotFound
from bannister.ids import Ids
from bannister.objects.names import key_bytes
from bannister.objects.store import UPLOADS_BUCKET, ObjectInfo, ObjectStore
from bannister.settings import Settings

PARTS_PER_PAGE_MAX: Final = 1000

_UPLOAD_ID = re.compile(r"[0-9a-f-]{36}")
_FULL_OBJECT: Final = "FULL_OBJECT"
_COMPOSITE: Final = "COMPOSITE"


class Upload(msgspec.Struct, frozen=True):
    """What an upload will become."""

    bucket: str
    key: str
    content_type: str
    metadata: dict[str, str]
    headers: dict[str, str]
    #: The checksum the client asked for, or empty, and whether it covers the object or its parts.
    algorithm: str
    checksum_type: str


class Uploads:
    """The operations on multipart uploads."""

    def __init__(self, objects: ObjectStore, clock: Clock, ids: Ids, settings: Settings, patience: Patience) -> None:
        self._objects = objects
        self._clock = clock
        self._ids = ids
        self._settings = settings
        self._patience = patience

    async def create(self, request: Request) -> Reply:
        await self._objects.list(request.bucket, limit=1)
        key_bytes(request.key)
        await self._remove_abandoned()
        algorithm = (request.header("x-amz-checksum-algorithm") or "").upper()
        if algorithm and algorithm not in ALGORITHMS:
            raise Fault("InvalidRequest", "Checksum algorithm provided is unsupported.")
        upload = Upload(
            request.bucket,
            request.key,
            content_type(request),
            user_metadata(request.headers),
            kept_headers(request.headers),
            algorithm,
            _checksum_type(request, algorithm),
        )
        upload_id = self._ids.request()
        await self._objects.put(UPLOADS_BUCKET, upload_id, _once(msgspec.json.encode(upload)), self._clock.now())
        headers = {"x-amz-checksum-algorithm": algorithm, "x-amz-checksum-type": upload.checksum_type}
        return xml_reply(
            "InitiateMultipartUploadResult",
            [("Bucket", request.bucket), ("Key", request.key), ("UploadId", upload_id)],
            headers=headers if algorithm else None,
        )

    async def put_part(self, request: Request) -> Reply:
        upload_id, _ = await self._find(request)
        name = _part_name(upload_id, request)
        content = payload(request, self._settings.object_bytes_max)
        info = await self._objects.put(
            UPLOADS_BUCKET, name, content.chunks, self._clock.now(), checksums=content.checksums
        )
        return Reply(200, {"etag": info.etag} | checksum_headers(info.checksums))

    async def copy_part(self, request: Request) -> Reply:
        upload_id, upload = await self._find(request)
        name = _part_name(upload_id, request)
        opened = await open_copy_source(request, self._objects)
        start, end = copied_range(request.headers, opened.info)
        checksums: dict[str, str] = {}
        content = hashed(opened.read(start, end), upload.algorithm, checksums)

        async def answer() -> Reply:
            info = await self._objects.put(UPLOADS_BUCKET, name, content, self._clock.now(), checksums=checksums)
            return copy_result("CopyPartResult", info)

        return await self._patience.answer(request, answer())

    async def abort(self, request: Request) -> Reply:
        upload_id, _ = await self._find(request)
        await self._remove(upload_id)
        return Reply(204)

    async def list_parts(self, request: Request) -> Reply:
        upload_id, upload = await self._find(request)
        limit = min(request.count("max-parts", PARTS_PER_PAGE_MAX), PARTS_PER_PAGE_MAX)
        marker = request.count("part-number-marker", 0)
        parts = await self._parts(upload_id)
        following = sorted(number for number in parts if number > marker)
        page = following[:limit]
        return xml_reply(
            "ListPartsResult",
            [
                ("Bucket", upload.bucket),
                ("Key", upload.key),
                ("UploadId", upload_id),
                ("PartNumberMarker", str(marker)),
                ("NextPartNumberMarker", str(page[-1] if page else 0)),
                ("MaxParts", str(limit)),
                ("IsTruncated", "true" if len(page) < len(following) else "false"),
                ("ChecksumAlgorithm", upload.algorithm or None),
                ("ChecksumType", upload.checksum_type if upload.algorithm else None),
                ("StorageClass", "STANDARD"),
                *(("Part", _part_members(number, parts[number])) for number in page),
            ],
        )

    async def complete(self, request: Request) -> Reply:
        # The checksum headers of this call are about the object; its body is only the list of parts.
        about_body = {name: value for name, value in request.headers.items() if not _is_checksum(name)}
        body = await read_whole(replace(request, headers=about_body), self._settings.request_body_bytes_max)
        listed = listed_parts(body)
        etag = etag_of(listed)
        try:
            upload_id, upload = await self._find(request)
        except Fault:
            return await self._completed_before(request, etag)
        chosen = chosen_parts(listed, await self._parts(upload_id))
        size = sum(info.size for info in chosen)
        if (said := request.header("x-amz-mp-object-size")) is not None and said != str(size):
            raise Fault("InvalidRequest", f"The parts have {size} bytes together, not the {said} of MpuObjectSize.")
        if size > self._settings.object_bytes_max:
            raise too_large(self._settings.object_bytes_max)

        async def answer() -> Reply:
            info = await self._assemble(request, upload, chosen, etag)
            # First, so that a client that asks again, because we were killed meanwhile, is told that it is done. Parts that are left then go with what was abandoned.
            await self._objects.delete(UPLOADS_BUCKET, upload_id)
            await self._remove(upload_id)
            return _completed(info)

        return await self._patience.answer(request, answer())

    async def _assemble(self, request: Request, upload: Upload, parts: list[ObjectInfo], etag: str) -> ObjectInfo:
        """Make the parts one object."""
        content = self._joined(parts)
        if upload.checksum_type == _FULL_OBJECT and upload.algorithm:
            checksums: dict[str, str] = {}
            given = request.header(f"x-amz-checksum-{upload.algorithm.lower()}")
            if given is not None:
                digest_of(upload.algorithm, given)
            content = hashed(content, upload.algorithm, checksums, given)
        else:
            checksums = composite_checksum(upload.algorithm, parts)
        return await self._objects.put(
            upload.bucket,
            upload.key,
            content,
            self._clock.now(),
            content_type=upload.content_type,
            metadata=upload.metadata,
            checksums=checksums,
            headers=upload.headers,
            etag=etag,
        )

    async def _joined(self, parts: list[ObjectInfo]) -> AsyncIterator[bytes]:
        for part in parts:
            try:
                async with self._objects.open(UPLOADS_BUCKET, part.key) as opened:
                    async for chunk in opened.read():
                        yield chunk
            except NotFound:
                raise _no_such_upload() from None

    async def _completed_before(self, request: Request, etag: str) -> Reply:
        """A client that missed our answer asks again: the object is there, made of just these parts."""
        try:
            info = await self._objects.head(request.bucket, request.key)
        except NotFound:
            raise _no_such_upload() from None
        if info.etag != etag:
            raise _no_such_upload()
        return _completed(info)

    async def _find(self, request: Request) -> tuple[str, Upload]:
        """The upload that a request names. Raises `Fault` (`NoSuchUpload`)."""
        await self._objects.list(request.bucket, limit=1)
        upload_id = request.query["uploadId"]
        if not _UPLOAD_ID.fullmatch(upload_id):
            raise _no_such_upload()
        try:
            async with self._objects.open(UPLOADS_BUCKET, upload_id) as opened:
                record = b"".join([chunk async for chunk in opened.read()])
        except NotFound:
            raise _no_such_upload() from None
        upload = msgspec.json.decode(record, type=Upload)
        if (upload.bucket, upload.key) != (request.bucket, request.key):
            raise _no_such_upload()
        return upload_id, upload

    async def _parts(self, upload_id: str) -> dict[int, ObjectInfo]:
        return {int(info.key[-5:]): info async for info in self._stored(f"{upload_id}/")}

    async def _stored(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        after: str | None = ""
        while after is not None:
            listing = await self._objects.list(UPLOADS_BUCKET, prefix=prefix, after=after)
            for info in listing.objects:
                yield info
            after = listing.next_after

    async def _remove(self, upload_id: str) -> None:
        """The record goes last: an upload interrupted here can be aborted again."""
        async for info in self._stored(f"{upload_id}/"):
            await self._objects.delete(UPLOADS_BUCKET, info.key)
            await asyncio.sleep(0)  # each takes the disk some milliseconds, and others their turn
        await self._objects.delete(UPLOADS_BUCKET, upload_id)

    async def _remove_abandoned(self) -> None:
        oldest = self._clock.now() - self._settings.upload_retention_seconds
        async for info in self._stored(""):
            if info.modified_at < oldest:
                await self._objects.delete(UPLOADS_BUCKET, info.key)
                await asyncio.sleep(0)


def _part_name(upload_id: str, request: Request) -> str:
    """Where a part is kept; the number with leading zeros, so that parts are listed in order."""
    return f"{upload_id}/{part_number(request.query.get('partNumber', '')):05}"


def _checksum_type(request: Request, algorithm: str) -> str:
    """What the client asked for, or S3's default: of the parts, except for the checksums that cover only a whole."""
    asked = (request.header("x-amz-checksum-type") or "").upper()
    if asked not in ("", _FULL_OBJECT, _COMPOSITE):
        raise Fault("InvalidRequest", "Value for x-amz-checksum-type header is invalid.")
    return asked or (_COMPOSITE if algorithm in HASHERS else _FULL_OBJECT)


def _is_checksum(header: str) -> bool:
    return header.startswith("x-amz-checksum-")


def _part_members(number: int, info: ObjectInfo) -> xml.Node:
    return [
        ("PartNumber", str(number)),
        ("LastModified", iso_date(info.modified_at)),
        ("ETag", info.etag),
        ("Size", str(info.size)),
        *checksum_members(info.checksums),
    ]


def _completed(info: ObjectInfo) -> Reply:
    return xml_reply(
        "CompleteMultipartUploadResult",
        [
            ("Location", f"/{info.bucket}/{quote(info.key)}"),
            ("Bucket", info.bucket),
            ("Key", info.key),
            ("ETag", info.etag),
            *checksum_members(info.checksums),
        ],
    )


def _no_such_upload() -> Fault:
    return Fault(
        "NoSuchUpload",
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or "
        "completed.",
    )


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
