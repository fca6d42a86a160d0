"""The aggregated discovery service (state of the world) over gRPC, on a unix socket; what is said is `bannister.envoy.discovery`'s."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2
from grpc import aio

from bannister.clock import Clock
from bannister.envoy.discovery import Discovery, Request, Response
from bannister.envoy.snapshot import Kind

log = logging.getLogger(__name__)

_SOCKET_MODE: Final = 0o600
_DIRECTORY_MODE: Final = 0o700
_STOP_GRACE_SECONDS: Final = 0.2
_KINDS: Final = {kind.value: kind for kind in Kind}


class DiscoveryServer(Discovery):
    """Serves proxies on a unix socket. For one event loop."""

    def __init__(
        self,
        socket: Path,
        lease_seconds: float,
        clock: Clock,
        fence: Callable[[], None] = lambda: None,
        expected: Iterable[str] = (),
    ) -> None:
        """`fence` is called before anything is sent; it does not return when another process has taken over."""
        super().__init__(lease_seconds, clock, expected)
        self._socket = socket
        self._fence = fence
        self._server: Any = None

    async def start(self) -> None:
        """Listen. Proxies wait until the first snapshot is published."""
        self._socket.parent.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
        self._socket.unlink(missing_ok=True)
        self._server = aio.server()
        ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(_Servicer(self, self._fence), self._server)
        self._server.add_insecure_port(f"unix:{self._socket}")
        await self._server.start()
        self._socket.chmod(_SOCKET_MODE)
        self.listens()

    async def close(self) -> None:
        """Hang up. Proxies go on with what they have."""
        if self._server is not None:
            await self._server.stop(_STOP_GRACE_SECONDS)
        self._socket.unlink(missing_ok=True)


class _Servicer(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):  # type: ignore[misc]  # untyped base
    def __init__(self, discovery: Discovery, fence: Callable[[], None]) -> None:
        self._discovery = discovery
        self._fence = fence

    async def StreamAggregatedResources(self, requests: Any, context: Any) -> None:  # noqa: N802  # gRPC's name
        async def write(response: Response) -> None:
            self._fence()
            with contextlib.suppress(aio.UsageError):  # the stream ended meanwhile; its reader says so
                await context.write(_message(response))

        stream = self._discovery.open(write)
        try:
            async with asyncio.TaskGroup() as tasks:
                sender = tasks.create_task(stream.send())
                async for message in requests:
                    request = _request(message)
                    if request is not None:
                        stream.receive(request)
                sender.cancel()
        finally:
            stream.close()


def _request(message: Any) -> Request | None:
    kind = _KINDS.get(message.type_url)
    if kind is None:
        log.warning("A proxy asks for %s, which is not ours to give.", message.type_url)
        return None
    return Request(
        kind,
        message.node.id or "unnamed",
        message.version_info,
        message.response_nonce,
        frozenset(message.resource_names),
        message.error_detail.message if message.HasField("error_detail") else None,
    )


def _message(response: Response) -> Any:
    return discovery_pb2.DiscoveryResponse(
        type_url=response.kind.value,
        version_info=response.version,
        nonce=response.version,
        resources=[one.body for one in response.resources],
    )
