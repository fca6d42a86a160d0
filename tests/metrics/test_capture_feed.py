"""The control plane's end of the capture process's socket, against the product's own report server."""

import asyncio
from pathlib import Path

from tests.metrics.test_feed import until

from bannister.clock import SystemClock
from bannister.domain.capture.instructions import ComparedGroups, Instructions
from bannister.domain.comparison.report import Account, ComparisonReport, Directive, Greeting, GroupTally
from bannister.domain.comparison.rules import Rules
from bannister.domain.comparison.tally import Tally
from bannister.metrics.feed import CaptureFeed
from bannister.reporting.outbox import Outbox
from bannister.reporting.report_server import ReportServer
from bannister.settings import Settings


async def test_reports_one_way_and_acknowledgements_and_instructions_the_other(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    settings.run_dir.mkdir(mode=0o700, parents=True)
    heard: list[Directive] = []
    account: Account | None = None
    outbox = Outbox[GroupTally, ComparisonReport]("run", 100, ComparisonReport)
    server = ReportServer(outbox, settings.capture_socket, Directive, heard.append)
    await server.start()
    feed = CaptureFeed(settings, SystemClock(), lambda: account)
    first = Instructions(pairs=(ComparedGroups("s", "p", Rules(ignored_paths=("$.id",))),))
    await feed.instruct(first)
    taken: list[ComparisonReport] = []

    async def take() -> None:
        async for report in feed:
            taken.append(report)
            await feed.acknowledge(report)

    task = asyncio.create_task(take())
    try:
        outbox.put(2.0, 1.0, [GroupTally("e", "s", "p", 1, noise=False, tally=Tally(3, 2))])
        await until(lambda: any(one.acknowledgement is not None for one in heard))
        assert heard[0] == Directive(Greeting(None), instructions=first)
        assert taken[0].tallies[0].tally == Tally(3, 2)
        second = Instructions()
        for _ in range(2):  # the same again is not news
            await feed.instruct(second)
        await until(lambda: heard[-1].instructions == second)
        await server.close()
        heard.clear()
        account = Account(1.0, {"busy": 3}, unopened=1, streams=2)
        server = ReportServer(outbox, settings.capture_socket, Directive, heard.append)
        await server.start()
        await until(lambda: heard)
        assert heard[0] == Directive(Greeting(account), instructions=second)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await server.close()
