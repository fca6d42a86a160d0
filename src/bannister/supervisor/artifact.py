"""Unpacks a model artifact safely.

An artifact is a tar archive, gzipped or not, from someone we need not trust. It is unpacked into a folder named by the
SHA-256 of its bytes: the same artifact is unpacked once, and what runs from a folder never sees its files change.

* The code of a model may come as an archive of its own, and then goes into the artifact's folder `code`, where it replaces files of the same
  name; the folder's name is then made from both archives.
* Nothing may leave the folder (`bannister.extraction`).
* Sizes are bounded on what comes out of the decompressor, also where tar itself reads (extended headers), so an archive
  that swells is refused after a bounded amount of work.
* The folder appears whole or not at all: it is filled beside its place and renamed into it. Two at once do no harm.
  It is renamed again before it is deleted, so that half of one is never taken for it.
* Files are read-only and carry no other permission bits than *execute*; by that a backup tells them from what a model writes
  beside them. Folders can be written, so that the user can delete all this with an ordinary `rm -r`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import os
import secrets
import shutil
import tarfile
import tempfile
import zlib
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, Final

from bannister.errors import Invalid, Unavailable, disk_is_full
from bannister.extraction import Extraction, MemberRefused
from bannister.settings import Settings

#: With this begins the name of what is not whole: not yet, or no longer.
_PARTIAL: Final = ".partial-"
_CHUNK_BYTES: Final = 1024 * 1024
#: The longest extended header (long names, times) that is read.
_HEADER_BYTES_MAX: Final = 1024 * 1024
#: The most that may follow the last member (zeros, to fill a record).
_TRAILER_BYTES_MAX: Final = 16 * 1024 * 1024


async def unpack(archive: Path, into: Path, limits: Settings, code: Path | None = None) -> Path:
    """Unpack an artifact into `into/SHA256`, unless it is there already; returns that folder. `code`: an archive of what belongs into its folder `code`.

    `limits` are the settings `artifact_bytes_max` and `artifact_files_max`.

    Raises:
        Invalid: It is no archive, is damaged, is too large, or holds something that may not be there; the sentence
            names the member.
        Unavailable: The disk does not take it.
        FileNotFoundError: The archive is not there, or no longer.
    """
    return await asyncio.to_thread(_unpack, archive, into, limits, code)


def remove(folder: Path) -> None:
    """Delete an unpacked artifact, whatever a model has made of its folders.

    Raises:
        OSError: Some of it cannot be deleted. What is left is never taken for the artifact; it can be removed again.
    """
    if not folder.name.startswith(_PARTIAL):
        folder = folder.rename(folder.with_name(f"{_PARTIAL}{secrets.token_hex(8)}"))
    _make_accessible(folder)
    for directory, names, _ in os.walk(folder):
        for name in names:  # before the walk lists them
            _make_accessible(Path(directory, name))
    shutil.rmtree(folder)


def _make_accessible(directory: Path) -> None:
    with contextlib.suppress(OSError):  # of another user, or gone; if it is in the way, deleting says so
        if not directory.is_symlink():
            directory.chmod(0o700)


def _unpack(archive: Path, into: Path, limits: Settings, code: Path | None) -> Path:
    with archive.open("rb") as source, contextlib.ExitStack() as opened:  # what is gone meanwhile can be fetched again
        submitted = opened.enter_context(code.open("rb")) if code is not None else None
        try:
            return _unpacked(source, submitted, into, limits)
        except OSError as error:
            if disk_is_full(error):
                free = shutil.disk_usage(into).free // 2**20
                raise Unavailable(
                    f"The model artifact cannot be unpacked, because the disk of {into} is full ({free} MiB are free)."
                ) from error
            raise Unavailable(f"The model artifact cannot be unpacked: {error.strerror or error}.") from error


def _unpacked(source: BufferedReader, submitted: BufferedReader | None, into: Path, limits: Settings) -> Path:
    folder = into / _name(source, submitted)
    if folder.is_dir():
        return folder
    into.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=into))
    try:
        unpacking = _Unpacking(partial, limits)
        unpacking.run(source)
        if submitted is not None:
            unpacking.run(submitted, "code")
        unpacking.finish()
        _move(partial, folder)
    finally:
        if partial.exists():
            remove(partial)
    return folder


def _name(source: BufferedReader, submitted: BufferedReader | None) -> str:
    digests = [_digest(each) for each in (source, submitted) if each is not None]
    return digests[0] if len(digests) == 1 else hashlib.sha256(" ".join(digests).encode()).hexdigest()


def _digest(source: BufferedReader) -> str:
    """Of all that there is; afterwards it can be read from the beginning."""
    found = hashlib.file_digest(source, "sha256").hexdigest()
    source.seek(0)
    return found


def _move(partial: Path, folder: Path) -> None:
    try:
        partial.rename(folder)
    except OSError:
        if not folder.is_dir():  # otherwise someone else has just finished the same artifact
            raise


class _Unpacking:
    """An archive on its way into an empty folder, and perhaps another one into a folder in it."""

    def __init__(self, root: Path, limits: Settings) -> None:
        self._root = root
        self._limits = limits
        self._extraction = Extraction(root)
        self._bytes = 0
        self._members = 0

    def run(self, source: BinaryIO, below: str = "") -> None:
        """Take what one archive holds. `below`: the folder that it goes into."""
        stream = _Forward(_decompressed(source))
        stream.expect(_HEADER_BYTES_MAX)  # opening reads the first header
        try:
            with tarfile.open(fileobj=stream, mode="r:") as tar:  # type: ignore[call-overload]  # it only reads and seeks
                while True:
                    stream.expect(_HEADER_BYTES_MAX)
                    member = tar.next()
                    if member is None:
                        break
                    tar.members.clear()  # tarfile would remember them all
                    stream.expect(member.size + tarfile.BLOCKSIZE)
                    self._count(member)
                    self._extraction.take(tar, member, below)
            stream.expect(_TRAILER_BYTES_MAX)
            stream.finish()
        except MemberRefused as refused:
            raise Invalid(f"The model artifact is refused: {refused}.") from None
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError) as error:
            raise Invalid(f"The model artifact is not a complete tar.gz archive ({error}).") from error

    def finish(self) -> None:
        """After the last archive: make the links, and let nobody write again."""
        try:
            self._extraction.finish()
        except MemberRefused as refused:
            raise Invalid(f"The model artifact is refused: {refused}.") from None
        _set_modes(self._root)

    def _count(self, member: tarfile.TarInfo) -> None:
        """By its header, before any of it is written."""
        self._members += 1
        if self._members > self._limits.artifact_files_max:
            raise Invalid(f"The model artifact holds more than {self._limits.artifact_files_max} files.")
        if member.isreg():
            self._bytes += member.size
        if self._bytes > self._limits.artifact_bytes_max:
            raise Invalid(f"The model artifact is larger than {self._limits.artifact_bytes_max} bytes when unpacked.")


class _Forward:
    """A stream as `tarfile` wants it, which only goes forward and reads no more than was expected."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._position = 0
        self._end = 0

    def expect(self, count: int) -> None:
        """From here, at most `count` bytes may be read."""
        self._end = self._position + count

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> int:
        while self._position < position:
            if not self.read(min(position - self._position, _CHUNK_BYTES)):
                raise EOFError("it ends too early")
        return self._position

    def read(self, size: int) -> bytes:
        if size < 0 or self._position + size > self._end:
            raise ValueError("it has an oversized header")
        data = self._source.read(size)
        self._position += len(data)
        return data

    def finish(self) -> None:
        """Read what is left, so that the checksum is checked; after tar's end there are only zeros."""
        while data := self.read(min(_CHUNK_BYTES, self._end - self._position)):
            if data.strip(b"\0"):
                raise ValueError("it is damaged: something follows its end")


def _decompressed(source: BinaryIO) -> BinaryIO:
    zipped = source.read(2) == b"\x1f\x8b"
    source.seek(0)
    return gzip.GzipFile(fileobj=source) if zipped else source  # type: ignore[return-value]  # it reads alike


def _set_modes(root: Path) -> None:
    for directory, _, files in os.walk(root, topdown=False):
        for name in files:
            path = Path(directory, name)
            if not path.is_symlink():
                path.chmod(0o555 if path.stat().st_mode & 0o100 else 0o444)
        Path(directory).chmod(0o755)
