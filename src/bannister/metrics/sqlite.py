"""The metric store in one SQLite file.

Written through to the file (WAL, `synchronous=NORMAL`: a commit costs no disk flush, so the last moments before a power cut may be missing,
which for metrics is the right trade), and held in memory for the newest minutes, from which alarms are evaluated. A report is stored
in one transaction with its number, so that one sent again after a restart changes nothing.

Reports of one run come in the order of their numbers (the feed sees to it), so the highest number is all there is to remember of a run.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator, Sequence

import msgspec

from bannister.clock import Clock
from bannister.domain.metric.aggregate import Aggregate
from bannister.domain.metric.identity import MetricIdentity
from bannister.domain.metric.summary import Report, Summary
from bannister.errors import Unavailable
from bannister.metrics.store import Datum, GroupDimensions
from bannister.metrics.window import MetricWindow, in_order, metrics_of
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
CREATE TABLE IF NOT EXISTS metrics (id INTEGER PRIMARY KEY, identity BLOB NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS data (metric INTEGER NOT NULL, at REAL NOT NULL, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS data_by_metric ON data (metric, at);
CREATE INDEX IF NOT EXISTS data_by_time ON data (at);
"""
#: A question about older data lets other tasks run after this many periods.
_PERIODS_AT_ONCE = 20

_encode = msgspec.msgpack.encode
_summary = msgspec.msgpack.Decoder(Summary)
_aggregate = msgspec.msgpack.Decoder(Aggregate)
_identity = msgspec.msgpack.Decoder(MetricIdentity)


class SqliteMetrics:
    """A `MetricStore` in `settings.metrics_path`. Every method may raise `Unavailable` when the file cannot be used."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._recent = MetricWindow()
        #: The window in memory holds everything from here on.
        self._recent_since = clock.now() - settings.metric_recent_seconds
        self._recorded: dict[str, int] = {}
        with _unavailable():
            settings.metrics_path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(settings.metrics_path, timeout=1.0, isolation_level=None)
            try:
                self._open()
            except sqlite3.Error:
                self._connection.close()
                raise

    def _open(self) -> None:
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.executescript(_SCHEMA)
        for row in self._connection.execute("SELECT name, endpoint, variant, config_name, instance_count FROM groups"):
            self._recent.register(GroupDimensions(*row))
        self._recorded = dict(self._connection.execute("SELECT name, sequence FROM runs"))
        self._fill_all(self._recent, self._recent_since)

    async def register(self, group: GroupDimensions) -> None:
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO groups VALUES (?, ?, ?, ?, ?)",
                (group.group, group.endpoint, group.variant, group.config_name, group.instance_count),
            )
        self._recent.register(group)

    async def record(self, report: Report) -> bool:
        if report.sequence <= self._recorded.get(report.run, 0):
            return False
        if report.summaries:
            self._store(report)
            self._recent.add(one for one in report.summaries if one.second >= self._recent_since)
        self._recorded[report.run] = report.sequence
        return True

    def _store(self, report: Report) -> None:
        rows = [(one.group, one.second, one.model_latency is not None, _encode(one)) for one in report.summaries]
        with self._transaction() as connection:
            connection.executemany("INSERT INTO summaries VALUES (?, ?, ?, ?)", rows)
            connection.execute(
                "INSERT OR REPLACE INTO runs VALUES (?, ?, ?)", (report.run, report.sequence, self._clock.now())
            )

    async def put(self, data: Sequence[Datum]) -> None:
        with self._transaction() as connection:
            for datum in data:
                key = _encode(datum.metric)
                connection.execute("INSERT OR IGNORE INTO metrics (identity) VALUES (?)", (key,))
                connection.execute(
                    "INSERT INTO data SELECT id, ?, ? FROM metrics WHERE identity = ?",
                    (datum.at, _encode(datum.aggregate), key),
                )
        for datum in data:
            if datum.at >= self._recent_since:
                self._recent.put(datum)

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

    def _read_file(
        self, metric: MetricIdentity, start: float, period_seconds: float, periods: int, unit: str | None
    ) -> list[Aggregate | None]:
        window = MetricWindow()
        with _unavailable():
            for group in self._recent.groups_of(metric):
                window.register(group)
                self._fill_group(window, group.group, start, start + period_seconds * periods)
            self._fill_data(window, metric, start, start + period_seconds * periods)
        return window.read(metric, start, period_seconds, periods, unit)

    async def metrics(self, *, since: float) -> list[MetricIdentity]:
        if since >= self._recent_since:
            return in_order(self._recent.metrics(since))
        found: set[MetricIdentity] = set()
        with _unavailable():
            for group in self._recent.groups():
                answered = self._connection.execute(
                    "SELECT max(answered) FROM summaries WHERE group_name = ? AND second >= ?", (group.group, since)
                ).fetchone()[0]
                if answered is not None:
                    found.update(metrics_of(group, answered=bool(answered)))
            with_data = "SELECT identity FROM metrics WHERE EXISTS (SELECT 1 FROM data WHERE metric = id AND at >= ?)"
            found.update(_identity.decode(body) for (body,) in self._connection.execute(with_data, (since,)))
        return in_order(found)

    async def expire(self, now: float) -> None:
        summaries_before = now - self._settings.metric_retention_seconds
        data_before = now - self._settings.metric_data_retention_seconds
        with self._transaction() as connection:
            connection.execute("DELETE FROM summaries WHERE second < ?", (summaries_before,))
            connection.execute("DELETE FROM runs WHERE seen_at < ?", (data_before,))
            if connection.execute("DELETE FROM data WHERE at < ?", (data_before,)).rowcount:
                connection.execute("DELETE FROM metrics WHERE NOT EXISTS (SELECT 1 FROM data WHERE metric = id)")
        self._recent_since = max(self._recent_since, now - self._settings.metric_recent_seconds)
        self._recent.forget(max(self._recent_since, summaries_before), max(self._recent_since, data_before))

    async def close(self) -> None:
        with _unavailable():
            self._connection.close()

    def _fill_all(self, window: MetricWindow, start: float) -> None:
        """Everything from `start` on into the window."""
        rows = self._connection.execute("SELECT body FROM summaries WHERE second >= ?", (start,))
        window.add(_summary.decode(body) for (body,) in rows)
        query = "SELECT identity, at, body FROM data JOIN metrics ON id = metric WHERE at >= ?"
        for key, at, body in self._connection.execute(query, (start,)):
            window.put(Datum(_identity.decode(key), at, _aggregate.decode(body)))

    def _fill_group(self, window: MetricWindow, group: str, start: float, end: float) -> None:
        query = "SELECT body FROM summaries WHERE group_name = ? AND second >= ? AND second < ?"
        window.add(_summary.decode(body) for (body,) in self._connection.execute(query, (group, start, end)))

    def _fill_data(self, window: MetricWindow, metric: MetricIdentity, start: float, end: float) -> None:
        query = "SELECT at, body FROM data WHERE metric = (SELECT id FROM metrics WHERE identity = ?) AND at >= ? AND at < ?"
        for at, body in self._connection.execute(query, (_encode(metric), start, end)):
            window.put(Datum(metric, at, _aggregate.decode(body)))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit all or nothing."""
        with _unavailable():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")


@contextlib.contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise Unavailable(f"The metric store cannot be used: {error}.") from error
