"""The index of a folder of objects: which file holds which object, in one SQLite table.

An object is what a row says it is. A file is written first and named by a row afterwards, in one transaction with its
size, checksums and metadata, so bytes and metadata change together or not at all.

Files that no row names are *doomed*, and listed as such before they exist: a new file from its reservation until
its row is committed, an old one from the commit that replaced it until it is unlinked. Whatever is doomed when the
store starts was left by a process that ended in between, and goes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from bannister.disk import database_is_damaged
from bannister.errors import Invalid, NotFound, Resource, Unavailable
from bannister.objects.store import UPLOADS_BUCKET, ObjectInfo

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS buckets (bucket TEXT PRIMARY KEY, created_at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS objects (
    bucket TEXT NOT NULL REFERENCES buckets,
    key BLOB NOT NULL,  -- UTF-8, so that SQLite orders as S3 does
    file TEXT NOT NULL, -- below the folder
    info TEXT NOT NULL, -- ObjectInfo as JSON
    PRIMARY KEY (bucket, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS doomed (file TEXT PRIMARY KEY) WITHOUT ROWID;
"""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ObjectInfo).decode


class ObjectIndex:
    """Rows of buckets, objects and doomed files. Durable on return; for one thread."""

    def __init__(self, path: Path, fence: Callable[[], None]) -> None:
        """`fence` is called in every transaction; it does not return when another process has taken over."""
        self._fence = fence
        with _answering():
            self._db = sqlite3.connect(path, isolation_level=None)
        try:
            with _answering():
                self._open()
            self.add_bucket(UPLOADS_BUCKET, 0.0)
        except Unavailable as error:
            self._db.close()
            cause = error.__cause__
            if isinstance(cause, sqlite3.Error) and database_is_damaged(cause):
                raise Unavailable(_damaged(path, cause)) from cause
            raise

    def _open(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        self._db.close()

    # --- buckets

    def add_bucket(self, bucket: str, at: float) -> None:
        self._write("INSERT INTO buckets VALUES (?, ?) ON CONFLICT DO NOTHING", bucket, at)

    def remove_bucket(self, bucket: str) -> None:
        """Raises `NotFound`; `Invalid` (code `BucketNotEmpty`)."""
        try:
            removed = self._write("DELETE FROM buckets WHERE bucket = ?", bucket)
        except sqlite3.IntegrityError:
            raise Invalid(f"The bucket {bucket} is not empty.", code="BucketNotEmpty") from None
        if not removed:
            raise NotFound(Resource.BUCKET, bucket)

    def buckets(self) -> list[tuple[str, float]]:
        query = "SELECT bucket, created_at FROM buckets WHERE bucket != ? ORDER BY bucket"
        with _answering():
            return self._db.execute(query, (UPLOADS_BUCKET,)).fetchall()

    def require_bucket(self, bucket: str) -> None:
        """Raises `NotFound`."""
        with _answering():
            found = self._db.execute("SELECT 1 FROM buckets WHERE bucket = ?", (bucket,)).fetchone()
        if found is None:
            raise NotFound(Resource.BUCKET, bucket)

    # --- objects

    def find(self, bucket: str, key: bytes) -> tuple[ObjectInfo, str] | None:
        """An object and its file."""
        query = "SELECT info, file FROM objects WHERE bucket = ? AND key = ?"
        with _answering():
            row = self._db.execute(query, (bucket, key)).fetchone()
        return None if row is None else (_decode(row[0]), row[1])

    def scan(self, bucket: str, lower: bytes) -> Iterator[ObjectInfo]:
        """Objects with a key of at least `lower`, in the order of their bytes."""
        query = "SELECT info FROM objects WHERE bucket = ? AND key >= ? ORDER BY key"
        with _answering():
            for (info,) in self._db.execute(query, (bucket, lower)):
                yield _decode(info)

    def publish(self, info: ObjectInfo, key: bytes, file: str) -> str | None:
        """Make an object visible, in the place of one of the same name. Returns that one's file, now doomed.

        Raises:
            NotFound: The bucket has been deleted meanwhile.
        """
        row = (info.bucket, key, file, _encode(info).decode())
        try:
            with self._transaction():
                replaced = self._doom_object(info.bucket, key)
                self._db.execute("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?)", row)
                self._db.execute("DELETE FROM doomed WHERE file = ?", (file,))
        except sqlite3.IntegrityError:
            raise NotFound(Resource.BUCKET, info.bucket) from None
        return replaced

    def withdraw(self, bucket: str, key: bytes) -> str | None:
        """Make an object invisible. Returns its file, now doomed."""
        with self._transaction():
            file = self._doom_object(bucket, key)
            self._db.execute("DELETE FROM objects WHERE bucket = ? AND key = ?", (bucket, key))
        return file

    # --- doomed files

    def doom(self, file: str) -> None:
        """List a file that is about to be written."""
        self._write("INSERT INTO doomed VALUES (?)", file)

    def doomed(self) -> list[str]:
        with _answering():
            return [file for (file,) in self._db.execute("SELECT file FROM doomed")]

    def forget(self, file: str) -> None:
        """A doomed file has been unlinked."""
        self._write("DELETE FROM doomed WHERE file = ?", file)

    def _doom_object(self, bucket: str, key: bytes) -> str | None:
        found = self.find(bucket, key)
        if found is None:
            return None
        self._db.execute("INSERT OR IGNORE INTO doomed VALUES (?)", (found[1],))
        return found[1]

    def _write(self, statement: str, *values: object) -> int:
        with self._transaction():
            return self._db.execute(statement, values).rowcount

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with _answering():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._fence()
                yield
                self._db.execute("COMMIT")
            except BaseException:
                # A full disk may have ended the transaction already.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise


def _damaged(path: Path, error: sqlite3.Error) -> str:
    return (
        f"The index of objects {path} is damaged ({error}). Nothing was changed. Move the data directory away and restore a backup into a new one: "
        "bannister restore BACKUP --data-dir DIR. The objects' files lie beside it, under readable names."
    )


@contextmanager
def _answering() -> Iterator[None]:
    """A database that does not answer is `Unavailable`; a broken constraint is the caller's to name."""
    try:
        yield
    except sqlite3.IntegrityError:
        raise
    except sqlite3.Error as error:
        raise Unavailable(f"The index of the object store does not answer: {error}.") from error
