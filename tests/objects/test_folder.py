"""What a folder of objects looks like from outside, and what is left when something fails."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from bannister.errors import NotFound, Unavailable
from bannister.ids import RandomIds
from bannister.objects import folder
from bannister.objects.folder import FolderObjects

BYTES_MAX = 64_000_000


@contextmanager
def opened(root: Path) -> Iterator[FolderObjects]:
    store = FolderObjects(root, RandomIds(), BYTES_MAX)
    try:
        yield store
    finally:
        store.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "objects"


@pytest.fixture
def store(root: Path) -> Iterator[FolderObjects]:
    with opened(root) as store:
        yield store


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def put(store: FolderObjects, key: str, data: bytes) -> None:
    await store.create_bucket("bucket", 0.0)
    await store.put("bucket", key, chunks(data), 1.0)


def files(root: Path) -> list[str]:
    """Every file of the folder but the index, with the ids in the names left out."""
    found = (path for path in root.rglob("*") if path.is_file() and not path.name.startswith(".index.db"))
    return sorted(f"{path.parent.relative_to(root)}/{path.name.partition('@')[2]}" for path in found)


def unnamed_files(root: Path) -> list[str]:
    """Files that have no name any more and are still open here."""
    found = []
    for one in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.append(str(one.readlink()))
    return [name for name in found if name.startswith(str(root)) and name.endswith(" (deleted)")]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what is open")
@pytest.mark.parametrize("how", ["deleted", "replaced", "read"])
async def test_the_blocks_of_a_large_file_are_freed_beside_the_loop(
    store: FolderObjects, root: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """That takes a third of a second for each GiB, and no alarm may wait for it."""
    monkeypatch.setattr(folder, "_LARGE_BYTES", 100_000)
    await put(store, "large", b"x" * 100_000)
    go, busy = threading.Event(), store._threads._max_workers

    def hold() -> list[object]:
        return [store._threads.submit(go.wait, 30) for _ in range(busy)]

    if how == "deleted":
        hold()
        await store.delete("bucket", "large")
    elif how == "replaced":
        honest = store._remove

        def remove(file: str) -> None:
            hold()
            honest(file)

        store._remove = remove  # type: ignore[method-assign]
        await put(store, "large", b"y")
    else:
        async with store.open("bucket", "large"):
            await store.delete("bucket", "large")
            hold()
    assert len(unnamed_files(root)) == 1, "no loop has closed it"
    go.set()
    async with asyncio.timeout(30):
        while unnamed_files(root):
            await asyncio.sleep(0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what is open")
async def test_only_so_many_files_wait_to_be_closed(
    store: FolderObjects, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client may delete a thousand objects at once, and the process has about as many descriptors for everything."""
    monkeypatch.setattr(folder, "_CLOSING_MAX", 3)
    for number in range(10):
        await put(store, f"small{number}", b"x")
        await put(store, f"large{number}", b"x" * 1000)
    go = threading.Event()
    for _ in range(store._threads._max_workers):
        store._threads.submit(go.wait, 30)
    monkeypatch.setattr(folder, "_LARGE_BYTES", 1000)
    for number in range(10):
        await store.delete("bucket", f"small{number}")
    assert unnamed_files(root) == []
    for number in range(10):
        await store.delete("bucket", f"large{number}")
    assert len(unnamed_files(root)) == 3
    go.set()
    async with asyncio.timeout(30):
        while unnamed_files(root):
            await asyncio.sleep(0.01)


async def test_what_was_closed_is_forgotten(store: FolderObjects) -> None:
    await put(store, "a", b"x")
    for _ in range(100):
        async with store.open("bucket", "a"):
            pass
        async with asyncio.timeout(30):
            while not all(one.done() for one in store._closing):
                await asyncio.sleep(0)
    assert len(store._closing) == 1


async def test_a_person_finds_his_files(store: FolderObjects, root: Path) -> None:
    await put(store, "models/v1/model.tar.gz", b"v1")
    await put(store, "a//../x y", b"")
    assert files(root) == ["bucket/a/_/_../x y", "bucket/models/v1/model.tar.gz"]
    assert (await store.fetch("bucket", "models/v1/model.tar.gz")).parent == root / "bucket" / "models" / "v1"


async def test_nothing_stays_of_what_is_replaced_or_deleted(store: FolderObjects, root: Path) -> None:
    await put(store, "a/b/c", b"1")
    await put(store, "a/b/c", b"2")
    assert files(root) == ["bucket/a/b/c"]
    await store.delete("bucket", "a/b/c")
    assert [path.name for path in root.iterdir() if not path.name.startswith(".index.db")] == []


async def test_objects_survive_a_restart(root: Path) -> None:
    with opened(root) as store:
        await put(store, "k", b"content")
        before = await store.head("bucket", "k")
    with opened(root) as store:
        assert await store.head("bucket", "k") == before
        assert (await store.fetch("bucket", "k")).read_bytes() == b"content"
        assert await store.buckets() == [("bucket", 0.0)]


#: Puts `old` whole, then `k` again and `new`, and is killed in the middle of both.
_KILLED = """
import asyncio, sys
from pathlib import Path
from bannister.ids import RandomIds
from bannister.objects.folder import FolderObjects

async def whole():
    yield b"old"

async def endless():
    while True:
        yield b"n" * 100_000
        await asyncio.sleep(0.001)

async def main():
    store = FolderObjects(Path(sys.argv[1]), RandomIds(), 10**12)
    await store.create_bucket("bucket", 0.0)
    await store.put("bucket", "k", whole(), 1.0)
    print("ready", flush=True)
    await asyncio.gather(store.put("bucket", "k", endless(), 2.0), store.put("bucket", "new", endless(), 2.0))

asyncio.run(main())
"""


@pytest.mark.real
async def test_a_kill_in_the_middle_of_a_put_leaves_the_old_object_and_no_file(root: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _KILLED, str(root), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        async with asyncio.timeout(30):
            while sum(path.stat().st_size for path in root.rglob("*@*")) < 1_000_000:
                await asyncio.sleep(0.01)
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        await process.wait()
    assert len(files(root)) == 3
    with opened(root) as store:
        assert files(root) == ["bucket/k"]
        assert (await store.fetch("bucket", "k")).read_bytes() == b"old"
        with pytest.raises(NotFound):
            await store.head("bucket", "new")


@contextmanager
def file_size_limit(limit: int) -> Iterator[None]:
    """The kernel refuses to let any file grow past `limit`, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_disk_that_refuses_is_unavailable_and_leaves_nothing(store: FolderObjects, root: Path) -> None:
    await put(store, "k", b"old")
    with file_size_limit(2_000_000), pytest.raises(Unavailable):
        await store.put("bucket", "k", chunks(*[b"x" * 500_000] * 6), 2.0)
    assert files(root) == ["bucket/k"]
    assert (await store.fetch("bucket", "k")).read_bytes() == b"old"
    await put(store, "k", b"x" * 3_000_000)


async def test_an_index_that_refuses_is_unavailable_and_leaves_nothing(store: FolderObjects, root: Path) -> None:
    await put(store, "k", b"old")
    with file_size_limit(1), pytest.raises(Unavailable):
        await store.put("bucket", "new", chunks(b"x"), 2.0)
    assert files(root) == ["bucket/k"]
    await put(store, "new", b"x")


async def test_a_cancelled_put_leaves_nothing(store: FolderObjects, root: Path) -> None:
    started = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 300_000
            started.set()

    await store.create_bucket("bucket", 0.0)
    task = asyncio.create_task(store.put("bucket", "a/k", endless(), 1.0))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert files(root) == []


async def test_a_cancelled_put_waits_for_the_thread_that_writes(store: FolderObjects) -> None:
    """Else the thread would write into whatever gets the descriptor's number next."""
    release = threading.Event()
    task = asyncio.create_task(store._in_thread(release.wait))
    await asyncio.sleep(0)
    task.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not task.done()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("planted", ["bucket", "bucket/models"])
async def test_a_planted_link_leads_nowhere(store: FolderObjects, root: Path, tmp_path: Path, planted: str) -> None:
    outside = tmp_path / "outside"
    (outside / "models").mkdir(parents=True)
    link = root / planted
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(outside if planted == "bucket" else outside / "models")
    with pytest.raises(Unavailable, match="link"):
        await put(store, "models/m", b"secret")
    assert [path for path in outside.rglob("*") if path.is_file()] == []


async def test_a_file_replaced_by_a_link_is_not_read(store: FolderObjects, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    await put(store, "k", b"public")
    path = await store.fetch("bucket", "k")
    path.unlink()
    path.symlink_to(secret)
    with pytest.raises(Unavailable):
        await store.fetch("bucket", "k")
    with pytest.raises(Unavailable):
        async with store.open("bucket", "k"):
            pass


async def test_a_file_cut_short_from_outside_is_an_error_not_a_short_answer(store: FolderObjects) -> None:
    await put(store, "k", b"x" * 1000)
    os.truncate(await store.fetch("bucket", "k"), 10)
    async with store.open("bucket", "k") as found:
        with pytest.raises(Unavailable):
            [chunk async for chunk in found.read()]


async def test_thousands_of_keys_are_rolled_up_without_reading_them(store: FolderObjects) -> None:
    """The index is asked once for each common prefix, not once for each key."""
    await store.create_bucket("bucket", 0.0)
    for number in range(400):
        await store.put("bucket", f"{number % 2}/{number:04}", chunks(b""), 1.0)
    statements: list[str] = []
    store._index._db.set_trace_callback(statements.append)
    listing = await store.list("bucket", delimiter="/")
    assert listing.common_prefixes == ("0/", "1/")
    assert len([statement for statement in statements if "ORDER BY key" in statement]) == 3


async def test_a_damaged_index_is_named_with_what_to_do_and_not_changed(root: Path) -> None:
    FolderObjects(root, RandomIds(), BYTES_MAX).close()
    file = root / ".index.db"
    for content in (b"this is not a database" * 1000, file.read_bytes()[:4096] + b"\xff" * 40_000):
        file.write_bytes(content)
        with pytest.raises(Unavailable, match=r"\.index\.db is damaged .*bannister restore"):
            FolderObjects(root, RandomIds(), BYTES_MAX)
        assert file.read_bytes() == content
