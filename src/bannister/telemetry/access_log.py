"""The service to which Envoy sends its access log."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import grpc
from envoy.service.accesslog.v3 import als_pb2, als_pb2_grpc

_log = logging.getLogger(__name__)

#: Envoy sends about its buffer size (64 KiB) at once, more after it could not send for a while.
_MESSAGE_BYTES_MAX = 16 * 1024 * 1024


class AccessLogService(als_pb2_grpc.AccessLogServiceServicer):  # type: ignore[misc]  # generated, untyped
    """Hands every entry of every stream on. Each of Envoy's threads has a stream; one that ends is a possible gap."""

    def __init__(self, take: Callable[[Iterable[Any]], None], stream_broken: Callable[[], None]) -> None:
        self._take = take
        self._stream_broken = stream_broken

    async def StreamAccessLogs(self, messages: AsyncIterator[Any], context: Any) -> Any:  # noqa: N802  # gRPC's name
        """Take entries for as long as Envoy sends them."""
        _log.info("An access log stream was opened.")
        try:
            async for message in messages:
                self._take(message.http_logs.log_entry)
        finally:
            _log.info("An access log stream has ended.")
            self._stream_broken()
        return als_pb2.StreamAccessLogsResponse()


async def serve(service: AccessLogService, socket: Path) -> grpc.aio.Server:
    """Start the service on a unix socket, in place of one that an earlier process left there."""
    socket.unlink(missing_ok=True)
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", _MESSAGE_BYTES_MAX)])
    als_pb2_grpc.add_AccessLogServiceServicer_to_server(service, server)
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    return server
