"""Asks a proxy about itself, over its admin socket."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlencode

import msgspec

from bannister.envoy.resources.names import ACCESS_LOG, CAPTURE, CAPTURE_LARGE, HOP_PATTERN, XDS
from bannister.errors import Unavailable

_TIMEOUT_SECONDS = 5.0
_HEAD: Final = "Host: admin\r\nConnection: close\r\nContent-Length: 0\r\n"
_ANSWER_BYTES_MAX = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class HostStatus:
    """What a proxy sees of one instance."""

    #: Its last health check succeeded, and it is not waiting for its first.
    healthy: bool
    #: Requests in flight on it.
    active_requests: int


@dataclass(frozen=True, slots=True)
class HopStatus:
    """Copies on one hop cluster (`bannister.envoy.resources.shadow`)."""

    #: How many may be under way.
    places: int = 0
    #: How many are; also of a cluster that is gone, until they have ended.
    under_way: int = 0


@dataclass(frozen=True, slots=True)
class Copies:
    """What a proxy has to do with copies."""

    #: Its heap as a part of its bound (`proxy_heap_bytes_max`).
    heap_share: float
    #: By name: the hop clusters that have places or copies under way.
    hops: Mapping[str, HopStatus]
    #: Whether it tells the capture process of exchanges (`Admin.observe`).
    observes: bool = True


#: Requests of callers and copies that have come; and those that were given to a cluster, or wait for a connection to it.
_HELD_FILTER: Final = r"^(http\.(edge|shadow)\.downstream_rq_active|cluster\..+\.upstream_rq_(pending_)?active)$"
_CAME: Final = re.compile(r"http\.(?:edge|shadow)\.downstream_rq_active: (\d+)$")
_GIVEN: Final = re.compile(r"cluster\.(.+)\.upstream_rq_(?:pending_)?active: (\d+)$")
#: What the proxy asks for itself, and the ways of copies: these come again on the listener at their end.
_NOT_FOR_CALLERS: Final = re.compile(f"{ACCESS_LOG}|{CAPTURE}|{CAPTURE_LARGE}|{XDS}|{HOP_PATTERN}")


class NotDone(Unavailable):
    """The proxy answered, and did not do what it was asked for."""


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


class _Entry(msgspec.Struct):
    final_value: str = ""


class _Runtime(msgspec.Struct):
    entries: dict[str, _Entry] = {}


_RUNTIME = msgspec.json.Decoder(_Runtime)
_CLUSTERS = msgspec.json.Decoder(_Clusters)
_PRESSURE: Final = "overload.envoy.resource_monitors.fixed_heap.pressure"
_UNDER_WAY: Final = re.compile(rf"^cluster\.({HOP_PATTERN})\.upstream_rq_(?:pending_)?active: (\d+)$")
_COPIES_FILTER: Final = rf"^({re.escape(_PRESSURE)}$|cluster\.{HOP_PATTERN}\.upstream_rq_(pending_)?active$)"
_PLACES: Final = re.compile(rf"^circuit_breakers\.({HOP_PATTERN})\.default\.max_requests$")
#: Of the ways to the capture process: how many exchanges may be told of at the same time. Without these settings as many as the bootstrap document says.
_OBSERVED: Final = tuple(f"circuit_breakers.{name}.default.max_requests" for name in (CAPTURE, CAPTURE_LARGE))
#: Hops of which one request to the admin socket changes the places: its line is bounded.
_HOPS_PER_CHANGE: Final = 50
_UNHEALTHY = frozenset({"UNHEALTHY", "DRAINING", "TIMEOUT", "DEGRADED"})


class Admin:
    """A client of one proxy's admin socket. All methods raise `Unavailable` when the proxy does not answer."""

    def __init__(self, socket: Path, fence: Callable[[], None] = lambda: None) -> None:
        """`fence` is called before anything is changed; it does not return when another process has taken over."""
        self._socket = socket
        self._fence = fence

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

    async def held_requests(self) -> int:
        """Requests that have come and were given to nobody yet: their bodies are counted or belong to a session, and have not come whole.

        Their groups were chosen when they came, and nothing counts them there; nor does anything tell for which groups they are. The proxy reads its gauges one after the other: under
        load this is off by as many as came or ended meanwhile, and may be below zero (`bannister.publisher.held`).
        """
        came = given = 0
        for line in (
            (await self._get(f"/stats?type=Gauges&usedonly&filter={quote(_HELD_FILTER)}")).decode().splitlines()
        ):
            if found := _CAME.match(line):
                came += int(found[1])
            elif (found := _GIVEN.match(line)) and not _NOT_FOR_CALLERS.fullmatch(found[1]):
                given += int(found[2])
        return came - given

    async def copies(self) -> Copies:
        """Its copies for shadows: how many may be under way, and how many are."""
        stats = (await self._get(f"/stats?type=Gauges&filter={quote(_COPIES_FILTER)}")).decode()
        runtime = await self._get("/runtime?format=json")
        try:
            entries = _RUNTIME.decode(runtime).entries
        except msgspec.DecodeError as error:
            raise Unavailable(f"The proxy's answer about its runtime settings cannot be read: {error}") from error
        places = {found[1]: int(one.final_value) for name, one in entries.items() if (found := _PLACES.match(name))}
        under_way: dict[str, int] = {}
        percent = 0
        for line in stats.splitlines():
            if found := _UNDER_WAY.match(line):
                under_way[found[1]] = under_way.get(found[1], 0) + int(found[2])
            elif line.startswith(_PRESSURE):
                percent = int(line.rpartition(": ")[2])
        hops = {
            name: HopStatus(places.get(name, 0), under_way.get(name, 0)) for name in places.keys() | under_way.keys()
        }
        observes = not any(name in entries for name in _OBSERVED)
        return Copies(percent / 100, {name: one for name, one in hops.items() if one != HopStatus()}, observes)

    async def set_places(self, places: Mapping[str, int]) -> None:
        """How many copies may be under way, by hop cluster; holds until it is changed, or the proxy ends.

        Raises:
            NotDone: The proxy does not let it be set.
        """
        names = sorted(places)
        for start in range(0, len(names), _HOPS_PER_CHANGE):
            settings = {
                f"circuit_breakers.{name}.default.{what}": str(places[name] or "")  # without a setting it has none
                for name in names[start : start + _HOPS_PER_CHANGE]
                for what in ("max_requests", "max_pending_requests")
            }
            await self._modify(settings)

    async def observe(self, *, on: bool) -> None:
        """Whether the capture process is told of exchanges that begin from now on; holds until it is changed, or the proxy ends.

        Raises:
            NotDone: The proxy does not let it be set.
        """
        await self._modify(dict.fromkeys(_OBSERVED, "" if on else "0"))

    async def _modify(self, settings: Mapping[str, str]) -> None:
        """`""`: as if it had never been set."""
        self._fence()
        await self._ask("POST", f"/runtime_modify?{urlencode(settings)}")

    async def live(self) -> bool:
        """Whether the proxy has been configured and serves."""
        try:
            return (await self._get("/ready")).strip() == b"LIVE"
        except Unavailable:
            return False

    async def _get(self, path: str) -> bytes:
        return await self._ask("GET", path)

    async def _ask(self, method: str, path: str) -> bytes:
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                reader, writer = await asyncio.open_unix_connection(str(self._socket))
                try:
                    # HTTP/1.0 would be simpler to read (no chunks) but Envoy refuses it.
                    writer.write(f"{method} {path} HTTP/1.1\r\n{_HEAD}\r\n".encode())
                    status, body = await _answer(reader)
                finally:
                    writer.close()
        except (OSError, TimeoutError, EOFError, ValueError) as error:
            raise Unavailable(f"The proxy's admin socket does not answer: {error!r}") from error
        if status != 200:
            raise NotDone(f"The proxy answers {status}: {body[:200].decode(errors='replace').strip()}")
        return body


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = int(head.split(b" ", 2)[1])
    if b"transfer-encoding: chunked" in head:
        body = await _chunks(reader)
    else:
        body = await reader.read(_ANSWER_BYTES_MAX)
    return status, body


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
