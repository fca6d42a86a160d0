"""What only the store in a file can do wrong: restarts, its cache, and a file that cannot be used."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from bannister.clock import SystemClock
from bannister.domain.metric.aggregate import of_values
from bannister.domain.metric.identity import identity
from bannister.domain.metric.sketch import Sketch
from bannister.domain.metric.summary import Report, Summary
from bannister.errors import Unavailable
from bannister.metrics.sqlite import SqliteMetrics
from bannister.metrics.store import Datum, GroupDimensions
from bannister.settings import Settings

NOW = int(SystemClock().now())
BLUE = GroupDimensions("g", "e", "v", "c", 2)
INVOCATIONS = identity("AWS/SageMaker", "Invocations", {"EndpointName": "e", "VariantName": "v"})
LATENCY = identity("AWS/SageMaker", "ModelLatency", {"EndpointName": "e", "VariantName": "v"})
LOSS = identity("Mine", "Loss")


def open_store(tmp_path: Path, **changes: float) -> SqliteMetrics:
    return SqliteMetrics(Settings(data_dir=tmp_path, **changes), SystemClock())  # type: ignore[arg-type]


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
    before = [await store.read(metric, NOW - 7200, 1200, 6) for metric in (INVOCATIONS, LATENCY, LOSS)]
    listed = await store.metrics(since=NOW - 8000)
    await store.close()

    store = open_store(tmp_path)
    for report in reports:
        assert not await store.record(report), "counted once, also after a restart"
    assert [await store.read(metric, NOW - 7200, 1200, 6) for metric in (INVOCATIONS, LATENCY, LOSS)] == before
    assert await store.metrics(since=NOW - 8000) == listed
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


async def test_expiry_empties_the_file(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    await store.register(BLUE)
    await store.record(Report("r", 1, None, None, (Summary("g", "a:1", NOW, 1),)))
    await store.put([Datum(LOSS, float(NOW), of_values([1]))])
    await store.expire(NOW + 20 * 86400.0)
    await store.close()
    with sqlite3.connect(tmp_path / "metrics.db") as file:
        tables = ("summaries", "data", "metrics")
        assert [file.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables] == [0, 0, 0]


async def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "metrics.db").write_bytes(b"this is not a database" * 100)
    with pytest.raises(Unavailable, match="metric store"):
        open_store(tmp_path)


@pytest.mark.slow
async def test_a_locked_file_is_unavailable_and_nothing_is_lost(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    await store.register(BLUE)
    report = Report("r", 1, None, None, (Summary("g", "a:1", NOW - 10, 3),))
    other = sqlite3.connect(tmp_path / "metrics.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(Unavailable):
        await store.record(report)
    with pytest.raises(Unavailable):
        await store.put([Datum(LOSS, float(NOW), of_values([1]))])
    assert await store.read(INVOCATIONS, NOW - 10, 1, 1) == [None]
    other.execute("ROLLBACK")
    other.close()
    assert await store.record(report)
    [read] = await store.read(INVOCATIONS, NOW - 10, 1, 1)
    assert read is not None
    assert read.sum == 3
    await store.close()


async def test_after_close_it_is_unavailable(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    await store.close()
    with pytest.raises(Unavailable):
        await store.register(BLUE)
