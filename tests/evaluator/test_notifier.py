"""Addresses are told of transitions: once the commit is made, in order, again when they do not take it, and after a restart."""

from __future__ import annotations

import asyncio
import json
import threading
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
from bannister.webhooks.post import Webhooks

TIMEOUT = 20
post = Webhooks(2).post


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
    assert "webhook.fault https://hooks.example.com/…" in caplog.text
    assert "T0KEN" not in caplog.text


# --- the POST itself, against a real socket


@pytest.fixture
async def listening() -> Any:
    """A port of this machine that answers with what a test puts there, and keeps what it heard."""
    heard: list[bytes] = []
    answer = [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        heard.append(head + await reader.readexactly(length))
        writer.write(answer[0])
        if answer[0]:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1], heard, answer
    server.close()


async def test_a_post_as_it_is_on_the_wire(listening: Any) -> None:
    port, heard, answer = listening
    body = json.dumps({"name": "größer"}, ensure_ascii=False)
    answer[0] = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 202 Accepted\r\n\r\n"
    assert await post(f"http://127.0.0.1:{port}/hook?x=1", body, TIMEOUT) == 202
    head, _, sent = heard[0].partition(b"\r\n\r\n")
    assert sent.decode() == body
    assert head.split(b"\r\n")[0] == b"POST /hook?x=1 HTTP/1.1"
    assert f"Host: 127.0.0.1:{port}".encode() in head
    assert b"Content-Type: application/json" in head


@pytest.mark.parametrize("answer", [b"SSH-2.0-x\r\n", b"HTTP/1.1 abc\r\n", b"x" * 10_000, b"HTTP/1.1"])
async def test_an_answer_that_is_none(listening: Any, answer: bytes) -> None:
    port, _, answers = listening
    answers[0] = answer
    with pytest.raises(Unavailable):
        await post(f"http://127.0.0.1:{port}/", "{}", TIMEOUT)


async def test_an_address_that_says_nothing_or_is_not_there(listening: Any) -> None:
    port, _, answers = listening
    answers[0] = b""
    with pytest.raises(Unavailable, match=r"no answer within 0\.05 seconds"):
        await post(f"http://127.0.0.1:{port}/", "{}", 0.05)
    for url in ("http://127.0.0.1:1/", f"https://127.0.0.1:{port}/"):
        with pytest.raises(Unavailable):
            await post(url, "{}", 1.0)


# --- names


class DeadResolver:
    """Says nothing about `*.dead` until it is told to, and knows all others."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, threading.Thread]] = []
        self.awake = threading.Event()

    def look_up(self, host: str, port: int) -> list[str]:
        self.asked.append((host, threading.current_thread()))
        if host.endswith(".dead"):
            self.awake.wait(TIMEOUT)
            raise OSError("Name or service not known")
        return ["127.0.0.2", "127.0.0.1"]


async def test_a_dead_resolver_holds_up_nobody(listening: Any) -> None:
    port, _, _ = listening
    resolver = DeadResolver()
    webhooks = Webhooks(2, resolver.look_up)

    async def to(host: str, timeout: float = 0.02) -> int:
        return await webhooks.post(f"http://{host}:{port}/", "{}", timeout)

    try:
        for _ in range(40):  # more than the threads of the pool that everybody shares
            with pytest.raises(Unavailable, match="no answer within"):
                await to("a.dead")
        assert len(resolver.asked) == 1
        assert await to("some.name", TIMEOUT) == 200  # at the second of its addresses
        with pytest.raises(Unavailable, match="no answer within"):
            await to("b.dead")
        with pytest.raises(Unavailable, match="2 other names are still being looked up"):
            await to("other.name")
        assert await to("127.0.0.1", TIMEOUT) == 200
        assert await asyncio.wait_for(asyncio.to_thread(lambda: 5), TIMEOUT) == 5
        assert all(thread.daemon for _, thread in resolver.asked), "the end of the process would wait for it"
    finally:
        resolver.awake.set()
    with pytest.raises(Unavailable, match="Name or service not known"):
        await to("a.dead", TIMEOUT)
    assert await to("other.name", TIMEOUT) == 200


async def test_what_a_look_up_fails_with_is_said() -> None:
    def broken(host: str, port: int) -> list[str]:
        raise UnicodeError("label too long")

    with pytest.raises(Unavailable, match="label too long"):
        await Webhooks(1, broken).post("http://a.name/", "{}", TIMEOUT)
    with pytest.raises(Unavailable, match="has no address"):
        await Webhooks(1, lambda host, port: []).post("http://a.name/", "{}", TIMEOUT)
