"""Configured addresses are told of every event: in order, again when they do not take it, and after a restart with the same id."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.domain.deployment.worlds import fleet

from bannister.announcer import loop
from bannister.announcer.loop import Announcer
from bannister.clock import SystemClock
from bannister.domain.endpoint import Endpoint
from bannister.domain.endpoint_event import GIVEN_UP, HAPPENED
from bannister.domain.event_delivery import EventDelivery
from bannister.errors import Conflict, Fenced, Unavailable
from bannister.settings import Settings
from bannister.state.endpoint_change import endpoint_change, endpoint_removal
from bannister.state.memory import MemoryMedium, MemoryState
from bannister.state.store import Entry, Put, Record, Remove
from bannister.state.tables import ENDPOINTS, EVENT_DELIVERIES

TIMEOUT = 20
A, B = "http://a/hook", "http://b/hook"


class World:
    def __init__(self, tmp_path: Path) -> None:
        self.settings = Settings(
            tmp_path,
            event_webhooks=(A,),
            webhook_retry_seconds_min=0.001,
            webhook_retry_seconds_max=0.002,
            webhook_attempts_max=3,
            report_retry_seconds=0.001,
        )
        self.medium = MemoryMedium()
        self.state = MemoryState(self.medium)
        self.told: list[tuple[str, dict[str, Any]]] = []
        #: What an address answers to an endpoint's event, the so manieth time it is told of it; 0: nothing.
        self.answers: Callable[[str, str, int], int] = lambda url, name, times: 200
        self.open = asyncio.Event()
        self.open.set()
        self.tasks: list[asyncio.Task[None]] = []

    async def post(self, url: str, body: str, timeout_seconds: float) -> int:
        event = json.loads(body)
        self.told.append((url, event))
        await self.open.wait()
        name = event["detail"]["EndpointName"]
        times = sum(told == url and one["id"] == event["id"] for told, one in self.told)
        status = self.answers(url, name, times)
        if status == 0:
            raise Unavailable("Connection refused.")
        return status

    async def start(self, *urls: str) -> asyncio.Task[None]:
        """A process that has begun: what happens from now on is told."""
        self.settings = replace(self.settings, event_webhooks=urls or self.settings.event_webhooks)
        epoch = self.state.epoch

        def fence() -> None:
            if self.medium.epoch != epoch:
                raise Fenced("Another process has taken over.")

        announcer = Announcer(self.state, SystemClock(), self.settings, fence, self.post)
        self.tasks.append(asyncio.create_task(announcer.run()))
        await self.until(lambda rows: sorted(rows) == sorted(self.settings.event_webhooks))
        return self.tasks[-1]

    async def happen(self, *names: str) -> None:
        """An endpoint comes into service: one event."""
        for name in names:
            change = endpoint_change(None, Endpoint(name, 1.0, 1.0, blue=fleet("v1")), 1.0, {})
            await self.state.commit([change.write], change.events)

    async def until(self, holds: Callable[[dict[str, EventDelivery]], bool]) -> dict[str, EventDelivery]:
        """What is known of the addresses, once that holds."""
        async with asyncio.timeout(TIMEOUT):
            while True:
                version = self.state.changed.version
                rows = {row.key: row.value for row in await self.state.rows(EVENT_DELIVERIES)}
                if holds(rows):
                    return rows
                await self.state.changed.wait_past(version)

    def names(self, url: str = A) -> list[str]:
        return [event["detail"]["EndpointName"] for told, event in self.told if told == url]

    async def delivered(self, count: int, url: str = A) -> EventDelivery:
        return (await self.until(lambda rows: rows[url].delivered >= count))[url]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    yield made
    for task in made.tasks:
        task.cancel()
    await asyncio.gather(*made.tasks, return_exceptions=True)


async def test_every_event_is_told_in_order(world: World) -> None:
    await world.start()
    names = [f"e{number}" for number in range(3 * loop._AT_ONCE)]
    await world.happen(*names)
    row = await world.state.get(ENDPOINTS, "e0")
    assert row is not None
    gone = endpoint_removal(row, 2.0)
    await world.state.commit([gone.write], [Record(2.0, "endpoint/e0", "endpoint.deleted"), *gone.events])
    known = await world.delivered(len(names) + 1)
    assert world.names() == [*names, "e0"]
    assert world.told[-1][1]["detail"]["EndpointStatus"] == "DELETED"
    assert (known.position, known.given_up, known.failing_since) == (world.medium.sequence, 0, None)


async def test_what_was_before_an_address_was_configured_is_not_told(world: World) -> None:
    await world.happen("before")
    await world.start()
    await world.happen("after")
    await world.delivered(1)
    assert world.names() == ["after"]


async def test_it_is_told_again_until_it_takes_it_and_others_wait(world: World) -> None:
    world.answers = lambda url, name, times: (0, 500, 204)[times - 1] if name == "x" else 200
    await world.start()
    await world.happen("x", "y")
    assert (await world.delivered(2)).error is None
    assert world.names() == ["x", "x", "x", "y"]
    assert len({event["id"] for _, event in world.told}) == 2


async def test_what_an_address_does_not_take_is_given_up_and_said(world: World) -> None:
    world.answers = lambda url, name, times: 0 if name == "x" else 200
    await world.start()
    await world.happen("x")
    known = (await world.until(lambda rows: rows[A].given_up == 1))[A]
    assert known.failing_since is not None
    assert (known.error, known.given_up_because) == ("Connection refused.", "Connection refused.")
    (entry,) = await world.state.journal(kind=GIVEN_UP)
    assert (entry.subject, entry.body["address"], entry.body["attempts"]) == ("endpoint/x", "http://a/…", 3)
    await world.happen("y")
    known = await world.delivered(1)
    assert (known.failing_since, known.error, known.given_up) == (None, None, 1)


async def test_that_an_address_fails_is_known_while_it_is_tried(world: World) -> None:
    world.settings = replace(world.settings, webhook_retry_seconds_min=60.0, webhook_retry_seconds_max=60.0)
    world.answers = lambda url, name, times: 503
    await world.start()
    await world.happen("x")
    known = (await world.until(lambda rows: rows[A].error is not None))[A]
    assert (known.error, known.given_up, known.delivered) == ("It answered 503.", 0, 0)


async def test_an_address_that_fails_holds_up_no_other(world: World) -> None:
    world.settings = replace(world.settings, webhook_retry_seconds_min=60.0, webhook_retry_seconds_max=60.0)
    world.answers = lambda url, name, times: 0 if url == A else 200
    await world.start(A, B)
    await world.happen("x", "y")
    await world.delivered(2, B)
    assert world.names(B) == ["x", "y"]
    assert world.names(A) == ["x"]


async def test_of_too_many_the_oldest_are_given_up(world: World) -> None:
    world.settings = replace(world.settings, webhook_pending_max=5)
    world.open.clear()
    await world.start()
    await world.happen("first")
    async with asyncio.timeout(TIMEOUT):
        while not world.told:
            await asyncio.sleep(0)
    await world.happen(*[f"e{number}" for number in range(8)])
    world.open.set()
    known = await world.delivered(6)
    assert world.names() == ["first", "e3", "e4", "e5", "e6", "e7"]
    assert (known.given_up, known.given_up_because, known.failing_since) == (3, "Too many others waited.", None)
    (entry,) = await world.state.journal(kind=GIVEN_UP)
    assert (entry.body["events"], entry.body["attempts"]) == (3, 0)


async def test_a_dead_address_never_has_more_waiting_than_the_bound(world: World) -> None:
    """However fast events come: each attempt that fails is a moment at which the oldest of too many go."""
    world.settings = replace(world.settings, webhook_pending_max=30, webhook_attempts_max=1)
    world.answers = lambda url, name, times: 500
    await world.start()
    await world.happen(*[f"e{number}" for number in range(300)])

    def waiting(rows: dict[str, EventDelivery]) -> bool:
        return rows[A].given_up >= 270

    known = (await world.until(waiting))[A]
    assert len(world.told) < 60, "most were given up without being told"
    assert known.delivered == 0


async def test_a_fault_ends_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.start()
    journal, faults = world.state.journal, 2

    async def faulty(**filters: Any) -> list[Entry]:
        nonlocal faults
        faults -= 1
        if faults >= 0:
            raise RuntimeError("whatever it is")
        return await journal(**filters)

    monkeypatch.setattr(world.state, "journal", faulty)
    await world.happen("x")
    await world.delivered(1)
    assert faults < 0
    assert world.names() == ["x"]


async def test_another_process_goes_on_where_the_first_one_was(world: World) -> None:
    first = await world.start()
    await world.happen("x")
    await world.delivered(1)
    world.open.clear()
    await world.happen("y", "z")
    async with asyncio.timeout(TIMEOUT):
        while len(world.told) < 2:
            await asyncio.sleep(0)
    first.cancel()  # it has told y, and dies before that is written down
    await asyncio.gather(first, return_exceptions=True)
    world.state = MemoryState(world.medium)
    world.open.set()
    await world.start()
    await world.delivered(3)
    assert world.names() == ["x", "y", "y", "z"]
    assert world.told[1][1] == world.told[2][1]


async def test_a_process_that_was_replaced_tells_nobody(world: World) -> None:
    task = await world.start()
    old, world.state = world.state, MemoryState(world.medium)
    await world.happen("x")
    old.changed.announce()  # it wakes
    with pytest.raises(Fenced):
        async with asyncio.timeout(TIMEOUT):
            await task
    assert world.told == []


async def test_an_address_that_is_not_configured_any_more_is_forgotten(world: World) -> None:
    task = await world.start(A, B)
    await world.happen("x")
    await world.delivered(1, B)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await world.start(A)
    await world.happen("y")
    await world.until(lambda rows: rows[A].delivered == 2 and B not in rows)
    assert world.names(B) == ["x"]


async def test_without_an_address_there_is_nothing_to_do(world: World) -> None:
    announcer = Announcer(world.state, SystemClock(), replace(world.settings, event_webhooks=()), lambda: None)
    await asyncio.wait_for(announcer.run(), TIMEOUT)


class Full(MemoryState):
    """A state whose disk is full for a while."""

    refusals = 0

    async def commit(self, writes: Sequence[Put[Any] | Remove] = (), *rest: Any, **named: Any) -> int:
        if self.refusals and any(write.table is EVENT_DELIVERIES for write in writes):
            self.refusals -= 1
            raise Unavailable("The disk is full.")
        return await super().commit(writes, *rest, **named)


async def test_what_cannot_be_written_down_is_not_told_again(world: World) -> None:
    world.state = full = Full(world.medium)
    await world.start()
    full.refusals = 4
    await world.happen("x", "y")
    await world.delivered(2)
    assert world.names() == ["x", "y"]


async def test_an_event_that_cannot_be_read_holds_up_no_other(world: World) -> None:
    await world.start()
    await world.state.commit(records=[Record(1.0, "endpoint/odd", HAPPENED, {})])
    await world.happen("x")
    known = await world.delivered(1)
    assert (world.names(), known.given_up, known.given_up_because) == (["x"], 1, "It cannot be read: KeyError.")


async def test_an_event_is_not_without_its_change(world: World) -> None:
    """A commit that is refused leaves neither."""
    row = endpoint_change(None, Endpoint("x", 1.0, 1.0, blue=fleet("v1")), 1.0, {})
    await world.happen("x")
    with pytest.raises(Conflict):
        await world.state.commit([row.write], row.events)
    assert len(await world.state.journal(kind=HAPPENED)) == 1
