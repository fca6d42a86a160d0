"""`GET /ping` (or the path that a model has in its place), as SageMaker asks a container whether it is up: 200 within the timeout, whatever the body.

A server may say in the body what the people who release it should know: `{"warnings": ["…"]}`, a sentence each. The built-in runtime does, where a model was saved by
another version of a library. It is up all the same; the deployment that brings it is told.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from typing import Final

_REQUEST: Final = (
    "GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: bannister\r\nAccept: */*\r\nConnection: close\r\n\r\n"
)
_HEAD_BYTES_MAX: Final = 16 * 1024
_BODY_BYTES_MAX: Final = 64 * 1024
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,9})[ \t]*\r\n", re.IGNORECASE)
#: So many sentences of a server are heard, and so much of each.
WARNINGS_MAX: Final = 5
WARNING_CHARACTERS_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a ping."""

    #: 200, in time.
    up: bool
    warnings: tuple[str, ...] = ()


async def asked(host: str, port: int, path: str, timeout_seconds: float) -> Answer:
    """Whether a server answers `path` with 200 in time, and what it warns of. Never raises for what a server or the network does."""
    try:
        async with asyncio.timeout(timeout_seconds):
            status, body = await _answer(host, port, path)
    except (OSError, EOFError, ValueError, asyncio.LimitOverrunError):  # refused, cut, late (TimeoutError); no HTTP
        return Answer(up=False)
    return Answer(up=status == 200, warnings=_warnings(body))


def _warnings(body: bytes) -> tuple[str, ...]:
    """Each once, without what could disturb a terminal; a body of another kind has none."""
    if not body.startswith(b"{") or b'"warnings"' not in body:
        return ()
    try:
        said = json.loads(body).get("warnings")
    except (ValueError, RecursionError):
        return ()
    sentences = [one for one in said if isinstance(one, str)] if isinstance(said, list) else []
    plain = ["".join(filter(str.isprintable, one)).strip()[:WARNING_CHARACTERS_MAX] for one in sentences]
    return tuple(dict.fromkeys(filter(None, plain)))[:WARNINGS_MAX]


async def _answer(host: str, port: int, path: str) -> tuple[int, bytes]:
    """The status (0: this is no HTTP), and the body as far as it is announced."""
    reader, writer = await asyncio.open_connection(host, port, limit=_HEAD_BYTES_MAX)
    try:
        writer.write(_REQUEST.format(path=path, host=host, port=port).encode())
        head = await reader.readuntil(b"\r\n\r\n")
        version, status = head.split(None, 2)[:2]
        # The body is read, also where nobody wants it: a model server would print a traceback into its log if we hung up on it.
        length = _LENGTH.search(head)
        body = await reader.readexactly(min(int(length[1]), _BODY_BYTES_MAX) if length else 0)
        return (int(status) if version.startswith(b"HTTP/1.") else 0), body
    finally:
        writer.close()
