"""Asks a proxy about itself, over its admin socket."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import msgspec

from bannister.errors import Unavailable

_TIMEOUT_SECONDS = 5.0
_ANSWER_BYTES_MAX = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class HostStatus:
    """What a proxy sees of one instance."""

    #: Its last health check succeeded, and it is not waiting for its first.
    healthy: bool
    #: Requests in flight on it.
    active_requests: int


class _SocketAddress(msgspec.Struct):
    address: str
    port_value: int = 0


class _Address(msgspec.Struct):
    socket_address: _SocketAddress | None = None


class _Stat(msgspec.Struct):
    name: str = ""
    value: str = "0"


class _Health(msgspec.Struct):
    failed_active_health_check: bool = False
    pending_active_hc: bool = False
    pending_dynamic_removal: bool = False
    eds_health_status: str = "UNKNOWN"


class _Host(msgspec.Struct):
    address: _Address
    stats: list[_Stat] = []
    health_status: _Health = msgspec.field(default_factory=_Health)


class _Cluster(msgspec.Struct):
    name: str
    host_statuses: list[_Host] = []


class _Clusters(msgspec.Struct):
    cluster_statuses: list[_Cluster] = []


_CLUSTERS = msgspec.json.Decoder(_Clusters)
_UNHEALTHY = frozenset({"UNHEALTHY", "DRAINING", "TIMEOUT", "DEGRADED"})


class Admin:
    """A client of one proxy's admin socket. All methods raise `Unavailable` when the proxy does not answer."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def clusters(self) -> dict[str, dict[str, HostStatus]]:
        """By cluster and `host:port`: every instance of the clusters that are in use (not of those still warming)."""
        document = await self._get("/clusters?format=json")
        try:
            found = _CLUSTERS.decode(document)
        except msgspec.DecodeError as error:
            raise Unavailable(f"The proxy's answer about its clusters cannot be read: {error}") from error
        return {
            cluster.name: {
                _address(host): _status(host) for host in cluster.host_statuses if host.address.socket_address
            }
            for cluster in found.cluster_statuses
        }

    async def pending_requests(self, cluster: str) -> int:
        """Requests for a cluster that wait for a connection to one of its instances: no instance counts them as its own yet."""
        name = f"cluster.{cluster}.upstream_rq_pending_active"
        document = await self._get(f"/stats?filter=^{quote(re.escape(name))}$")
        try:
            return sum(int(line.rpartition(b":")[2]) for line in document.splitlines() if line)
        except ValueError as error:
            raise Unavailable(f"The proxy's answer about its requests cannot be read: {error}") from error

    async def live(self) -> bool:
        """Whether the proxy has been configured and serves."""
        try:
            return (await self._get("/ready")).strip() == b"LIVE"
        except Unavailable:
            return False

    async def _get(self, path: str) -> bytes:
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                reader, writer = await asyncio.open_unix_connection(str(self._socket))
                try:
                    # HTTP/1.0 would be simpler to read (no chunks) but Envoy refuses it.
                    writer.write(f"GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n".encode())
                    return await _answer(reader)
                finally:
                    writer.close()
        except (OSError, TimeoutError, EOFError, ValueError) as error:
            raise Unavailable(f"The proxy's admin socket does not answer: {error!r}") from error


async def _answer(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = head.split(b" ", 2)[1]
    if b"transfer-encoding: chunked" in head:
        body = await _chunks(reader)
    else:
        body = await reader.read(_ANSWER_BYTES_MAX)
    if status != b"200":
        raise ValueError(f"status {status.decode()}")
    return body


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while size := int((await reader.readline()).strip() or b"0", 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
        if len(body) > _ANSWER_BYTES_MAX:
            raise ValueError("the answer is too large")
    return bytes(body)


def _address(host: _Host) -> str:
    address = host.address.socket_address
    assert address is not None
    return f"{address.address}:{address.port_value}"


def _status(host: _Host) -> HostStatus:
    health = host.health_status
    sick = health.failed_active_health_check or health.pending_active_hc or health.pending_dynamic_removal
    active = next((int(stat.value) for stat in host.stats if stat.name == "rq_active"), 0)
    return HostStatus(not sick and health.eds_health_status not in _UNHEALTHY, active)
