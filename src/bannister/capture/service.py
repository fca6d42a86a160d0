"""The service to which Envoy tells what it observes: one stream for each exchange.

Envoy's filter is in observability mode: it sends and never waits. When both ends of an exchange were seen, the stream is closed from here, which frees its
place in Envoy's bound at once; Envoy itself would hold it for its `deferred_close_timeout`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from envoy.service.ext_proc.v3 import external_processor_pb2_grpc

from bannister.capture.assembly import Assembly, Budget
from bannister.clock import Clock
from bannister.settings import Settings

_log = logging.getLogger(__name__)

#: One message holds a piece of a body, of at most Envoy's buffer.
_MESSAGE_BYTES_MAX = 64 * 1024 * 1024


class CaptureService(external_processor_pb2_grpc.ExternalProcessorServicer):  # type: ignore[misc]  # generated, untyped
    """Hands every assembly on, whole or not, when nothing more of it comes; `lost` is told of those that found no room."""

    def __init__(
        self, settings: Settings, clock: Clock, done: Callable[[Assembly], None], lost: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._done = done
        self._lost = lost
        self._budget = Budget(settings.capture_open_bytes_max)
        self._open = 0

    async def Process(self, _: Any, context: Any) -> None:  # noqa: N802  # gRPC's name
        """One exchange."""
        if self._open >= self._settings.capture_open_exchanges_max:
            self._lost("too many exchanges at the same time")
            return
        self._open += 1
        assembly = Assembly(self._budget, self._settings.capture_body_bytes_max)
        try:
            async with asyncio.timeout(self._settings.capture_exchange_seconds_max):
                await self._read(assembly, context)
        except TimeoutError:
            _log.info("An exchange with %s took too long to be captured whole.", assembly.group)
        finally:
            self._open -= 1
            assembly.release()
            if assembly.role is not None:
                self._done(assembly)

    async def _read(self, assembly: Assembly, context: Any) -> None:
        while not assembly.is_whole:
            message = await context.read()
            if message is grpc.aio.EOF:
                return
            assembly.take(message, self._clock.monotonic())


async def serve(service: CaptureService, socket: Path) -> grpc.aio.Server:
    """Start the service on a unix socket, in place of one that an earlier process left there."""
    socket.unlink(missing_ok=True)
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", _MESSAGE_BYTES_MAX)])
    external_processor_pb2_grpc.add_ExternalProcessorServicer_to_server(service, server)
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    return server
