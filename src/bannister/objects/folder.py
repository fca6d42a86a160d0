"""Objects in a folder.

    FOLDER/BUCKET/models/v1/3f2a9c01@model.tar.gz     the bytes: an ordinary file (see `tree`)
    FOLDER/.index.db                                   what is an object, and its metadata (see `index`)

A put reserves a name, streams into a new file, makes it durable, and commits one row: that commit is the moment at
which the object is there. Overwriting writes another file; a reader of the old one keeps it until he closes it.

File contents are written, hashed, flushed and read by a few threads of the store's own: a flush of a large file may
take seconds, and no alarm may wait for it. All else happens on the event loop.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO, Final, TypeVar, TypeVarTuple

from bannister.errors import Invalid, NotFound, Resource, Unavailable
from bannister.ids import Ids
from bannister.objects import listing, names
from bannister.objects.index import ObjectIndex
from bannister.objects.store import Listing, ObjectInfo
from bannister.objects.tree import Tree, file_name

_T = TypeVar("_T")
_Arguments = TypeVarTuple("_Arguments")

#: Runs a blocking read: the work, a descriptor, a count of bytes and a position.
_InThread = Callable[[Callable[[int, int, int], bytes], int, int, int], Awaitable[bytes]]

_THREADS: Final = 3
_BLOCK_BYTES: Final = 256 * 1024
#: Files from this size on are closed by a thread when they have no name any more, so many at a time.
_LARGE_BYTES: Final = 16 * 1024 * 1024
_CLOSING_MAX: Final = 32
#: Flushed this often, so that the last flush, and every commit of other files behind it, stays short.
_UNFLUSHED_BYTES_MAX: Final = 32 * 1024 * 1024


class FolderObjects:
    """An `ObjectStore` on a folder that it has for itself. For one event loop and one process at a time."""

    def __init__(
        self,
        root: Path,
        ids: Ids,
        object_bytes_max: int,
        check_room: Callable[[], None] = lambda: None,
        make_room: Callable[[], bool] = lambda: False,
        fence: Callable[[], None] = lambda: None,
    ) -> None:
        """Opens or creates the folder and removes what an earlier process left half-written.

        `check_room` is called before every put and raises `Unavailable` while the disk is full. `make_room` is asked when there is
        not even room to write down that an object goes; it tells whether to try again. `fence` is called before an object comes or goes;
        it does not return when another process has taken over, which has removed what was half-written here.
        """
        self._check_room = check_room
        self._make_room = make_room
        self._ids = ids
        self._bytes_max = object_bytes_max
        self._tree = Tree(root)
        self._index = ObjectIndex(root / ".index.db", fence)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="objects")
        self._closing: set[Future[None]] = set()
        for file in self._index.doomed():
            self._remove(file)

    def close(self) -> None:
        """Release threads and files; nothing may be under way."""
        self._threads.shutdown()
        self._index.close()

    async def create_bucket(self, bucket: str, at: float) -> None:
        names.check_bucket(bucket)
        self._index.add_bucket(bucket, at)

    async def delete_bucket(self, bucket: str) -> None:
        self._index.remove_bucket(bucket)

    async def buckets(self) -> list[tuple[str, float]]:
        return self._index.buckets()

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
        self._index.require_bucket(bucket)
        self._check_room()
        file = file_name(bucket, key, self._ids.short())
        self._index.doom(file)
        try:
            size, md5 = await self._write(file, chunks)
            info = ObjectInfo(
                bucket,
                key,
                size,
                etag or f'"{md5}"',
                at,
                content_type,
                dict(metadata or {}),
                dict(checksums or {}),
                dict(headers or {}),
            )
            replaced = self._index.publish(info, encoded, file)
        except BaseException:
            self._remove(file)
            raise
        if replaced is not None:
            self._remove(replaced)
        return info

    async def head(self, bucket: str, key: str) -> ObjectInfo:
        return self._find(bucket, key)[0]

    @asynccontextmanager
    async def open(self, bucket: str, key: str) -> AsyncIterator[_OpenFile]:
        info, file = self._find(bucket, key)
        opened = self._open(file, key)
        try:
            yield _OpenFile(info, opened.fileno(), self._in_thread)
        finally:
            self._let_go(opened)

    async def fetch(self, bucket: str, key: str) -> Path:
        _, file = self._find(bucket, key)
        # Opened once, so that a link on the way is refused here too.
        self._open(file, key).close()
        return self._tree.path(file)

    async def delete(self, bucket: str, key: str) -> None:
        self._index.require_bucket(bucket)
        try:
            file = self._index.withdraw(bucket, names.key_bytes(key))
        except Unavailable:
            if not self._make_room():
                raise
            file = self._index.withdraw(bucket, names.key_bytes(key))
        if file is not None:
            self._remove(file)

    async def list(
        self, bucket: str, *, prefix: str = "", delimiter: str = "", after: str = "", limit: int = 1000
    ) -> Listing:
        self._index.require_bucket(bucket)
        return listing.page(
            lambda lower: self._index.scan(bucket, lower),
            prefix=prefix,
            delimiter=delimiter,
            after=after,
            limit=limit,
        )

    def _find(self, bucket: str, key: str) -> tuple[ObjectInfo, str]:
        self._index.require_bucket(bucket)
        found = self._index.find(bucket, names.key_bytes(key))
        if found is None:
            raise NotFound(Resource.OBJECT, key)
        return found

    def _open(self, file: str, key: str) -> BinaryIO:
        try:
            return os.fdopen(self._tree.open(file), "rb", buffering=0)
        except FileNotFoundError:
            raise NotFound(Resource.OBJECT, key) from None
        except OSError as error:
            raise _unavailable(error) from error

    async def _write(self, file: str, chunks: AsyncIterator[bytes]) -> tuple[int, str]:
        """Stream into a new file and make it durable. Returns its size and MD5."""
        try:
            writing = _Writing(self._tree.create(file), self._bytes_max)
        except OSError as error:
            raise _unavailable(error) from error
        try:
            block = bytearray()
            async for chunk in chunks:
                block += chunk
                if len(block) >= _BLOCK_BYTES:
                    await self._in_thread(writing.append, block)
                    block = bytearray()
            await self._in_thread(writing.finish, block)
            await self._in_thread(self._tree.sync, file)
        finally:
            writing.close()
        return writing.size, writing.md5

    async def _in_thread(self, work: Callable[[*_Arguments], _T], *arguments: *_Arguments) -> _T:
        """Run on one of the store's threads; when cancelled, wait for it first, since it uses a descriptor."""
        future = asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            raise
        except OSError as error:
            raise _unavailable(error) from error

    def _remove(self, file: str) -> None:
        """Unlink a doomed file; one that resists stays doomed until the next start."""
        held = self._large(file)
        try:
            self._tree.remove(file)
            self._index.forget(file)
        except (OSError, Unavailable):
            pass
        if held is not None:
            self._let_go(held)

    def _large(self, file: str) -> BinaryIO | None:
        """A file that is to be unlinked, held open if its blocks take long to free; so many at a time, for descriptors are few."""
        try:
            held = os.fdopen(self._tree.open(file), "rb", buffering=0)
        except (OSError, Unavailable):  # there is none, or it is none of ours
            return None
        closing = sum(not one.done() for one in self._closing)
        if os.fstat(held.fileno()).st_size >= _LARGE_BYTES and closing < _CLOSING_MAX:
            return held
        held.close()
        return None

    def _let_go(self, file: BinaryIO) -> None:
        """Close a file that may have no name any more: its blocks are freed then, which takes a third of a second for each GiB."""
        self._closing = {one for one in self._closing if not one.done()}
        self._closing.add(self._threads.submit(file.close))


class _Writing:
    """A new file being filled, its size and MD5."""

    def __init__(self, descriptor: int, bytes_max: int) -> None:
        self._file = os.fdopen(descriptor, "wb", buffering=0)
        self._bytes_max = bytes_max
        self._digest = hashlib.md5(usedforsecurity=False)
        self._unflushed = 0
        self.size = 0

    @property
    def md5(self) -> str:
        return self._digest.hexdigest()

    def append(self, block: bytearray) -> None:
        self.size += len(block)
        if self.size > self._bytes_max:
            raise Invalid(
                f"Your proposed upload exceeds the maximum allowed size of {self._bytes_max} bytes.",
                code="EntityTooLarge",
            )
        self._digest.update(block)
        rest = memoryview(block)
        while rest:
            rest = rest[self._file.write(rest) :]
        self._unflushed += len(block)
        if self._unflushed >= _UNFLUSHED_BYTES_MAX:
            self._flush()

    def finish(self, block: bytearray) -> None:
        self.append(block)
        self._flush()

    def _flush(self) -> None:
        os.fsync(self._file.fileno())
        self._unflushed = 0

    def close(self) -> None:
        self._file.close()


class _OpenFile:
    """An `OpenObject` on a file."""

    def __init__(self, info: ObjectInfo, descriptor: int, in_thread: _InThread) -> None:
        self.info = info
        self._descriptor = descriptor
        self._in_thread = in_thread

    async def read(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        position, end = start, self.info.size if end is None else min(end, self.info.size)
        while position < end:
            count = min(_BLOCK_BYTES, end - position)
            block = await self._in_thread(os.pread, self._descriptor, count, position)
            if not block:
                raise Unavailable("A file of the object store is shorter than its object: something else wrote to it.")
            position += len(block)
            yield block


def _unavailable(error: OSError) -> Unavailable:
    return Unavailable(f"The object store's disk refuses: {error.strerror or error}.")
