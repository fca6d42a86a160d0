"""Rows that were read already. Loops read whole tables after every commit, and of 10,000 alarms one has changed.

Values never change, so a row is decoded once for each time that it is written. What another connection writes (`PRAGMA data_version` tells) makes everything be read anew.
"""

from __future__ import annotations

from typing import Any

from bannister.state.store import Row


class KnownRows:
    """The rows of whole tables, by key; and which of them were written since."""

    def __init__(self) -> None:
        self._version: int | None = None
        self._rows: dict[str, dict[str, Row[Any]]] = {}
        self._written: dict[str, set[str]] = {}
        #: In order; only where they are known to be right.
        self._keys: dict[str, list[str]] = {}

    def rows(self, table: str, version: int) -> dict[str, Row[Any]] | None:
        """The table's rows; those in `written` are to be read again. None: all are."""
        if version != self._version:
            self._version = version
            self._rows, self._written, self._keys = {}, {}, {}
        return self._rows.get(table)

    def learn(self, table: str, version: int, rows: dict[str, Row[Any]]) -> dict[str, Row[Any]]:
        self._version = version
        self._rows[table] = rows
        self._written[table] = set()
        return rows

    def wrote(self, table: str, key: str) -> None:
        if table in self._rows:
            self._written[table].add(key)

    def written(self, table: str) -> list[str]:
        return list(self._written[table])

    def put(self, table: str, key: str, row: Row[Any] | None) -> None:
        """What was read again; None: it is not there any more."""
        rows = self._rows[table]
        if (row is None) == (key in rows):
            self._keys.pop(table, None)
        if row is None:
            rows.pop(key, None)
        else:
            rows[key] = row
        self._written[table].discard(key)

    def keys(self, table: str) -> list[str]:
        """In order."""
        if table not in self._keys:
            self._keys[table] = sorted(self._rows[table])
        return self._keys[table]
