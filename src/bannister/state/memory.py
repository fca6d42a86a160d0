"""The state store in memory: for tests and simulation; nothing survives it.

Values are held as the bytes a durable store would hold, so a type that cannot be written down fails here too.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Collection, Sequence
from typing import Any, TypeVar

import msgspec

from bannister.errors import Conflict, Fenced
from bannister.signals import Signal
from bannister.state.store import Entry, Put, Record, Remove, Row, Table, decoded, encoded, last_to_forget

T = TypeVar("T")


class MemoryMedium:
    """What a `MemoryState` leaves behind when its process ends: open another one on it, and the first is fenced."""

    def __init__(self) -> None:
        self.epoch = 0
        self.rows: dict[tuple[str, str], tuple[bytes, int]] = {}
        #: What was read out of which bytes: values never change, so each is read once, whoever asks.
        self._read: dict[tuple[str, str], tuple[bytes, Row[Any]]] = {}
        #: By table, in order.
        self.keys: dict[str, list[str]] = {}
        self.entries: list[Entry] = []
        #: By table: how often it was written.
        self.writes: dict[str, int] = {}

    @property
    def sequence(self) -> int:
        return self.entries[-1].sequence if self.entries else 0

    def row(self, table: Table[T], key: str) -> Row[T] | None:
        """A row as it can be read; None: there is none."""
        found = self.rows.get((table.name, key))
        if found is None:
            return None
        known = self._read.get((table.name, key))
        if known is None or known[0] is not found[0]:
            known = found[0], Row(key, decoded(found[0], table), found[1])
            self._read[table.name, key] = known
        return known[1]

    def put(self, table: str, key: str, value: bytes, read: object, revision: int) -> None:
        """Write a row. `read`: what its bytes are read as."""
        if (table, key) not in self.rows:
            insort(self.keys.setdefault(table, []), key)
        self.rows[table, key] = value, revision
        self._read[table, key] = value, Row(key, read, revision)
        self.writes[table] = self.writes.get(table, 0) + 1

    def remove(self, table: str, key: str) -> None:
        """Remove a row."""
        del self.rows[table, key]
        self._read.pop((table, key), None)
        self.keys[table].remove(key)
        self.writes[table] = self.writes.get(table, 0) + 1


class MemoryState:
    """See `bannister.state.store.State`."""

    def __init__(self, medium: MemoryMedium | None = None) -> None:
        self._medium = medium if medium is not None else MemoryMedium()
        self._medium.epoch += 1
        self.epoch = self._medium.epoch
        self._changed = Signal()
        #: By table and prefix: the rows that were found, and how often the table had been written then.
        self._found: dict[tuple[str, str], tuple[int, list[Row[Any]]]] = {}

    @property
    def changed(self) -> Signal:
        return self._changed

    async def get(self, table: Table[T], key: str) -> Row[T] | None:
        return self._medium.row(table, key)

    async def rows(self, table: Table[T], prefix: str = "") -> list[Row[T]]:
        medium = self._medium
        written = medium.writes.get(table.name, 0)
        known = self._found.get((table.name, prefix))
        if known is None or known[0] != written:
            keys = [key for key in medium.keys.get(table.name, ()) if key.startswith(prefix)]
            rows = [row for key in keys if (row := medium.row(table, key)) is not None]
            known = self._found[table.name, prefix] = written, rows
        return list(known[1])

    async def commit(
        self,
        writes: Sequence[Put[Any] | Remove] = (),
        records: Sequence[Record] = (),
        *,
        at_sequence: int | None = None,
    ) -> int:
        medium = self._medium
        if medium.epoch != self.epoch:
            raise Fenced(f"Epoch {medium.epoch} was claimed after {self.epoch}.")
        if at_sequence is not None and medium.sequence != at_sequence:
            raise Conflict(f"The journal is at {medium.sequence}, not at {at_sequence}.")
        for write in writes:
            _, revision = medium.rows.get((write.table.name, write.key), (b"", 0))
            if revision != write.revision:
                raise Conflict(f"{write.table.name} {write.key!r} is at revision {revision}, not {write.revision}.")
        values = [encoded(write) if isinstance(write, Put) else None for write in writes]
        bodies = [msgspec.json.decode(msgspec.json.encode(record.body)) for record in records]
        for write, value in zip(writes, values, strict=True):
            if value is None:
                medium.remove(write.table.name, write.key)
            else:
                medium.put(write.table.name, write.key, *value, write.revision + 1)
        for record, body in zip(records, bodies, strict=True):
            medium.entries.append(Entry(medium.sequence + 1, record.at, record.subject, record.kind, body))
        self._changed.announce()
        return medium.sequence

    async def sequence(self) -> int:
        return self._medium.sequence

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
        entries = self._medium.entries
        kinds = {kind} if isinstance(kind, str) else kind
        forgotten = entries[0].sequence - 1 if entries else 0
        end = len(entries) if before is None else max(before - forgotten - 1, 0)
        between = entries[max(0, after - forgotten) : end]
        matching = (
            entry
            for entry in (reversed(between) if newest_first else between)
            if (subject is None or entry.subject == subject) and (kinds is None or entry.kind in kinds)
        )
        return [entry for entry, _ in zip(matching, range(limit), strict=False)]

    async def newest_numbers(self, *, after: int, kind: str, limit: int) -> list[int]:
        return [one.sequence for one in await self.journal(after=after, kind=kind, limit=limit, newest_first=True)]

    async def prune(self, *, before: float, keep: int, up_to: int, limit: int = 500) -> int:
        medium = self._medium
        if medium.epoch != self.epoch:
            raise Fenced(f"Epoch {medium.epoch} was claimed after {self.epoch}.")
        oldest = [(entry.sequence, entry.at) for entry in medium.entries[:limit]]
        last = last_to_forget(oldest, newest=medium.sequence, before=before, keep=keep, up_to=up_to)
        count = sum(sequence <= last for sequence, _ in oldest)
        del medium.entries[:count]
        return count

    async def close(self) -> None:
        pass
