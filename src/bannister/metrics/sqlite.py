"""The metric store in one SQLite file.

Written through to the file (WAL, `synchronous=NORMAL`: a commit costs no disk flush, so the last moments before a power cut may be missing,
which for metrics is the right trade), and held in memory for the newest minutes, from which alarms are evaluated. A report is stored
in one transaction with its number, so that one sent again after a restart changes nothing.

What cannot be stored (a full disk, a locked file) is answered from memory all the same, for alarms must be judged on the worst day too; it waits in
memory and is stored when that is possible again. Only what waits beyond `unstored_metrics_max` is never stored, and counted (`lost`).

Reports of one run come in the order of their numbers (the feed sees to it), so the highest number is all there is to remember of a run.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace

import msgspec

from bannister.clock import Clock
from bannister.domain.comparison.metrics import shadow_identities
from bannister.domain.comparison.report import ComparisonReport, GroupTally
from bannister.domain.metric.aggregate import Aggregate
from bannister.domain.metric.identity import MetricIdentity
from bannister.domain.metric.summary import Report, Summary
from bannister.errors import Unavailable
from bannister.metrics.capture_counts import counted_data
from bannister.metrics.store import Additions, Datum, GroupDimensions
from bannister.metrics.window import MetricWindow, counted, in_order, kinds_of, metrics_of
from bannister.settings import Settings

_SCHEMA = """
CREATE TABLE IF NOT EXISTS groups (
    name TEXT PRIMARY KEY, endpoint TEXT NOT NULL, variant TEXT NOT NULL, config_name TEXT NOT NULL,
    instance_count INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS runs (name TEXT PRIMARY KEY, sequence INTEGER NOT NULL, seen_at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS summaries (
    group_name TEXT NOT NULL, second INTEGER NOT NULL, answered INTEGER NOT NULL, body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS summaries_by_group ON summaries (group_name, second, answered);
CREATE INDEX IF NOT EXISTS summaries_by_second ON summaries (second);
CREATE TABLE IF NOT EXISTS tallies (group_name TEXT NOT NULL, second INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS tallies_by_group ON tallies (group_name, second);
CREATE INDEX IF NOT EXISTS tallies_by_second ON tallies (second);
CREATE TABLE IF NOT EXISTS metrics (id INTEGER PRIMARY KEY, identity BLOB NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS data (metric INTEGER NOT NULL, at REAL NOT NULL, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS data_by_metric ON data (metric, at);
CREATE INDEX IF NOT EXISTS data_by_time ON data (at);
"""
#: A question about older data lets other tasks run after this many periods.
_PERIODS_AT_ONCE = 20
#: Reports and datapoints stored in one transaction, and rows forgotten in one.
_WRITES_AT_ONCE = 100
_ROWS_AT_ONCE = 1000
#: So many of the newest tallies say which metrics a group has.
_TALLIES_LISTED = 100
#: Free pages that are given back to the disk at a time; as many are kept for what comes next.
_FREE_PAGES_MAX = 1000
_WAL_BYTES_MAX = 16 * 1024 * 1024

_log = logging.getLogger(__name__)

_encode = msgspec.msgpack.encode
_summary = msgspec.msgpack.Decoder(Summary)
_tally = msgspec.msgpack.Decoder(GroupTally)
_aggregate = msgspec.msgpack.Decoder(Aggregate)
_identity = msgspec.msgpack.Decoder(MetricIdentity)


class SqliteMetrics:
    """A `MetricStore` in `settings.metrics_path`. Reading what is not in memory may raise `Unavailable` when the file cannot be used."""

    def __init__(self, settings: Settings, clock: Clock, fence: Callable[[], None] = lambda: None) -> None:
        """`fence` is called before anything is written; it does not return when another process has taken over."""
        self._settings = settings
        self._fence = fence
        self._clock = clock
        self._recent = MetricWindow()
        #: The window in memory holds everything from here on.
        self._recent_since = clock.now() - settings.metric_recent_seconds
        self._recorded: dict[str, int] = {}
        #: What is in memory and not yet in the file, oldest first.
        self._unstored: deque[GroupDimensions | Report | ComparisonReport | Datum] = deque()
        self._store_again_at = clock.monotonic()
        #: Reports and datapoints that were answered from memory and never stored, since start.
        self.lost = 0
        with _unavailable():
            settings.metrics_path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(settings.metrics_path, timeout=1.0, isolation_level=None)
            try:
                self._open()
            except sqlite3.Error:
                self._connection.close()
                raise

    def _open(self) -> None:
        # Takes effect in a new file: an older one reuses its free pages, and keeps the size it once had.
        self._connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute(f"PRAGMA journal_size_limit={_WAL_BYTES_MAX}")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.executescript(_SCHEMA)
        for row in self._connection.execute("SELECT name, endpoint, variant, config_name, instance_count FROM groups"):
            self._recent.register(GroupDimensions(*row))
        self._recorded = dict(self._connection.execute("SELECT name, sequence FROM runs"))
        self._fill_all(self._recent, self._recent_since)

    async def register(self, group: GroupDimensions) -> None:
        self._recent.register(group)
        self._store([group])

    async def record(self, report: Report | ComparisonReport) -> bool:
        if report.sequence <= self._recorded.get(report.run, 0):
            return False
        self._recorded[report.run] = report.sequence
        if isinstance(report, ComparisonReport):
            if report.tallies or report.counts:
                report = replace(report, tallies=tuple(map(counted, report.tallies)))
                self._recent.add_tallies(one for one in report.tallies if one.second >= self._recent_since)
                for tally in report.tallies:
                    if tally.second < self._recent_since:
                        self._recent.note(tally.group, tally.second)
                data = counted_data(report)
                for datum in data:
                    self._recent.put(datum)
                self._store([report, *data])
        elif report.summaries:
            self._recent.add(one for one in report.summaries if one.second >= self._recent_since)
            for one in report.summaries:
                if one.second < self._recent_since:
                    self._recent.note(one.group, one.second)
            self._store([report])
        return True

    async def put(self, data: Sequence[Datum]) -> None:
        for datum in data:
            if datum.at >= self._recent_since:
                self._recent.put(datum)
            else:
                self._recent.note(datum.metric, datum.at)
        self._store(data)

    # --- writing

    def _store(self, news: Sequence[GroupDimensions | Report | ComparisonReport | Datum]) -> None:
        """Store what waits and what is new, unless that failed a moment ago."""
        self._unstored.extend(news)
        if self._clock.monotonic() >= self._store_again_at:
            try:
                self._store_waiting()
            except Unavailable as error:
                self._store_again_at = self._clock.monotonic() + self._settings.metric_store_retry_seconds
                _log.warning("metrics.not_stored waiting=%d lost=%d: %s", len(self._unstored), self.lost, error)
        while len(self._unstored) > self._settings.unstored_metrics_max:
            self._unstored.popleft()
            self.lost += 1

    def _store_waiting(self) -> None:
        while self._unstored:
            batch = [one for one, _ in zip(self._unstored, range(_WRITES_AT_ONCE), strict=False)]
            with self._transaction() as connection:
                for one in batch:
                    self._write(connection, one)
            for _ in batch:
                self._unstored.popleft()

    def _write(self, connection: sqlite3.Connection, one: GroupDimensions | Report | ComparisonReport | Datum) -> None:
        match one:
            case GroupDimensions():
                row = (one.group, one.endpoint, one.variant, one.config_name, one.instance_count)
                connection.execute("INSERT OR REPLACE INTO groups VALUES (?, ?, ?, ?, ?)", row)
            case Report():
                rows = [(each.group, each.second, kinds_of(each), _encode(each)) for each in one.summaries]
                connection.executemany("INSERT INTO summaries VALUES (?, ?, ?, ?)", rows)
                self._write_run(connection, one)
            case ComparisonReport():
                tallies = [(each.group, each.second, _encode(each)) for each in one.tallies]
                connection.executemany("INSERT INTO tallies VALUES (?, ?, ?)", tallies)
                self._write_run(connection, one)
            case Datum():
                key = _encode(one.metric)
                connection.execute("INSERT OR IGNORE INTO metrics (identity) VALUES (?)", (key,))
                point = (one.at, _encode(one.aggregate), key)
                connection.execute("INSERT INTO data SELECT id, ?, ? FROM metrics WHERE identity = ?", point)

    def _write_run(self, connection: sqlite3.Connection, one: Report | ComparisonReport) -> None:
        run = (one.run, one.sequence, self._clock.now())
        connection.execute("INSERT OR REPLACE INTO runs VALUES (?, ?, ?)", run)

    # --- reading

    async def read(
        self, metric: MetricIdentity, start: float, period_seconds: float, periods: int, unit: str | None = None
    ) -> list[Aggregate | None]:
        if start >= self._recent_since:
            return self._recent.read(metric, start, period_seconds, periods, unit)
        found: list[Aggregate | None] = []
        for first in range(0, periods, _PERIODS_AT_ONCE):
            count = min(_PERIODS_AT_ONCE, periods - first)
            begin = start + first * period_seconds
            found += self._read_file(metric, begin, period_seconds, count, unit)
            await asyncio.sleep(0)
        return found

    def additions(self, metric: MetricIdentity) -> Additions:
        return self._recent.additions(metric)

    def _read_file(
        self, metric: MetricIdentity, start: float, period_seconds: float, periods: int, unit: str | None
    ) -> list[Aggregate | None]:
        window = MetricWindow()
        with _unavailable():
            for group in self._recent.groups_of(metric):
                window.register(group)
                self._fill_group(window, group.group, start, start + period_seconds * periods)
            self._fill_data(window, metric, start, start + period_seconds * periods)
        self._fill_unstored(window, metric, start, start + period_seconds * periods)
        return window.read(metric, start, period_seconds, periods, unit)

    async def metrics(self, *, since: float) -> list[MetricIdentity]:
        if since >= self._recent_since:
            return in_order(self._recent.metrics(since))
        found: set[MetricIdentity] = set()
        with _unavailable():
            for group in self._recent.groups():
                kinds = self._connection.execute(
                    "SELECT DISTINCT answered FROM summaries WHERE group_name = ? AND second >= ?", (group.group, since)
                ).fetchall()
                if kinds:
                    found.update(metrics_of(group, [kind for (kind,) in kinds]))
                newest = self._connection.execute(
                    "SELECT body FROM tallies WHERE group_name = ? AND second >= ? ORDER BY second DESC LIMIT ?",
                    (group.group, since, _TALLIES_LISTED),
                )
                tallies = [_tally.decode(body) for (body,) in newest]
                found.update(shadow_identities(group.endpoint, group.variant, group.config_name, tallies))
            with_data = "SELECT identity FROM metrics WHERE EXISTS (SELECT 1 FROM data WHERE metric = id AND at >= ?)"
            found.update(_identity.decode(body) for (body,) in self._connection.execute(with_data, (since,)))
        return in_order(found)

    async def expire(self, now: float, living: Collection[str] = ()) -> None:
        summaries_before = now - self._settings.metric_retention_seconds
        data_before = now - self._settings.metric_data_retention_seconds
        self._recent_since = max(self._recent_since, now - self._settings.metric_recent_seconds)
        self._recent.forget(max(self._recent_since, summaries_before), max(self._recent_since, data_before))
        await self._delete("summaries", "second < ?", summaries_before)
        await self._delete("tallies", "second < ?", summaries_before)
        await self._delete("data", "at < ?", data_before)
        with self._transaction() as connection:
            connection.execute("DELETE FROM runs WHERE seen_at < ?", (data_before,))
            connection.execute("DELETE FROM metrics WHERE NOT EXISTS (SELECT 1 FROM data WHERE metric = id)")
        await self._forget_groups(self._recent.past_groups(now, summaries_before, living))
        with _unavailable():
            self._give_back_pages()

    async def _forget_groups(self, groups: Sequence[str]) -> None:
        """Those without data in the file: every update makes new ones, so without this they would grow for ever."""
        for first in range(0, len(groups), _ROWS_AT_ONCE):
            gone = []
            with self._transaction() as connection:
                for group in groups[first : first + _ROWS_AT_ONCE]:
                    query = "DELETE FROM groups WHERE name = ? AND NOT EXISTS (SELECT 1 FROM summaries WHERE group_name = name)"
                    if connection.execute(query, (group,)).rowcount:
                        gone.append(group)
            for group in gone:
                self._recent.forget_group(group)
            await asyncio.sleep(0)

    async def _delete(self, table: str, condition: str, before: float) -> None:
        """Delete what is old, so many rows at a time: telemetry goes on in between."""
        rows = f"SELECT rowid FROM {table} WHERE {condition} LIMIT {_ROWS_AT_ONCE}"
        count = _ROWS_AT_ONCE
        while count == _ROWS_AT_ONCE:
            with self._transaction() as connection:
                count = connection.execute(f"DELETE FROM {table} WHERE rowid IN ({rows})", (before,)).rowcount
            await asyncio.sleep(0)

    def _give_back_pages(self) -> None:
        (free,) = self._connection.execute("PRAGMA freelist_count").fetchone()
        if free > _FREE_PAGES_MAX:
            pages = min(free - _FREE_PAGES_MAX, _FREE_PAGES_MAX)
            # As a script: it gives back one page a step, and `execute` takes only one.
            self._connection.executescript(f"PRAGMA incremental_vacuum({pages})")

    async def close(self) -> None:
        with contextlib.suppress(Unavailable):
            self._store_waiting()
        with _unavailable():
            self._connection.close()

    def _fill_all(self, window: MetricWindow, start: float) -> None:
        """Everything from `start` on into the window."""
        rows = self._connection.execute("SELECT body FROM summaries WHERE second >= ?", (start,))
        window.add(_summary.decode(body) for (body,) in rows)
        rows = self._connection.execute("SELECT body FROM tallies WHERE second >= ?", (start,))
        window.add_tallies(_tally.decode(body) for (body,) in rows)
        query = "SELECT identity, at, body FROM data JOIN metrics ON id = metric WHERE at >= ?"
        for key, at, body in self._connection.execute(query, (start,)):
            window.put(Datum(_identity.decode(key), at, _aggregate.decode(body)))

    def _fill_group(self, window: MetricWindow, group: str, start: float, end: float) -> None:
        query = "SELECT body FROM summaries WHERE group_name = ? AND second >= ? AND second < ?"
        window.add(_summary.decode(body) for (body,) in self._connection.execute(query, (group, start, end)))
        query = "SELECT body FROM tallies WHERE group_name = ? AND second >= ? AND second < ?"
        window.add_tallies(_tally.decode(body) for (body,) in self._connection.execute(query, (group, start, end)))

    def _fill_data(self, window: MetricWindow, metric: MetricIdentity, start: float, end: float) -> None:
        query = "SELECT at, body FROM data WHERE metric = (SELECT id FROM metrics WHERE identity = ?) AND at >= ? AND at < ?"
        for at, body in self._connection.execute(query, (_encode(metric), start, end)):
            window.put(Datum(metric, at, _aggregate.decode(body)))

    def _fill_unstored(self, window: MetricWindow, metric: MetricIdentity, start: float, end: float) -> None:
        groups = {group.group for group in window.groups()}
        for one in self._unstored:
            if isinstance(one, Report):
                window.add(each for each in one.summaries if each.group in groups and start <= each.second < end)
            elif isinstance(one, ComparisonReport):
                window.add_tallies(each for each in one.tallies if each.group in groups and start <= each.second < end)
            elif isinstance(one, Datum) and one.metric == metric and start <= one.at < end:
                window.put(one)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit all or nothing."""
        with _unavailable():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._fence()
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk may have ended it already
                    self._connection.execute("ROLLBACK")
                raise


@contextlib.contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise Unavailable(f"The metric store cannot be used: {error}.") from error
