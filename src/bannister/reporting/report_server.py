"""The socket on which the control plane reads reports and answers: one JSON message per line, both ways."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from bannister.reporting.outbox import Outbox

_log = logging.getLogger(__name__)

WordT = TypeVar("WordT")
#: The longest line that the control plane may send.
_WORD_BYTES_MAX = 64 * 1024 * 1024


class ReportServer(Generic[WordT]):
    """Sends each connection all unacknowledged reports, then new ones. The newest connection replaces the one before:
    there is one control plane, and a second connection means that the first is dead or dying.
    """

    def __init__(
        self, outbox: Outbox[Any, Any], socket: Path, word: type[WordT], take: Callable[[WordT], None]
    ) -> None:
        """`take` is called with every message of the control plane, which is a `word`."""
        self._outbox = outbox
        self._word = word
        self._take = take
        self._socket = socket
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._socket.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._connected, str(self._socket), limit=_WORD_BYTES_MAX)

    @property
    def is_connected(self) -> bool:
        """A control plane is there, as far as is known."""
        return bool(self._connections)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._end_connections()
        self._socket.unlink(missing_ok=True)

    async def _end_connections(self) -> None:
        ended = list(self._connections)
        for task in ended:
            task.cancel()
        await asyncio.gather(*ended, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._end_connections()
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _log.info("The control plane has connected.")
        sending = asyncio.create_task(self._send(writer))
        try:
            await self._receive(reader)
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            _log.warning("The connection to the control plane broke: %s", error)
        finally:
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await sending
            writer.close()
            _log.info("The control plane has disconnected.")

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        sent = 0
        while True:
            seen = self._outbox.changed.version
            while (report := self._outbox.next_after(sent)) is not None:
                writer.write(msgspec.json.encode(report) + b"\n")
                await writer.drain()
                sent = report.sequence
            await self._outbox.changed.wait_past(seen)

    async def _receive(self, reader: asyncio.StreamReader) -> None:
        decoder = msgspec.json.Decoder(self._word)
        while line := await reader.readline():
            self._take(decoder.decode(line))
