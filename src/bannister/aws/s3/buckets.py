"""Operations on buckets: create, head, list, delete, and the listings of their objects."""

from __future__ import annotations

import asyncio
import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from typing import Final
from urllib.parse import quote

from bannister.aws.s3 import xml
from bannister.aws.s3.faults import Fault, fault_of
from bannister.aws.s3.members import refused_deletion
from bannister.aws.s3.payload import read_whole
from bannister.aws.s3.reply import Reply, iso_date, query_or_none, xml_reply
from bannister.aws.s3.request import Request
from bannister.clock import Clock
from bannister.errors import BannisterError
from bannister.objects.store import Listing, ObjectInfo, ObjectStore
from bannister.settings import Settings

#: S3's own bounds.
BUCKETS_PER_PAGE_MAX: Final = 10_000
KEYS_PER_PAGE_MAX: Final = 1000
KEYS_PER_DELETE_MAX: Final = 1000
_REGION_WITHOUT_NAME: Final = "us-east-1"
_Encode = Callable[[str], str]


class Buckets:
    """The operations on the service and on one bucket."""

    def __init__(self, objects: ObjectStore, clock: Clock, settings: Settings) -> None:
        self._objects = objects
        self._clock = clock
        self._settings = settings

    async def list_buckets(self, request: Request) -> Reply:
        prefix, token = request.query.get("prefix", ""), query_or_none(request, "continuation-token")
        limit = request.count("max-buckets", BUCKETS_PER_PAGE_MAX, least=1)
        after = "" if token is None else _after(token)
        region = request.query.get("bucket-region", self._settings.region)
        found = [
            (name, at)
            for name, at in sorted(await self._objects.buckets())
            if name.startswith(prefix) and name > after and region == self._settings.region
        ]
        page = found[:limit]
        buckets = [("Bucket", [("Name", name), ("CreationDate", iso_date(at))]) for name, at in page]
        following = _token(page[-1][0]) if len(page) < len(found) else None
        members: list[xml.Child] = [("Owner", self._owner()), ("Buckets", buckets), ("ContinuationToken", following)]
        return xml_reply("ListAllMyBucketsResult", [*members, ("Prefix", prefix or None)])

    async def create(self, request: Request) -> Reply:
        # A region in the body is accepted: there is one place here, whatever it is called.
        await self._objects.create_bucket(request.bucket, self._clock.now())
        return Reply(200, {"location": f"/{request.bucket}"})

    async def head(self, request: Request) -> Reply:
        await self.require(request.bucket)
        return Reply(200, {"x-amz-bucket-region": self._settings.region})

    async def location(self, request: Request) -> Reply:
        await self.require(request.bucket)
        region = self._settings.region
        return xml_reply("LocationConstraint", "" if region == _REGION_WITHOUT_NAME else region)

    async def delete(self, request: Request) -> Reply:
        await self._objects.delete_bucket(request.bucket)
        return Reply(204)

    async def require(self, bucket: str) -> None:
        """Raises `NotFound`."""
        await self._objects.list(bucket, limit=1)

    async def list_objects(self, request: Request) -> Reply:
        """ListObjects, version 1: it continues after a name the caller can read."""
        marker = request.query.get("marker", "")
        listing, members, encode = await self._page(request, marker)
        members += [("Marker", encode(marker))]
        # AWS: NextMarker comes only with a delimiter; without one the last key serves.
        if listing.next_after is not None and request.query.get("delimiter"):
            members += [("NextMarker", encode(listing.next_after))]
        return xml_reply("ListBucketResult", members)

    async def list_objects_v2(self, request: Request) -> Reply:
        if request.query["list-type"] != "2":
            raise Fault("InvalidArgument", "Invalid List Type specified in the request")
        token = query_or_none(request, "continuation-token")
        start_after = request.query.get("start-after", "")
        after = start_after if token is None else _after(token)
        listing, members, encode = await self._page(request, after)
        following = None if listing.next_after is None else _token(listing.next_after)
        members += [
            ("KeyCount", str(len(listing.objects) + len(listing.common_prefixes))),
            ("ContinuationToken", token),
            ("NextContinuationToken", following),
            ("StartAfter", encode(start_after) if start_after else None),
        ]
        return xml_reply("ListBucketResult", members)

    async def delete_objects(self, request: Request) -> Reply:
        root = xml.parse(await read_whole(request, self._settings.request_body_bytes_max))
        wanted = [{part.tag: part.text or "" for part in item} for item in root.findall("Object")]
        named = all("Key" in one for one in wanted)
        if root.tag != "Delete" or not named or not 0 < len(wanted) <= KEYS_PER_DELETE_MAX:
            raise Fault("MalformedXML", f"A Delete document names 1 to {KEYS_PER_DELETE_MAX} objects, each by its Key.")
        await self.require(request.bucket)
        quiet = root.findtext("Quiet") == "true"
        outcomes = []
        for one in wanted:
            outcomes.append((one["Key"], refused_deletion(one) or await self._delete(request.bucket, one["Key"])))
            await asyncio.sleep(0)  # each takes the disk some milliseconds, and others their turn
        return xml_reply(
            "DeleteResult", [_outcome(key, fault) for key, fault in outcomes if fault is not None or not quiet]
        )

    async def _delete(self, bucket: str, key: str) -> Fault | None:
        try:
            await self._objects.delete(bucket, key)
        except BannisterError as error:
            return fault_of(error)
        return None

    async def _page(self, request: Request, after: str) -> tuple[Listing, list[xml.Child], _Encode]:
        """A page, and what both versions of the listing say about it."""
        prefix, delimiter = request.query.get("prefix", ""), request.query.get("delimiter", "")
        encoding = query_or_none(request, "encoding-type")
        if encoding not in (None, "url"):
            raise Fault("InvalidArgument", "Invalid Encoding Method specified in Request")
        encode = _plain if encoding is None else quote
        limit = min(request.count("max-keys", KEYS_PER_PAGE_MAX), KEYS_PER_PAGE_MAX)
        listing = await self._objects.list(request.bucket, prefix=prefix, delimiter=delimiter, after=after, limit=limit)
        members: list[xml.Child] = [
            ("Name", request.bucket),
            ("Prefix", encode(prefix)),
            ("Delimiter", encode(delimiter) if delimiter else None),
            ("MaxKeys", str(limit)),
            ("EncodingType", encoding),
            ("IsTruncated", "true" if listing.next_after is not None else "false"),
            *(("Contents", _contents(info, encode)) for info in listing.objects),
            *(("CommonPrefixes", [("Prefix", encode(common))]) for common in listing.common_prefixes),
        ]
        return listing, members, encode

    def _owner(self) -> xml.Node:
        return [("ID", self._settings.account_id), ("DisplayName", "bannister")]


def _contents(info: ObjectInfo, encode: _Encode) -> xml.Node:
    return [
        ("Key", encode(info.key)),
        ("LastModified", iso_date(info.modified_at)),
        ("ETag", info.etag),
        *(("ChecksumAlgorithm", algorithm) for algorithm in info.checksums),
        ("Size", str(info.size)),
        ("StorageClass", "STANDARD"),
    ]


def _outcome(key: str, fault: Fault | None) -> xml.Child:
    if fault is None:
        return "Deleted", [("Key", key)]
    return "Error", [("Key", key), ("Code", fault.code), ("Message", fault.message)]


def _plain(text: str) -> str:
    return text


def _token(after: str) -> str:
    return urlsafe_b64encode(after.encode()).decode()


def _after(token: str) -> str:
    try:
        return urlsafe_b64decode(token.encode("ascii")).decode()
    except (binascii.Error, ValueError):
        raise Fault("InvalidArgument", "The continuation token provided is incorrect") from None
