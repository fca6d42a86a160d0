"""Requests through a real Envoy come out as exact summaries; silence, gaps and restarts are told apart from quiet."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.telemetry.conftest import running_world

from bannister.clock import SystemClock
from bannister.domain.metric.sketch import merge
from bannister.domain.metric.summary import Summary
from bannister.reporting.counters import counters_of
from bannister.reporting.coverage import GAP_SECONDS
from bannister.telemetry.dropped import DROPPED_ENTRIES

pytestmark = pytest.mark.real


async def _until(condition, what: str) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.02)
    assert condition(), what


async def _final(world: Any) -> None:
    """Wait until all that has ended by now is final."""
    now = SystemClock().now()
    await _until(lambda: world.seen.watermark > now + 1, "the watermark passes")


async def test_every_outcome_is_counted_once(world: Any) -> None:
    words = [b"200"] * 200 + [b"404"] * 7 + [b"500"] * 5 + [b"drop"] * 3
    for start in range(0, len(words), 20):
        await asyncio.gather(*(world.invoke(word) for word in words[start : start + 20]))
    assert await world.invoke(b"hang") == 504
    assert await world.invoke(group="dead") == 503
    assert await world.invoke(group="empty") == 503
    assert await world.invoke(group="refused") == 413
    await _final(world)

    def total(group: str, name: str) -> int:
        return sum(getattr(one, name) for one in world.seen.summaries if one.group == group)

    assert {name: total("blue", name) for name in ("invocations", "errors_4xx", "errors_5xx", "model_errors")} == {
        "invocations": len(words) + 1,
        "errors_4xx": 7,
        "errors_5xx": 5,
        "model_errors": 16,
    }
    assert total("blue", "unreachable") == total("blue", "abandoned") == total("blue", "late") == 0
    for group in ("dead", "empty"):
        assert [total(group, name) for name in ("invocations", "model_errors", "unreachable")] == [1, 1, 1]
    addresses = {one.address for one in world.seen.summaries if one.group == "blue"}
    assert addresses == {f"127.0.0.1:{world.model_port}"}


async def test_latency_is_the_models(world: Any) -> None:
    await asyncio.gather(*(world.invoke(b"slow") for _ in range(20)))
    await _final(world)
    model = merge([one.model_latency for one in world.seen.summaries])
    overhead = merge([one.overhead_latency for one in world.seen.summaries])
    assert model.count == overhead.count == 20
    assert 50_000 <= model.minimum < 1_000_000
    assert overhead.quantile(0.5) < model.minimum


async def test_a_client_that_hangs_up_is_no_error(world: Any) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", world.settings.port)
    writer.write(b"POST /blue HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nhang")
    await writer.drain()
    await asyncio.sleep(0.2)  # let it reach the model; the route's time-out is a second
    writer.transport.abort()
    await _until(lambda: world.seen.summaries, "it is summarised")
    [summary] = world.seen.summaries
    assert (summary.invocations, summary.abandoned, summary.model_errors) == (1, 1, 0)
    assert summary.model_latency is None


async def test_the_watermark_follows_the_clock_without_any_traffic(world: Any) -> None:
    clock = SystemClock()
    lags = []
    for _ in range(20):
        seen = len(world.seen.reports)
        await _until(lambda seen=seen: len(world.seen.reports) > seen, "another report")
        lags.append(clock.now() - world.seen.watermark)
    margin = world.settings.watermark_margin_seconds
    assert min(lags) >= margin
    assert sorted(lags)[len(lags) // 2] < margin + 1.0
    marks = [report.watermark for report in world.seen.reports if report.watermark is not None]
    assert marks == sorted(marks)
    assert world.feed.silent_seconds(clock.monotonic()) < 5


async def test_the_watermark_stands_while_envoy_does(world: Any) -> None:
    world.envoy.send(signal.SIGSTOP)
    stopped_at = SystemClock().now()
    await _until(lambda: world.feed.silent_seconds(SystemClock().monotonic()) > 1.5, "silence")
    assert world.seen.watermark < stopped_at
    covered_since = world.seen.covered_since
    world.envoy.send(signal.SIGCONT)
    await _until(lambda: world.seen.watermark > stopped_at + 1.5, "it goes on")
    assert world.seen.covered_since == covered_since, "nothing was lost"


async def test_an_envoy_that_was_killed_leaves_a_gap(world: Any) -> None:
    before = world.seen.covered_since
    await world.invoke()
    await world.envoy.stop(signal.SIGKILL)
    killed_at = SystemClock().now()
    await world.envoy.start()
    await _until(lambda: world.seen.covered_since != before, "coverage begins anew")
    assert world.seen.covered_since >= killed_at
    run = {report.run for report in world.seen.reports}
    assert len(run) == 1


async def test_entries_that_the_proxy_dropped_are_a_gap_and_counted(tmp_path: Path) -> None:
    """Telemetry stands still for a shorter time than what is a gap by itself (`GAP_SECONDS`), and more comes than the proxy and the kernel keep for it."""
    data_dir, connections, times = tmp_path / "data", 10, 100
    data_dir.mkdir()
    (data_dir / "bannister.toml").write_text(f"access_log_backlog_bytes_max = {64 * 1024}\n")
    async with running_world(data_dir) as world:
        before, requests = world.seen.covered_since, 0
        world.telemetry.send(signal.SIGSTOP)
        stopped_at = SystemClock().now()
        while not await _dropped(world):
            await asyncio.gather(*(world.invoke_often(times) for _ in range(connections)))
            requests += connections * times
        world.telemetry.send(signal.SIGCONT)
        went_on_at = SystemClock().now()
        assert went_on_at - stopped_at < GAP_SECONDS, "else it would be a gap by itself"
        await _until(lambda: world.seen.covered_since > went_on_at, "coverage begins anew")
        await _final(world)
        dropped = world.seen.reports[-1].dropped_entries
        missing = requests - world.seen.total(lambda one: one.invocations)
        print(f"{dropped} of {requests} dropped in {went_on_at - stopped_at:.1f} s")
        assert missing > 0
        assert missing <= dropped <= missing + 3, "heartbeats may be among them"
        assert world.feed.dropped_entries == dropped
        assert before < stopped_at
        assert "entries of the proxy's log were dropped" in world.telemetry.log.read_text()


async def _dropped(world: Any) -> int:
    """How many entries the proxy has dropped since it started."""
    counters = await counters_of(world.settings.envoy_admin_socket, DROPPED_ENTRIES)
    return int((counters or "").rpartition(": ")[2] or 0)


async def test_a_new_telemetry_is_a_new_run(world: Any) -> None:
    first = world.seen.reports[-1].run
    assert await world.telemetry.stop(signal.SIGTERM) == 0
    ended_at = SystemClock().now()
    assert not world.settings.telemetry_socket.exists()
    await world.telemetry.start()
    await _until(lambda: world.seen.reports[-1].run != first, "a new run")
    await _until(lambda: world.seen.reports[-1].covered_since, "the path is proven again")
    assert world.seen.covered_since >= ended_at
    assert await world.invoke() == 200
    await _until(lambda: world.seen.total(_invocations) >= 1, "entries come again")


def _invocations(summary: Summary) -> int:
    return summary.invocations


async def test_it_takes_over_a_socket_that_was_left(world: Any) -> None:
    await world.telemetry.stop(signal.SIGKILL)
    assert world.settings.telemetry_socket.exists()
    seen = len(world.seen.reports)
    await world.telemetry.start()
    await _until(lambda: len(world.seen.reports) > seen, "reports come again")


async def test_sockets_are_private(world: Any) -> None:
    assert world.settings.run_dir.stat().st_mode & 0o077 == 0
    with contextlib.suppress(FileNotFoundError):
        assert Path(world.settings.access_log_socket).is_socket()
