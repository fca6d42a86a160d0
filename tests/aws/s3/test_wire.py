"""What arrives that boto3 would not send: raw paths, hand-made encodings, broken bodies, clients that leave."""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
import socket
import threading
import time
import tracemalloc
import zlib
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bannister.ids import RandomIds
from bannister.objects.folder import FolderObjects
from bannister.objects.memory import MemoryObjects
from bannister.objects.store import ObjectInfo

MB = 1024 * 1024


class Connection:
    """One HTTP connection, byte for byte."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def send(self, method: str, target: str, body: bytes = b"", **headers: str) -> None:
        fields = {"host": "127.0.0.1"} | {name.replace("_", "-"): value for name, value in headers.items()}
        if "transfer-encoding" not in fields:
            fields.setdefault("content-length", str(len(body)))
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.write(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode() + body)

    def write(self, data: bytes) -> None:
        self._socket.sendall(data)

    def receive(self, *, bodyless: bool = False) -> tuple[int, dict[str, str], bytes]:
        status = int(self._file.readline().split()[1])
        headers = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        if bodyless or status == 100:
            return status, headers, b""
        if headers.get("transfer-encoding") == "chunked":
            return status, headers, self._chunks()
        return status, headers, self._file.read(int(headers.get("content-length", 0)))

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self._file.readline(), 16):
            body += self._file.read(size)
            self._file.readline()
        self._file.readline()
        return body


def ask(served: Any, method: str, target: str, body: bytes = b"", **headers: str) -> tuple[int, str, bytes]:
    """Status, S3's error code (or empty) and body of one request."""
    with Connection(served.port) as connection:
        connection.send(method, target, body, **headers)
        status, _, answer = connection.receive(bodyless=method == "HEAD")
    code = re.search(rb"<Code>(.*)</Code>", answer)
    return status, code[1].decode() if code else "", answer


@pytest.fixture
def bucket(served: Any) -> Any:
    """A server with an empty bucket called `bucket`."""
    assert ask(served, "PUT", "/bucket")[0] == 200
    return served


# --- paths and hosts


@pytest.mark.parametrize(
    "path",
    [
        "/../../../escaped",
        "/..%2f..%2f..%2fescaped",
        "/%2e%2e/%2e%2e/escaped",
        "//etc/escaped",
        "/a/./../../escaped",
        "/..\\..\\escaped",
        "/.index.db",
        "/%00escaped",
        "/..",
        "/.",
    ],
)
def test_no_path_leads_out_of_the_folder(bucket: Any, tmp_path: Path, path: str) -> None:
    before = {found for found in tmp_path.rglob("*") if bucket.settings.objects_dir not in found.parents}
    assert ask(bucket, "PUT", f"/bucket{path}", b"content")[0] == 200
    assert ask(bucket, "GET", f"/bucket{path}") == (200, "", b"content")
    after = {found for found in tmp_path.rglob("*") if bucket.settings.objects_dir not in found.parents}
    assert after == before
    assert len(bucket.files()) == 1
    assert bucket.files()[0].startswith("bucket/")


@pytest.mark.parametrize("name", ["..", "%2e%2e", ".uploads", "%2euploads", "a%2fb", "Bucket", ".index.db", "a..b"])
def test_a_name_that_is_no_bucket_is_refused_everywhere(bucket: Any, name: str) -> None:
    for method, target in [
        ("PUT", ""),
        ("GET", ""),
        ("GET", "?list-type=2"),
        ("PUT", "/k"),
        ("GET", "/k"),
        ("DELETE", "/k"),
    ]:
        assert ask(bucket, method, f"/{name}{target}")[:2] == (400, "InvalidBucketName")
    source = {"x-amz-copy-source": f"/{name}/k"}
    assert ask(bucket, "PUT", "/bucket/k", **source)[:2] == (400, "InvalidBucketName")


@pytest.mark.parametrize("host", ["bucket.localhost", "bucket.localhost:3594", "BUCKET.LOCALHOST"])
def test_the_host_may_name_the_bucket(bucket: Any, host: str) -> None:
    for key in ("a//b%20c/../x", "..", "/leading", "bucket/k"):
        assert ask(bucket, "PUT", f"/{key}", b"content", host=host)[0] == 200
        assert ask(bucket, "GET", f"/bucket/{key}") == (200, "", b"content")
    assert b"<Key>a//b c/../x</Key>" in ask(bucket, "GET", "/", host=host)[2]


@pytest.mark.parametrize("host", ["localhost", "localhost:3594", "127.0.0.1:3594", "[::1]:3594", "s3.localhost", ""])
def test_any_other_host_leaves_the_bucket_to_the_path(bucket: Any, host: str) -> None:
    assert ask(bucket, "PUT", "/bucket/k", b"content", host=host)[0] == 200
    assert bucket.files() == ["bucket/k"]


@pytest.mark.parametrize(
    ("method", "target", "headers", "status", "code"),
    [
        ("GET", "/bucket/%ff", {}, 400, "InvalidURI"),
        ("GET", "/bucket?prefix=%ff", {}, 400, "InvalidURI"),
        ("GET", "/bucket?" + "a=b&" * 101, {}, 400, "InvalidURI"),
        ("GET", "//k", {}, 400, "InvalidURI"),
        ("GET", "/bucket?list-type=3", {}, 400, "InvalidArgument"),
        ("GET", "/bucket?list-type=2&max-keys=-1", {}, 400, "InvalidArgument"),
        ("GET", "/bucket?list-type=2&max-keys=" + "9" * 5000, {}, 400, "InvalidArgument"),
        ("GET", "/bucket?list-type=2&continuation-token=%C3%A4", {}, 400, "InvalidArgument"),
        ("GET", "/bucket?list-type=2&continuation-token=gIA=", {}, 400, "InvalidArgument"),
        ("GET", "/bucket?encoding-type=gzip", {}, 400, "InvalidArgument"),
        ("GET", "/bucket/k?uploadId=x", {}, 404, "NoSuchUpload"),
        ("PUT", "/bucket/k?partNumber=1&uploadId=x", {}, 404, "NoSuchUpload"),
        ("PUT", "/bucket/k?partNumber=1", {}, 501, "NotImplemented"),
        ("PUT", "/bucket/k?acl", {}, 501, "NotImplemented"),
        ("POST", "/bucket", {}, 501, "NotImplemented"),
        ("POST", "/bucket/k", {}, 405, "MethodNotAllowed"),
        ("PATCH", "/bucket/k", {}, 405, "MethodNotAllowed"),
        ("OPTIONS", "/bucket/k", {}, 405, "MethodNotAllowed"),
        ("DELETE", "/", {}, 405, "MethodNotAllowed"),
        ("PUT", "/bucket/k", {"x-amz-copy-source": "nokey"}, 400, "InvalidArgument"),
        ("PUT", "/bucket/k", {"x-amz-copy-source": "bucket/%ff"}, 400, "InvalidURI"),
        ("PUT", "/bucket/k", {"x-amz-copy-source": "bucket/k?versionId=7"}, 501, "NotImplemented"),
        ("PUT", "/bucket/k", {"content-md5": "nonsense"}, 400, "InvalidDigest"),
        ("PUT", "/bucket/k", {"content-md5": "é"}, 400, "InvalidDigest"),
        ("PUT", "/bucket/k", {"x-amz-checksum-crc32": "AAAA"}, 400, "InvalidRequest"),
        ("PUT", "/bucket/k", {"x-amz-checksum-crc64nvme": "AAAA"}, 400, "InvalidRequest"),
        ("PUT", "/bucket/k", {"x-amz-content-sha256": "0" * 64}, 400, "XAmzContentSHA256Mismatch"),
        ("PUT", "/bucket/k", {"x-amz-content-sha256": "z" * 64}, 400, "InvalidArgument"),
        ("POST", "/bucket/k?uploads", {"x-amz-checksum-algorithm": "ROT13"}, 400, "InvalidRequest"),
        ("POST", "/bucket/k?uploads", {"x-amz-checksum-type": "HALF"}, 400, "InvalidRequest"),
        ("GET", "/bucket/there?response-content-type=a%0d%0ab", {}, 400, "InvalidArgument"),
    ],
)
def test_what_is_wrong_is_named_and_changes_nothing(
    bucket: Any, method: str, target: str, headers: dict[str, str], status: int, code: str
) -> None:
    ask(bucket, "PUT", "/bucket/there", b"content")
    assert ask(bucket, method, target, **headers)[:2] == (status, code)
    assert bucket.files() == ["bucket/there"]


def test_a_body_of_unknown_length_is_refused_and_a_chunked_one_taken(bucket: Any) -> None:
    with Connection(bucket.port) as connection:
        connection.write(b"PUT /bucket/k HTTP/1.1\r\nhost: h\r\n\r\n")
        assert connection.receive()[0] == 411
    body = b"5\r\nhello\r\n0\r\n\r\n"
    assert ask(bucket, "PUT", "/bucket/k", body, **{"transfer-encoding": "chunked"})[0] == 200
    assert ask(bucket, "GET", "/bucket/k")[2] == b"hello"


def test_an_answer_may_be_given_other_headers(bucket: Any) -> None:
    ask(bucket, "PUT", "/bucket/k", b"content", **{"content-type": "a/b"})
    with Connection(bucket.port) as connection:
        connection.send("GET", "/bucket/k?response-content-type=c/d&response-content-disposition=inline")
        _, headers, _ = connection.receive()
    assert (headers["content-type"], headers["content-disposition"]) == ("c/d", "inline")
    assert re.fullmatch("[0-9a-f-]{36}", headers["x-amz-request-id"])
    assert headers["x-amzn-requestid"] == headers["x-amz-request-id"], "it is one, whoever asks for it"


def test_a_range_of_a_version_that_is_no_longer_there_gets_everything(bucket: Any) -> None:
    etag = '"' + hashlib.md5(b"content").hexdigest() + '"'
    ask(bucket, "PUT", "/bucket/k", b"content")
    assert ask(bucket, "GET", "/bucket/k", range="bytes=4-", **{"if-range": etag}) == (206, "", b"ent")
    assert ask(bucket, "GET", "/bucket/k", range="bytes=4-", **{"if-range": '"other"'}) == (200, "", b"content")


# --- aws-chunked

CHUNKED = {"content-encoding": "gzip,aws-chunked", "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER"}


def crc32(data: bytes) -> str:
    return b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def aws_chunked(data: bytes, sizes: list[int], trailer: str = "", extension: str = "") -> bytes:
    encoded = b""
    for size in sizes:
        encoded += f"{size:x}{extension}\r\n".encode() + data[:size] + b"\r\n"
        data = data[size:]
    assert not data
    return encoded + f"0{extension}\r\n{trailer}\r\n".encode()


@pytest.mark.parametrize("sizes", [[], [1], [65_536, 1], [1, 2, 3, 70_000, 200_000], [8192] * 40])
@pytest.mark.parametrize("signed", [False, True])
def test_aws_chunked_is_decoded_and_its_trailer_verified(bucket: Any, sizes: list[int], signed: bool) -> None:
    data = random.Random(5).randbytes(sum(sizes))
    trailer = f"x-amz-checksum-crc32:{crc32(data)}\r\n" + ("x-amz-trailer-signature:00ff\r\n" if signed else "")
    body = aws_chunked(data, sizes, trailer, ";chunk-signature=" + "ab" * 32 if signed else "")
    headers = CHUNKED | {"x-amz-trailer": "x-amz-checksum-crc32", "x-amz-decoded-content-length": str(len(data))}
    if signed:
        headers["x-amz-content-sha256"] = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
    assert ask(bucket, "PUT", "/bucket/k", body, **headers)[0] == 200
    with Connection(bucket.port) as connection:
        connection.send("GET", "/bucket/k", **{"x-amz-checksum-mode": "ENABLED"})
        _, answer, content = connection.receive()
    assert content == data
    assert (answer["content-encoding"], answer["x-amz-checksum-crc32"]) == ("gzip", crc32(data))


def test_a_trailer_is_the_one_that_is_named(bucket: Any) -> None:
    """The name of one checksum begins with another's."""
    data = b"123456789"
    headers = CHUNKED | {"x-amz-trailer": "x-amz-checksum-crc32c", "x-amz-decoded-content-length": "9"}
    body = aws_chunked(data, [9], "x-amz-checksum-crc32c:4waSgw==\r\n")
    assert ask(bucket, "PUT", "/bucket/k", body, **headers)[0] == 200


@pytest.mark.parametrize(
    ("body", "extra", "code"),
    [
        (aws_chunked(b"hello", [5], "x-amz-checksum-crc32:AAAAAA==\r\n"), {}, "BadDigest"),
        (aws_chunked(b"hello", [5], "x-amz-checksum-crc32:?\r\n"), {}, "InvalidRequest"),
        (aws_chunked(b"hello", [5]), {}, "MalformedTrailerError"),
        (aws_chunked(b"hello", [5]), {"x-amz-decoded-content-length": "6"}, "IncompleteBody"),
        (aws_chunked(b"hello", [5], "no trailer\r\n"), {}, "InvalidRequest"),
        (aws_chunked(b"hello", [5], "".join(f"a{number}:b\r\n" for number in range(17))), {}, "InvalidRequest"),
        (b"5\r\nhel", {}, "IncompleteBody"),
        (b"5\r\nhello\r\n", {}, "IncompleteBody"),
        (b"", {}, "IncompleteBody"),
        (b"5\r\nhelloX\r\n0\r\n\r\n", {}, "InvalidRequest"),
        (b"-5\r\nhello\r\n0\r\n\r\n", {}, "InvalidRequest"),
        (b"fffffffff\r\nhello", {}, "InvalidRequest"),
        (b"zz\r\nhello\r\n0\r\n\r\n", {}, "InvalidRequest"),
        (b"1" * 10_000, {}, "InvalidRequest"),
    ],
)
def test_aws_chunked_that_is_broken_stores_nothing(bucket: Any, body: bytes, extra: dict[str, str], code: str) -> None:
    headers = CHUNKED | {"x-amz-trailer": "x-amz-checksum-crc32"} | extra
    assert ask(bucket, "PUT", "/bucket/k", body, **headers)[:2] == (400, code)
    assert bucket.files() == []


# --- documents


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"not xml",
        b"<Delete>",
        b"<Delete/>",
        b"<Other><Object><Key>k</Key></Object></Other>",
        b'<!DOCTYPE d [<!ENTITY e "k">]><Delete><Object><Key>&e;</Key></Object></Delete>',
        '<!DOCTYPE d [<!ENTITY e "k">]><Delete><Object><Key>&e;</Key></Object></Delete>'.encode("utf-16"),
        b'<!DOCTYPE d SYSTEM "file:///etc/passwd"><Delete/>',
        b'<?xml version="1.0" encoding="rot13"?><Delete/>',
        b"<Delete>" + b"<a>" * 100_000,
        b"<Delete><Object><Key>k</Key></Object>" + b"<a>" * 20 + b"</a>" * 20 + b"</Delete>",
        b"<Delete>" + b"<Object><Key>k</Key></Object>" * 1001 + b"</Delete>",
        b"\xff\xfe\x00",
    ],
)
def test_a_document_that_is_none_is_refused(bucket: Any, document: bytes) -> None:
    ask(bucket, "PUT", "/bucket/k", b"content")
    assert ask(bucket, "POST", "/bucket?delete", document)[:2] == (400, "MalformedXML")
    assert bucket.files() == ["bucket/k"]


def test_a_document_is_bounded_and_verified(bucket: Any) -> None:
    document = b"<Delete><Object><Key>k</Key></Object></Delete>"
    large = document + b" " * bucket.settings.request_body_bytes_max
    assert ask(bucket, "POST", "/bucket?delete", large)[:2] == (400, "EntityTooLarge")
    wrong = b64encode(hashlib.md5(b"other").digest()).decode()
    assert ask(bucket, "POST", "/bucket?delete", document, **{"content-md5": wrong})[:2] == (400, "BadDigest")


def test_some_deletions_may_fail_and_quiet_names_only_those(bucket: Any) -> None:
    document = "<Delete xmlns='http://s3.amazonaws.com/doc/2006-03-01/'>{}<Object><Key>k</Key></Object><Object><Key/></Object></Delete>"
    loud = ask(bucket, "POST", "/bucket?delete", document.format("").encode())[2]
    quiet = ask(bucket, "POST", "/bucket?delete", document.format("<Quiet>true</Quiet>").encode())[2]
    assert b"<Deleted><Key>k</Key></Deleted><Error>" in loud
    assert b"<Deleted>" not in quiet
    assert b"<Error><Key></Key><Code>" in quiet


# --- connections


def test_a_refusal_before_the_body_does_not_spoil_the_connection(bucket: Any) -> None:
    with Connection(bucket.port) as connection:
        connection.send("PUT", "/nope/k", b"x" * 3 * MB)
        assert connection.receive()[0] == 404
        connection.send("PUT", "/bucket/k", b"content")
        assert connection.receive()[0] == 200


def test_a_client_that_waits_for_continue_gets_it_or_an_error_on_a_closed_connection(bucket: Any) -> None:
    with Connection(bucket.port) as connection:
        head = "PUT /{}/k HTTP/1.1\r\nhost: h\r\ncontent-length: 7\r\nexpect: 100-continue\r\n\r\n"
        connection.write(head.format("bucket").encode())
        assert connection.receive()[0] == 100
        connection.write(b"content")
        assert connection.receive()[0] == 200
        connection.write(head.format("nope").encode())
        status, headers, _ = connection.receive()
        assert (status, headers["connection"]) == (404, "close")


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_client_that_leaves_in_the_middle_of_a_put_leaves_nothing(bucket: Any) -> None:
    with Connection(bucket.port) as connection:
        connection.write(b"PUT /bucket/k HTTP/1.1\r\nhost: h\r\ncontent-length: 9000000\r\n\r\n" + b"x" * MB)
        wait_until(lambda: bucket.files() == ["bucket/k"])
    wait_until(lambda: bucket.files() == [])
    assert ask(bucket, "HEAD", "/bucket/k")[0] == 404


class EndlessObjects(MemoryObjects):
    """Every object is a terabyte; `left` is set once nobody reads any more."""

    def __init__(self) -> None:
        super().__init__(MB)
        self.left = threading.Event()

    @asynccontextmanager
    async def open(self, bucket: str, key: str) -> AsyncIterator[Any]:
        self.info = ObjectInfo(bucket, key, 10**12, '"0"', 0.0)
        try:
            yield self
        finally:
            self.left.set()

    async def read(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        while True:
            # As a disk does, it lets others run between two blocks.
            await asyncio.sleep(0)
            yield b"x" * 65_536


def test_a_client_that_leaves_in_the_middle_of_a_get_ends_the_reading(serve: Any) -> None:
    store = EndlessObjects()
    with Connection(serve(store).port) as connection:
        connection.send("GET", "/bucket/k")
        connection._socket.recv(MB)
    assert store.left.wait(30)


class SlowObjects(MemoryObjects):
    """Takes its time over every put into the bucket called `slow`."""

    async def put(self, bucket: str, key: str, chunks: AsyncIterator[bytes], at: float, **rest: Any) -> Any:
        if bucket == "slow":
            await asyncio.sleep(0.3)
        return await super().put(bucket, key, chunks, at, **rest)


@pytest.mark.parametrize("limit", [100, 5])
def test_a_slow_answer_begins_early_and_may_still_be_an_error(serve: Any, connect: Any, limit: int) -> None:
    """With boto3, which looks for an error inside the answer."""
    store = SlowObjects(limit)
    served = serve(store, object_answer_quiet_seconds=0.05)
    for name in ("slow", "quick"):
        assert ask(served, "PUT", f"/{name}")[0] == 200
    asyncio.run(store.put("quick", "k", _chunks(b"x" * 5), 0.0))
    # Only a copy into an object a byte too large fails, and only once its answer has begun.
    store._bytes_max = 4 if limit == 5 else limit
    with Connection(served.port) as connection:
        connection.send("PUT", "/slow/k", **{"x-amz-copy-source": "quick/k"})
        status, headers, body = connection.receive()
    assert (status, headers["transfer-encoding"]) == (200, "chunked")
    assert re.match(rb"<\?xml [^>]*\?>\n +<", body)
    client = connect(served)
    if limit == 5:
        assert b"<Error><Code>EntityTooLarge</Code>" in body
        with pytest.raises(client.exceptions.ClientError):
            client.copy_object(Bucket="slow", Key="k", CopySource="quick/k")
    else:
        assert client.copy_object(Bucket="slow", Key="k", CopySource="quick/k")["CopyObjectResult"]["ETag"]


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    yield data


def test_abandoned_uploads_are_removed_when_the_next_begins(serve: Any) -> None:
    served = serve(upload_retention_seconds=3600.0)

    async def abandon() -> None:
        store = FolderObjects(served.settings.objects_dir, RandomIds(), MB)
        await store.put(".uploads", "old", _chunks(b"x"), time.time() - 3700)
        await store.put(".uploads", "recent", _chunks(b"x"), time.time() - 3500)
        store.close()

    asyncio.run(abandon())
    ask(served, "PUT", "/bucket")
    assert ask(served, "POST", "/bucket/k?uploads")[0] == 200
    assert ".uploads" not in str(ask(served, "GET", "/")[2])
    assert len([name for name in served.files() if name.endswith("/old")]) == 0
    assert len([name for name in served.files() if name.endswith("/recent")]) == 1


def test_memory_stays_flat(bucket: Any) -> None:
    """Of 40 MB up and down again, only a few blocks are held at any time."""
    block = b"x" * MB
    tracemalloc.start()
    try:
        with Connection(bucket.port) as connection:
            connection.write(b"PUT /bucket/k HTTP/1.1\r\nhost: h\r\ncontent-length: %d\r\n\r\n" % (40 * MB))
            for _ in range(40):
                connection.write(block)
            assert connection.receive()[0] == 200
            connection.send("GET", "/bucket/k")
            size, expected = 0, 40 * MB
            while size < expected:
                size += len(connection._socket.recv(MB))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * MB
