"""The request that proves that requests come through and are seen."""

from __future__ import annotations

import asyncio
import contextlib

#: A heartbeat that is not answered by then is given up; the next one is sent.
_TIMEOUT_SECONDS = 1.0


async def send_heartbeat(port: int, path: str, run: str, number: int) -> bool:
    """Send one heartbeat to this path through Envoy on a connection of its own, so that they spread over Envoy's threads.

    Returns whether it was answered as it should be. What counts is whether it is seen on its way.
    """
    answer = b""
    request = (
        f"GET {path}?run={run}&n={number} HTTP/1.1\r\n"
        f"Host: 127.0.0.1:{port}\r\nUser-Agent: bannister-heartbeat\r\nConnection: close\r\n\r\n"
    )
    with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(request.encode())
                # Not until it closes the connection: Envoy waits a second for the client to do so.
                answer = await reader.readuntil(b"\r\n\r\n")
            finally:
                writer.close()
    return answer.startswith(b"HTTP/1.1 200 ")
