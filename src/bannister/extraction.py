"""Puts the members of a tar archive into a folder, and nothing outside it. The archive is from someone we need not trust.

* No absolute path, no `..`, no device or pipe, no link to outside. Symbolic links are made last and then resolved, so no file is ever written through one, whatever
  the order of the members; and a hard link is made only to what came before it.
* A later member of the same name wins, as in tar. Files get no other permission bits than their owner's, and *execute* where they had it.

`tarfile` has filters for this. They are newer than the oldest Python that runs this (3.11.4), and had holes of their own (CVE-2025-4517).
"""

from __future__ import annotations

import errno
import os
import shutil
import tarfile
from pathlib import Path, PurePosixPath
from typing import Final, NoReturn

_CHUNK_BYTES: Final = 1024 * 1024


class MemberRefused(ValueError):
    """A member that may not be there; the message names it: `its member 'a' has an absolute path`."""


class Extraction:
    """Archives on their way into an empty folder that nobody else writes to."""

    def __init__(self, root: Path, *, circles: bool = False) -> None:
        """`circles`: links that lead in a circle, and so nowhere, are taken like any other."""
        self._root = root
        self._circles = circles
        #: Where they are to be: the member's name, and to what it leads.
        self._symlinks: dict[Path, tuple[str, str]] = {}

    def take(self, tar: tarfile.TarFile, member: tarfile.TarInfo, below: str = "") -> None:
        """Take one member, the one that `tar` has just come to. `below`: the folder that the archive goes into.

        Raises:
            MemberRefused: It may not be there.
            OSError: The disk does not take it.
        """
        base = self._root / below
        try:
            self._make(tar, member, base)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            _refuse(member.name, "is both a file and a folder")
        except FileNotFoundError:
            _refuse(member.name, f"is a link to {member.linkname!r}, which does not come before it")
        except OSError as error:
            if error.errno in (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ):
                _refuse(member.name, "has a name that the file system does not take")
            raise

    def finish(self) -> None:
        """After the last member: make the symbolic links, and see where each really leads now that all of them are there.

        Raises:
            MemberRefused: One leads outside, or in a circle where that is refused.
        """
        for path, (name, target) in self._symlinks.items():
            if PurePosixPath(target).is_absolute() or "\0" in target:
                _refuse(name, f"is a link to {target!r}, outside the archive")
            try:
                path.symlink_to(target)
            except (FileExistsError, NotADirectoryError):
                _refuse(name, "is both a link and something else")
        root = Path(os.path.realpath(self._root))
        for path, (name, target) in self._symlinks.items():
            if not Path(os.path.realpath(path)).is_relative_to(root):
                _refuse(name, f"is a link to {target!r}, outside the archive")
            if not self._circles and _is_circle(path):
                _refuse(name, f"is a link to {target!r}, in a circle")

    def _make(self, tar: tarfile.TarFile, member: tarfile.TarInfo, base: Path) -> None:
        path = _place(base, member.name)
        if member.isdir():
            path.mkdir(parents=True, exist_ok=True)
            return
        if path == base:
            _refuse(member.name, "has no name")
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_dir():
            path.unlink(missing_ok=True)
        self._symlinks.pop(path, None)
        if member.isreg():
            _write(tar, member, path)
        elif member.islnk():
            target = _place(base, member.linkname)
            if target.is_dir():
                _refuse(member.name, f"is a hard link to the folder {member.linkname!r}")
            path.hardlink_to(target)
        elif member.issym():
            self._symlinks[path] = (member.name, member.linkname)
        else:
            _refuse(member.name, "is a device or a pipe")


def _place(base: Path, name: str) -> Path:
    """Where a member goes; refuses what would not be inside."""
    path = PurePosixPath(name)
    if path.is_absolute():
        _refuse(name, "has an absolute path")
    if ".." in path.parts:
        _refuse(name, "points outside the archive ('..')")
    if "\0" in name:
        _refuse(name, "has a name that the file system does not take")
    return base.joinpath(*path.parts)


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    content = tar.extractfile(member)
    assert content is not None  # only of a member that is no file
    mode = 0o700 if member.mode & 0o100 else 0o600
    with content, open(path, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as target:
        shutil.copyfileobj(content, target, _CHUNK_BYTES)


def _is_circle(link: Path) -> bool:
    try:
        link.stat()
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


def _refuse(member: str, what: str) -> NoReturn:
    raise MemberRefused(f"its member {member!r} {what}")
