"""Files below a folder, reached so that no name and no link leads out of it.

A key decides only how a file is *called*, never where it is: its segments are made harmless, and the file's own name
begins with an id that no other file has. `models/v1/model.tar.gz` becomes `BUCKET/models/v1/3f2a9c01@model.tar.gz`;
`a//../x y` becomes `BUCKET/a/_/_../7b01d2ee@x y`. A person finds his files, and no two keys can meet: `a` and
`a/b` are keys of S3 side by side, and `A` and `a` are one name on some file systems.

Every directory on the way is opened relative to the one above, refusing links (`O_NOFOLLOW`), so a link planted below
the folder is an error and not a way out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from bannister.errors import Unavailable

_DIRECTORIES_MAX: Final = 12
#: Characters of a segment, at most 4 bytes each; a file system takes 255 bytes.
_SEGMENT_CHARACTERS_MAX: Final = 60
_HARMFUL = re.compile(r"[^\w.+=, -]")
_DIRECTORY_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def file_name(bucket: str, key: str, unique: str) -> str:
    """Where the bytes of an object go, below the folder; `unique` makes it a new place."""
    *directories, last = (_harmless(segment) for segment in key.split("/"))
    return "/".join([bucket, *directories[:_DIRECTORIES_MAX], f"{unique}@{last}"])


def _harmless(segment: str) -> str:
    text = _HARMFUL.sub("_", segment)[:_SEGMENT_CHARACTERS_MAX]
    return text if text and not text.startswith(".") else f"_{text[1:] if text == '.' else text}"


class Tree:
    """The files of one folder, by the names that `file_name` gives."""

    def __init__(self, root: Path) -> None:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The folder itself may be a link, to a larger disk say; nothing below it may.
        self._root = root.resolve()

    def path(self, name: str) -> Path:
        return self._root / name

    def create(self, name: str) -> int:
        """A descriptor of a new file, open for writing."""
        with self._directory(name, create=True) as directory:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.open(_leaf(name), flags, 0o600, dir_fd=directory)

    def open(self, name: str) -> int:
        """A descriptor of a file, open for reading."""
        with self._directory(name) as directory:
            return os.open(_leaf(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)

    def sync(self, name: str) -> None:
        """Make the names on the way to a file durable."""
        with self._directory(name, sync=True):
            pass

    def remove(self, name: str) -> None:
        """Unlink a file that may be gone already, and the directories it leaves empty."""
        with suppress(FileNotFoundError), self._directory(name) as directory:
            os.unlink(_leaf(name), dir_fd=directory)
        parts = name.split("/")[:-1]
        for depth in range(len(parts), 0, -1):
            # A directory in use, or no longer there, or replaced by something else, stays as it is.
            with suppress(OSError, Unavailable), self._directory("/".join(parts[:depth])) as above:
                os.rmdir(parts[depth - 1], dir_fd=above)

    @contextmanager
    def _directory(self, name: str, *, create: bool = False, sync: bool = False) -> Iterator[int]:
        """The directory that holds `name`."""
        directory = os.open(self._root, _DIRECTORY_FLAGS)
        try:
            for part in name.split("/")[:-1]:
                if create:
                    with suppress(FileExistsError):
                        os.mkdir(part, 0o700, dir_fd=directory)
                if sync:
                    os.fsync(directory)
                below = self._step(directory, part, name)
                os.close(directory)
                directory = below
            if sync:
                os.fsync(directory)
            yield directory
        finally:
            os.close(directory)

    def _step(self, directory: int, part: str, name: str) -> int:
        try:
            return os.open(part, _DIRECTORY_FLAGS, dir_fd=directory)
        except NotADirectoryError:
            raise Unavailable(
                f"{part!r} on the way to {self._root / name} is a link or a file where the object store needs a directory: "
                "remove or rename it."
            ) from None


def _leaf(name: str) -> str:
    return name.rpartition("/")[2]
