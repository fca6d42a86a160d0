"""Addresses are told of transitions: once the commit is made, in order, again when they do not take it, and after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bannister.clock import SystemClock
from bannister.domain.alarm.action import PendingAction
from bannister.errors import Fenced, Unavailable
from bannister.evaluator.notifier import Notifier
from bannister.settings import Settings
from bannister.state.memory import MemoryMedium, MemoryState
from bannister.state.store import Entry, Put
from bannister.state.tables import ACTIONS

TIMEOUT = 20


async def nothing() -> None:
    pass


class Addresses:
    """What a test's addresses answer, and what they were told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.answers: Callable[[str, int], int] = lambda url, times: 200
        self.open = asyncio.Event()
        self.open.set()
        self.at_once = self.most_at_once = 0

    async def post(self, url: str, body: str, timeout_seconds: float) -> int:
        self.told.append((url, body))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.open.wait()
        finally:
            self.at_once -= 1
        status = self.answers(url, len([one for one in self.told if one[0] == url]))
        if status == 0:
            raise Unavailable("Connection refused.")
        return status


class World:
    def __init__(self, tmp_path: Path) -> None:
        self.settings = Settings(
            tmp_path, webhook_retry_seconds_min=0.001, webhook_retry_seconds_max=0.002, webhook_attempts_max=3
        )
        self.medium = MemoryMedium()
        self.state = MemoryState(self.medium)
        self.addresses = Addresses()
        self.tasks: list[asyncio.Task[None]] = []

    def fence(self) -> None:
        if self.medium.epoch != self.state.epoch:
            raise Fenced("Another process has taken over.")

    def start(self, told: Callable[[str, str, float], Awaitable[int]] | None = None) -> asyncio.Task[None]:
        notifier = Notifier(self.state, SystemClock(), self.settings, nothing, self.fence, told or self.addresses.post)
        self.tasks.append(asyncio.create_task(notifier.run()))
        return self.tasks[-1]

    async def put(self, number: int, url: str = "http://a/", alarm: str = "x") -> None:
        action = PendingAction(alarm, url, "ALARM", float(number), f"body {number}")
        await self.state.commit([Put(ACTIONS, f"{number:04d}", action, 0)])

    async def history(self, items: int) -> list[Entry]:
        """What the history says, once it has so many items."""
        async with asyncio.timeout(TIMEOUT):
            while True:
                version = self.state.changed.version
                found = await self.state.journal(kind="alarm.acted")
                if len(found) >= items:
                    return found
                await self.state.changed.wait_past(version)


@pytest.fixture
async def world(tmp_path: Path) -> Any:
    made = World(tmp_path)
    yield made
    for task in made.tasks:
        task.cancel()
    await asyncio.gather(*made.tasks, return_exceptions=True)


async def test_it_is_told_and_the_history_says_so(world: World) -> None:
    world.start()
    await world.put(1)
    (entry,) = await world.history(1)
    assert entry.subject == "alarm/x"
    assert entry.body == {"action": "http://a/", "state": "ALARM", "outcome": "delivered", "attempts": 1, "status": 200}
    assert world.addresses.told == [("http://a/", "body 1")]
    assert await world.state.rows(ACTIONS) == []


async def test_it_is_told_again_until_it_takes_it(world: World) -> None:
    world.addresses.answers = lambda url, times: (0, 500, 204)[times - 1]
    world.start()
    await world.put(1)
    (entry,) = await world.history(1)
    assert (entry.body["outcome"], entry.body["attempts"], entry.body["status"]) == ("delivered", 3, 204)


@pytest.mark.parametrize(
    ("status", "error"), [(0, "Connection refused."), (503, "It answered 503."), (302, "It answered 302.")]
)
async def test_it_is_given_up_and_the_history_says_why(world: World, status: int, error: str) -> None:
    world.addresses.answers = lambda url, times: status
    world.start()
    await world.put(1)
    (entry,) = await world.history(1)
    assert (entry.body["outcome"], entry.body["attempts"], entry.body["error"]) == ("failed", 3, error)
    assert await world.state.rows(ACTIONS) == []


async def test_one_address_hears_in_order_and_holds_up_no_other(world: World) -> None:
    world.addresses.answers = lambda url, times: 500 if url == "http://a/" and times < 3 else 200
    world.start()
    await world.put(1)
    await world.put(2)
    await world.put(3, "http://b/")
    await world.history(3)
    assert [body for url, body in world.addresses.told if url == "http://a/"] == ["body 1"] * 3 + ["body 2"]


async def test_only_so_many_at_once(world: World) -> None:
    world.settings = replace(world.settings, webhook_parallel_max=2)
    world.addresses.open.clear()
    world.start()
    for number in range(6):
        await world.put(number, f"http://{number}/")
    async with asyncio.timeout(TIMEOUT):
        while world.addresses.at_once < 2:
            await asyncio.sleep(0)
    world.addresses.open.set()
    await world.history(6)
    assert world.addresses.most_at_once == 2


async def test_of_too_many_the_oldest_are_given_up(world: World) -> None:
    world.settings = replace(world.settings, webhook_pending_max=2)
    for number in range(4):
        await world.put(number)
    world.start()
    entries = await world.history(4)
    assert [entry.body["outcome"] for entry in entries] == ["failed", "failed", "delivered", "delivered"]
    assert entries[0].body["error"] == "Too many others waited."


async def test_what_was_not_delivered_is_after_a_restart(world: World) -> None:
    world.addresses.open.clear()
    task = world.start()
    await world.put(1)
    async with asyncio.timeout(TIMEOUT):
        while not world.addresses.told:
            await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    world.state = MemoryState(world.medium)
    world.addresses.open.set()
    world.start()
    await world.history(1)
    assert world.addresses.told == [("http://a/", "body 1")] * 2


async def test_one_that_was_replaced_tells_nobody(world: World) -> None:
    await world.put(1)
    successor = MemoryState(world.medium)
    task = world.start()
    with pytest.raises(Fenced):
        async with asyncio.timeout(TIMEOUT):
            await task
    assert world.addresses.told == []
    assert len(await successor.rows(ACTIONS)) == 1


async def test_a_fault_of_ours_is_one_addresss_failure(world: World, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(url: str, body: str, timeout_seconds: float) -> int:
        raise KeyError("what nobody planned for")

    world.start(broken)
    await world.put(1, "https://hooks.example.com:8443/services/T0KEN?key=T0KEN")
    (entry,) = await world.history(1)
    assert (entry.body["outcome"], entry.body["error"]) == ("failed", "KeyError")
    assert entry.body["action"].endswith("/services/T0KEN?key=T0KEN")  # the history has the action as AWS's has
    assert "webhook.fault https://hooks.example.com:8443/…" in caplog.text
    assert "T0KEN" not in caplog.text
