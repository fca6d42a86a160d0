"""A real Envoy with the product's own configuration, model servers, and the capture process: all real. The test is the control plane."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.publisher.conftest import Edge, free_port, until

from bannister.clock import SystemClock
from bannister.domain.capture.data_capture import CaptureMode, DataCapture
from bannister.domain.capture.instructions import CapturedGroup, ComparedGroups, Instructions
from bannister.domain.capture.spooled import OPEN, READY
from bannister.domain.comparison.report import Account, ComparisonReport, Counted, Directive, Greeting, GroupTally
from bannister.domain.comparison.rules import Rules
from bannister.domain.routing import Membership, Mirror, RoutePlan, Weight
from bannister.domain.traffic import TRAFFIC_PARTS
from bannister.reporting.feed import ReportFeed
from bannister.settings import Settings

ENDPOINT = "flights"


def data_capture(percent: int = 100, **members: object) -> DataCapture:
    return DataCapture(True, percent, "s3://captured/here", (CaptureMode.INPUT_AND_OUTPUT,), **members)  # type: ignore[arg-type]


def instructions(
    capture: DataCapture | None = None, *, written_share: float = 1.0, noise: bool = False
) -> Instructions:
    groups = tuple(
        CapturedGroup(group, ENDPOINT, variant, "c", capture, written_share)
        for group, variant in (("blue", "AllTraffic"), ("shadow", "Shadow"), ("green", "AllTraffic"))
    )
    pairs = (ComparedGroups("shadow", "blue", Rules(), ENDPOINT),)
    if noise:
        pairs += (ComparedGroups("blue", "blue", Rules(), ENDPOINT, noise=True),)
    return Instructions(groups, pairs)


def instructions_without_shadow() -> Instructions:
    """The shadow is compared, but its exchanges are unknown: as if nobody had heard of them."""
    told = instructions()
    return Instructions(tuple(one for one in told.groups if one.group != "shadow"), told.pairs)


def plan(*, mirrored: int = TRAFFIC_PARTS, captured: int = TRAFFIC_PARTS, noise: int = 0) -> RoutePlan:
    mirrors = [Mirror("shadow", "Shadow", mirrored, "blue")] if mirrored else []
    if noise:
        mirrors.append(Mirror("blue", "AllTraffic", noise, "blue", noise=True))
    weights = (Weight("blue", "AllTraffic", TRAFFIC_PARTS, TRAFFIC_PARTS),)
    ways = tuple(mirrors)
    return RoutePlan(ENDPOINT, (Membership("blue", 1, 0),), weights, ways, ways=ways, captured_parts=captured)


class World:
    """Everything, and what the capture process has reported."""

    def __init__(self, edge: Edge) -> None:
        self.edge = edge
        self.settings = edge.settings
        self.reports: list[ComparisonReport] = []
        self.told = Instructions()
        self.feed = ReportFeed[ComparisonReport](
            edge.settings.capture_socket,
            ComparisonReport,
            "capture",
            SystemClock(),
            word=lambda one: Directive(acknowledgement=one),
            greet=lambda: Directive(Greeting(self.account), instructions=self.told),
        )
        self._reading: asyncio.Task[None] | None = None
        self.process: asyncio.subprocess.Process | None = None

    @property
    def account(self) -> Account | None:
        return next((one.account for one in reversed(self.reports) if one.account is not None), None)

    async def start_capture(self) -> None:
        command = (sys.executable, "-m", "bannister.capture", "--data-dir", str(self.settings.data_dir))
        environment = os.environ | {
            f"BANNISTER_{name}".upper(): str(getattr(self.settings, name))
            for name in ("capture_file_seconds_max", "capture_body_bytes_max", "pairing_seconds_max")
        }
        with (self.settings.data_dir / "capture.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *command, "--port", str(self.settings.port), stdout=log, stderr=log, env=environment
            )

    async def stop_capture(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
        async with asyncio.timeout(30):
            return await self.process.wait()

    async def stop_capture_at_once(self) -> None:
        """SIGKILL, also while it stands still."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def start(self, told: Instructions) -> None:
        self.told = told
        await self.start_capture()
        self._reading = asyncio.create_task(self._read())
        await until(lambda: self.watermark > 0, "the path is proven")

    async def tell(self, told: Instructions) -> None:
        self.told = told
        await self.feed.send(Directive(instructions=told))
        await asyncio.sleep(0.1)

    async def serve(self, asked: RoutePlan) -> None:
        """Ask for this plan and wait until all is acknowledged."""
        self.edge.publisher.ask([asked])
        await until(
            lambda: (
                self.edge.publisher.acknowledged(asked)
                and (not asked.mirrors or self.edge.publisher.mirrored("shadow"))
            ),
            "the plan is acknowledged",
        )
        await asyncio.sleep(0.1)  # the proxy's threads follow

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        if self.process is not None:
            await self.stop_capture(signal.SIGKILL)

    async def _read(self) -> None:
        async for report in self.feed:
            self.reports.append(report)
            await self.feed.acknowledge(report)

    # --- what was reported

    @property
    def watermark(self) -> float:
        return next((one.watermark for one in reversed(self.reports) if one.watermark is not None), 0.0)

    def tallies(self, *, noise: bool = False) -> list[GroupTally]:
        return [one for report in self.reports for one in report.tallies if one.noise is noise]

    def pairs(self, *, noise: bool = False) -> int:
        return sum(one.tally.pairs for one in self.tallies(noise=noise))

    def agreeing(self) -> int:
        return sum(one.tally.agreeing for one in self.tallies())

    def unpaired(self, *, noise: bool = False) -> dict[str, int]:
        found: Counter[str] = Counter()
        for one in self.tallies(noise=noise):
            for reason in one.tally.unpaired:
                found[reason.reason] += reason.count
        return dict(found)

    def count(self, what: Counted, group: str) -> int:
        return sum(self.reasons(what, group).values())

    def reasons(self, what: Counted, group: str) -> dict[str, int]:
        found: Counter[str] = Counter()
        for report in self.reports:
            for one in report.counts:
                if one.what is what and one.group == group:
                    found[one.reason] += one.count
        return dict(found)

    def spooled(self) -> list[Path]:
        return sorted(path for path in self.settings.capture_dir.glob("*") if path.suffix in (OPEN, READY))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        data_dir=tmp_path, port=free_port(), proxy_workers=2, capture_file_seconds_max=0.5, pairing_seconds_max=2.0
    )


@pytest.fixture
async def world(settings: Settings) -> AsyncIterator[World]:
    """Envoy runs; capture does not yet."""
    settings.run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    edge = Edge(settings)
    world = World(edge)
    try:
        await edge.control.start(settings.api_socket)
        await edge.start_publisher()
        edge.publisher.ask([])
        await edge.start_envoy()
        await edge.open()
        yield world
    finally:
        await world.close()
        await edge.close()
