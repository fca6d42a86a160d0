"""What a capture process that stands still does not take is bounded, though answers have no bound of their own: production is never refused for it."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest
from tests.capture.conftest import ENDPOINT, World, data_capture, instructions, plan
from tests.publisher.conftest import Answer, Request, free_port, until

from bannister.domain.comparison.report import Counted
from bannister.envoy.admin import Admin
from bannister.reporting.counters import counters_of
from bannister.settings import Settings

pytestmark = [pytest.mark.real, pytest.mark.alone]

MIB = 1024 * 1024
HEAP_BYTES = 300 * MIB
ANSWER_BYTES = 6 * MIB


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """What is not taken is held for minutes, so that a few answers do what many do."""
    return Settings(
        data_dir=tmp_path,
        port=free_port(),
        proxy_workers=2,
        capture_close_seconds=300.0,
        capture_file_seconds_max=0.5,
        proxy_heap_bytes_max=HEAP_BYTES,
    )


async def answer(_request: Request) -> Answer:
    return Answer(body=bytes(ANSWER_BYTES), headers={"content-type": "application/octet-stream"})


async def begin(world: World) -> None:
    await world.edge.model("blue", answer)
    await world.serve(plan(mirrored=0))
    await world.start(instructions(data_capture()))


async def test_production_is_not_refused_while_what_it_answers_is_not_taken(world: World) -> None:
    await begin(world)
    world.signal(signal.SIGSTOP)
    client, admin = world.edge.client(), Admin(world.settings.envoy_admin_socket)
    shares, shed = [], False
    for _ in range(2 * HEAP_BYTES // ANSWER_BYTES):
        found = await client.invoke(ENDPOINT, b"[1]", {"content-type": "application/json"})
        assert (found.status, len(found.body)) == (200, ANSWER_BYTES), found.body[:100]
        copies = await admin.copies()
        shares.append(copies.heap_share)
        shed = shed or not copies.observes
        await asyncio.sleep(0.1)
    print(f"\nEnvoy's heap, at most {max(shares):.0%} of its bound")
    assert shed, "otherwise this shows nothing"
    world.signal(signal.SIGCONT)

    async def observed() -> bool:
        return (await admin.copies()).observes

    await until(observed, "there is room again")
    counted = world.count(Counted.CAPTURED, "blue")

    async def counts() -> bool:
        await client.invoke(ENDPOINT, b"[1]", {"content-type": "application/json"})
        return world.count(Counted.CAPTURED, "blue") > counted

    await until(counts, "exchanges are told of again")


async def test_what_waits_for_a_process_that_stands_still_is_let_go(world: World) -> None:
    """Also of what is under way, which nothing else would end."""
    await begin(world)
    world.signal(signal.SIGSTOP)

    async def open_streams() -> int:
        found = await counters_of(world.settings.envoy_admin_socket, r"^cluster\.capture\.upstream_rq_active$")
        return int((found or "0").rpartition(": ")[2])

    await world.edge.client().invoke(ENDPOINT, b"[1]", {"content-type": "application/json"})
    assert await open_streams() > 0

    async def none() -> bool:
        return await open_streams() == 0

    await until(none, "the connection is given up")
