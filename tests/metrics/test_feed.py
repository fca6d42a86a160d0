"""The feed against the product's own report server, over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bannister.clock import SystemClock
from bannister.domain.metric.sketch import Sketch
from bannister.domain.metric.summary import Report, Summary, TelemetryWord
from bannister.metrics.feed import TelemetryFeed
from bannister.reporting.outbox import Outbox
from bannister.reporting.report_server import ReportServer
from bannister.settings import Settings


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


class Reader:
    """Iterates a feed and keeps what it gives."""

    def __init__(self, settings: Settings, *, acknowledging: bool = True) -> None:
        self.feed = TelemetryFeed(settings, SystemClock(), lambda: None)
        self.reports: list[Report] = []
        self._acknowledging = acknowledging

    async def _run(self) -> None:
        async for report in self.feed:
            self.reports.append(report)
            if self._acknowledging:
                await self.feed.acknowledge(report)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Reader]:
        task = asyncio.create_task(self._run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings(data_dir=tmp_path)
    made.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return made


@pytest.fixture
def outbox() -> Outbox[Summary, Report]:
    return Outbox("run", 100, Report)


def report_server(outbox: Outbox[Summary, Report], settings: Settings) -> ReportServer[TelemetryWord]:
    def hear(word: TelemetryWord) -> None:
        if word.acknowledgement is not None:
            outbox.acknowledge(word.acknowledgement)

    return ReportServer(outbox, settings.telemetry_socket, TelemetryWord, hear)


@pytest.fixture
async def server(outbox: Outbox[Summary, Report], settings: Settings) -> AsyncIterator[ReportServer[TelemetryWord]]:
    made = report_server(outbox, settings)
    await made.start()
    yield made
    await made.close()


def fill(outbox: Outbox[Summary, Report], *seconds: int) -> None:
    for second in seconds:
        outbox.put(second + 1.0, 1.0, [Summary("g", "a:1", second, 2, model_latency=Sketch.of([second, 7]))])


async def test_reports_come_in_order_and_whole(
    server: ReportServer[TelemetryWord], outbox: Outbox[Summary, Report], settings: Settings
) -> None:
    fill(outbox, 1, 2)
    async with Reader(settings).reading() as reader:
        await until(lambda: len(reader.reports) == 2)
        fill(outbox, 3)
        await until(lambda: len(reader.reports) == 3)
        assert [report.sequence for report in reader.reports] == [1, 2, 3]
        assert reader.reports[2].summaries[0].model_latency == Sketch.of([3, 7])
        await until(lambda: len(outbox) == 0)


async def test_what_was_not_acknowledged_comes_again(
    server: ReportServer[TelemetryWord], outbox: Outbox[Summary, Report], settings: Settings
) -> None:
    fill(outbox, 1, 2)
    async with Reader(settings, acknowledging=False).reading() as first:
        await until(lambda: len(first.reports) == 2)
        await first.feed.acknowledge(first.reports[0])
        await until(lambda: len(outbox) == 1)
    async with Reader(settings).reading() as second:
        await until(lambda: second.reports)
        assert second.reports == first.reports[1:]


async def test_a_report_that_cannot_be_written_down_holds_up_no_other(
    server: ReportServer[TelemetryWord], outbox: Outbox[Summary, Report], settings: Settings
) -> None:
    class Form(str):
        __slots__ = ()

    fill(outbox, 1)
    outbox.put(3.0, 1.0, [Summary(Form("g"), "a:1", 2, 2)])
    async with Reader(settings).reading() as reader:
        await until(lambda: len(reader.reports) == 1)
        fill(outbox, 3)
        await until(lambda: len(reader.reports) == 2)
        assert [(report.watermark, report.covered_since) for report in reader.reports] == [(2.0, 1.0), (4.0, 3.0)], (
            "what nobody will ever hear of is a gap"
        )
        await until(lambda: len(outbox) == 0)


async def test_a_connection_on_which_nothing_can_be_sent_is_closed(
    server: ReportServer[TelemetryWord],
    outbox: Outbox[Summary, Report],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would look like one on which there is nothing to say."""

    def fails(sent: int) -> Report:
        raise RuntimeError("a fault")

    monkeypatch.setattr(outbox, "next_after", fails)
    reader, writer = await asyncio.open_unix_connection(str(settings.telemetry_socket))
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()


async def test_reports_that_were_given_up_are_counted(settings: Settings) -> None:
    for run, seconds in (("first", range(1, 8)), ("second", range(1, 6))):
        outbox = Outbox[Summary, Report](run, 3, Report)
        fill(outbox, *seconds)
        server = report_server(outbox, settings)
        await server.start()
        if run == "first":
            reader = Reader(settings)
            reading = asyncio.create_task(reader._run())
        await until(lambda outbox=outbox: len(outbox) == 0)  # type: ignore[misc]
        fill(outbox, 9)
        await until(lambda outbox=outbox: len(outbox) == 0)  # type: ignore[misc]
        await server.close()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert [(one.run, one.sequence) for one in reader.reports] == [
        *(("first", sequence) for sequence in (5, 6, 7, 8)),
        *(("second", sequence) for sequence in (3, 4, 5, 6)),
    ]
    assert reader.feed.missed == 2, (
        "what the first run gave up before it was ever heard belongs to whoever listened then"
    )


async def test_dropped_entries_are_counted_from_when_somebody_listened(settings: Settings) -> None:
    """What a run had said before it was first heard was dropped then; a report that comes again counts once."""
    feed = TelemetryFeed(settings, SystemClock(), lambda: None)
    told = [("a", 7, 5), ("a", 8, 5), ("a", 9, 8), ("a", 8, 5), ("a", 9, 8), ("b", 1, 2), ("b", 2, 3)]
    for run, sequence, dropped in told:
        feed._note(Report(run, sequence, None, None, dropped_entries=dropped))
    assert feed.dropped_entries == (8 - 5) + 3


async def test_it_waits_for_telemetry_and_comes_back_to_it(outbox: Outbox[Summary, Report], settings: Settings) -> None:
    async with Reader(settings).reading() as reader:
        for second in (1, 2):
            server = report_server(outbox, settings)
            await server.start()
            fill(outbox, second)
            await until(lambda second=second: len(reader.reports) == second)  # type: ignore[misc]
            await server.close()


async def test_the_newest_connection_replaces_the_one_before(
    server: ReportServer[TelemetryWord], outbox: Outbox[Summary, Report], settings: Settings
) -> None:
    reader, writer = await asyncio.open_unix_connection(str(settings.telemetry_socket))
    fill(outbox, 1)
    assert await reader.readline()
    async with Reader(settings).reading() as second:
        assert await asyncio.wait_for(reader.read(), 30) == b""
        await until(lambda: second.reports)
    writer.close()


async def test_silence_is_counted_from_the_last_move_of_the_watermark(
    server: ReportServer[TelemetryWord], outbox: Outbox[Summary, Report], settings: Settings
) -> None:
    clock = SystemClock()
    reader = Reader(settings)
    made_at = clock.monotonic()
    assert reader.feed.silent_seconds(made_at + 9) == pytest.approx(9, abs=1)
    async with reader.reading():
        await asyncio.sleep(0.05)  # so that a move is seen to set it back
        fill(outbox, 1)
        await until(lambda: reader.reports)
        moved_at = clock.monotonic()
        assert reader.feed.silent_seconds(moved_at) < moved_at - made_at
        silent = reader.feed.silent_seconds(moved_at)
        outbox.put(2.0, 1.0, [Summary("g", "a:1", 1, 1, late=1)])
        await until(lambda: len(reader.reports) == 2)
        assert reader.feed.silent_seconds(moved_at) == silent, "the same watermark again is no move"


async def test_what_is_no_report_ends_the_connection_not_the_feed(
    outbox: Outbox[Summary, Report], settings: Settings
) -> None:
    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"nonsense\n")
        await writer.drain()
        writer.close()

    babbler = await asyncio.start_unix_server(babble, str(settings.telemetry_socket))
    async with Reader(settings).reading() as reader:
        await asyncio.sleep(0.1)  # a connection or two
        babbler.close()
        settings.telemetry_socket.unlink(missing_ok=True)
        server = report_server(outbox, settings)
        await server.start()
        fill(outbox, 1)
        await until(lambda: reader.reports)
        await server.close()
