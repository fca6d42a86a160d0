"""The socket on which the control plane reads reports and answers: one JSON message per line, both ways."""

from __future__ import annotations

import asyncio
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
        both = asyncio.create_task(self._send(writer)), asyncio.create_task(self._receive(reader))
        try:
            # Whichever ends first ends the other: a connection that is open and on which nothing comes would be taken for quiet.
            ended, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for one in ended:
                one.result()
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            _log.warning("The connection to the control plane broke: %s", error)
        finally:
            for one in both:
                one.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            writer.close()
            _log.info("The control plane has disconnected.")

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        sent = 0
        while True:
            seen = self._outbox.changed.version
            while (report := self._outbox.next_after(sent)) is not None:
                sent = report.sequence
                line = _line(report)
                if line is None:
                    self._outbox.give_up(report)
                    continue
                writer.write(line)
                await writer.drain()
            await self._outbox.changed.wait_past(seen)

    async def _receive(self, reader: asyncio.StreamReader) -> None:
        decoder = msgspec.json.Decoder(self._word)
        while line := await reader.readline():
            self._take(decoder.decode(line))


def _line(report: Any) -> bytes | None:
    """None, where it cannot be written down: a fault of ours, and what comes after it must not wait for it for ever."""
    try:
        return msgspec.json.encode(report) + b"\n"
    except (TypeError, ValueError, msgspec.MsgspecError):
        _log.exception("Report %d cannot be written down, and is left out.", report.sequence)
        return None
