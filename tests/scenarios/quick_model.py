"""A model server that is never the bottleneck, as a program: `python quick_model.py PORT`. It answers with what it read: the body's digest and length.

`MODE` in its environment says how it behaves towards invocations; `/ping` is answered in every mode:

    healthy    at once
    json       at once, as JSON
    sleeps     after 20 milliseconds, as a model that waits for something and computes little
    slow       after 2 seconds
    errors     with status 500
    tarpit     never; it accepts a request and reads no further
    refusing   at once, when it listens: every other half second it does not, and resets what is open
    streams    in as many pieces as the body says, one each tenth of a second
    tokens     in as many pieces as the body says, one each millisecond, each the moment at which it was sent (CLOCK_MONOTONIC, nanoseconds)
"""

import asyncio
import hashlib
import json
import os
import socket
import struct
import sys
import time
from typing import Any, ClassVar

LATE_SECONDS = {"sleeps": 0.02, "slow": 2.0}
REFUSING_SECONDS = 0.5
PIECE_SECONDS = {"streams": 0.1, "tokens": 0.001}
MODE = os.environ.get("MODE", "healthy")


class Connection(asyncio.Protocol):
    """HTTP/1.1 with keep-alive, as much of it as Envoy speaks to a model."""

    open: ClassVar[set[Any]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._head = b""
        self._path = b""
        self._left: int | None = None
        self._chunked = False
        Connection.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        Connection.open.discard(self)

    def reset(self) -> None:
        """Break the connection without the courtesy of an end."""
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        while data:
            if self._left is None:
                self._head += data
                head, found, data = self._head.partition(b"\r\n\r\n")
                if not found:
                    return
                self._begin(head)
                if MODE == "tarpit" and self._path != b"/ping":
                    self._transport.pause_reading()
                    return
            if self._chunked:
                data = self._chunks(data)
            else:
                assert self._left is not None
                piece, data = data[: self._left], data[self._left :]
                self._add(piece)
                self._left -= len(piece)
            if self._left == 0:
                self._end()

    def _begin(self, head: bytes) -> None:
        first, *lines = head.split(b"\r\n")
        self._path = first.split(b" ")[1]
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        self._chunked = fields.get(b"transfer-encoding") == b"chunked"
        self._left = -1 if self._chunked else int(fields.get(b"content-length", b"0"))
        self._head, self._pending = b"", b""
        self._digest, self._length = hashlib.sha256(), 0
        self._body = b""
        if self._left == 0:
            self._end()

    def _add(self, piece: bytes) -> None:
        if MODE in PIECE_SECONDS:
            self._body += piece
        self._digest.update(piece)
        self._length += len(piece)

    def _chunks(self, data: bytes) -> bytes:
        """Take whole chunks; what is left is not whole yet, or belongs to the next request."""
        data, self._pending = self._pending + data, b""
        while True:
            size, found, rest = data.partition(b"\r\n")
            length = int(size, 16) if found else -1
            if not found or len(rest) < length + 2:
                self._pending = data
                return b""
            self._add(rest[:length])
            data = rest[length + 2 :]
            if length == 0:
                self._left = 0
                return data

    def _end(self) -> None:
        self._left = None
        if self._path == b"/ping":
            self._answer(200, b"")
        elif MODE in PIECE_SECONDS:
            self._transport.write(b"HTTP/1.1 200 X\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n")
            self._piece(0, int(self._body))
        elif MODE in LATE_SECONDS:
            body = self._result()
            asyncio.get_running_loop().call_later(LATE_SECONDS[MODE], self._answer, 200, body)
        else:
            self._answer(500 if MODE == "errors" else 200, self._result())

    def _piece(self, index: int, count: int) -> None:
        if self._transport.is_closing():
            return
        said = time.monotonic_ns() if MODE == "tokens" else index
        piece = f"{said} ".encode() if index < count else b""
        self._transport.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        if piece:
            asyncio.get_running_loop().call_later(PIECE_SECONDS[MODE], self._piece, index + 1, count)

    def _result(self) -> bytes:
        digest = self._digest.hexdigest()
        if MODE == "json":
            return json.dumps({"version": MODE, "digest": digest, "length": self._length}).encode()
        return f"{digest} {self._length}".encode()

    def _answer(self, status: int, body: bytes) -> None:
        kind = "application/json" if MODE == "json" else "text/plain"
        head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
        if not self._transport.is_closing():
            self._transport.write(head.encode() + body)


async def main(port: int) -> None:
    loop = asyncio.get_running_loop()
    while True:
        server = await loop.create_server(Connection, "127.0.0.1", port, backlog=512)
        await asyncio.sleep(REFUSING_SECONDS if MODE == "refusing" else 1e6)
        server.close()
        for one in [*Connection.open]:
            one.reset()
        await asyncio.sleep(REFUSING_SECONDS)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
