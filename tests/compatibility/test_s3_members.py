"""Every member of S3's operations is in one class; what is refused is refused by the door, and spares what is there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import botocore.serialize
import pytest
from tests.compatibility.reading import structures

from bannister.aws.s3.door import S3Door
from bannister.aws.s3.members import IGNORED, REFUSED_HEADERS, REFUSED_IN_QUERY, REFUSED_OF_DELETIONS, SUPPORTED
from bannister.aws.wire.models import service_model
from bannister.clock import SystemClock
from bannister.ids import SeededIds
from bannister.objects.memory import MemoryObjects
from bannister.settings import Settings

MODEL: Final = service_model("s3")
OPERATIONS: Final = [name for name in SUPPORTED if name in MODEL.operation_names]
HEADERS_OF: Final = {member: header for header, (member, _) in REFUSED_HEADERS.items()}


def tables(operation: str) -> Iterator[tuple[str, Any]]:
    """The operation's own members, and those of each structure in its document that has a row."""
    for path, shape in structures(MODEL.operation_model(operation).input_shape):
        name = operation if not path else shape.name
        if not any(step in IGNORED for step in path):
            yield name, shape


def classes(table: str, member: str, shape: Any) -> list[str]:
    if member in SUPPORTED.get(table, "").split():
        return ["supported"]
    if table == "ObjectIdentifier":
        return ["refused"] if member in REFUSED_OF_DELETIONS else []
    found = ["ignored"] if member in IGNORED else []
    location, header = shape.serialization.get("location"), shape.serialization.get("name", "").lower()
    if location == "header" and HEADERS_OF.get(member) == header:
        found.append("refused")
    if location == "querystring" and member in REFUSED_IN_QUERY:
        found.append("refused")
    return found


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_member_is_in_one_class(operation: str) -> None:
    for table, structure in tables(operation):
        assert table in SUPPORTED, f"{table} in {operation} has no row"
        wrong = {name: classes(table, name, shape) for name, shape in structure.members.items()}
        assert not {name: found for name, found in wrong.items() if len(found) != 1}, table
        assert not set(SUPPORTED[table].split()) - set(structure.members)


def test_the_tables_name_nothing_that_no_operation_has() -> None:
    members = {name for operation in OPERATIONS for _, shape in tables(operation) for name in shape.members}
    assert not {*IGNORED, *HEADERS_OF, *REFUSED_IN_QUERY, *REFUSED_OF_DELETIONS} - members
    rows = {table for operation in OPERATIONS for table, _ in tables(operation)}
    assert rows == set(SUPPORTED)


REFUSED: Final = [
    (operation, name)
    for operation in OPERATIONS
    for table, structure in tables(operation)
    if table == operation
    for name, shape in structure.members.items()
    if classes(table, name, shape) == ["refused"]
]
VALUES: Final[dict[str, Any]] = {
    "Bucket": "bucket",
    "Key": "there",
    "Body": b"other",
    "CopySource": "bucket/there",
    "UploadId": "none",
    "MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": "e"}]},
}
OF_TYPE: Final[dict[str, Any]] = {
    "string": "x",
    "integer": 1,
    "long": 1,
    "boolean": True,
    "timestamp": 1.0,
    "structure": {"TagSet": []},  # the one that is required: Tagging
}


async def ask(store: MemoryObjects, settings: Settings, operation: str, given: dict[str, Any]) -> tuple[int, str]:
    request = botocore.serialize.create_serializer("rest-xml", include_validation=False).serialize_to_request(
        given, MODEL.operation_model(operation)
    )
    body = request["body"] or b""
    headers = {"host": "localhost", "content-length": len(body), **request["headers"]}
    scope = {
        "method": request["method"],
        "path": request["url_path"],
        "raw_path": request["url_path"].partition("?")[0].encode(),
        "query_string": "&".join(
            [
                request["url_path"].partition("?")[2],
                *(f"{name}={value}" for name, value in request["query_string"].items()),
            ]
        ).encode(),
        "headers": [(name.lower().encode(), str(value).encode()) for name, value in headers.items()],
    }
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body if isinstance(body, bytes) else body.encode()}

    async def send(event: Any) -> None:
        sent.append(event)

    await S3Door(store, SystemClock(), SeededIds(1), settings)(scope, receive, send)
    return sent[0]["status"], b"".join(event.get("body", b"") for event in sent[1:]).decode()


@pytest.fixture
async def store() -> MemoryObjects:
    async def content() -> Any:
        yield b"content"

    made = MemoryObjects(1000)
    await made.create_bucket("bucket", 1.0)
    await made.put("bucket", "there", content(), 1.0)
    return made


@pytest.mark.parametrize(("operation", "member"), REFUSED, ids=[".".join(one) for one in REFUSED])
async def test_what_is_refused_spares_what_is_there(
    store: MemoryObjects, tmp_path: Any, operation: str, member: str
) -> None:
    shape: Any = MODEL.operation_model(operation).input_shape
    given = {name: VALUES[name] for name in shape.members if name in VALUES}
    given |= {name: OF_TYPE[shape.members[name].type_name] for name in shape.required_members if name not in VALUES}
    value = next(iter(shape.members[member].metadata.get("enum", ())), OF_TYPE[shape.members[member].type_name])
    if operation == "CreateBucket":
        given["Bucket"] = "fresh"
    status, body = await ask(store, Settings(tmp_path), operation, {**given, member: value})
    assert status == 501
    assert operation == "HeadObject" or "not supported" in body
    assert [name for name, _ in await store.buckets()] == ["bucket"]
    info = await store.head("bucket", "there")
    assert (info.size, info.modified_at) == (7, 1.0)


@pytest.mark.parametrize("member", REFUSED_OF_DELETIONS)
async def test_a_deletion_that_depends_on_something_is_refused(
    store: MemoryObjects, tmp_path: Any, member: str
) -> None:
    value = {"Size": 1, "LastModifiedTime": 1.0}.get(member, "x")
    given = {"Bucket": "bucket", "Delete": {"Objects": [{"Key": "there", member: value}, {"Key": "other"}]}}
    status, body = await ask(store, Settings(tmp_path), "DeleteObjects", given)
    assert status == 200
    assert f"{member} cannot be used" in body
    assert "<Deleted><Key>other</Key></Deleted>" in body
    assert (await store.head("bucket", "there")).size == 7


async def test_buckets_come_by_pages_and_by_prefix(store: MemoryObjects, tmp_path: Any) -> None:
    for name in ("alpha", "beta", "beta-two"):
        await store.create_bucket(name, 1.0)
    settings, found, token = Settings(tmp_path), [], None
    while True:
        given = {"Prefix": "b", "MaxBuckets": 2} | ({"ContinuationToken": token} if token else {})
        _, body = await ask(store, settings, "ListBuckets", given)
        found += [part.partition("<")[0] for part in body.split("<Name>")[1:]]
        if "<ContinuationToken>" not in body:
            break
        token = body.partition("<ContinuationToken>")[2].partition("<")[0].replace("=", "%3D")
    assert found == ["beta", "beta-two", "bucket"]
    _, elsewhere = await ask(store, settings, "ListBuckets", {"BucketRegion": "eu-west-1"})
    assert "<Name>" not in elsewhere


async def test_an_upload_of_another_size_is_not_completed(store: MemoryObjects, tmp_path: Any) -> None:
    settings = Settings(tmp_path)
    _, begun = await ask(store, settings, "CreateMultipartUpload", {"Bucket": "bucket", "Key": "whole"})
    upload = {"Bucket": "bucket", "Key": "whole", "UploadId": begun.partition("<UploadId>")[2].partition("<")[0]}
    await ask(store, settings, "UploadPart", {**upload, "PartNumber": 1, "Body": b"12345"})
    _, listed = await ask(store, settings, "ListParts", upload)
    etag = listed.partition("<ETag>")[2].partition("<")[0].replace("&quot;", '"')
    whole = {**upload, "MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": etag}]}}
    status, body = await ask(store, settings, "CompleteMultipartUpload", {**whole, "MpuObjectSize": 6})
    assert (status, "not the 6 of MpuObjectSize" in body) == (400, True)
    status, _ = await ask(store, settings, "CompleteMultipartUpload", {**whole, "MpuObjectSize": 5})
    assert status == 200
