"""What a streamed answer costs a token in time: 1,000 tokens from the model itself, through an invocation, and as an event stream, in turns."""

from __future__ import annotations

import asyncio
import re
import time
from statistics import median

import pytest

pytestmark = [pytest.mark.real, pytest.mark.alone]

TOKENS = 1000
PAUSE_SECONDS = 0.001
ROUNDS = 3
#: At the median.
ADDED_SECONDS_MAX = 0.001
TOKEN = re.compile(rb"<(\d+\.\d+)>")


async def tokens():
    """Each is the time at which it was made."""
    for _ in range(TOKENS):
        yield f"<{time.perf_counter():.9f}>".encode()
        await asyncio.sleep(PAUSE_SECONDS)


async def delays(port: int, path: str) -> list[float]:
    """How old each token is when it arrives."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n1".encode())
    found: list[float] = []
    buffer = b""
    async with asyncio.timeout(30):
        while len(found) < TOKENS:
            buffer += await reader.read(65536)
            now = time.perf_counter()
            end = 0
            for token in TOKEN.finditer(buffer):
                found.append(now - float(token[1]))
                end = token.end()
            buffer = buffer[end:]
    writer.close()
    return found


async def test_a_token_is_hardly_later_for_being_an_event(edge, steady, answer):
    async def streams(request):
        return answer(pieces=tokens())

    model = await edge.model("g1", streams)
    await edge.serve(steady("flights", "g1"))
    ways = {
        "the model itself": (model.port, "/invocations"),
        "an invocation": (edge.settings.port, "/endpoints/flights/invocations"),
        "a stream": (edge.settings.port, "/endpoints/flights/invocations-response-stream"),
    }
    found: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, (port, path) in ways.items():
            found[way].append(median(await delays(port, path)))
    medians = {way: median(some) for way, some in found.items()}
    print("\n" + ", ".join(f"{way}: {1e6 * one:.0f} us" for way, one in medians.items()))
    assert medians["a stream"] - medians["the model itself"] < ADDED_SECONDS_MAX
