"""How long the metrics file keeps what, and how finely.

Old rows are rolled up (`bannister.domain.metric.retention`) a few stretches in one transaction, which reads the rows, stores their sum and deletes them. So a process may end at any
moment and nothing is lost or counted twice; what was not reached is rolled up the next time. Others get their turn after each transaction: telemetry goes on in between.

Beyond `metrics_bytes_max` the oldest rows go before their time, and beyond `metric_groups_max` those of the groups that ended first.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bannister.domain.metric.retention import Rollup, merged_data, merged_summary, merged_tallies, rollups, stretch
from bannister.metrics.file import AGGREGATE, SUMMARY, TALLY, MetricsFile, compressed, unavailable, unpacked
from bannister.metrics.store import tiers_of
from bannister.metrics.window import kinds_of
from bannister.settings import Settings

#: Rows deleted in one transaction.
_ROWS_AT_ONCE: Final = 1000
#: A transaction that rolls up looks at so many rows for stretches to do, and does no further one after it has merged so many.
_ROLLED_UP_AT_ONCE: Final = 200
#: Free pages that are given back to the disk at a time; as many are kept for what comes next.
_FREE_PAGES_MAX: Final = 1000

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Tiered:
    """A table whose rows stand for a stretch of time."""

    name: str
    #: The columns that say whose they are and when.
    key: str
    time: str
    #: The rows that replace others: from bodies, key, the beginning of the stretch and its length.
    merged: Callable[[list[bytes], str | int, int, int], list[tuple[object, ...]]]


def _merge_summaries(bodies: list[bytes], key: str | int, second: int, span: int) -> list[tuple[object, ...]]:
    one = merged_summary([SUMMARY.decode(one) for one in bodies], second)
    return [(key, second, kinds_of(one), compressed(one), span)]


def _merge_tallies(bodies: list[bytes], key: str | int, second: int, span: int) -> list[tuple[object, ...]]:
    tallies = merged_tallies((TALLY.decode(one) for one in bodies), second)
    return [(key, second, compressed(one), span) for one in tallies]


def _merge_data(bodies: list[bytes], key: str | int, second: int, span: int) -> list[tuple[object, ...]]:
    return [(key, second, compressed(one), span, span) for one in merged_data(AGGREGATE.decode(one) for one in bodies)]


_TABLES: Final = (
    _Tiered("summaries", "group_name", "second", _merge_summaries),
    _Tiered("tallies", "group_name", "second", _merge_tallies),
    _Tiered("data", "metric", "at", _merge_data),
)


class Expiry:
    """Keeps a metrics file within what is to be kept. One call at a time; each may be made again, and raises `Unavailable` where the file cannot be used."""

    def __init__(self, file: MetricsFile, settings: Settings, forgotten: Callable[[float], None]) -> None:
        """`forgotten` is told up to when rows have changed, in seconds since 1970: what was read of them is not so any more."""
        self._file = file
        self._settings = settings
        self._forgotten = forgotten
        self._spans = [tier.span_seconds for tier in tiers_of(settings)]

    async def rows(self, now: float) -> None:
        """Delete what is too old, roll up what is old, and keep to `metrics_bytes_max`."""
        before = now - self._settings.metric_hour_retention_seconds
        for table in _TABLES:
            await self._delete(table, before)
            for rollup, finer in zip(rollups(tiers_of(self._settings), now), self._spans, strict=False):
                await self._roll_up(table, rollup, finer)
        await self._keep_within_bytes()
        with self._file.transaction() as connection:
            connection.execute(
                "DELETE FROM runs WHERE seen_at < ?", (now - self._settings.metric_minute_retention_seconds,)
            )
            connection.execute("DELETE FROM metrics WHERE NOT EXISTS (SELECT 1 FROM data WHERE metric = id)")

    async def groups(self, past: Sequence[str], forget: Callable[[str], None]) -> None:
        """Of groups that are past, forget those of which nothing is left, and keep to `metric_groups_max`. `forget` is told of each that is gone."""
        await self._keep_within_groups(past)
        await self._forget_groups(past, forget)

    def give_back_pages(self) -> None:
        """To the disk, some of those that are free beyond what comes next needs."""
        with unavailable():
            (free,) = self._file.connection.execute("PRAGMA freelist_count").fetchone()
        if free <= _FREE_PAGES_MAX:
            return
        with self._file.transaction() as connection:
            for _ in range(min(free - _FREE_PAGES_MAX, _FREE_PAGES_MAX)):
                # `execute` takes a step, which is a page, whatever number is asked for.
                connection.execute("PRAGMA incremental_vacuum(1)")

    async def _roll_up(self, table: _Tiered, rollup: Rollup, finer: int) -> None:
        """Replace rows of a finer span, and what the stretch already has, by one row for each stretch."""
        while self._roll_up_some(table, rollup, finer):
            self._forgotten(rollup.before)
            await asyncio.sleep(0)

    def _roll_up_some(self, table: _Tiered, rollup: Rollup, finer: int) -> bool:
        """False: there is nothing more."""
        span = rollup.span_seconds
        name, key, time = table.name, table.key, table.time
        old = (
            f"SELECT {key}, {time} FROM {name} WHERE span = ? AND {time} < ? ORDER BY {time} LIMIT {_ROLLED_UP_AT_ONCE}"
        )
        inside = f"SELECT rowid, body, span FROM {name} WHERE {key} = ? AND {time} >= ? AND {time} < ? AND span <= ?"
        with self._file.transaction() as connection:
            rows = connection.execute(old, (finer, rollup.before))
            found = list(dict.fromkeys((owner, stretch(at, span)) for owner, at in rows))
            done = 0
            for owner, begin in found:
                parts = connection.execute(inside, (owner, begin, begin + span, span)).fetchall()
                connection.executemany(f"DELETE FROM {name} WHERE rowid = ?", [(rowid,) for rowid, _, _ in parts])
                merged = table.merged([unpacked(stored, of) for _, stored, of in parts], owner, begin, span)
                places = ", ".join("?" * len(merged[0]))
                connection.executemany(f"INSERT INTO {name} VALUES ({places})", merged)
                done += len(parts)
                if done >= _ROLLED_UP_AT_ONCE:
                    break
        return bool(found)

    async def _keep_within_bytes(self) -> None:
        """Beyond `metrics_bytes_max` the oldest rows go before their time."""
        forgotten = 0
        while self._used_bytes() > self._settings.metrics_bytes_max:
            with self._file.transaction() as connection:
                oldest = [
                    (at, table, span)
                    for table in _TABLES
                    for span in self._spans
                    for (at,) in connection.execute(
                        f"SELECT min({table.time}) FROM {table.name} WHERE span = ?", (span,)
                    )
                    if at is not None
                ]
                if not oldest:
                    break
                _, table, span = min(oldest, key=lambda one: one[0])
                rows = f"SELECT rowid FROM {table.name} WHERE span = ? ORDER BY {table.time} LIMIT {_ROWS_AT_ONCE}"
                forgotten += connection.execute(f"DELETE FROM {table.name} WHERE rowid IN ({rows})", (span,)).rowcount
            self._forgotten(math.inf)
            await asyncio.sleep(0)
        if forgotten:
            limit = self._settings.metrics_bytes_max
            _log.warning(
                "metrics.forgotten_early rows=%d: the file held more than metrics_bytes_max=%d", forgotten, limit
            )

    def _used_bytes(self) -> int:
        with unavailable():
            pages, free, size = (
                self._file.connection.execute(f"PRAGMA {one}").fetchone()[0]
                for one in ("page_count", "freelist_count", "page_size")
            )
        return int((pages - free) * size)

    async def _delete(self, table: _Tiered, before: float) -> None:
        """Delete what is old, so many rows at a time: telemetry goes on in between."""
        for span in self._spans:
            rows = f"SELECT rowid FROM {table.name} WHERE span = ? AND {table.time} < ? LIMIT {_ROWS_AT_ONCE}"
            count = _ROWS_AT_ONCE
            while count == _ROWS_AT_ONCE:
                with self._file.transaction() as connection:
                    deletion = f"DELETE FROM {table.name} WHERE rowid IN ({rows})"
                    count = connection.execute(deletion, (span, before)).rowcount
                if count:
                    self._forgotten(before)
                await asyncio.sleep(0)

    async def _keep_within_groups(self, past: Sequence[str]) -> None:
        """Of more groups than `metric_groups_max`, those that ended first lose their data before their time."""
        surplus = len(past) - self._settings.metric_groups_max
        if surplus <= 0:
            return
        newest = (
            "SELECT max(coalesce((SELECT max(second) FROM summaries WHERE group_name = :group), 0), "
            "coalesce((SELECT max(second) FROM tallies WHERE group_name = :group), 0))"
        )
        with unavailable():
            ends = {one: self._file.connection.execute(newest, {"group": one}).fetchone()[0] for one in past}
        for group in sorted(past, key=lambda one: ends[one])[:surplus]:
            with self._file.transaction() as connection:
                connection.execute("DELETE FROM summaries WHERE group_name = ?", (group,))
                connection.execute("DELETE FROM tallies WHERE group_name = ?", (group,))
            await asyncio.sleep(0)

    async def _forget_groups(self, groups: Sequence[str], forget: Callable[[str], None]) -> None:
        """Those without data in the file: every update makes new ones, so without this they would grow for ever."""
        for first in range(0, len(groups), _ROWS_AT_ONCE):
            gone = []
            with self._file.transaction() as connection:
                for group in groups[first : first + _ROWS_AT_ONCE]:
                    query = (
                        "DELETE FROM groups WHERE name = ? AND NOT EXISTS (SELECT 1 FROM summaries WHERE group_name = name) "
                        "AND NOT EXISTS (SELECT 1 FROM tallies WHERE group_name = name)"
                    )
                    if connection.execute(query, (group,)).rowcount:
                        gone.append(group)
            for group in gone:
                forget(group)
            await asyncio.sleep(0)
