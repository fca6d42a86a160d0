"""What only the store in a file can do wrong: restarts, its cache, and a file that cannot be used."""

from __future__ import annotations

import asyncio
import contextlib
import math
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from bannister.clock import SystemClock
from bannister.domain.comparison.report import Account, CaptureCount, ComparisonReport, Counted, GroupTally
from bannister.domain.comparison.tally import Disagreement, Tally
from bannister.domain.metric.aggregate import of_values
from bannister.domain.metric.identity import identity
from bannister.domain.metric.sketch import Sketch
from bannister.domain.metric.summary import Report, SkippedAccount, Summary
from bannister.errors import Invalid, Unavailable
from bannister.metrics.sqlite import SqliteMetrics
from bannister.metrics.store import Datum, GroupDimensions
from bannister.settings import Settings

NOW = int(SystemClock().now())
BLUE = GroupDimensions("g", "e", "v", "c", 2)
INVOCATIONS = identity("AWS/SageMaker", "Invocations", {"EndpointName": "e", "VariantName": "v"})
LATENCY = identity("AWS/SageMaker", "ModelLatency", {"EndpointName": "e", "VariantName": "v"})
LOSS = identity("Mine", "Loss")


class StandingClock(SystemClock):
    """It is always the moment at which this module was read, however long the whole run takes."""

    def now(self) -> float:
        return float(NOW)


def open_store(tmp_path: Path, **changes: float) -> SqliteMetrics:
    return SqliteMetrics(Settings(data_dir=tmp_path, **changes), StandingClock())  # type: ignore[arg-type]


async def test_everything_survives_a_restart(tmp_path: Path) -> None:
    reports = [
        Report("r", 1, 1.0, 1.0, (Summary("g", "a:1", NOW - 7200, 5, model_latency=Sketch.of([5])),)),
        Report("r", 2, 1.0, 1.0, (Summary("g", "a:1", NOW - 30, 7, model_latency=Sketch.of([7])),)),
    ]
    store = open_store(tmp_path)
    await store.register(BLUE)
    for report in reports:
        assert await store.record(report)
    await store.put([Datum(LOSS, float(at), of_values([0.5])) for at in (NOW - 7200, NOW - 30)])
    account = Account(NOW - 60.5, {"busy": 3}, unopened=1, streams=2)
    await store.record(ComparisonReport("c", 1, None, None, account=account))
    skipped = SkippedAccount(NOW - 60.5, {"busy": 3}, {"g": 2})
    await store.record(Report("r", 3, 1.0, 1.0, account=skipped))
    before = [await store.read(metric, NOW - 7200, 1200, 6) for metric in (INVOCATIONS, LATENCY, LOSS)]
    listed = await store.metrics(since=NOW - 8000)
    await store.close()

    store = open_store(tmp_path)
    for report in reports:
        assert not await store.record(report), "counted once, also after a restart"
    assert [await store.read(metric, NOW - 7200, 1200, 6) for metric in (INVOCATIONS, LATENCY, LOSS)] == before
    assert await store.metrics(since=NOW - 8000) == listed
    assert (store.capture_account, store.skipped_account) == (account, skipped)
    [recent] = await store.read(INVOCATIONS, NOW - 60, 60, 1)
    assert recent is not None
    assert recent.sum == 7
    await store.close()


async def test_memory_and_file_answer_the_same(tmp_path: Path) -> None:
    store = open_store(tmp_path, metric_recent_seconds=3600.0)
    cold = open_store(tmp_path, metric_recent_seconds=0.0)
    await store.register(BLUE)
    for index in range(50):
        sketch = Sketch.of([index * 100 + value for value in range(40)])
        summary = Summary("g", f"a:{index % 2}", NOW - 100 + index, 40, model_latency=sketch)
        await store.record(Report("r", index + 1, None, None, (summary,)))
        await store.put([Datum(LOSS, NOW - 100 + index * 0.7, of_values([float(index)]))])
    await cold.register(BLUE)
    for metric in (INVOCATIONS, LATENCY, LOSS):
        for start, period, periods in ((NOW - 120, 10, 8), (NOW - 100.5, 7, 30), (NOW - 100, 60, 1)):
            read = await store.read(metric, start, period, periods)
            assert read == await cold.read(metric, start, period, periods)
            assert any(read)
    await store.close()
    await cold.close()


@pytest.mark.parametrize("sliding", [False, True])
async def test_however_long_a_period_is_others_have_their_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sliding: bool
) -> None:
    store = open_store(tmp_path, metric_retention_seconds=9000.0)
    await store.register(BLUE)
    seconds = range(NOW - 20_000, NOW, 10)
    summaries = tuple(Summary("g", "a:1", second, 3, model_latency=Sketch.of([second % 977])) for second in seconds)
    await store.record(Report("r", 1, None, None, summaries))
    await store.expire(float(NOW))
    begin = (NOW - 20_000) // 3600 * 3600
    whole = [store._read_file(LATENCY, begin + index * 7200, 7200, 1, None, 7200)[0] for index in range(4)]
    read: list[float] = []
    honest = store._read_file

    def noted(metric, start, period, periods, *rest):
        read.append(period * periods * (1 if start >= NOW - 9000 else 1 / 60))
        return honest(metric, start, period, periods, *rest)

    monkeypatch.setattr(store, "_read_file", noted)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    waiting = asyncio.create_task(others())
    assert await store.read(LATENCY, begin, 7200, 4, sliding=sliding) == whole
    waiting.cancel()
    assert sum(one.count for one in whole if one is not None) == len(seconds)
    assert max(read) <= 300, "rows of one instance"
    assert turns >= len(read)
    read.clear()
    assert await store.read(LATENCY, -6e10, 6e8, 60) == [None] * 60
    assert len(read) < 60, "what is older than anything is asked for at once"
    await store.close()


async def test_many_metrics_are_listed_without_one_missing(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    named = [identity("Mine", f"m{number:04d}") for number in range(2345)]
    await store.put([Datum(one, NOW - 5000.0 + place, of_values([1])) for place, one in enumerate(named)])
    assert await store.metrics(since=NOW - 6000) == named
    assert await store.metrics(since=NOW - 4000) == named[1000:]
    await store.close()


async def test_expiry_empties_the_file(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    await store.register(BLUE)
    await store.record(Report("r", 1, None, None, (Summary("g", "a:1", NOW, 1),)))
    await store.put([Datum(LOSS, float(NOW), of_values([1]))])
    await store.expire(NOW + 456 * 86400.0)
    await store.close()
    with sqlite3.connect(tmp_path / "metrics.db") as file:
        tables = ("summaries", "data", "metrics")
        assert [file.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables] == [0, 0, 0]


async def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "metrics.db").write_bytes(b"this is not a database" * 100)
    with pytest.raises(Unavailable, match=r"metrics\.db is damaged .*Move it away"):
        open_store(tmp_path)


async def test_a_damaged_file_is_named_with_what_to_do_and_not_changed(tmp_path: Path) -> None:
    await open_store(tmp_path).close()
    file = tmp_path / "metrics.db"
    file.write_bytes(file.read_bytes()[:4096] + b"\xff" * 40_000)
    before = file.read_bytes()
    with pytest.raises(Unavailable, match=r"metrics\.db is damaged .*Move it away"):
        open_store(tmp_path)
    assert file.read_bytes() == before


async def full(store: SqliteMetrics) -> None:
    """From now on the file cannot grow, as on a full disk."""
    (pages,) = store._file.connection.execute("PRAGMA page_count").fetchone()
    store._file.connection.execute(f"PRAGMA max_page_count = {pages}")


def roomy(store: SqliteMetrics) -> None:
    store._file.connection.execute("PRAGMA max_page_count = 1000000")


def large(sequence: int, second: int) -> Report:
    """More than fits into the free space of a page."""
    sketch = Sketch.of(list(range(1, 400)))
    summaries = tuple(Summary("g", f"a:{port}", second, 3, model_latency=sketch) for port in range(10))
    return Report("r", sequence, None, None, summaries)


async def test_on_a_full_disk_alarms_are_judged_from_memory_and_nothing_is_lost(tmp_path: Path) -> None:
    store = open_store(tmp_path, metric_store_retry_seconds=0.0)
    cold = open_store(tmp_path, metric_recent_seconds=-3600.0)
    await store.register(BLUE)
    await full(store)
    for sequence in range(1, 5):
        assert await store.record(large(sequence, NOW - 10 + sequence))
        assert not await store.record(large(sequence, NOW - 10 + sequence)), "counted once"
    await store.put([Datum(LOSS, float(NOW - 5), of_values([0.5]))])
    [read] = await store.read(INVOCATIONS, NOW - 20, 20, 1)
    assert read is not None
    assert read.sum == 4 * 30
    # An alarm that looks further back than memory reaches sees what waits to be stored, too.
    [long] = await store.read(INVOCATIONS, NOW - 3600, 3600, 1)
    assert long is not None
    assert long.sum == 4 * 30
    await cold.register(BLUE)
    assert await cold.read(INVOCATIONS, NOW - 3600, 3600, 1) == [None]
    roomy(store)
    await store.record(large(5, NOW - 4))
    assert store.lost == 0
    await store.close()
    [stored] = await cold.read(INVOCATIONS, NOW - 3600, 3600, 1)
    assert stored is not None
    assert stored.sum == 5 * 30
    assert (await cold.read(LOSS, NOW - 3600, 3600, 1))[0] is not None
    await cold.close()


async def test_what_waits_for_a_disk_is_bounded_and_counted(tmp_path: Path) -> None:
    store = open_store(tmp_path, unstored_metrics_max=3)
    await store.register(BLUE)
    await full(store)
    for sequence in range(1, 11):
        await store.record(large(sequence, NOW - 20 + sequence))
    assert store.lost == 7
    [read] = await store.read(INVOCATIONS, NOW - 60, 60, 1)
    assert read is not None
    assert read.sum == 10 * 30, "judged on all of it"
    await store.close()


class Ended(BaseException):
    """The process ends here."""


def ends_after(store: SqliteMetrics, commits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    left, transaction = commits, store._file.transaction

    def counted() -> Any:
        nonlocal left
        if left == 0:
            raise Ended
        left -= 1
        return transaction()

    monkeypatch.setattr(store._file, "transaction", counted)


@pytest.mark.parametrize("commits", range(4))
async def test_an_account_is_never_stored_without_what_it_accounts_for(
    tmp_path: Path, commits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Much waits for the disk; then the process ends after a number of commits."""
    store = open_store(tmp_path)
    monkeypatch.setattr(store, "_store_again_at", math.inf)
    await store.put([Datum(identity("N", str(index), {}), NOW, of_values([1.0])) for index in range(97)])
    monkeypatch.setattr(store, "_store_again_at", 0.0)
    ends_after(store, commits, monkeypatch)
    counts = tuple(CaptureCount("", Counted.DROPPED, 1, f"reason {index}", second=NOW) for index in range(5))
    account = Account(1.0, {}, unopened=0, streams=5)
    with contextlib.suppress(Ended):
        await store.record(ComparisonReport("c", 1, None, None, counts=counts, account=account))
    store._file.connection.close()
    store = open_store(tmp_path)
    (dropped,) = await store.read(identity("/bannister/Capture", "Dropped", {}), NOW - 1, 10, 1)
    assert (None if dropped is None else dropped.sum) == (None if store.capture_account is None else 5)
    assert (store.capture_account is None) is (commits == 0)
    await store.close()


async def test_a_metric_counts_once_however_often_it_is_tried_to_store_it(tmp_path: Path) -> None:
    store = open_store(tmp_path, metric_store_retry_seconds=0.0, metrics_max=4)
    await store.register(BLUE)
    await full(store)
    # The first row fits; those behind it do not, and take all of the transaction back.
    much = of_values([value * 1.5 for value in range(1000)])
    await store.put([Datum(LOSS, float(NOW - 5), one) for one in (of_values([0.5]), *[much] * 10)])
    for sequence in range(1, 6):
        await store.record(large(sequence, NOW - 10))
    roomy(store)
    for name in ("A", "B", "C"):
        await store.put([Datum(identity("Mine", name), float(NOW), of_values([1]))])
    with pytest.raises(Invalid, match="metrics_max"):
        await store.put([Datum(identity("Mine", "D"), float(NOW), of_values([1]))])
    await store.close()


async def test_expired_data_gives_its_room_back(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    await store.register(BLUE)
    for sequence in range(1, 1500):
        await store.record(large(sequence, NOW - 20_000))
    store._file.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = (tmp_path / "metrics.db").stat().st_size
    for _ in range(20):
        await store.expire(float(NOW))
    store._file.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    after = (tmp_path / "metrics.db").stat().st_size
    assert before > 20_000_000
    assert after < 5_000_000
    assert (tmp_path / "metrics.db-wal").stat().st_size <= 16 * 1024**2
    await store.close()


@pytest.mark.slow
async def test_a_locked_file_delays_storing_and_nothing_is_lost(tmp_path: Path) -> None:
    store = open_store(tmp_path, metric_store_retry_seconds=0.0)
    await store.register(BLUE)
    other = sqlite3.connect(tmp_path / "metrics.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert await store.record(Report("r", 1, None, None, (Summary("g", "a:1", NOW - 10, 3),)))
    await store.put([Datum(LOSS, float(NOW), of_values([1]))])
    [read] = await store.read(INVOCATIONS, NOW - 10, 1, 1)
    assert read is not None
    assert read.sum == 3
    assert other.execute("SELECT count(*) FROM summaries").fetchone() == (0,)
    other.execute("ROLLBACK")
    await store.record(Report("r", 2, None, None, (Summary("g", "a:1", NOW - 9, 4),)))
    assert other.execute("SELECT count(*) FROM summaries").fetchone() == (2,)
    assert other.execute("SELECT count(*) FROM data").fetchone() == (1,)
    other.close()
    await store.close()


async def test_after_close_the_past_is_unavailable(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    await store.register(BLUE)
    await store.close()
    with pytest.raises(Unavailable):
        await store.read(INVOCATIONS, NOW - 7200, 60, 1)


async def test_tallies_outlive_the_process_without_what_is_for_people(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    now = int(SystemClock().now())
    group = GroupDimensions("g", "e", "v", "c", 1)
    shown = Tally(pairs=2, agreeing=1, worst=(Disagreement("r", 1.0, "secret", structural=False),))
    report = ComparisonReport("run", 1, None, None, (GroupTally("e", "g", "p", now - 9, noise=False, tally=shown),))
    for _ in range(2):
        store = SqliteMetrics(settings, SystemClock())
        await store.register(group)
        await store.record(report)
        metric = identity("/bannister/Shadow", "Pairs", {"EndpointName": "e", "VariantName": "v"})
        [found] = await store.read(metric, now - 60, 60, 1)
        assert found is not None
        assert found.sum == 2
        await store.close()
    assert b"secret" not in settings.metrics_path.read_bytes()
