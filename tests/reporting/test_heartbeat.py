"""Whether a heartbeat was answered as it should be."""

from __future__ import annotations

import asyncio

import pytest

from bannister.reporting.heartbeat import send_heartbeat


@pytest.mark.parametrize(
    ("answer", "is_answered"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", False),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\n", False),
        (b"", False),
    ],
)
async def test_a_heartbeat_is_answered_by_the_whole_head_of_a_good_answer(answer: bytes, is_answered: bool) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert await send_heartbeat(port, "/beat", "run", 1) is is_answered
    assert not await send_heartbeat(port, "/beat", "run", 2), "nobody listens"
