"""The state store in one SQLite file.

Write-ahead log and `synchronous=FULL`: a commit that returned survives the power going out (measured in docs/decisions/0007). One connection,
used from the event loop's thread only: commits are short, and their order is the order in which they were called.

The file and its log hold some room, claimed while the disk had it (`keep_room`): on a full disk commits go on in it, whoever else fights for every byte that
becomes free. When it is used up a commit gives up the reserve (`bannister.disk`) and is done again.

Every process that opens the file claims the next epoch. A commit checks that the epoch is still its own, in the same transaction, so a process
that was thought dead and replaced can change nothing when it wakes.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import msgspec

from bannister.errors import Conflict, Fenced, Unavailable
from bannister.privacy import close_database
from bannister.signals import Signal
from bannister.state.known import KnownRows
from bannister.state.schema import migrate, transaction
from bannister.state.soundness import check
from bannister.state.store import Entry, Put, Record, Remove, Row, Table, decoded, encoded, last_to_forget

T = TypeVar("T")

_log = logging.getLogger(__name__)

#: The room that is kept inside the file and its log: so much can be written without anything more of the disk.
_ROOM_BYTES: Final = 4 * 1024 * 1024
#: The write-ahead log is cut to this when it has been checkpointed.
_WAL_BYTES_MAX: Final = 16 * 1024 * 1024
#: What SQLite says when a file cannot grow.
_NO_ROOM: Final = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)


class Reserve(Protocol):
    """Where room comes from when the disk is full (`bannister.disk`)."""

    def release(self) -> bool:
        """Give up what is kept; False: nothing is left."""
        ...


class SqliteState:
    """See `bannister.state.store.State`."""

    def __init__(self, path: Path, reserve: Reserve | None = None, *, checked_bytes_max: int = 32 * 1024**2) -> None:
        """Open or create the file, check it, bring it to this version and claim the next epoch.

        Args:
            path: The file.
            reserve: What to give up when the disk is full.
            checked_bytes_max: A larger file is checked in part only (`soundness`).

        Raises:
            Unavailable: The file cannot be opened, is damaged, or was written by a later version; it was not changed.
        """
        self._changed = Signal()
        self._reserve = reserve
        self._known = KnownRows()
        close_database(path)
        with _reported():
            self._connection = sqlite3.connect(path, isolation_level=None, timeout=5.0)
            try:
                self._open(path, checked_bytes_max)
            except BaseException:
                self._connection.close()
                raise

    def _open(self, path: Path, checked_bytes_max: int) -> None:
        check(self._connection, path, checked_bytes_max)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES_MAX}")
        migrate(self._connection)
        self.epoch = self._with_room(self._claim)

    def keep_room(self) -> None:
        """Claim room for a full disk, where less than half of it is left; best effort. Call it after the start, and from time to time.

        It writes and flushes some MiB, which takes longer than a commit: some tens of milliseconds.

        Raises:
            Unavailable: The file does not answer.
        """
        with _reported():
            ((pages,),) = self._connection.execute("PRAGMA freelist_count")
            ((page_bytes,),) = self._connection.execute("PRAGMA page_size")
            if pages * page_bytes < _ROOM_BYTES // 2:
                self._make_room()

    def _claim(self) -> int:
        with transaction(self._connection):
            self._connection.execute("UPDATE epoch SET epoch = epoch + 1")
            return int(self._connection.execute("SELECT epoch FROM epoch").fetchone()[0])

    @property
    def changed(self) -> Signal:
        return self._changed

    async def get(self, table: Table[T], key: str) -> Row[T] | None:
        with _reported():
            found = self._connection.execute(
                "SELECT value, revision FROM row WHERE name = ? AND key = ?", (table.name, key)
            ).fetchone()
        return None if found is None else Row(key, _decoded(table, key, found[0]), found[1])

    async def rows(self, table: Table[T], prefix: str = "") -> list[Row[T]]:
        with _reported():
            ((version,),) = self._connection.execute("PRAGMA data_version").fetchall()
            known = self._known.rows(table.name, version)
            if known is None:
                known = self._known.learn(table.name, version, self._read(table))
            for key in self._known.written(table.name):
                found = self._connection.execute(
                    "SELECT value, revision FROM row WHERE name = ? AND key = ?", (table.name, key)
                ).fetchone()
                self._known.put(
                    table.name, key, None if found is None else Row(key, _decoded(table, key, found[0]), found[1])
                )
        return [known[key] for key in self._known.keys(table.name) if key.startswith(prefix)]

    def _read(self, table: Table[T]) -> dict[str, Row[T]]:
        found = self._connection.execute("SELECT key, value, revision FROM row WHERE name = ?", (table.name,))
        return {key: Row(key, _decoded(table, key, value), revision) for key, value, revision in found}

    def check_epoch(self) -> None:
        """For what is done outside this file: nothing, if this process may still act.

        Raises:
            Fenced: A later epoch was claimed by another process.
        """
        with _reported():
            self._check_epoch()

    async def commit(
        self,
        writes: Sequence[Put[Any] | Remove] = (),
        records: Sequence[Record] = (),
        *,
        at_sequence: int | None = None,
    ) -> int:
        for write in writes:
            self._known.wrote(write.table.name, write.key)  # also if that fails half-way: it is only read again
        with _reported():
            sequence = self._with_room(lambda: self._commit(writes, records, at_sequence))
        self._changed.announce()
        return sequence

    def _commit(self, writes: Sequence[Put[Any] | Remove], records: Sequence[Record], at_sequence: int | None) -> int:
        with transaction(self._connection):
            self._check_epoch()
            sequence = self._sequence()
            if at_sequence is not None and sequence != at_sequence:
                raise Conflict(f"The journal is at {sequence}, not at {at_sequence}.")
            for write in writes:
                self._write(write)
            for record in records:
                sequence += 1
                self._connection.execute(
                    "INSERT INTO journal VALUES (?, ?, ?, ?, ?)",
                    (sequence, record.at, record.subject, record.kind, msgspec.json.encode(record.body)),
                )
        return sequence

    def _check_epoch(self) -> None:
        (epoch,) = self._connection.execute("SELECT epoch FROM epoch").fetchone()
        if epoch != self.epoch:
            raise Fenced(f"Epoch {epoch} was claimed after {self.epoch}.")

    def _with_room(self, write: Callable[[], int]) -> int:
        """Do a transaction; where the disk is full, give up the reserve and do it again."""
        try:
            return write()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _NO_ROOM or self._reserve is None or not self._reserve.release():
                raise
        self._make_room()
        return write()

    def _make_room(self) -> None:
        """Claim room inside the file and its log, before anyone else on this disk does; best effort."""
        try:
            with transaction(self._connection):
                self._connection.execute("DROP TABLE IF EXISTS room")  # of one that was killed in the middle of this
                self._connection.execute("CREATE TABLE room (filler BLOB)")
                self._connection.execute("INSERT INTO room VALUES (zeroblob(?))", (_ROOM_BYTES,))
            with transaction(self._connection):
                self._connection.execute("DROP TABLE room")
        except sqlite3.OperationalError as error:
            _log.warning("state.no_room No room could be made in the state file: %s.", error)

    def _write(self, write: Put[Any] | Remove) -> None:
        name, key, revision = write.table.name, write.key, write.revision
        if isinstance(write, Remove):
            statement = "DELETE FROM row WHERE name = ? AND key = ? AND revision = ?"
            done = self._connection.execute(statement, (name, key, revision))
        elif revision == 0:
            statement = "INSERT INTO row VALUES (?, ?, ?, 1) ON CONFLICT DO NOTHING"
            done = self._connection.execute(statement, (name, key, encoded(write)[0]))
        else:
            statement = "UPDATE row SET value = ?, revision = revision + 1 WHERE name = ? AND key = ? AND revision = ?"
            done = self._connection.execute(statement, (encoded(write)[0], name, key, revision))
        if done.rowcount != 1:
            raise Conflict(f"{name} {key!r} is not at revision {revision} any more.")

    def _sequence(self) -> int:
        (sequence,) = self._connection.execute("SELECT coalesce(max(sequence), 0) FROM journal").fetchone()
        return int(sequence)

    async def sequence(self) -> int:
        with _reported():
            return self._sequence()

    async def journal(
        self,
        *,
        after: int = 0,
        before: int | None = None,
        subject: str | None = None,
        kind: str | Collection[str] | None = None,
        limit: int = 1000,
        newest_first: bool = False,
    ) -> list[Entry]:
        where, values = ["sequence > ?"], [str(after)]
        if before is not None:
            where.append("sequence < ?")
            values.append(str(before))
        if subject is not None:
            where.append("subject = ?")
            values.append(subject)
        if kind is not None:
            kinds = [kind] if isinstance(kind, str) else sorted(kind)
            # Of a subject there are few entries, of a kind many: the plus keeps SQLite from taking the index of kinds.
            column = "kind" if subject is None else "+kind"
            where.append(f"{column} IN ({', '.join('?' * len(kinds))})")
            values += kinds
        query = f"SELECT * FROM journal WHERE {' AND '.join(where)} ORDER BY sequence {'DESC' if newest_first else ''} LIMIT {limit:d}"
        with _reported():
            found = self._connection.execute(query, values).fetchall()
        try:
            return [
                Entry(sequence, at, about, what, msgspec.json.decode(body)) for sequence, at, about, what, body in found
            ]
        except msgspec.MsgspecError as error:
            raise Unavailable(f"An entry of the journal cannot be read: {error}.") from None

    async def newest_numbers(self, *, after: int, kind: str, limit: int) -> list[int]:
        query = "SELECT sequence FROM journal WHERE kind = ? AND sequence > ? ORDER BY sequence DESC LIMIT ?"
        with _reported():
            return [number for (number,) in self._connection.execute(query, (kind, after, limit))]

    async def prune(self, *, before: float, keep: int, up_to: int, limit: int = 500) -> int:
        with _reported(), transaction(self._connection):
            self._check_epoch()
            newest = self._sequence()
            oldest = self._connection.execute("SELECT sequence, at FROM journal ORDER BY sequence LIMIT ?", (limit,))
            last = last_to_forget(oldest.fetchall(), newest=newest, before=before, keep=keep, up_to=up_to)
            return self._connection.execute("DELETE FROM journal WHERE sequence <= ?", (last,)).rowcount

    async def close(self) -> None:
        self._connection.close()


def _decoded(table: Table[T], key: str, value: bytes) -> T:
    try:
        return decoded(value, table)
    except msgspec.MsgspecError as error:
        raise Unavailable(
            f"The {table.name} {key!r} in the state file cannot be read by this version of Bannister: {error}."
        ) from error


@contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise Unavailable(f"The state file does not answer: {error}.") from error
