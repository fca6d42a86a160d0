"""A clock taken across every retention boundary: 500 days of thinned data, in both stores."""

from __future__ import annotations

import math
import random
import sqlite3
from bisect import bisect_left
from pathlib import Path

import pytest

from bannister.domain.metric.aggregate import Aggregate, of_values, statistic
from bannister.domain.metric.identity import identity
from bannister.domain.metric.retention import period_unit
from bannister.domain.metric.sketch import RELATIVE_ERROR, Sketch
from bannister.domain.metric.summary import Report, Summary
from bannister.errors import Unavailable
from bannister.metrics import schema
from bannister.metrics.memory import MemoryMetrics
from bannister.metrics.sqlite import SqliteMetrics
from bannister.metrics.store import Datum, GroupDimensions, MetricStore, tiers_of
from bannister.settings import Settings

BEGIN = 1_700_000_000 // 3600 * 3600
DAY = 86_400
LATENCY = identity("AWS/SageMaker", "ModelLatency", {"EndpointName": "e", "VariantName": "v"})
LOSS = identity("Mine", "Loss")
GROUP = GroupDimensions("g", "e", "v", "c", 1)
#: The hours of each day that have data, and in each of them so many seconds.
HOURS, SECONDS, SAMPLES = (3, 17), 5, 40


class HandClock:
    time = float(BEGIN)

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


def open_store(kind: str, settings: Settings, clock: HandClock) -> MetricStore:
    return MemoryMetrics(settings) if kind == "memory" else SqliteMetrics(settings, clock)


def size(store: MetricStore) -> int:
    """Rows, in the file or in memory."""
    if isinstance(store, SqliteMetrics):
        return sum(
            store._file.connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
            for name in ("summaries", "data")
        )
    assert isinstance(store, MemoryMetrics)
    return sum(
        sum(len(found) for seconds in window._summaries.values() for found in seconds.values())
        + sum(len(series.points) for series in window._series.values())
        for window in store._windows
    )


def file_bytes(store: MetricStore, settings: Settings) -> int:
    """What the file takes on the disk; 0: there is none."""
    if not isinstance(store, SqliteMetrics):
        return 0
    store._file.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return settings.metrics_path.stat().st_size


def assert_right(one: Aggregate | None, values: list[float]) -> None:
    """Counts and extremes exact, percentiles within the stated error."""
    if one is None:
        assert values == []
        return
    assert (one.count, one.minimum, one.maximum) == (len(values), min(values), max(values))
    assert one.sum == math.fsum(values)
    for share in (0.1, 0.5, 0.99):
        exact = sorted(values)[math.ceil(share * len(values) - 1e-9) - 1]
        assert statistic(one, f"p{share * 100:g}") == pytest.approx(exact, rel=RELATIVE_ERROR)


async def give_a_day(store: MetricStore, day: int, source: random.Random, given: dict[int, list[float]]) -> None:
    for place in range(len(HOURS) * SECONDS):
        second = BEGIN + day * DAY + HOURS[place % len(HOURS)] * 3600 + source.randrange(3600)
        values = [float(int(source.lognormvariate(9, 2))) for _ in range(SAMPLES)]
        given.setdefault(second, []).extend(values)
        summary = Summary("g", "a:1", second, SAMPLES, model_latency=Sketch.of(values))
        await store.record(Report("r", day * 100 + place + 1, None, None, (summary,)))
        await store.put([Datum(LOSS, second + 0.25, of_values(values), source.choice((1, 60)))])


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_five_hundred_days(kind: str, tmp_path: Path) -> None:
    settings, clock, source = Settings(data_dir=tmp_path), HandClock(), random.Random(5)
    tiers = tiers_of(settings)
    store = open_store(kind, settings, clock)
    await store.register(GROUP)
    given: dict[int, list[float]] = {}
    sizes: dict[int, int] = {}
    bytes_: dict[int, int] = {}
    for day in range(500):
        await give_a_day(store, day, source, given)
        clock.time = BEGIN + (day + 1) * DAY
        if day % 5 == 4 or day in (498, 499):
            await store.expire(clock.time, {"g"})
        if day in (460, 466, 499):
            sizes[day] = size(store)
            bytes_[day] = file_bytes(store, settings)
        if day in (120, 300) and kind == "sqlite":
            await store.close()
            store = open_store(kind, settings, clock)
    assert max(sizes.values()) <= 1.02 * sizes[460], "no growth beyond retention"
    assert max(bytes_.values()) <= 1.05 * bytes_[460], "neither of the file"
    now = clock.time
    oldest = now - settings.metric_hour_retention_seconds
    ordered = sorted(given)
    checked = dict.fromkeys((60, 300, 3600), 0)
    for age_days in (0.5, 0.9, 3, 14, 16, 40, 62, 64, 200, 400, 454, 457, 499):
        day_begin = int((now - age_days * DAY - BEGIN) // DAY) * DAY + BEGIN
        unit = max(period_unit(now - day_begin, tiers), 60)
        for period in {unit, 3600}:
            for metric in (LATENCY, LOSS):
                found = await store.read(metric, day_begin, period, DAY // period)
                for index, one in enumerate(found):
                    begin = day_begin + index * period
                    inside = ordered[bisect_left(ordered, begin) : bisect_left(ordered, begin + period)]
                    if begin + 3600 <= oldest:
                        assert one is None
                    else:
                        assert_right(one, [value for at in inside for value in given[at]])
                        checked[unit] += one is not None
    assert min(checked.values()) > 10
    total = await store.read(LOSS, BEGIN, 3600, 500 * 24)
    kept = sum(len(values) for at, values in given.items() if at >= oldest + 3600)
    edge = sum(SAMPLES for at in given if oldest - 3600 <= at < oldest + 3600)
    assert kept > 0
    assert 0 <= sum(one.count for one in total if one is not None) - kept <= edge
    await store.close()


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_an_hour_is_taken_across_each_boundary(kind: str, tmp_path: Path) -> None:
    """Each second of it has data; just before and just after every age at which it is kept less finely."""
    settings, clock, source = Settings(data_dir=tmp_path), HandClock(), random.Random(7)
    store = open_store(kind, settings, clock)
    await store.register(GROUP)
    given: list[float] = []
    summaries, data = [], []
    for second in range(BEGIN, BEGIN + 3600):
        value = float(int(source.paretovariate(0.8) * 1000))
        given.append(value)
        summaries.append(Summary("g", "a:1", second, 1, model_latency=Sketch.of([value])))
        data.append(Datum(LOSS, second + source.random(), of_values([value])))
    await store.record(Report("r", 1, None, None, tuple(summaries)))
    await store.put(data)
    tiers = tiers_of(settings)
    for tier, coarser in zip(tiers, [*tiers[1:], None], strict=True):
        for now, span in (
            (BEGIN + tier.age_seconds_max - 1, tier.span_seconds),
            (None, coarser and coarser.span_seconds),
        ):
            clock.time = BEGIN + 3600 + tier.age_seconds_max + 3600 if now is None else now
            for _ in range(2):
                await store.expire(clock.time, {"g"})
                assert size(store) == (0 if span is None else 2 * 3600 // span)
            for metric in (LATENCY, LOSS):
                for period in (1, 60, 300, 3600):
                    found = await store.read(metric, BEGIN, period, 3600 // period)
                    for index, one in enumerate(found):
                        seen = span is not None and period % span == 0
                        assert_right(one, given[index * period : (index + 1) * period] if seen else [])
                        assert (one is None) is not seen
    await store.close()


# --- the file


async def test_what_ends_in_the_middle_of_a_roll_up_counts_everything_once(tmp_path: Path) -> None:
    """The process ends before each single statement of the roll-up, and another one goes on with the file."""
    settings, clock = Settings(data_dir=tmp_path), HandClock()
    store = SqliteMetrics(settings, clock)
    await store.register(GROUP)
    for sequence in range(1, 41):
        summary = Summary("g", "a:1", BEGIN + sequence * 20, 3, model_latency=Sketch.of([sequence]))
        await store.record(Report("r", sequence, None, None, (summary,)))
        await store.put([Datum(LOSS, BEGIN + sequence * 20.0, of_values([sequence]))])
    clock.time = float(BEGIN + 100 * DAY)
    await store.close()
    interrupted = 0
    for allowed in (*range(1, 60, 2), 100, 200, 400):
        store = SqliteMetrics(settings, clock)
        left = allowed
        connection = store._file.connection

        def spend() -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise sqlite3.OperationalError("the power is cut")

        class Ending:
            def __getattr__(self, name: str):  # type: ignore[no-untyped-def]
                return getattr(connection, name)  # noqa: B023

            def execute(self, *given: object):  # type: ignore[no-untyped-def]
                spend()
                return connection.execute(*given)  # type: ignore[arg-type]  # noqa: B023

            def executemany(self, *given: object):  # type: ignore[no-untyped-def]
                spend()
                return connection.executemany(*given)  # type: ignore[arg-type]  # noqa: B023

        store._file.connection = Ending()  # type: ignore[assignment]
        try:
            await store.expire(clock.time, {"g"})
        except Unavailable:
            interrupted += 1
        connection.close()  # rolls back what was under way
        store = SqliteMetrics(settings, clock)
        for metric, count in ((LATENCY, 40), (LOSS, 40)):
            [found] = await store.read(metric, BEGIN, 3600, 1)
            assert found is not None
            assert (found.count, found.sum) == (count, sum(range(1, 41)))
        await store.close()
    assert interrupted > 20


async def test_what_comes_late_leaves_no_row_of_its_own(tmp_path: Path) -> None:
    settings, clock = Settings(data_dir=tmp_path), HandClock()
    for store in (SqliteMetrics(settings, clock), MemoryMetrics(settings)):
        await store.register(GROUP)
        for sequence, now in enumerate((1, 1, 5, 20, 20, 100, 101), 1):
            summary = Summary("g", "a:1", BEGIN + sequence, 3, model_latency=Sketch.of([sequence]))
            await store.record(Report("r", sequence, None, None, (summary,)))
            await store.put([Datum(LOSS, BEGIN + sequence * 1.5, of_values([sequence]))])
            await store.expire(BEGIN + now * DAY, {"g"})
            assert size(store) == 2
        for metric in (LATENCY, LOSS):
            [found] = await store.read(metric, BEGIN, 3600, 1)
            assert found is not None
            assert (found.count, found.sum) == (7, 28)
        await store.close()


async def test_a_file_of_the_first_shape_is_brought_up(tmp_path: Path) -> None:
    settings, clock = Settings(data_dir=tmp_path), HandClock()
    first = sqlite3.connect(settings.metrics_path, isolation_level=None)
    for statement in schema.MIGRATIONS[0]:
        first.execute(statement)
    store = SqliteMetrics(Settings(data_dir=tmp_path / "other"), clock)
    await store.register(GROUP)
    await store.put([Datum(LOSS, BEGIN - 5.0, of_values([1, 2]))])
    for table, columns in (("groups", "*"), ("metrics", "*"), ("data", "metric, at, body")):
        for row in store._file.connection.execute(f"SELECT {columns} FROM {table}"):
            first.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)
    first.close()
    await store.close()
    for _ in range(2):
        store = SqliteMetrics(settings, clock)
        [found] = await store.read(LOSS, BEGIN - 7200, 7200, 1)
        assert found is not None
        assert found.sum == 3
        await store.close()


async def test_a_file_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    later = sqlite3.connect(settings.metrics_path, isolation_level=None)
    later.execute(f"PRAGMA user_version = {len(schema.MIGRATIONS) + 1}")
    later.close()
    with pytest.raises(Unavailable, match="later version"):
        SqliteMetrics(settings, HandClock())


async def test_beyond_its_bytes_the_oldest_is_forgotten(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings, clock = Settings(data_dir=tmp_path, metrics_bytes_max=2_000_000), HandClock()
    store = SqliteMetrics(settings, clock)
    sketch = Sketch.of([value * 1.5 for value in range(400)])
    for sequence in range(1, 2001):
        summary = Summary("g", "a:1", BEGIN - 3000 + sequence, 400, model_latency=sketch)
        await store.record(Report("r", sequence, None, None, (summary,)))
    await store.expire(clock.time, {"g"})
    assert store._expiry._used_bytes() <= 2_000_000
    assert "metrics.forgotten_early" in caplog.text
    (oldest, newest) = store._file.connection.execute("SELECT min(second), max(second) FROM summaries").fetchone() or (
        0,
        0,
    )
    assert newest in (None, BEGIN - 1000)
    assert oldest is None or oldest > BEGIN - 3000 + 900
    await store.close()
