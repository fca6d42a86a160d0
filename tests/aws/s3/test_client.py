"""What users do with `s3://` from boto3, against the door served over HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import random
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from bannister.aws.s3.uploads import Uploads
from bannister.objects.memory import MemoryObjects

KEYS = [
    "plain",
    "models/v1/model.tar.gz",
    "a//b c/../x",
    "..",
    "../../etc/passwd",
    "/leading",
    "//",
    "trailing/",
    "a",
    "a/b",
    "per%cent%2F+plus&amp;?query#hash",
    "ünï/cödé/📦",
    "line\nfeed\rreturn\ttab",
    "<xml>&\"'",
    "uploads",
    "x" * 1024,
]
MB = 1024 * 1024


def error_of(raised: pytest.ExceptionInfo[ClientError]) -> tuple[str, int]:
    response = raised.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def read(client: Any, key: str, **arguments: Any) -> bytes:
    content: bytes = client.get_object(Bucket="bucket", Key=key, **arguments)["Body"].read()
    return content


async def holding(keys: list[str]) -> MemoryObjects:
    """A store that holds empty objects in `bucket`."""

    async def nothing() -> AsyncIterator[bytes]:
        yield b""

    store = MemoryObjects(1)
    await store.create_bucket("bucket", 0.0)
    for key in keys:
        await store.put("bucket", key, nothing(), 1.0)
    return store


def test_buckets(s3: Any) -> None:
    s3.create_bucket(Bucket="bucket")
    s3.create_bucket(Bucket="another", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    listed = s3.list_buckets()["Buckets"]
    assert [bucket["Name"] for bucket in listed] == ["another", "bucket"]
    assert abs(datetime.now(UTC) - listed[0]["CreationDate"]) < timedelta(minutes=1)
    assert s3.head_bucket(Bucket="bucket")["BucketRegion"] == "us-east-1"
    assert s3.get_bucket_location(Bucket="bucket")["LocationConstraint"] is None
    s3.put_object(Bucket="another", Key="k", Body=b"")
    with pytest.raises(ClientError) as raised:
        s3.delete_bucket(Bucket="another")
    assert error_of(raised) == ("BucketNotEmpty", 409)
    s3.delete_object(Bucket="another", Key="k")
    s3.delete_bucket(Bucket="another")
    s3.get_waiter("bucket_not_exists").wait(Bucket="another")


def test_an_object_comes_back_with_all_that_was_given(s3: Any) -> None:
    given = {
        "ContentType": "application/gzip",
        "ContentEncoding": "gzip",
        "CacheControl": "no-cache",
        "ContentDisposition": 'attachment; filename="m.tar.gz"',
        "Metadata": {"author": "me", "score": "0.9 %"},
    }
    put = s3.put_object(Bucket="bucket", Key="k", Body=b"content", **given)
    assert put["ETag"] == f'"{hashlib.md5(b"content").hexdigest()}"'
    for found in (s3.head_object(Bucket="bucket", Key="k"), s3.get_object(Bucket="bucket", Key="k")):
        assert {name: found[name] for name in given} == given
        assert (found["ContentLength"], found["ETag"]) == (7, put["ETag"])
        assert abs(datetime.now(UTC) - found["LastModified"]) < timedelta(minutes=1)


@pytest.mark.parametrize(
    "body",
    [b"", b"x" * 100_000, io.BytesIO(b"seekable"), os.urandom(3 * MB)],
    ids=["empty", "bytes", "stream", "large"],
)
def test_bodies_of_every_kind(s3: Any, body: Any) -> None:
    expected = body if isinstance(body, bytes) else body.getvalue()
    s3.put_object(Bucket="bucket", Key="k", Body=body)
    assert read(s3, "k") == expected


def test_a_file_and_upload_fileobj(s3: Any, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"from a file")
    with path.open("rb") as file:
        s3.put_object(Bucket="bucket", Key="k", Body=file)
    assert read(s3, "k") == b"from a file"
    s3.upload_fileobj(io.BytesIO(b"unseekable enough"), "bucket", "k")
    assert read(s3, "k") == b"unseekable enough"


@pytest.mark.parametrize("style", ["path", "virtual"])
def test_keys_are_raw(served: Any, connect: Any, style: str) -> None:
    # Not every machine resolves names below .localhost: the server stands in as the client's HTTP proxy. With a proxy
    # urllib3 resolves dots in paths; test_wire.py has those.
    keys = [key for key in KEYS if style == "path" or ".." not in key]
    proxy = {} if style == "path" else {"proxies": {"http": f"http://127.0.0.1:{served.port}"}}
    client = connect(served, "localhost", s3={"addressing_style": style}, **proxy)
    client.create_bucket(Bucket="bucket")
    for key in keys:
        client.put_object(Bucket="bucket", Key=key, Body=key.encode(), Metadata={"n": str(len(key))})
    for key in keys:
        assert read(client, key) == key.encode()
        assert client.head_object(Bucket="bucket", Key=key)["Metadata"] == {"n": str(len(key))}
    listed = [item["Key"] for item in client.list_objects_v2(Bucket="bucket")["Contents"]]
    assert listed == sorted(keys, key=str.encode)
    deleted = client.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": key} for key in keys[:-1]]})["Deleted"]
    assert [item["Key"] for item in deleted] == keys[:-1]
    client.delete_object(Bucket="bucket", Key=keys[-1])
    assert client.list_objects_v2(Bucket="bucket")["KeyCount"] == 0


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256", "SHA512"])
def test_boto3_verifies_what_it_reads_with_the_checksum_it_sent(s3: Any, algorithm: str) -> None:
    put = s3.put_object(Bucket="bucket", Key="k", Body=b"content", ChecksumAlgorithm=algorithm)
    got = s3.get_object(Bucket="bucket", Key="k", ChecksumMode="ENABLED")
    assert got[f"Checksum{algorithm}"] == put[f"Checksum{algorithm}"]
    assert got["ChecksumType"] == "FULL_OBJECT"
    assert got["Body"].read() == b"content"
    assert got["ResponseMetadata"]["ChecksumAlgorithm"] == algorithm.lower()


@pytest.mark.parametrize(
    "arguments",
    [
        {"ChecksumCRC32": "AAAAAA=="},
        {"ChecksumSHA1": "A" * 27 + "="},
        {"ChecksumSHA256": "A" * 43 + "="},
        {"ContentMD5": "A" * 22 + "=="},
    ],
)
def test_content_that_is_not_what_its_checksum_says_is_not_stored(
    s3: Any, served: Any, arguments: dict[str, str]
) -> None:
    with pytest.raises(ClientError) as raised:
        s3.put_object(Bucket="bucket", Key="k", Body=b"content", **arguments)
    assert error_of(raised) == ("BadDigest", 400)
    assert served.files() == []


def test_a_checksum_nobody_can_verify_here_is_kept(s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="k", Body=b"123456789", ChecksumCRC32C="4waSgw==")
    found = s3.head_object(Bucket="bucket", Key="k", ChecksumMode="ENABLED")
    assert found["ChecksumCRC32C"] == "4waSgw=="


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("bytes=0-0", 0, 1), ("bytes=3-", 3, 10), ("bytes=-4", 6, 10), ("bytes=8-99", 8, 10), ("bytes=-99", 0, 10)],
)
def test_ranges(s3: Any, asked: str, start: int, end: int) -> None:
    s3.put_object(Bucket="bucket", Key="k", Body=b"0123456789")
    got = s3.get_object(Bucket="bucket", Key="k", Range=asked)
    assert got["Body"].read() == b"0123456789"[start:end]
    assert got["ContentRange"] == f"bytes {start}-{end - 1}/10"
    assert got["ResponseMetadata"]["HTTPStatusCode"] == 206


@pytest.mark.parametrize("asked", ["bytes=5-3", "bytes=0-1,4-5", "bytes=-", "bytes=x-y", "lines=1-2"])
def test_a_range_that_s3_ignores_gets_everything(s3: Any, asked: str) -> None:
    s3.put_object(Bucket="bucket", Key="k", Body=b"0123456789")
    assert read(s3, "k", Range=asked) == b"0123456789"


@pytest.mark.parametrize(("body", "asked"), [(b"0123", "bytes=4-"), (b"0123", "bytes=-0"), (b"", "bytes=0-0")])
def test_a_range_outside_is_refused(s3: Any, body: bytes, asked: str) -> None:
    s3.put_object(Bucket="bucket", Key="k", Body=body)
    with pytest.raises(ClientError) as raised:
        s3.get_object(Bucket="bucket", Key="k", Range=asked)
    assert error_of(raised) == ("InvalidRange", 416)


def test_conditions(s3: Any) -> None:
    etag = s3.put_object(Bucket="bucket", Key="k", Body=b"content")["ETag"]
    now = datetime.now(UTC)
    earlier, later = now - timedelta(hours=1), now + timedelta(hours=1)
    for held in (
        {"IfMatch": etag},
        {"IfNoneMatch": '"other"'},
        {"IfModifiedSince": earlier},
        {"IfUnmodifiedSince": later},
    ):
        assert read(s3, "k", **held) == b"content"
    refusals = [
        ({"IfNoneMatch": etag}, 304),
        ({"IfNoneMatch": "*"}, 304),
        ({"IfModifiedSince": later}, 304),
        ({"IfMatch": '"other"'}, 412),
        ({"IfUnmodifiedSince": earlier}, 412),
    ]
    for asked, status in refusals:
        for operation in (s3.get_object, s3.head_object):
            with pytest.raises(ClientError) as raised:
                operation(Bucket="bucket", Key="k", **asked)
            assert error_of(raised)[1] == status


def test_what_does_not_exist_is_named(s3: Any) -> None:
    for call, code in [
        (lambda: s3.get_object(Bucket="bucket", Key="nope"), "NoSuchKey"),
        (lambda: s3.get_object(Bucket="nope", Key="k"), "NoSuchBucket"),
        (lambda: s3.put_object(Bucket="nope", Key="k", Body=b"x" * MB), "NoSuchBucket"),
        (lambda: s3.delete_object(Bucket="nope", Key="k"), "NoSuchBucket"),
        (lambda: s3.list_objects_v2(Bucket="nope"), "NoSuchBucket"),
        (lambda: s3.delete_bucket(Bucket="nope"), "NoSuchBucket"),
        (lambda: s3.create_multipart_upload(Bucket="nope", Key="k"), "NoSuchBucket"),
        (lambda: s3.head_object(Bucket="bucket", Key="nope"), "404"),
        (lambda: s3.head_bucket(Bucket="nope"), "404"),
    ]:
        with pytest.raises(ClientError) as raised:
            call()
        assert error_of(raised) == (code, 404)
    assert s3.delete_object(Bucket="bucket", Key="nope")["ResponseMetadata"]["HTTPStatusCode"] == 204


def test_objects_have_no_tags(s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="k", Body=b"")
    assert s3.get_object_tagging(Bucket="bucket", Key="k")["TagSet"] == []
    with pytest.raises(ClientError) as raised:
        s3.get_object_tagging(Bucket="bucket", Key="none")
    assert error_of(raised) == ("NoSuchKey", 404)


def _tags(*pairs: tuple[str, str]) -> dict[str, Any]:
    return {"TagSet": [{"Key": key, "Value": value} for key, value in pairs]}


def test_tags_are_accepted_and_not_kept(s3: Any) -> None:
    """As MLflow gives one to each artifact that it has uploaded for SageMaker."""
    s3.put_object(Bucket="bucket", Key="k", Body=b"content")
    before = s3.head_object(Bucket="bucket", Key="k")
    s3.put_object_tagging(Bucket="bucket", Key="k", Tagging=_tags(("SageMaker", "true")))
    assert s3.get_object_tagging(Bucket="bucket", Key="k")["TagSet"] == []
    assert s3.delete_object_tagging(Bucket="bucket", Key="k")["ResponseMetadata"]["HTTPStatusCode"] == 204
    after = s3.head_object(Bucket="bucket", Key="k")
    assert (after["ETag"], after["LastModified"]) == (before["ETag"], before["LastModified"]), "it is the same object"
    for call in (
        lambda: s3.put_object_tagging(Bucket="bucket", Key="none", Tagging=_tags(("a", "b"))),
        lambda: s3.delete_object_tagging(Bucket="bucket", Key="none"),
    ):
        with pytest.raises(ClientError) as raised:
            call()
        assert error_of(raised) == ("NoSuchKey", 404)


@pytest.mark.parametrize(
    ("pairs", "code"),
    [
        ([(f"k{number}", "") for number in range(11)], "BadRequest"),
        ([("a", "1"), ("a", "2")], "InvalidTag"),
        ([("a" * 129, "")], "InvalidTag"),
        ([("a", "v" * 257)], "InvalidTag"),
    ],
    ids=["eleven", "twice", "a long key", "a long value"],
)
def test_tags_that_s3_would_refuse_are_refused(s3: Any, pairs: list[tuple[str, str]], code: str) -> None:
    s3.put_object(Bucket="bucket", Key="k", Body=b"")
    with pytest.raises(ClientError) as raised:
        s3.put_object_tagging(Bucket="bucket", Key="k", Tagging=_tags(*pairs))
    assert error_of(raised) == (code, 400)


def test_what_is_not_offered_says_so(s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="k", Body=b"")
    for call in (
        lambda: s3.get_bucket_versioning(Bucket="bucket"),
        lambda: s3.put_bucket_policy(Bucket="bucket", Policy="{}"),
        lambda: s3.put_bucket_tagging(Bucket="bucket", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]}),
        lambda: s3.get_object(Bucket="bucket", Key="k", VersionId="1"),
        lambda: s3.put_object(Bucket="bucket", Key="k", Body=b"", IfNoneMatch="*"),
    ):
        with pytest.raises(ClientError) as raised:
            call()
        assert error_of(raised) == ("NotImplemented", 501)
        assert "not supported" in raised.value.response["Error"]["Message"]
    assert s3.get_object(Bucket="bucket", Key="k", VersionId="null")["ContentLength"] == 0


def test_too_large_is_refused_before_and_while_it_is_read(s3: Any, served: Any) -> None:
    with pytest.raises(ClientError) as raised:
        s3.put_object(Bucket="bucket", Key="k", Body=bytes(served.settings.object_bytes_max + 1))
    assert error_of(raised) == ("EntityTooLarge", 400)
    with pytest.raises(ClientError) as raised:
        s3.put_object(Bucket="bucket", Key="k", Body=b"", Metadata={"a": "x" * 2048})
    assert error_of(raised) == ("MetadataTooLarge", 400)
    with pytest.raises(ClientError) as raised:
        s3.put_object(Bucket="bucket", Key="x" * 1025, Body=b"")
    assert error_of(raised) == ("KeyTooLongError", 400)
    assert served.files() == []


def test_a_listing_of_2500_keys_in_pages(serve: Any, connect: Any) -> None:
    keys = [f"{number % 5}/{number:05}" for number in range(2_500)]
    s3 = connect(serve(asyncio.run(holding(keys))))
    keys.sort()
    for operation in ("list_objects_v2", "list_objects"):
        pages = list(s3.get_paginator(operation).paginate(Bucket="bucket"))
        assert [len(page["Contents"]) for page in pages] == [1000, 1000, 500]
        assert [item["Key"] for page in pages for item in page["Contents"]] == keys
        rolled = list(
            s3.get_paginator(operation).paginate(Bucket="bucket", Delimiter="/", PaginationConfig={"PageSize": 2})
        )
        assert [item["Prefix"] for page in rolled for item in page["CommonPrefixes"]] == [f"{n}/" for n in range(5)]
    one = s3.list_objects_v2(Bucket="bucket", Prefix="3/", StartAfter="3/00100", MaxKeys=2)
    assert [item["Key"] for item in one["Contents"]] == ["3/00103", "3/00108"]
    assert (one["IsTruncated"], one["KeyCount"], one["MaxKeys"]) == (True, 2, 2)
    assert s3.list_objects_v2(Bucket="bucket", MaxKeys=0)["IsTruncated"] is False


def test_the_resource_empties_a_bucket(s3: Any, served: Any) -> None:
    for key in KEYS:
        s3.put_object(Bucket="bucket", Key=key, Body=b"")
    bucket = boto3.resource(
        "s3",
        endpoint_url=s3.meta.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    ).Bucket("bucket")
    bucket.objects.all().delete()
    bucket.delete()
    assert served.files() == []


def test_concurrent_puts_of_one_key_leave_one_whole(s3: Any, served: Any) -> None:
    bodies = [bytes([number]) * (MB + number) for number in range(12)]

    def put(body: bytes) -> None:
        s3.put_object(Bucket="bucket", Key="k", Body=body, Metadata={"n": str(body[0])})

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(put, bodies))
    got = s3.get_object(Bucket="bucket", Key="k")
    assert got["Body"].read() == bodies[int(got["Metadata"]["n"])]
    assert served.files() == ["bucket/k"]


# --- multipart uploads and copies


def test_upload_file_in_parts_and_download(s3: Any, served: Any, tmp_path: Path) -> None:
    data = random.Random(3).randbytes(20 * MB + 1)
    (tmp_path / "up").write_bytes(data)
    s3.upload_file(
        str(tmp_path / "up"), "bucket", "models/m.tar.gz", ExtraArgs={"ContentType": "x/y", "Metadata": {"a": "b"}}
    )
    found = s3.head_object(Bucket="bucket", Key="models/m.tar.gz", ChecksumMode="ENABLED")
    assert (found["ContentLength"], found["ContentType"], found["Metadata"]) == (len(data), "x/y", {"a": "b"})
    parts = [hashlib.md5(data[at : at + 8 * MB]).digest() for at in range(0, len(data), 8 * MB)]
    assert found["ETag"] == f'"{hashlib.md5(b"".join(parts)).hexdigest()}-3"'
    assert (found["ChecksumCRC32"][-2:], found["ChecksumType"]) == ("-3", "COMPOSITE")
    s3.download_file("bucket", "models/m.tar.gz", str(tmp_path / "down"))
    assert (tmp_path / "down").read_bytes() == data
    assert served.files() == ["bucket/models/m.tar.gz"]


def test_an_upload_whose_end_was_cut_off_can_be_completed_again(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """We were killed when it was done and its parts were being removed: the client, which heard nothing, asks once more."""
    where = {"Bucket": "bucket", "Key": "k"}
    upload = where | {"UploadId": s3.create_multipart_upload(**where)["UploadId"]}
    tags = [s3.upload_part(**upload, PartNumber=n, Body=b"x" * 5 * MB)["ETag"] for n in (1, 2)]
    parts = {"Parts": [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, start=1)]}

    async def killed(*_: Any) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr(Uploads, "_remove", killed)
    assert s3.complete_multipart_upload(**upload, MultipartUpload=parts)["ETag"].endswith('-2"')
    assert s3.head_object(**where)["ContentLength"] == 10 * MB


def test_an_upload_step_by_step(s3: Any, served: Any) -> None:
    where = {"Bucket": "bucket", "Key": "k"}
    upload = where | {"UploadId": s3.create_multipart_upload(**where)["UploadId"]}
    data = {number: bytes([number]) * 5 * MB for number in (1, 2, 7)}
    tags = {n: s3.upload_part(**upload, PartNumber=n, Body=body)["ETag"] for n, body in data.items()}
    listed = s3.list_parts(**upload, MaxParts=2)
    assert [(part["PartNumber"], part["Size"], part["ETag"]) for part in listed["Parts"]] == [
        (1, 5 * MB, tags[1]),
        (2, 5 * MB, tags[2]),
    ]
    assert (listed["IsTruncated"], listed["NextPartNumberMarker"]) == (True, 2)
    assert s3.list_objects_v2(Bucket="bucket")["KeyCount"] == 0
    parts = [{"PartNumber": number, "ETag": tags[number]} for number in (1, 7)]
    done = s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    assert read(s3, "k") == data[1] + data[7]
    assert s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})["ETag"] == done["ETag"]
    assert served.files() == ["bucket/k"]


def test_the_checksum_of_a_whole_upload_is_verified(s3: Any) -> None:
    where = {"Bucket": "bucket", "Key": "k"}
    created = s3.create_multipart_upload(**where, ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")
    assert (created["ChecksumAlgorithm"], created["ChecksumType"]) == ("CRC32", "FULL_OBJECT")
    upload = where | {"UploadId": created["UploadId"]}
    part = s3.upload_part(**upload, PartNumber=1, Body=b"123456789", ChecksumAlgorithm="CRC32")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"], "ChecksumCRC32": part["ChecksumCRC32"]}]}
    with pytest.raises(ClientError) as raised:
        s3.complete_multipart_upload(**upload, MultipartUpload=parts, ChecksumCRC32="AAAAAA==")
    assert error_of(raised) == ("BadDigest", 400)
    done = s3.complete_multipart_upload(**upload, MultipartUpload=parts, ChecksumCRC32="y/Q5Jg==")
    assert (done["ChecksumCRC32"], done["ChecksumType"]) == ("y/Q5Jg==", "FULL_OBJECT")


def test_an_upload_completed_wrongly_stays_as_it_is(s3: Any) -> None:
    where = {"Bucket": "bucket", "Key": "k"}
    upload = where | {"UploadId": s3.create_multipart_upload(**where)["UploadId"]}
    tag = s3.upload_part(**upload, PartNumber=1, Body=b"small")["ETag"]
    s3.upload_part(**upload, PartNumber=2, Body=b"small")
    wrong: list[tuple[list[dict[str, Any]], str]] = [
        ([{"PartNumber": 1, "ETag": '"' + "0" * 32 + '"'}], "InvalidPart"),
        ([{"PartNumber": 3, "ETag": tag}], "InvalidPart"),
        ([{"PartNumber": 1, "ETag": "no tag"}], "InvalidPart"),
        ([{"PartNumber": 2, "ETag": tag}, {"PartNumber": 1, "ETag": tag}], "InvalidPartOrder"),
        ([{"PartNumber": 1, "ETag": tag}, {"PartNumber": 2, "ETag": tag}], "EntityTooSmall"),
        ([{"PartNumber": 10_001, "ETag": tag}], "InvalidArgument"),
        ([], "MalformedXML"),
    ]
    for parts, code in wrong:
        with pytest.raises(ClientError) as raised:
            s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
        assert error_of(raised) == (code, 400)
    with pytest.raises(ClientError) as raised:
        s3.upload_part(**upload, PartNumber=10_001, Body=b"")
    assert error_of(raised) == ("InvalidArgument", 400)
    assert len(s3.list_parts(**upload)["Parts"]) == 2


def test_an_aborted_upload_is_gone(s3: Any, served: Any) -> None:
    where = {"Bucket": "bucket", "Key": "k"}
    upload = where | {"UploadId": s3.create_multipart_upload(**where)["UploadId"]}
    s3.upload_part(**upload, PartNumber=1, Body=b"x")
    s3.abort_multipart_upload(**upload)
    assert served.files() == []
    others = [upload, where | {"UploadId": "../x"}, where | {"UploadId": upload["UploadId"] + "/00001"}]
    for call in (s3.abort_multipart_upload, s3.list_parts):
        for other in others:
            with pytest.raises(ClientError) as raised:
                call(**other)
            assert error_of(raised) == ("NoSuchUpload", 404)


def test_copies(s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="a b/ü", Body=b"content", ContentType="x/y", Metadata={"a": "b"})
    source = {"Bucket": "bucket", "Key": "a b/ü"}
    result = s3.copy_object(Bucket="bucket", Key="copy", CopySource=source)["CopyObjectResult"]
    found = s3.head_object(Bucket="bucket", Key="copy")
    assert (found["ETag"], found["ContentType"], found["Metadata"]) == (result["ETag"], "x/y", {"a": "b"})
    s3.copy_object(Bucket="bucket", Key="a b/ü", CopySource=source, MetadataDirective="REPLACE", Metadata={"c": "d"})
    assert s3.head_object(Bucket="bucket", Key="a b/ü")["Metadata"] == {"c": "d"}
    s3.copy_object(Bucket="bucket", Key="a b/ü", CopySource=source, MetadataDirective="replace", Metadata={"e": "f"})
    assert s3.head_object(Bucket="bucket", Key="a b/ü")["Metadata"] == {"e": "f"}
    assert read(s3, "a b/ü") == read(s3, "copy") == b"content"
    with pytest.raises(ClientError) as raised:
        s3.copy_object(Bucket="bucket", Key="a b/ü", CopySource=source)
    assert error_of(raised) == ("InvalidRequest", 400)
    with pytest.raises(ClientError) as raised:
        s3.copy_object(Bucket="bucket", Key="copy", CopySource=source, CopySourceIfMatch='"other"')
    assert error_of(raised) == ("PreconditionFailed", 412)
    for missing, code in ((source | {"Key": "nope"}, "NoSuchKey"), (source | {"Bucket": "nope"}, "NoSuchBucket")):
        with pytest.raises(ClientError) as raised:
            s3.copy_object(Bucket="bucket", Key="copy", CopySource=missing)
        assert error_of(raised) == (code, 404)


def test_a_large_copy_goes_in_parts(s3: Any, served: Any) -> None:
    data = random.Random(4).randbytes(11 * MB)
    s3.put_object(Bucket="bucket", Key="source", Body=data)
    config = TransferConfig(multipart_threshold=5 * MB, multipart_chunksize=5 * MB)
    s3.copy({"Bucket": "bucket", "Key": "source"}, "bucket", "target", Config=config)
    assert read(s3, "target") == data
    assert served.files() == ["bucket/source", "bucket/target"]


@pytest.mark.parametrize(
    "asked", ["bytes=0-10", "bytes=10-10", "bytes=5-2", "bytes=5-", "bytes=-5", "bytes=5", "0-5", "bytes=0-1,3-4", ""]
)
def test_a_part_is_copied_from_a_range_that_is_there_or_not_at_all(s3: Any, asked: str) -> None:
    s3.put_object(Bucket="bucket", Key="source", Body=b"0123456789")
    where = {"Bucket": "bucket", "Key": "k"}
    upload = where | {"UploadId": s3.create_multipart_upload(**where)["UploadId"], "PartNumber": 1}
    with pytest.raises(ClientError) as raised:
        s3.upload_part_copy(**upload, CopySource="bucket/source", CopySourceRange=asked)
    assert error_of(raised) == ("InvalidArgument", 400)
    del upload["PartNumber"]
    assert "Parts" not in s3.list_parts(**upload)
    copied = s3.upload_part_copy(**upload, PartNumber=1, CopySource="bucket/source", CopySourceRange="bytes=9-9")
    parts = [{"PartNumber": 1, "ETag": copied["CopyPartResult"]["ETag"]}]
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    assert read(s3, "k") == b"9"
