"""The metric store in one SQLite file.

Written through to the file (`bannister.metrics.file`), and held in memory for the newest minutes, from which alarms are evaluated. A report is stored
in one transaction with its number, so that one sent again after a restart changes nothing. How long the file keeps what: `bannister.metrics.expiry`.

What cannot be stored (a full disk, a locked file) is answered from memory all the same, for alarms must be judged on the worst day too; it waits in
memory and is stored when that is possible again. Only what waits beyond `unstored_metrics_max` is never stored, and counted (`lost`).

Reports of one run come in the order of their numbers (the feed sees to it), so the highest number is all there is to remember of a run.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import sqlite3
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import msgspec

from bannister.clock import Clock
from bannister.domain.comparison.metrics import shadow_identities
from bannister.domain.comparison.report import Account, ComparisonReport
from bannister.domain.metric.aggregate import Aggregate, merge
from bannister.domain.metric.identity import MetricIdentity
from bannister.domain.metric.retention import served
from bannister.domain.metric.summary import Report, SkippedAccount
from bannister.errors import Unavailable
from bannister.metrics.capture_counts import counted_data
from bannister.metrics.expiry import Expiry
from bannister.metrics.file import AGGREGATE, IDENTITY, SUMMARY, TALLY, MetricsFile, encode, unavailable, unpacked
from bannister.metrics.store import Additions, Datum, GroupDimensions, refuse_more_metrics, tiers_of
from bannister.metrics.stretches import Look, Stretches
from bannister.metrics.window import MetricWindow, counted, in_order, kinds_of, metrics_of
from bannister.settings import Settings

#: A question about older data lets other tasks run after this many rows of each group or so.
_ROWS_PER_TURN = 300
#: ListMetrics does after so many groups, and so many metrics.
_GROUPS_PER_TURN = 20
_METRICS_PER_TURN = 1000
#: Reports and datapoints stored in one transaction.
_WRITES_AT_ONCE = 100
#: Of data that are put at once, others get their turn after so many.
_DATA_PER_TURN = 100
#: So many of the newest tallies say which metrics a group has.
_TALLIES_LISTED = 100

_log = logging.getLogger(__name__)


class SqliteMetrics:
    """A `MetricStore` in `settings.metrics_path`. Reading what is not in memory may raise `Unavailable` when the file cannot be used."""

    def __init__(self, settings: Settings, clock: Clock, fence: Callable[[], None] = lambda: None) -> None:
        """`fence` is called before anything is written; it does not return when another process has taken over."""
        self._settings = settings
        self._clock = clock
        self._recent = MetricWindow()
        #: The window in memory holds everything from here on.
        self._recent_since = clock.now() - self._recent_seconds
        #: What alarms look at before that.
        self._past = Stretches()
        self._recorded: dict[str, int] = {}
        self.capture_account: Account | None = None
        self.skipped_account: SkippedAccount | None = None
        self._spans = [tier.span_seconds for tier in tiers_of(settings)]
        self._metric_count = 0
        #: What is in memory and not yet in the file, oldest first.
        self._unstored: deque[GroupDimensions | Report | ComparisonReport | Datum] = deque()
        self._store_again_at = clock.monotonic()
        #: Data are put by one at a time: others get their turn in between, and must not add metrics past the bound.
        self._putting = asyncio.Lock()
        #: Reports and datapoints that were answered from memory and never stored, since start.
        self.lost = 0
        self._file = MetricsFile(settings.metrics_path, fence)
        self._expiry = Expiry(self._file, settings, self._past.forget)
        with self._file.opening():
            self._load()

    @property
    def _recent_seconds(self) -> float:
        """What is in memory is never rolled up."""
        return min(self._settings.metric_recent_seconds, self._settings.metric_retention_seconds)

    def _load(self) -> None:
        for row in self._file.connection.execute(
            "SELECT name, endpoint, variant, config_name, instance_count FROM groups"
        ):
            self._recent.register(GroupDimensions(*row))
        self._recorded = dict(self._file.connection.execute("SELECT name, sequence FROM runs"))
        for (body,) in self._file.connection.execute("SELECT body FROM capture_account"):
            self.capture_account = msgspec.json.decode(body, type=Account)
        for (body,) in self._file.connection.execute("SELECT body FROM skipped_account"):
            self.skipped_account = msgspec.json.decode(body, type=SkippedAccount)
        self._recent.doubt(self._recent_since)  # what is older is in the file, and is not asked for that
        self._fill_all(self._recent, self._recent_since)
        self._count_metrics()

    def _count_metrics(self) -> None:
        (self._metric_count,) = self._file.connection.execute("SELECT count(*) FROM metrics").fetchone()

    async def register(self, group: GroupDimensions) -> None:
        self._recent.register(group)
        self._store([group])

    async def record(self, report: Report | ComparisonReport) -> bool:
        if report.sequence <= self._recorded.get(report.run, 0):
            return False
        self._recorded[report.run] = report.sequence
        if isinstance(report, ComparisonReport):
            self.capture_account = report.account or self.capture_account
            if report.tallies or report.counts or report.account:
                report = replace(report, tallies=tuple(map(counted, report.tallies)))
                self._recent.add_tallies(one for one in report.tallies if one.second >= self._recent_since)
                for tally in report.tallies:
                    self._note_past(tally.group, tally.second)
                for datum in counted_data(report):
                    self._take(datum)
                self._store([report])
        elif report.summaries or report.account:
            report = self._recent.shared(report)
            self.skipped_account = report.account or self.skipped_account
            self._recent.add(one for one in report.summaries if one.second >= self._recent_since)
            for one in report.summaries:
                self._note_past(one.group, one.second)
            self._store([report])
        return True

    async def put(self, data: Sequence[Datum]) -> None:
        async with self._putting:
            self._refuse_more_metrics({datum.metric for datum in data})
            for first in range(0, len(data), _DATA_PER_TURN):
                turn = data[first : first + _DATA_PER_TURN]
                for datum in turn:
                    self._take(datum)
                self._store(turn)
                await asyncio.sleep(0)

    def _take(self, datum: Datum) -> None:
        if datum.at >= self._recent_since:
            self._recent.put(datum)
        self._note_past(datum.metric, datum.at)

    def _note_past(self, added_to: str | MetricIdentity, at: float) -> None:
        """Something was added, perhaps to what is not in memory."""
        if at < self._recent_since:
            self._recent.note(added_to, at)
        if at < self._past_until:
            self._past.touch(added_to, at)

    @property
    def _past_until(self) -> int:
        """Whole seconds from here on are in memory."""
        return math.ceil(self._recent_since)

    def _refuse_more_metrics(self, metrics: Collection[MetricIdentity]) -> None:
        if self._metric_count + len(metrics) <= self._settings.metrics_max:
            return
        with contextlib.suppress(sqlite3.Error):  # where the file cannot be asked, it cannot grow either
            known = "SELECT 1 FROM metrics WHERE identity = ?"
            new = [one for one in metrics if self._file.connection.execute(known, (encode(one),)).fetchone() is None]
            if new and self._metric_count + len(new) > self._settings.metrics_max:
                raise refuse_more_metrics(self._settings)

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
            with self._file.transaction() as connection:
                new_metrics = sum([self._write(connection, one) for one in batch])
            self._metric_count += new_metrics  # here, not before: what was taken back is written again
            for _ in batch:
                self._unstored.popleft()

    def _write(self, connection: sqlite3.Connection, one: GroupDimensions | Report | ComparisonReport | Datum) -> int:
        """Returns how many metrics are new by it."""
        match one:
            case GroupDimensions():
                row = (one.group, one.endpoint, one.variant, one.config_name, one.instance_count)
                connection.execute("INSERT OR REPLACE INTO groups VALUES (?, ?, ?, ?, ?)", row)
            case Report():
                rows = [(each.group, each.second, kinds_of(each), encode(each)) for each in one.summaries]
                connection.executemany("INSERT INTO summaries VALUES (?, ?, ?, ?, 1)", rows)
                if one.account is not None:
                    body = msgspec.json.encode(one.account)
                    connection.execute("INSERT OR REPLACE INTO skipped_account VALUES (1, ?)", (body,))
                self._write_run(connection, one)
            case ComparisonReport():
                tallies = [(each.group, each.second, encode(each)) for each in one.tallies]
                connection.executemany("INSERT INTO tallies VALUES (?, ?, ?, 1)", tallies)
                if one.account is not None:
                    body = msgspec.json.encode(one.account)
                    connection.execute("INSERT OR REPLACE INTO capture_account VALUES (1, ?)", (body,))
                self._write_run(connection, one)
                return sum([self._write(connection, datum) for datum in counted_data(one)])
            case Datum():
                key = encode(one.metric)
                added = connection.execute("INSERT OR IGNORE INTO metrics (identity) VALUES (?)", (key,))
                point = (one.at, encode(one.aggregate), one.span_seconds, key)
                connection.execute("INSERT INTO data SELECT id, ?, ?, 1, ? FROM metrics WHERE identity = ?", point)
                return added.rowcount
        return 0

    def _write_run(self, connection: sqlite3.Connection, one: Report | ComparisonReport) -> None:
        run = (one.run, one.sequence, self._clock.now())
        connection.execute("INSERT OR REPLACE INTO runs VALUES (?, ?, ?)", run)

    # --- reading

    async def read(
        self,
        metric: MetricIdentity,
        start: float,
        period_seconds: float,
        periods: int,
        unit: str | None = None,
        *,
        shown_to_seconds: float | None = None,
        sliding: bool = False,
        group: str | None = None,
    ) -> list[Aggregate | None]:
        shown = shown_to_seconds or period_seconds
        if start >= self._recent_since:
            return self._recent.read(metric, start, period_seconds, periods, unit, shown, group)
        if sliding and group is None and start == int(start) and period_seconds == int(period_seconds):
            return await self._read_sliding(metric, int(start), int(period_seconds), periods, unit, shown)
        found: list[Aggregate | None] = []
        while len(found) < periods:
            begin = start + len(found) * period_seconds
            count = min(int(self._turn_seconds(begin) // period_seconds), periods - len(found))
            if count > 0:
                found += self._read_file(metric, begin, period_seconds, count, unit, shown, group)
                await asyncio.sleep(0)
            else:
                end = start + (len(found) + 1) * period_seconds
                found.append(await self._read_in_turns(metric, begin, end, unit, shown, group))
        return found

    async def _read_in_turns(
        self, metric: MetricIdentity, start: float, end: float, unit: str | None, shown: float, group: str | None
    ) -> Aggregate | None:
        """A period of many rows."""
        parts: list[Aggregate | None] = []
        at = start
        while at < end:
            until = min(at + self._turn_seconds(at), end)
            parts += self._read_file(metric, at, until - at, 1, unit, shown, group)
            at = until
            await asyncio.sleep(0)
        known = [part for part in parts if part is not None]
        return merge(known) if known else None

    def _turn_seconds(self, begin: float) -> float:
        """A stretch of time from here on that holds so many rows of a group as are read in one turn."""
        age = self._clock.now() - begin
        finer_age = -math.inf
        for tier in tiers_of(self._settings):
            if age <= tier.age_seconds_max:
                # Up to where it is kept more finely.
                return min(float(_ROWS_PER_TURN * tier.span_seconds), max(age - finer_age, tier.span_seconds))
            finer_age = tier.age_seconds_max
        return age - finer_age + _ROWS_PER_TURN  # nothing is that old; and more, for the clock goes on meanwhile

    async def _read_sliding(
        self, metric: MetricIdentity, start: int, period_seconds: int, periods: int, unit: str | None, shown: float
    ) -> list[Aggregate | None]:
        """What is not in memory, from what was kept of the range a second ago."""
        look = Look(metric, unit, tuple(span for span in self._spans if served(span, shown)))

        def read(begin: int, span: int, count: int) -> list[Aggregate | None]:
            return self._read_file(metric, begin, span, count, unit, shown)

        found: list[Aggregate | None] = []
        for begin in range(start, start + periods * period_seconds, period_seconds):
            end = begin + period_seconds
            while True:  # anew after every turn of others: meanwhile memory may have been emptied up to a later second
                until, groups = self._past_until, self._recent.groups_of(metric)
                middle = min(max(begin, until), end)
                if not self._past.fill(look, groups, begin, middle, until, read):
                    break
                await asyncio.sleep(0)
            parts = [self._past.read(look, groups, begin, middle, until, read)]
            if middle < end:
                parts += self._recent.read(metric, middle, end - middle, 1, unit, shown)
            known = [part for part in parts if part is not None]
            found.append(merge(known) if known else None)
        return found

    def additions(self, metric: MetricIdentity) -> Additions:
        return self._recent.additions(metric)

    def judged_until(self, until: float) -> None:
        self._recent.judged_until(until)

    def _read_file(
        self,
        metric: MetricIdentity,
        start: float,
        period_seconds: float,
        periods: int,
        unit: str | None,
        shown: float,
        group: str | None = None,
    ) -> list[Aggregate | None]:
        window = MetricWindow(sliding=False)
        with unavailable():
            for one in self._recent.groups_of(metric):
                window.register(one)
                if group in (None, one.group):
                    self._fill_group(window, one.group, start, start + period_seconds * periods, shown)
            self._fill_data(window, metric, start, start + period_seconds * periods)
        self._fill_unstored(window, metric, start, start + period_seconds * periods)
        return window.read(metric, start, period_seconds, periods, unit, shown, group)

    async def metrics(self, *, since: float) -> list[MetricIdentity]:
        if since >= self._recent_since:
            return in_order(self._recent.metrics(since))
        found: set[MetricIdentity] = set()
        for place, group in enumerate(self._recent.groups(), start=1):
            with unavailable():
                found.update(self._metrics_of(group, since))
            if place % _GROUPS_PER_TURN == 0:
                await asyncio.sleep(0)
        with_data = (
            "SELECT id, identity FROM metrics WHERE id > ? AND EXISTS (SELECT 1 FROM data WHERE metric = id AND at >= ?) "
            f"ORDER BY id LIMIT {_METRICS_PER_TURN}"
        )
        rows: list[tuple[int, bytes]] = [(0, b"")]
        while rows:
            with unavailable():
                rows = self._file.connection.execute(with_data, (rows[-1][0], since)).fetchall()
            found.update(IDENTITY.decode(body) for _, body in rows)
            await asyncio.sleep(0)
        return in_order(found)

    def _metrics_of(self, group: GroupDimensions, since: float) -> list[MetricIdentity]:
        kinds = self._file.connection.execute(
            "SELECT DISTINCT answered FROM summaries WHERE group_name = ? AND second >= ?", (group.group, since)
        ).fetchall()
        newest = self._file.connection.execute(
            "SELECT body, span FROM tallies WHERE group_name = ? AND second >= ? ORDER BY second DESC LIMIT ?",
            (group.group, since, _TALLIES_LISTED),
        )
        tallies = [TALLY.decode(unpacked(stored, span)) for stored, span in newest]
        return [
            *(metrics_of(group, [kind for (kind,) in kinds]) if kinds else ()),
            *shadow_identities(group.endpoint, group.variant, group.config_name, tallies),
        ]

    async def expire(self, now: float, living: Collection[str] = ()) -> None:
        self._recent_since = max(self._recent_since, now - self._recent_seconds)
        self._recent.forget(self._recent_since)
        await self._expiry.rows(now)
        with unavailable():
            self._count_metrics()
        past = self._recent.past_groups(now, now - self._settings.metric_retention_seconds, living)
        await self._expiry.groups(past, self._recent.forget_group)
        self._expiry.give_back_pages()

    async def close(self) -> None:
        with contextlib.suppress(Unavailable):
            self._store_waiting()
        self._file.close()

    def _fill_all(self, window: MetricWindow, start: float) -> None:
        """Everything from `start` on into the window."""
        rows = self._file.connection.execute("SELECT body FROM summaries WHERE span = 1 AND second >= ?", (start,))
        window.add(SUMMARY.decode(body) for (body,) in rows)
        rows = self._file.connection.execute("SELECT body FROM tallies WHERE span = 1 AND second >= ?", (start,))
        window.add_tallies(TALLY.decode(body) for (body,) in rows)
        query = "SELECT identity, at, body, resolution FROM data JOIN metrics ON id = metric WHERE span = 1 AND at >= ?"
        for key, at, body, resolution in self._file.connection.execute(query, (start,)):
            window.put(Datum(IDENTITY.decode(key), at, AGGREGATE.decode(body), resolution))

    def _fill_group(self, window: MetricWindow, group: str, start: float, end: float, period: float) -> None:
        served_by = [str(span) for span in self._spans if served(span, period)]
        condition = f"group_name = ? AND second >= ? AND second < ? AND span IN ({', '.join(served_by)})"
        rows = self._file.connection.execute(f"SELECT body, span FROM summaries WHERE {condition}", (group, start, end))
        window.add(SUMMARY.decode(unpacked(stored, span)) for stored, span in rows)
        rows = self._file.connection.execute(f"SELECT body, span FROM tallies WHERE {condition}", (group, start, end))
        window.add_tallies(TALLY.decode(unpacked(stored, span)) for stored, span in rows)

    def _fill_data(self, window: MetricWindow, metric: MetricIdentity, start: float, end: float) -> None:
        query = "SELECT at, body, span, resolution FROM data WHERE metric = (SELECT id FROM metrics WHERE identity = ?) AND at >= ? AND at < ?"
        for at, stored, span, resolution in self._file.connection.execute(query, (encode(metric), start, end)):
            window.put(Datum(metric, at, AGGREGATE.decode(unpacked(stored, span)), resolution))

    def _fill_unstored(self, window: MetricWindow, metric: MetricIdentity, start: float, end: float) -> None:
        groups = {group.group for group in window.groups()}
        for one in self._unstored:
            if isinstance(one, Report):
                window.add(each for each in one.summaries if each.group in groups and start <= each.second < end)
            elif isinstance(one, ComparisonReport):
                window.add_tallies(each for each in one.tallies if each.group in groups and start <= each.second < end)
                for datum in counted_data(one):
                    if datum.metric == metric and start <= datum.at < end:
                        window.put(datum)
            elif isinstance(one, Datum) and one.metric == metric and start <= one.at < end:
                window.put(one)
