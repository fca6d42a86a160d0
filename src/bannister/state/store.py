"""What the state store promises.

Rows are typed values under a key; each has a revision that grows with every write (compare-and-set). The journal is append-only and numbered
without gaps; its oldest entries may be forgotten, never its newest, so that a number is never used twice. A `Change` (rows and journal entries) is committed whole, before any of its effects, or not at all.

Every store passes `tests/state/test_conformance.py`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from bannister.errors import Invalid
from bannister.signals import Signal

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Table(Generic[T]):
    """A kind of row: its name in the store and the type of its values (a dataclass that msgspec can read and write)."""

    name: str
    type: type[T]


@dataclass(frozen=True, slots=True)
class Row(Generic[T]):
    """A value with the revision to give when it is written again."""

    key: str
    value: T
    revision: int


@dataclass(frozen=True, slots=True)
class Put(Generic[T]):
    """Write a row. `revision`: the one that was read; 0: the key must not exist yet."""

    table: Table[T]
    key: str
    value: T
    revision: int


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete a row at the revision that was read."""

    table: Table[Any]
    key: str
    revision: int


@dataclass(frozen=True, slots=True)
class Record:
    """A journal entry to append."""

    at: float
    #: What it is about: `endpoint/NAME`, `alarm/NAME`, `experiment/NAME`.
    subject: str
    #: A dotted past-tense noun: `alarm.transitioned`, `deployment.decided`.
    kind: str
    #: JSON-like builtins.
    body: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """A journal entry as stored."""

    sequence: int
    at: float
    subject: str
    kind: str
    body: dict[str, Any]


class State(Protocol):
    """The store. For one event loop; every method may be called concurrently from its tasks.

    All methods may raise `bannister.errors.Unavailable` when the medium fails.
    """

    @property
    def changed(self) -> Signal:
        """Announced after every commit."""
        ...

    async def get(self, table: Table[T], key: str) -> Row[T] | None:
        """One row."""
        ...

    async def rows(self, table: Table[T], prefix: str = "") -> list[Row[T]]:
        """All rows whose key starts with `prefix`, by key."""
        ...

    async def commit(
        self,
        writes: Sequence[Put[Any] | Remove] = (),
        records: Sequence[Record] = (),
        *,
        at_sequence: int | None = None,
    ) -> int:
        """Write all or nothing, durably; returns the journal's position afterwards.

        Args:
            writes: Rows.
            records: Journal entries, appended in order.
            at_sequence: Commit only if the journal still ends here: nothing was journaled since it was read.

        Raises:
            Conflict: A revision or `at_sequence` does not hold; nothing was written. Read again and decide again.
            Fenced: A later epoch was claimed by another process; nothing was written.
            Invalid: A value could not be read again (a number that is not finite, say); nothing was written.
        """
        ...

    async def sequence(self) -> int:
        """The journal's position: the number of its last entry."""
        ...

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
        """Entries between two positions, both exclusive, oldest first unless asked otherwise; filtered by exact subject and kind, or kinds, where given."""
        ...

    async def newest_numbers(self, *, after: int, kind: str, limit: int) -> list[int]:
        """The numbers of the newest entries of a kind after a position, newest first: without reading the entries."""
        ...

    async def prune(self, *, before: float, keep: int, up_to: int, limit: int = 500) -> int:
        """Forget the journal's oldest entries, in one small transaction; returns how many.

        Args:
            before: Entries are forgotten that are older than this,
            keep: and those beyond the newest so many, whatever their age;
            up_to: but none with a number above this.
            limit: At most so many at once.

        Raises:
            Fenced: A later epoch was claimed by another process; nothing was forgotten.
        """
        ...

    async def close(self) -> None:
        """Release files and locks."""
        ...


@cache
def _decoder(table: Table[Any]) -> msgspec.json.Decoder[Any]:
    """One for each table: to make one takes as long as to read a small value with it."""
    return msgspec.json.Decoder(table.type)


def decoded(value: bytes, table: Table[T]) -> T:
    """A value as it was stored.

    Raises:
        msgspec.MsgspecError: It cannot be read.
    """
    read: T = _decoder(table).decode(value)
    return read


def encoded(write: Put[T]) -> tuple[bytes, T]:
    """The value as it is stored, and as it is read back once to be sure that it can be: one row that cannot makes its whole table unreadable.

    JSON has no infinite numbers and no NaN; msgspec writes null for them, which a field that may be None would be read as.

    Raises:
        Invalid: It cannot be read back, or would be read as another value.
    """
    value = msgspec.json.encode(write.value)
    try:
        read = decoded(value, write.table)
        # A list in place of a tuple makes them unequal, too; what is looked for then costs ten times as much.
        if read != write.value:
            json.dumps(msgspec.to_builtins(write.value), allow_nan=False)
    except (ValueError, msgspec.MsgspecError) as error:
        raise Invalid(
            f"The {write.table.name} {write.key!r} cannot be stored, because it could not be read again ({error}); numbers must be finite. "
            "Nothing was changed."
        ) from error
    return value, read


def last_to_forget(oldest: Sequence[tuple[int, float]], *, newest: int, before: float, keep: int, up_to: int) -> int:
    """The number of the last entry to forget, given the oldest (number, time); 0: none.

    Only a beginning is ever forgotten, up to the first entry that is still wanted: what is left has no gaps, whatever the clock did.
    """
    last = 0
    for sequence, at in oldest:
        outlived = at < before or sequence <= newest - keep
        if not outlived or sequence > up_to or sequence >= newest:
            break
        last = sequence
    return last
