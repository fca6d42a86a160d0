"""One POST, against a real socket: what is on the wire, what is no answer, and names that are looked up for ever."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest

from bannister.errors import Unavailable
from bannister.webhooks.post import Webhooks

TIMEOUT = 20
post = Webhooks(2).post


@pytest.fixture
async def listening() -> Any:
    """A port of this machine that answers with what a test puts there, and keeps what it heard."""
    heard: list[bytes] = []
    answer = [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]
    silent: list[asyncio.StreamWriter] = []  # one that nobody knows of any more closes its connection

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        heard.append(head + await reader.readexactly(length))
        writer.write(answer[0])
        if answer[0]:
            writer.close()
        else:
            silent.append(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1], heard, answer
    server.close()
    for writer in silent:
        writer.close()


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


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (b"SSH-2.0-x\r\n", "is not HTTP"),
        (b"HTTP/1.1 abc\r\n", "is not HTTP"),
        (b"x" * 10_000, "is not HTTP"),
        (b"HTTP/1.1", "closed before the answer was whole"),
    ],
)
async def test_an_answer_that_is_none(listening: Any, answer: bytes, sentence: str) -> None:
    port, _, answers = listening
    answers[0] = answer
    with pytest.raises(Unavailable, match=sentence):
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
