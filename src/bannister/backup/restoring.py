"""Making a data directory from a backup.

The backup may come from anywhere, so nothing of it is trusted: only the members that a backup has, no path or link out of its folder, never more
than the disk has room for. The directory appears whole or not at all: it is filled beside its place, checked, and renamed.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
import zlib
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import Any, Final

from bannister.backup import content
from bannister.errors import Invalid, Unavailable
from bannister.extraction import Extraction
from bannister.state.schema import MIGRATIONS

_JSON_BYTES_MAX: Final = 1024 * 1024
#: Behind an archive there are no more than the zeros that fill it up.
_BEHIND_BYTES_MAX: Final = 1024 * 1024
#: Left free on the disk, as bytes and as files.
_MARGIN_BYTES: Final = 64 * 1024 * 1024
_MARGIN_FILES: Final = 10_000


def restore(file: Path, data_dir: Path) -> dict[str, Any]:
    """Fill a new or empty directory from a backup; returns the backup's manifest.

    Raises:
        Invalid: The directory is not empty (a server may be using it), or the file is no complete backup of a version that is known here;
            nothing was changed.
        Unavailable: The disk refuses.
    """
    data_dir = data_dir.expanduser().resolve()
    if not file.is_file():
        raise Invalid(f"{file} does not exist.")
    if data_dir.exists() and (not data_dir.is_dir() or any(data_dir.iterdir())):
        raise Invalid(
            f"{data_dir} is not empty: a backup is restored into a new directory, never over one that is or was in use. "
            "Choose another with --data-dir, or move this one away."
        )
    try:
        data_dir.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{data_dir.name}-restore-", dir=data_dir.parent))
        try:
            manifest = _fill(file, partial, data_dir)
            os.sync()
            partial.rename(data_dir)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    except OSError as error:
        raise Unavailable(f"The backup cannot be restored: {error}.") from error
    return manifest


def _fill(file: Path, folder: Path, data_dir: Path) -> dict[str, Any]:
    try:
        # Not by `tarfile`, which does not compare checksums when it decompresses a stream.
        with gzip.open(file) as source, tarfile.open(fileobj=source, mode="r|") as tar:
            manifest = _unpack(tar, folder)
            _read_to_the_end(source)
    except (tarfile.TarError, EOFError, zlib.error, ValueError) as error:
        raise Invalid(f"{file} is not a complete backup: {error}.") from error
    except OSError as error:
        if error.errno is None:  # gzip says so when the file is something else, or damaged
            raise Invalid(f"{file} is not a complete backup: {error}.") from error
        raise
    try:
        _check(folder)
        _move_artifacts(folder, data_dir)
    except (sqlite3.Error, ValueError, Unavailable) as error:
        raise Invalid(f"{file} is damaged: {error}.") from error
    return manifest


def _read_to_the_end(source: gzip.GzipFile) -> None:
    """The checksum is behind the last byte, and before it the few blocks that fill an archive up."""
    if len(source.read(_BEHIND_BYTES_MAX)) == _BEHIND_BYTES_MAX:
        raise ValueError("there is more behind its end")


def _unpack(tar: tarfile.TarFile, folder: Path) -> dict[str, Any]:
    extraction = Extraction(folder, circles=True)  # a model may have made one
    manifest: dict[str, Any] | None = None
    end: dict[str, Any] | None = None
    for member in tar:
        tar.members = []  # type: ignore[attr-defined]  # tarfile would remember them all
        if manifest is None:
            manifest = _known(_read_json(tar, member, content.MANIFEST))
            continue
        _check_member(member, folder)
        if member.name == content.END:
            end = _read_json(tar, member, content.END)
        else:
            extraction.take(tar, member)
    if manifest is None or end is None:
        raise ValueError("it ends too early")
    extraction.finish()
    for name in end["dropped"]:
        if PurePosixPath(name).parent == PurePosixPath("artifacts"):
            shutil.rmtree(folder / name, ignore_errors=True)
    return manifest


def _known(manifest: dict[str, Any]) -> dict[str, Any]:
    if manifest.get("format") != content.FORMAT or manifest["schema"] > len(MIGRATIONS):
        raise Invalid(
            f"This backup was made by a later version of Bannister ({manifest.get('bannister')}): restore it with that version."
        )
    return manifest


def _read_json(tar: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> dict[str, Any]:
    source = tar.extractfile(member) if member.isreg() else None
    if member.name != name or source is None or member.size > _JSON_BYTES_MAX:
        raise ValueError(f"{member.name!r} is where {name} should be")
    found = json.loads(source.read())
    if not isinstance(found, dict):
        raise ValueError(f"{name} is no object")
    return found


def _check_member(member: tarfile.TarInfo, folder: Path) -> None:
    path = PurePosixPath(member.name)
    known = member.name in content.FILES and member.isreg()
    known = known or (len(path.parts) > 1 and path.parts[0] in content.FOLDERS and ".." not in path.parts)
    if not known:
        raise ValueError(f"{member.name!r} does not belong into a backup")
    if path.parts[0] == "objects" and not member.isreg():
        raise ValueError(f"{member.name!r} is not a file")
    disk = os.statvfs(folder)
    no_files = disk.f_files > 0 and disk.f_favail < _MARGIN_FILES  # 0: as many as there is room for
    if no_files or member.size > disk.f_bavail * disk.f_frsize - _MARGIN_BYTES:
        raise Unavailable(f"The backup does not fit on the disk of {folder.parent}: {member.name} has no room.")


def _check(folder: Path) -> None:
    """That what was unpacked is a whole data directory."""
    content.check_database(folder / content.STATE)
    if content.schema_of(folder / content.STATE) not in range(1, len(MIGRATIONS) + 1):
        raise ValueError("its state is of no known version")
    index = folder / content.INDEX
    if not index.exists():
        return
    content.check_database(index)
    named = content.object_files(index)
    root = folder / "objects"
    found = {str(file.relative_to(root)) for file in root.rglob("*") if file.is_file()}
    if not named <= found:
        raise ValueError(f"{len(named - found)} files of objects are missing")
    for extra in found - named - {index.name}:  # replaced while the backup was made
        (root / extra).unlink()


def _move_artifacts(folder: Path, data_dir: Path) -> None:
    """Groups name their unpacked artifacts by path: the paths of this directory, or none where it is to be fetched again."""
    with closing(sqlite3.connect(folder / content.STATE)) as database, database:
        for key, value in database.execute("SELECT key, value FROM row WHERE name = 'group'").fetchall():
            record = json.loads(value)
            if not record.get("artifact_dir"):
                continue
            name = PurePosixPath(record["artifact_dir"]).name
            if (folder / "artifacts" / name).is_dir():
                record["artifact_dir"] = str(data_dir / "artifacts" / name)
            else:
                record |= {"artifact_dir": None, "prepared": False}
            encoded = json.dumps(record).encode()
            database.execute("UPDATE row SET value = ? WHERE name = 'group' AND key = ?", (encoded, key))
    for path in (folder / "artifacts").rglob("*"):
        if not path.is_symlink():
            runs = path.stat().st_mode & 0o100
            path.chmod(0o755 if path.is_dir() else 0o555 if runs else 0o444)  # as they were unpacked
