"""Making a backup, whether or not the server runs. Nothing in the data directory is changed."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import sqlite3
import stat
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final

from bannister import __version__
from bannister.backup import content
from bannister.errors import Invalid, Unavailable
from bannister.settings import Settings

#: Objects may be deleted or replaced while they are copied: then the index is copied again and what it names besides. In the end
#: the few files that are new since are opened, and the index is copied as it was just before: nobody waits for that. Where one of them has gone in between, it is done again.
_PASSES: Final = 2
_OPEN_MAX: Final = 200
_SNAPSHOTS_MAX: Final = 20


def back_up(settings: Settings, file: Path, created_at: float, *, with_metrics: bool = False) -> int:
    """Write a backup of a data directory to a new file; returns its size in bytes.

    Raises:
        Invalid: There is nothing to back up, or the file exists.
        Unavailable: The data directory is damaged, or a disk refuses.
    """
    if not settings.state_path.is_file():
        raise Invalid(f"{settings.data_dir} holds no Bannister data: there is no {settings.state_path.name}.")
    if file.exists():
        raise Invalid(f"{file} exists already: choose another name.")
    try:
        with tempfile.TemporaryDirectory(prefix=".bannister-backup-", dir=file.parent) as folder:
            partial = _Making(settings, Path(folder)).make(created_at, with_metrics=with_metrics)
            size = partial.stat().st_size
            partial.replace(file)
            _sync(file.parent)
            return size
    except (OSError, sqlite3.Error) as error:
        raise Unavailable(f"The backup cannot be made: {error}.") from error


class _Making:
    """One backup on its way into one folder beside its place."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._dropped: list[str] = []

    def make(self, created_at: float, *, with_metrics: bool) -> Path:
        partial = self._folder / "backup"
        # State first: what it refers to is older, and so among the objects that follow.
        state = self._copy(self._settings.state_path)
        with partial.open("xb") as file:
            partial.chmod(0o600)
            with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1, format=tarfile.PAX_FORMAT) as tar:
                _add_json(tar, content.MANIFEST, self._manifest(state, created_at))
                self._add_settings(tar)
                self._add_artifacts(tar, state)
                self._add_objects(tar)
                tar.add(state, content.STATE, filter=_anonymous)
                if with_metrics and self._settings.metrics_path.is_file():
                    tar.add(self._copy(self._settings.metrics_path), content.METRICS, filter=_anonymous)
                _add_json(tar, content.END, {"dropped": self._dropped})
            file.flush()
            os.fsync(file.fileno())
        return partial

    def _manifest(self, state: Path, created_at: float) -> dict[str, Any]:
        return {
            "format": content.FORMAT,
            "bannister": __version__,
            "schema": content.schema_of(state),
            "data_dir": str(self._settings.data_dir),
            "created_at": created_at,
        }

    def _add_settings(self, tar: tarfile.TarFile) -> None:
        for name in content.SETTINGS_FILES:
            if (self._settings.data_dir / name).is_file():
                tar.add(self._settings.data_dir / name, name, filter=_anonymous)

    def _add_artifacts(self, tar: tarfile.TarFile, state: Path) -> None:
        for folder in sorted(_artifacts_in_use(state)):
            name = f"artifacts/{folder.name}"
            try:
                with _held(folder) as held:
                    _add_artifact(tar, folder, name)
                    there = os.path.samestat(os.fstat(held), folder.stat())
            except (FileNotFoundError, PermissionError):
                there = False
            if not there:  # its group has gone since; a restored server fetches it again if it must
                self._dropped.append(name)

    def _add_objects(self, tar: tarfile.TarFile) -> None:
        """The files of objects, then the index that names them."""
        root = self._settings.objects_dir
        if not (root / ".index.db").is_file():
            return
        added = set[str]()
        for attempt in range(_PASSES):
            index = self._copy(root / ".index.db", f"index-{attempt}.db")
            for file in sorted(content.object_files(index) - added):
                with contextlib.suppress(FileNotFoundError):  # deleted or replaced since the index was copied
                    tar.add(root / file, f"objects/{file}", recursive=False, filter=_anonymous)
                    added.add(file)
                tar.members, tar.inodes = [], {}  # type: ignore[attr-defined]  # tarfile would remember each of what may be millions
        index, rest = self._hold(added)
        for file, opened in rest.items():
            with opened:
                member = tar.gettarinfo(arcname=f"objects/{file}", fileobj=opened)
                tar.addfile(_anonymous(member), opened)
        content.check_database(index)
        tar.add(index, content.INDEX, filter=_anonymous)

    def _hold(self, added: set[str]) -> tuple[Path, dict[str, BinaryIO]]:
        """The index as it is at one moment, and what it names that was not added, opened."""
        root, index = self._settings.objects_dir, self._folder / "index.db"
        for _ in range(_SNAPSHOTS_MAX):
            with closing(sqlite3.connect(root / ".index.db", isolation_level=None, timeout=30.0)) as reader:
                reader.execute("BEGIN")  # what it reads from here on is of the moment in which it reads first
                rest = sorted(content.files_named(reader) - added)
                if len(rest) > _OPEN_MAX:
                    raise Unavailable(
                        f"Objects change faster than they are copied: {len(rest)} are new. Try again later."
                    )
                opened = _opened(root, rest)
                if opened is not None:
                    _copy_from(reader, index)
                    return index, opened
        raise Unavailable(
            f"Objects are removed faster than they are copied, or a file is missing in {root}. Try again."
        )

    def _copy(self, source: Path, name: str = "") -> Path:
        """A consistent copy of a database that may be written meanwhile, checked whole."""
        target = self._folder / (name or source.name)
        _copy_database(source, target)
        content.check_database(target)
        return target


def _copy_database(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source, timeout=30.0)) as reader:
        _copy_from(reader, target)


def _copy_from(reader: sqlite3.Connection, target: Path) -> None:
    with closing(sqlite3.connect(target)) as writer:
        reader.backup(writer)
        writer.execute("PRAGMA journal_mode = DELETE")


def _opened(root: Path, files: Sequence[str]) -> dict[str, BinaryIO] | None:
    """None: one of them is not there any more."""
    found: dict[str, BinaryIO] = {}
    try:
        for file in files:
            found[file] = (root / file).open("rb")
    except FileNotFoundError:
        for one in found.values():
            one.close()
        return None
    return found


def _artifacts_in_use(state: Path) -> set[Path]:
    with closing(sqlite3.connect(state)) as database:
        values = [json.loads(value) for (value,) in database.execute("SELECT value FROM row WHERE name = 'group'")]
    return {Path(value["artifact_dir"]) for value in values if value.get("artifact_dir")}


def _add_json(tar: tarfile.TarFile, name: str, value: dict[str, Any]) -> None:
    data = json.dumps(value).encode()
    member = tarfile.TarInfo(name)
    member.size = len(data)
    member.mode = 0o600
    tar.addfile(member, io.BytesIO(data))


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Who owned it on this machine means nothing on another."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[int]:
    """The folder's descriptor: while it is open, no other folder is taken for this one, also if it gets its name."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.stat(".", dir_fd=descriptor)  # what cannot be entered would look empty
        yield descriptor
    finally:
        os.close(descriptor)


def _add_artifact(tar: tarfile.TarFile, folder: Path, name: str) -> None:
    """Of an artifact only what was unpacked: what a model has written beside it may be half written, or be refused when it is restored.

    A model may also delete and lock what it likes meanwhile; each member is seen for itself, and what is not there or not to be read is left out:
    what was unpacked can be read.
    """
    root = folder.resolve()
    for directory, subdirectories, files in os.walk(root, onerror=_left_out):
        subdirectories.sort()
        links = [each for each in subdirectories if Path(directory, each).is_symlink()]  # which are not followed
        for path in [Path(directory), *(Path(directory, each) for each in sorted(files + links))]:
            _add_unpacked(tar, path, root, str(PurePosixPath(name, path.relative_to(root))))


def _add_unpacked(tar: tarfile.TarFile, path: Path, root: Path, name: str) -> None:
    with contextlib.ExitStack() as stack:
        source = None
        try:
            if stat.S_ISREG(path.lstat().st_mode):
                source = stack.enter_context(open(path, "rb", opener=_open_file))
                member = tar.gettarinfo(arcname=name, fileobj=source)
            else:
                member = tar.gettarinfo(path, name)
            taken = member is not None and _as_unpacked(member, path, root)  # type: ignore[redundant-expr]  # None: a socket
        except OSError as error:
            _left_out(error)
            return
        if taken:  # what fails from here on is the backup's own file, or the disk
            tar.addfile(_anonymous(member), source if member.isreg() else None)


def _open_file(path: str, flags: int) -> int:
    """Open what was a file a moment ago: a pipe that has taken its place does not block, a link is not followed."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _left_out(error: OSError) -> None:
    """A model deletes, replaces and locks what it likes in its folder; any other error is one."""
    if error.errno not in (
        errno.ENOENT,
        errno.ENOTDIR,
        errno.ELOOP,
        errno.ENXIO,
        errno.EACCES,
        errno.EPERM,
        errno.EINVAL,
    ):
        raise error


def _as_unpacked(member: tarfile.TarInfo, path: Path, root: Path) -> bool:
    if member.isreg() or member.islnk():
        return not member.mode & 0o222
    if member.issym():
        target = Path(os.path.realpath(path))
        if PurePosixPath(member.linkname).is_absolute() or not target.is_relative_to(root):
            return False
        # The straight way, over no other link: it leads there whatever has been restored before it.
        member.linkname = os.path.relpath(target, path.parent)
        return True
    return member.isdir()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
