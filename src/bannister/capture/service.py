"""The service to which Envoy tells what it observes: one stream for each exchange.

Envoy's filter is in observability mode: it sends and never waits. When both ends of an exchange were seen, the stream is ended from here, which frees its
place in Envoy's bound at once; Envoy itself would hold it for its `deferred_close_timeout`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final

from envoy.service.ext_proc.v3 import external_processor_pb2

from bannister.capture.assembly import Assembly, Budget, Role
from bannister.capture.stream import Connection, Listener
from bannister.clock import Clock
from bannister.settings import Settings

#: A message is a piece of a body with a little around it.
_AROUND_BYTES = 64 * 1024
#: Why an exchange is dropped: what was told of it is no exchange, or cannot be used.
UNREADABLE: Final = "it could not be read"
_parse = external_processor_pb2.ProcessingRequest.FromString


class _Exchange:
    """Listens to one stream and puts its messages together."""

    __slots__ = ("_heard", "_service", "assembly", "since")

    def __init__(self, service: CaptureService, assembly: Assembly, since: float) -> None:
        self._service = service
        self._heard = False
        self.assembly = assembly
        self.since = since

    def take(self, message: bytes) -> bool:
        self._hear()
        had_begun = self.assembly.role is not None
        self.assembly.take(_parse(message), self._service.clock.monotonic())
        if not had_begun and self.assembly.role is not None:
            self._service.begun(self.assembly)
        return self.assembly.is_whole

    def skip(self) -> bool:
        self._hear()
        self.assembly.skip()
        return self.assembly.is_whole

    def _hear(self) -> None:
        if not self._heard:
            self._heard = True
            self._service.heard += 1

    @property
    def was_heard(self) -> bool:
        return self._heard

    def end(self) -> None:
        self._service.ended(self)


class CaptureService:
    """Hands every assembly on, whole or not, when nothing more of it comes; `lost` is told of those that found no room, or make no sense."""

    def __init__(
        self, settings: Settings, clock: Clock, done: Callable[[Assembly], None], lost: Callable[[str], None]
    ) -> None:
        self.clock = clock
        self._settings = settings
        #: Streams of which something came, or that found no room, since the start.
        self.heard = 0
        #: Those of them that are over.
        self.settled = 0
        self._done = done
        self._lost = lost
        self._budget = Budget(settings.capture_open_bytes_max)
        #: The oldest first.
        self._open: dict[_Exchange, None] = {}
        #: Those of them whose beginning was told.
        self._under_way: Counter[tuple[str, Role]] = Counter()
        self._connections: set[_Counted] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen on a unix socket, in place of one that an earlier process left there."""
        socket = self._settings.exchange_socket
        socket.unlink(missing_ok=True)
        self._server = await asyncio.get_running_loop().create_unix_server(self._connection, str(socket))

    def close(self) -> None:
        """Hear nothing more: what came of those that are open is handed on as it is."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.close()
        self._settings.exchange_socket.unlink(missing_ok=True)

    def expire(self) -> None:
        """Give up exchanges that take too long: what came of them is handed on as it is."""
        before = self.clock.monotonic() - self._settings.capture_exchange_seconds_max
        while self._open and (oldest := next(iter(self._open))).since <= before:
            for connection in self._connections:
                connection.drop(oldest)
            self._open.pop(oldest, None)

    def _connection(self) -> Connection:
        return _Counted(self._connections, self._admit, self._settings.capture_body_bytes_max + _AROUND_BYTES)

    def _admit(self) -> Listener | None:
        if len(self._open) >= self._settings.capture_open_exchanges_max:
            self.heard += 1
            self.settled += 1
            self._lost("too many exchanges at the same time")
            return None
        assembly = Assembly(self._budget, self._settings.capture_body_bytes_max)
        exchange = _Exchange(self, assembly, self.clock.monotonic())
        self._open[exchange] = None
        return exchange

    def is_under_way(self, request_id: str, role: Role) -> bool:
        """Whether the beginning of this exchange was told, and its end was not yet."""
        return (request_id, role) in self._under_way

    def begun(self, assembly: Assembly) -> None:
        """It is known which exchange it is."""
        if assembly.role is not None:
            self._under_way[assembly.request_id, assembly.role] += 1

    def ended(self, exchange: _Exchange) -> None:
        """Nothing more of it comes."""
        self._open.pop(exchange, None)
        self.settled += exchange.was_heard
        assembly = exchange.assembly
        assembly.release()
        if assembly.role is not None:
            key = assembly.request_id, assembly.role
            self._under_way[key] -= 1
            if not self._under_way[key]:
                del self._under_way[key]
            self._done(assembly)
        elif exchange.was_heard:
            self._lost(UNREADABLE)


class _Counted(Connection):
    """A connection that is known while it is open."""

    def __init__(self, known: set[_Counted], admit: Callable[[], Listener | None], message_bytes_max: int) -> None:
        super().__init__(admit, message_bytes_max)
        self._known = known

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._known.add(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._known.discard(self)
        super().connection_lost(error)
