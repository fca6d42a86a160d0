"""Operations on one object: put, get, head, copy, delete.

What has no effect here (access lists, storage classes, tags, encryption) and what is refused (versions, conditional writes, keys
of the customer's own) is in `members`.
"""

from __future__ import annotations

import re
from typing import Final

from bannister.aws.s3 import xml
from bannister.aws.s3.conditions import byte_range, is_unmodified
from bannister.aws.s3.faults import Fault
from bannister.aws.s3.patience import Patience
from bannister.aws.s3.payload import payload, read_whole
from bannister.aws.s3.reply import Reply, checksum_headers, checksum_members, http_date, iso_date, xml_reply
from bannister.aws.s3.request import Request, check_bucket_name, decode
from bannister.clock import Clock
from bannister.objects.names import METADATA_BYTES_MAX
from bannister.objects.store import ObjectInfo, ObjectStore, OpenObject
from bannister.settings import Settings

_CONTENT_TYPE_DEFAULT: Final = "binary/octet-stream"
_METADATA_PREFIX: Final = "x-amz-meta-"
_KEPT_HEADERS: Final = ("cache-control", "content-disposition", "content-encoding", "content-language", "expires")
#: `response-content-type` and its like, in the query of a GET.
_OVERRIDABLE_HEADERS: Final = ("content-type", *_KEPT_HEADERS)
_CONTROL_CHARACTER = re.compile("[\x00-\x1f\x7f]|[^\x00-\xff]")
#: How many tags S3 lets an object have, and how many characters each may have.
_TAGS_MAX: Final = 10
_TAG_KEY_MAX: Final = 128
_TAG_VALUE_MAX: Final = 256


class Objects:
    """The operations on one object."""

    def __init__(self, objects: ObjectStore, clock: Clock, settings: Settings, patience: Patience) -> None:
        self._objects = objects
        self._clock = clock
        self._settings = settings
        self._patience = patience

    async def put(self, request: Request) -> Reply:
        content = payload(request, self._settings.object_bytes_max)
        info = await self._objects.put(
            request.bucket,
            request.key,
            content.chunks,
            self._clock.now(),
            content_type=content_type(request),
            metadata=user_metadata(request.headers),
            checksums=content.checksums,
            headers=kept_headers(request.headers),
        )
        return Reply(200, {"etag": info.etag} | checksum_headers(info.checksums))

    async def tags(self, request: Request) -> Reply:
        """None, which the AWS CLI wants to hear before it copies a large object."""
        await self._objects.head(request.bucket, request.key)
        return xml_reply("Tagging", [("TagSet", [])])

    async def put_tags(self, request: Request) -> Reply:
        """They are not kept, as those of a new object are not: what deploys to SageMaker (MLflow) tags the artifact that it has uploaded, and never looks again."""
        root = xml.parse(await read_whole(request, self._settings.request_body_bytes_max))
        tags = [{part.tag: part.text or "" for part in tag} for tag in root.findall("TagSet/Tag")]
        if (
            root.tag != "Tagging"
            or root.find("TagSet") is None
            or not all({"Key", "Value"} <= tag.keys() for tag in tags)
        ):
            raise Fault("MalformedXML", "A Tagging document has a TagSet, and in it each Tag has a Key and a Value.")
        if len(tags) > _TAGS_MAX:
            raise Fault("BadRequest", f"Object tags cannot be greater than {_TAGS_MAX}")
        if len({tag["Key"] for tag in tags}) < len(tags):
            raise Fault("InvalidTag", "Cannot provide multiple Tags with the same key")
        for tag in tags:
            if not 0 < len(tag["Key"]) <= _TAG_KEY_MAX or len(tag["Value"]) > _TAG_VALUE_MAX:
                raise Fault(
                    "InvalidTag",
                    f"A tag has a key of 1 to {_TAG_KEY_MAX} characters and a value of at most {_TAG_VALUE_MAX}.",
                )
        await self._objects.head(request.bucket, request.key)
        return Reply(200)

    async def delete_tags(self, request: Request) -> Reply:
        """There are none."""
        await self._objects.head(request.bucket, request.key)
        return Reply(204)

    async def get(self, request: Request) -> Reply:
        opened = await request.held.enter_async_context(self._objects.open(request.bucket, request.key))
        reply, (start, end) = _description(request, opened.info)
        if request.method == "HEAD" or reply.status == 304:
            return reply
        return Reply(reply.status, reply.headers, opened.read(start, end))

    async def delete(self, request: Request) -> Reply:
        await self._objects.delete(request.bucket, request.key)
        return Reply(204)

    async def copy(self, request: Request) -> Reply:
        replacing = (request.header("x-amz-metadata-directive") or "").upper() == "REPLACE"
        if copy_source(request) == (request.bucket, request.key) and not replacing:
            raise Fault(
                "InvalidRequest",
                "This copy request is illegal because it is trying to copy an object to itself without changing the "
                "object's metadata.",
            )
        opened = await open_copy_source(request, self._objects)
        source = opened.info

        async def answer() -> Reply:
            info = await self._objects.put(
                request.bucket,
                request.key,
                opened.read(),
                self._clock.now(),
                content_type=content_type(request) if replacing else source.content_type,
                metadata=user_metadata(request.headers) if replacing else source.metadata,
                checksums={name: value for name, value in source.checksums.items() if "-" not in value},
                headers=kept_headers(request.headers) if replacing else source.headers,
            )
            return copy_result("CopyObjectResult", info)

        return await self._patience.answer(request, answer())


def copy_result(root: str, info: ObjectInfo) -> Reply:
    """The answer to a copy of an object (`CopyObjectResult`) or into a part (`CopyPartResult`)."""
    members = [("LastModified", iso_date(info.modified_at)), ("ETag", info.etag)]
    return xml_reply(root, [*members, *checksum_members(info.checksums)])


def copy_source(request: Request) -> tuple[str, str]:
    """Bucket and key that `x-amz-copy-source` names. Raises `Fault`."""
    raw, _, query = request.headers["x-amz-copy-source"].partition("?")
    if query and query != "versionId=null":
        raise Fault("NotImplemented", "Objects here have no versions: omit the versionId of the copy's source.")
    bucket, _, key = decode(raw.encode("latin-1")).removeprefix("/").partition("/")
    if not key:
        raise Fault("InvalidArgument", "Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
    check_bucket_name(bucket)
    return bucket, key


async def open_copy_source(request: Request, objects: ObjectStore) -> OpenObject:
    """The object that a copy reads from, until its answer is sent. Raises `Fault`: it is not the version wanted."""
    opened = await request.held.enter_async_context(objects.open(*copy_source(request)))
    conditions = {
        name.removeprefix("x-amz-copy-source-"): value
        for name, value in request.headers.items()
        if name.startswith("x-amz-copy-source-if-")
    }
    if is_unmodified(conditions, opened.info):
        raise Fault("PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
    return opened


def content_type(request: Request) -> str:
    return request.header("content-type") or _CONTENT_TYPE_DEFAULT


def user_metadata(headers: dict[str, str]) -> dict[str, str]:
    """`x-amz-meta-` headers without the prefix. Raises `Fault`: more than S3 takes."""
    found = {
        name.removeprefix(_METADATA_PREFIX): value
        for name, value in headers.items()
        if name.startswith(_METADATA_PREFIX)
    }
    if sum(len(name) + len(value) for name, value in found.items()) > METADATA_BYTES_MAX:
        raise Fault("MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size")
    return found


def kept_headers(headers: dict[str, str]) -> dict[str, str]:
    """Headers that come back with the object; `aws-chunked` was about the request alone."""
    kept = {name: headers[name] for name in _KEPT_HEADERS if headers.get(name)}
    encodings = kept.get("content-encoding", "").split(",")
    of_object = [part for part in encodings if part.strip().lower() != "aws-chunked"]
    if len(of_object) < len(encodings):
        kept["content-encoding"] = ",".join(of_object).strip()
    return {name: value for name, value in kept.items() if value}


def _description(request: Request, info: ObjectInfo) -> tuple[Reply, tuple[int, int]]:
    """Status and headers of a GET or HEAD, and the bytes that a GET sends."""
    headers = {"etag": info.etag, "last-modified": http_date(info.modified_at), "accept-ranges": "bytes"}
    if is_unmodified(request.headers, info):
        return Reply(304, headers), (0, 0)
    headers |= {"content-type": info.content_type} | info.headers | _overrides(request)
    headers |= {_METADATA_PREFIX + name: value for name, value in info.metadata.items()}
    part = byte_range(request.headers, info)
    if part is not None:
        start, end = part
        headers |= {
            "content-length": str(end - start),
            "content-range": f"bytes {start}-{end - 1}/{info.size}",
        }
        return Reply(206, headers), part
    if (request.header("x-amz-checksum-mode") or "").upper() == "ENABLED":
        headers |= checksum_headers(info.checksums)
    return Reply(200, headers | {"content-length": str(info.size)}), (0, info.size)


def _overrides(request: Request) -> dict[str, str]:
    found = {
        name: request.query[f"response-{name}"]
        for name in _OVERRIDABLE_HEADERS
        if request.query.get(f"response-{name}")
    }
    if any(_CONTROL_CHARACTER.search(value) for value in found.values()):
        raise Fault("InvalidArgument", "A response header must be plain text.")
    return found
