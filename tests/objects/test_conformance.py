"""What every object store promises (`bannister.objects.store`), on each implementation."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from bannister.errors import Invalid, NotFound, Resource
from bannister.ids import RandomIds
from bannister.objects.folder import FolderObjects
from bannister.objects.memory import MemoryObjects
from bannister.objects.store import UPLOADS_BUCKET, ObjectInfo, ObjectStore

BYTES_MAX = 3_000_000

AWKWARD_KEYS = [
    "plain",
    "models/v1/model.tar.gz",
    "a//b c/../x",
    "..",
    ".",
    "../../../../etc/passwd",
    "/etc/passwd",
    "//",
    "/",
    "a",
    "a/",
    "a/b",
    "a//b",
    "A",
    "nul\0byte",
    "tab\tnew\nline\r",
    "per%cent%2Fsign",
    "ünï/cödé/📦",
    "e\u0301",
    "\u00e9",
    "\U0010ffff",
    ".index.db",
    "back\\slash",
    "x" * 1024,
    "d/" * 512,
    "é" * 512,
    "con*?<>|:\"'`$;&",
]


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    if request.param == "memory":
        yield MemoryObjects(BYTES_MAX)
        return
    folder = FolderObjects(tmp_path / "objects", RandomIds(), BYTES_MAX)
    yield folder
    folder.close()


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def content(store: ObjectStore, key: str, start: int = 0, end: int | None = None) -> bytes:
    async with store.open("bucket", key) as opened:
        return b"".join([chunk async for chunk in opened.read(start, end)])


async def put(store: ObjectStore, key: str, data: bytes = b"", at: float = 1.0) -> ObjectInfo:
    await store.create_bucket("bucket", 0.0)
    return await store.put("bucket", key, chunks(data), at)


async def test_what_is_put_is_read_back(store: ObjectStore) -> None:
    data = random.Random(1).randbytes(1_000_000)
    await store.create_bucket("bucket", 5.0)
    given = await store.put(
        "bucket",
        "k",
        chunks(data[:7], b"", data[7:600_000], data[600_000:]),
        9.5,
        content_type="application/gzip",
        metadata={"author": "me"},
        checksums={"CRC32": "AAAA"},
        headers={"content-encoding": "gzip"},
    )
    assert given == ObjectInfo(
        "bucket",
        "k",
        1_000_000,
        f'"{hashlib.md5(data).hexdigest()}"',
        9.5,
        "application/gzip",
        {"author": "me"},
        {"CRC32": "AAAA"},
        {"content-encoding": "gzip"},
    )
    assert await store.head("bucket", "k") == given
    async with store.open("bucket", "k") as opened:
        assert opened.info == given
    assert await content(store, "k") == data
    assert (await store.fetch("bucket", "k")).read_bytes() == data


@pytest.mark.parametrize(
    ("start", "end"), [(0, None), (0, 0), (0, 1), (5, 5), (299_999, 300_000), (10, 270_000), (299_999, 999_999)]
)
async def test_a_part_is_read(store: ObjectStore, start: int, end: int | None) -> None:
    data = random.Random(2).randbytes(300_000)
    await put(store, "k", data)
    assert await content(store, "k", start, end) == data[start:end]


async def test_an_empty_object(store: ObjectStore) -> None:
    assert (await put(store, "k")).size == 0
    assert await content(store, "k") == b""


async def test_keys_are_raw_and_never_meet(store: ObjectStore) -> None:
    for key in AWKWARD_KEYS:
        await put(store, key, key.encode())
    for key in AWKWARD_KEYS:
        assert await content(store, key) == key.encode()
        assert (await store.fetch("bucket", key)).read_bytes() == key.encode()
    listed = [info.key for info in (await store.list("bucket")).objects]
    assert listed == sorted(AWKWARD_KEYS, key=str.encode)
    for key in AWKWARD_KEYS:
        await store.delete("bucket", key)
    assert (await store.list("bucket")).objects == ()
    await store.delete_bucket("bucket")


@pytest.mark.parametrize("key", ["", "x" * 1025, "é" * 513, "\ud800"])
async def test_a_key_that_is_none_is_refused(store: ObjectStore, key: str) -> None:
    with pytest.raises(Invalid):
        await put(store, key)
    assert (await store.list("bucket")).objects == ()


@pytest.mark.parametrize(
    "bucket",
    ["", "ab", "Upper", "under_score", "-a-", "a..b", "10.0.0.1", "../x", "a/b", "x" * 64, "xn--a", ".index.db"],
)
async def test_a_bucket_name_that_s3_refuses_is_refused(store: ObjectStore, bucket: str) -> None:
    with pytest.raises(Invalid) as refused:
        await store.create_bucket(bucket, 0.0)
    assert refused.value.code == "InvalidBucketName"
    assert await store.buckets() == []


async def test_buckets(store: ObjectStore) -> None:
    await store.create_bucket("two", 2.0)
    await store.create_bucket("a.one", 1.0)
    await store.create_bucket("two", 3.0)
    assert await store.buckets() == [("a.one", 1.0), ("two", 2.0)]
    await store.put("two", "k", chunks(b""), 4.0)
    with pytest.raises(Invalid) as refused:
        await store.delete_bucket("two")
    assert refused.value.code == "BucketNotEmpty"
    await store.delete("two", "k")
    await store.delete_bucket("two")
    assert await store.buckets() == [("a.one", 1.0)]


async def test_an_unknown_bucket_is_named(store: ObjectStore) -> None:
    async def opened() -> None:
        async with store.open("nope", "k"):
            pass

    for attempt in (
        store.put("nope", "k", chunks(b"x"), 0.0),
        store.head("nope", "k"),
        store.fetch("nope", "k"),
        store.delete("nope", "k"),
        store.list("nope"),
        store.delete_bucket("nope"),
        opened(),
    ):
        with pytest.raises(NotFound) as refused:
            await attempt
        assert (refused.value.resource, refused.value.name) == (Resource.BUCKET, "nope")


async def test_an_unknown_object_is_named(store: ObjectStore) -> None:
    await store.create_bucket("bucket", 0.0)
    await store.delete("bucket", "k")
    for attempt in (store.head("bucket", "k"), store.fetch("bucket", "k"), content(store, "k")):
        with pytest.raises(NotFound) as refused:
            await attempt
        assert (refused.value.resource, refused.value.name) == (Resource.OBJECT, "k")


async def test_the_uploads_bucket_is_there_and_never_listed(store: ObjectStore) -> None:
    await store.put(UPLOADS_BUCKET, "k", chunks(b"x"), 0.0)
    assert await store.buckets() == []
    assert (await store.head(UPLOADS_BUCKET, "k")).size == 1


async def test_a_put_that_breaks_changes_nothing(store: ObjectStore) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield b"y" * 600_000
        raise ValueError("the client has gone")

    before = await put(store, "k", b"old")
    for key in ("k", "new"):
        with pytest.raises(ValueError, match="gone"):
            await store.put("bucket", key, breaking(), 2.0)
    assert (await store.list("bucket")).objects == (before,)
    assert await content(store, "k") == b"old"


async def test_a_put_too_large_changes_nothing(store: ObjectStore) -> None:
    before = await put(store, "k", b"old")
    with pytest.raises(Invalid) as refused:
        await store.put("bucket", "k", chunks(*[b"z" * 500_000] * 7), 2.0)
    assert refused.value.code == "EntityTooLarge"
    assert (await store.list("bucket")).objects == (before,)
    assert (await put(store, "k", b"z" * BYTES_MAX)).size == BYTES_MAX


async def test_a_put_into_a_bucket_deleted_meanwhile_is_refused(store: ObjectStore) -> None:
    async def deleting() -> AsyncIterator[bytes]:
        yield b"x"
        await store.delete_bucket("bucket")

    await store.create_bucket("bucket", 0.0)
    with pytest.raises(NotFound):
        await store.put("bucket", "k", deleting(), 1.0)
    assert await store.buckets() == []


async def test_checksums_may_be_filled_by_the_last_chunk(store: ObjectStore) -> None:
    checksums: dict[str, str] = {}

    async def with_trailer() -> AsyncIterator[bytes]:
        yield b"x"
        checksums["SHA1"] = "abc="

    await store.create_bucket("bucket", 0.0)
    await store.put("bucket", "k", with_trailer(), 1.0, checksums=checksums)
    checksums.clear()
    assert (await store.head("bucket", "k")).checksums == {"SHA1": "abc="}


async def test_an_opened_version_stays_whole_when_it_is_replaced_or_deleted(store: ObjectStore) -> None:
    old, new = b"1" * 700_000, b"2" * 500_000
    await put(store, "k", old)
    async with store.open("bucket", "k") as opened:
        await put(store, "k", new)
        assert b"".join([chunk async for chunk in opened.read()]) == old
    async with store.open("bucket", "k") as opened:
        await store.delete("bucket", "k")
        assert b"".join([chunk async for chunk in opened.read()]) == new


async def test_of_concurrent_puts_one_wins_whole(store: ObjectStore) -> None:
    async def slowly(letter: bytes) -> AsyncIterator[bytes]:
        for _ in range(5):
            yield letter * 100_000
            await asyncio.sleep(0)

    await store.create_bucket("bucket", 0.0)
    puts = [
        store.put("bucket", "k", slowly(letter), at, metadata={"letter": letter.decode()})
        for at, letter in enumerate([b"a", b"b", b"c", b"d"])
    ]
    await asyncio.gather(*puts)
    info = await store.head("bucket", "k")
    assert await content(store, "k") == info.metadata["letter"].encode() * 500_000


KEYS = ["a", "a/1", "a/2", "a/b/3", "a0", "b", "b/", "b//", "c/1", "é/1", "é/2", "\uffff", "\U00010000", "zz/1"]


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
@pytest.mark.parametrize("delimiter", ["", "/", "/b/", "1"])
@pytest.mark.parametrize("prefix", ["", "a", "a/", "é", "zz", "nope", "\uffff"])
async def test_pages_join_to_the_whole_listing(store: ObjectStore, prefix: str, delimiter: str, limit: int) -> None:
    for key in KEYS:
        await put(store, key)
    expected = []
    for key in sorted((key for key in KEYS if key.startswith(prefix)), key=str.encode):
        cut = key.find(delimiter, len(prefix)) if delimiter else -1
        name = key if cut < 0 else key[: cut + len(delimiter)]
        if name not in expected:
            expected.append(name)
    names: list[str] = []
    after: str | None = ""
    while after is not None:
        listing = await store.list("bucket", prefix=prefix, delimiter=delimiter, after=after, limit=limit)
        page = [*(info.key for info in listing.objects), *listing.common_prefixes]
        assert len(page) <= limit
        names += sorted(page, key=str.encode)
        after = listing.next_after
    assert names == expected


async def test_listing_starts_after_a_key_that_need_not_exist(store: ObjectStore) -> None:
    for key in KEYS:
        await put(store, key)
    listing = await store.list("bucket", after="a/1x", limit=2)
    assert [info.key for info in listing.objects] == ["a/2", "a/b/3"]
    assert listing.next_after == "a/b/3"
