"""One POST of JSON to an address, within a time.

Every byte of it can be cancelled, nothing is followed (a redirect is an answer like any other), and of the answer only the status is read.
"""

from __future__ import annotations

import asyncio
import ssl
from urllib.parse import urlsplit

from bannister.errors import Unavailable

_STATUS_BYTES_MAX = 4096


async def post(url: str, body: str, timeout_seconds: float) -> int:
    """Send a body; returns the status of the answer.

    Raises:
        Unavailable: There was no answer in time; the message says why.
    """
    try:
        async with asyncio.timeout(timeout_seconds):
            return await _exchange(url, body.encode())
    except TimeoutError:
        raise Unavailable(f"There was no answer within {timeout_seconds:g} seconds.") from None
    except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise Unavailable(str(error) or type(error).__name__) from None


async def _exchange(url: str, body: bytes) -> int:
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    context = await asyncio.to_thread(ssl.create_default_context) if secure else None
    port = parts.port or (443 if secure else 80)
    reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=context, limit=_STATUS_BYTES_MAX)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        head = (
            f"POST {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nUser-Agent: bannister\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode("ascii") + body)
        await writer.drain()
        status = 100
        while 100 <= status < 200:  # an answer may be announced before it comes
            line = (await reader.readuntil(b"\r\n")).split(b" ", 2)
            if len(line) < 2 or not line[0].startswith(b"HTTP/1."):
                raise ValueError("The answer is not HTTP.")
            status = int(line[1])
            while status < 200 and await reader.readuntil(b"\r\n") != b"\r\n":
                pass
        return status
    finally:
        writer.close()
