"""`GET /ping` (or the path that a model has in its place), as SageMaker asks a container whether it is up: 200 within the timeout, whatever the body."""

from __future__ import annotations

import asyncio
import re
from typing import Final

_REQUEST: Final = (
    "GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: bannister\r\nAccept: */*\r\nConnection: close\r\n\r\n"
)
_HEAD_BYTES_MAX: Final = 16 * 1024
_BODY_BYTES_MAX: Final = 64 * 1024
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,9})[ \t]*\r\n", re.IGNORECASE)


async def answers_ping(host: str, port: int, path: str, timeout_seconds: float) -> bool:
    """Whether a server answers `path` with 200 in time. Never raises for what a server or the network does."""
    try:
        async with asyncio.timeout(timeout_seconds):
            return await _status(host, port, path) == 200
    except (OSError, EOFError, ValueError, asyncio.LimitOverrunError):  # refused, cut, late (TimeoutError); no HTTP
        return False


async def _status(host: str, port: int, path: str) -> int:
    reader, writer = await asyncio.open_connection(host, port, limit=_HEAD_BYTES_MAX)
    try:
        writer.write(_REQUEST.format(path=path, host=host, port=port).encode())
        head = await reader.readuntil(b"\r\n\r\n")
        version, status = head.split(None, 2)[:2]
        # The body is read, for a model server would print a traceback into its log if we hung up on it.
        length = _LENGTH.search(head)
        await reader.readexactly(min(int(length[1]), _BODY_BYTES_MAX) if length else 0)
        return int(status) if version.startswith(b"HTTP/1.") else 0
    finally:
        writer.close()
