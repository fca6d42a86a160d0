"""A real Envoy under a real publisher, in front of small model servers that run in the test's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import pytest

from bannister.aws.runtime_errors import runtime_texts
from bannister.clock import SystemClock
from bannister.domain.fleet import Traits
from bannister.domain.instance import Instance, InstancePhase
from bannister.domain.routing import Membership, RoutePlan, Weight
from bannister.envoy.admin import Admin
from bannister.envoy.ads import DiscoveryServer
from bannister.launcher.bootstrap import envoy_command
from bannister.publisher.publisher import Publisher
from bannister.settings import Settings
from bannister.signals import Signal

PATIENCE_SECONDS = 30.0


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "text/plain"})
    #: In place of a body: each piece is a chunk of its own, sent when it comes. A ConnectionError breaks the connection.
    pieces: AsyncIterator[bytes] | None = None


#: None: break the connection without an answer.
Behaviour = Callable[[Request], Awaitable[Answer | None]]


async def says(request: Request) -> Answer:
    return Answer(body=b"ok")


class Server:
    """A model server (or the control plane, on a unix socket): HTTP/1.1 with keep-alive."""

    def __init__(self, behaviour: Behaviour = says) -> None:
        self.behaviour = behaviour
        self.invocations: list[Request] = []
        self.healthy = True
        self.ping_path = "/ping"
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self, path: Path | None = None, port: int = 0) -> Server:
        if path is not None:
            self._server = await asyncio.start_unix_server(self._serve, str(path), limit=2**20)
        else:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, limit=2**20, backlog=512)
            self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for writer in list(self._writers):
                writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while await self._serve_one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.rstrip("\r\n").split("\r\n")
        method, path, _ = first.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await _body(reader, headers)
        if path == self.ping_path:
            answer: Answer | None = Answer(200 if self.healthy else 503)
        else:
            request = Request(method, path, headers, body)
            self.invocations.append(request)
            answer = await self.behaviour(request)
        if answer is None:
            return False
        framing = (
            {"content-length": str(len(answer.body))} if answer.pieces is None else {"transfer-encoding": "chunked"}
        )
        fields = {**answer.headers, **framing}
        head = f"HTTP/1.1 {answer.status} X\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        writer.write(head.encode("latin-1") + b"\r\n" + answer.body)
        if answer.pieces is not None:
            async for piece in answer.pieces:
                writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                await writer.drain()
            writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(headers.get("content-length", "0")))
    body = b""
    while size := int((await reader.readline()).strip(), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)
    return body


@dataclass
class Response:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        return dict(json.loads(self.body))


class Client:
    """One connection, kept alive; without retries, so that nothing is hidden."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(
        self,
        path: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        *,
        method: str = "POST",
        chunked: bool = False,
    ) -> Response:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=2**22)
        reader, writer = self._streams
        fields = {"host": f"127.0.0.1:{self._port}", **(headers or {})}
        fields |= {"transfer-encoding": "chunked"} if chunked else {"content-length": str(len(body))}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        writer.write(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1"))
        for piece in _chunked(body) if chunked else [body]:
            writer.write(piece)
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *rest = head.rstrip("\r\n").split("\r\n")
            found = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
            answer = Response(int(first.split(" ")[1]), found, await _body(reader, found))
        if found.get("connection") == "close":
            self.close()
        return answer

    async def invoke(self, endpoint: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Response:
        return await self.call(f"/endpoints/{endpoint}/invocations", body, headers)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def _chunked(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), 65536):
        piece = body[start : start + 65536]
        yield f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
    yield b"0\r\n\r\n"


class Observed:
    """What an instance backend would observe; the test says what that is."""

    def __init__(self) -> None:
        self.changed = Signal()
        self._instances: dict[str, Instance] = {}

    def snapshot(self) -> tuple[Instance, ...]:
        return tuple(self._instances.values())

    def put(self, instance: Instance) -> None:
        self._instances[instance.id] = instance
        self.changed.announce()

    def phase(self, instance: str, phase: InstancePhase) -> None:
        self.put(replace(self._instances[instance], phase=phase))

    def remove(self, instance: str) -> None:
        del self._instances[instance]
        self.changed.announce()


class Edge:
    """Publisher, Envoy, a stand-in for the control plane, and any number of model servers."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.instances = Observed()
        self.control = Server()
        self.servers: list[Server] = []
        self.clients: list[Client] = []
        self.admin = Admin(settings.envoy_admin_socket)
        self.texts = runtime_texts(settings.account_id, settings.invocation_body_bytes_max)
        self.publisher = self.new_publisher()
        self._publishing: asyncio.Task[None] | None = None
        self._envoy: asyncio.subprocess.Process | None = None

    def new_publisher(self) -> Publisher:
        clock = SystemClock()
        server = DiscoveryServer(self.settings.xds_socket, self.settings.proxy_lease_seconds, clock)
        return Publisher(self.settings, self.instances, self.texts, clock, server, lambda _node: self.admin)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings.port}"

    def client(self) -> Client:
        client = Client(self.settings.port)
        self.clients.append(client)
        return client

    # --- processes

    async def start_publisher(self) -> None:
        self._publishing = asyncio.get_running_loop().create_task(self.publisher.run())
        await until(self.settings.xds_socket.exists, "the discovery service listens")

    async def stop_publisher(self) -> None:
        if self._publishing is not None:
            self._publishing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._publishing
            self._publishing = None

    async def restart_publisher(self) -> None:
        await self.stop_publisher()
        self.publisher = self.new_publisher()
        await self.start_publisher()

    async def start_envoy(self) -> None:
        self.settings.envoy_admin_socket.unlink(missing_ok=True)
        with (self.settings.data_dir / "envoy.log").open("ab") as output:
            self._envoy = await asyncio.create_subprocess_exec(
                *envoy_command(self.settings), stdout=output, stderr=output
            )

    async def kill_envoy(self) -> None:
        if self._envoy is not None and self._envoy.returncode is None:
            self._envoy.kill()
            await self._envoy.wait()

    def signal_envoy(self, name: str) -> None:
        assert self._envoy is not None
        self._envoy.send_signal(signal.Signals[name])

    async def open(self) -> None:
        await until(self._open, "Envoy listens")

    async def _open(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.settings.port)
        except OSError:
            return False
        writer.close()
        return True

    async def close(self) -> None:
        for client in self.clients:
            client.close()
        await self.kill_envoy()
        await self.stop_publisher()
        for server in [self.control, *self.servers]:
            await server.stop()

    # --- models

    async def model(
        self,
        group: str,
        behaviour: Behaviour = says,
        *,
        name: str | None = None,
        ready: bool = True,
        ping_path: str = "/ping",
    ) -> Server:
        server = Server(behaviour)
        server.ping_path = ping_path
        await server.start()
        self.servers.append(server)
        phase = InstancePhase.READY if ready else InstancePhase.STARTING
        name = name or f"{group}-{len(self.servers):03d}"
        self.instances.put(Instance(name, group, phase, "127.0.0.1", server.port, started_at=float(len(self.servers))))
        return server

    async def serve(self, *plans: RoutePlan, traits: Mapping[str, Traits] = MappingProxyType({})) -> None:
        """Ask for these plans and wait until all are acknowledged."""
        self.publisher.ask(plans, traits)
        await until(lambda: all(self.publisher.acknowledged(plan) for plan in plans), f"{plans} are acknowledged")

    def log(self) -> str:
        return (self.settings.data_dir / "envoy.log").read_text()


async def until(condition: Callable[[], bool | Awaitable[bool]], what: str) -> None:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                found = condition()
                if found if isinstance(found, bool) else await found:
                    return
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"{what}: not within {PATIENCE_SECONDS:.0f} seconds") from None


@pytest.fixture(name="steady")
def _steady() -> Callable[..., RoutePlan]:
    return steady


@pytest.fixture(name="split")
def _split() -> Callable[..., RoutePlan]:
    return split


@pytest.fixture(name="answer")
def _answer() -> type[Answer]:
    return Answer


@pytest.fixture(name="until")
def _until() -> Callable[..., Awaitable[None]]:
    return until


def steady(endpoint: str, group: str, count: int = 1, variant: str = "AllTraffic") -> RoutePlan:
    """An endpoint at rest, with one group."""
    return RoutePlan(endpoint, (Membership(group, count, 0),), (Weight(group, variant, 1_000_000, 1_000_000),))


def split(endpoint: str, blue: str, green: str, green_parts: int, green_instances: int = 1) -> RoutePlan:
    """A deployment's plan: green must be warm, blue is never waited for."""
    return RoutePlan(
        endpoint,
        (Membership(blue, 1, 0), Membership(green, green_instances, green_instances)),
        (
            Weight(blue, "AllTraffic", 1_000_000 - green_parts, 1_000_000 - green_parts),
            Weight(green, "AllTraffic", green_parts, green_parts),
        ),
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, port=free_port(), proxy_workers=2)


@pytest.fixture
async def bare_edge(settings: Settings) -> AsyncIterator[Edge]:
    """Nothing runs yet."""
    settings.run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    edge = Edge(settings)
    await edge.control.start(settings.api_socket)
    try:
        yield edge
    finally:
        await edge.close()


@pytest.fixture
async def edge(bare_edge: Edge) -> Edge:
    """Publisher and Envoy run, no endpoint exists yet."""
    await bare_edge.start_publisher()
    bare_edge.publisher.ask([])
    await bare_edge.start_envoy()
    await bare_edge.open()
    return bare_edge


class Traffic:
    """Steady requests without retries, half of them on fresh connections; remembers every one that was lost."""

    def __init__(self, edge: Edge, endpoint: str, per_second: float = 200.0) -> None:
        self._edge = edge
        self._endpoint = endpoint
        self._senders = 10
        self._pause = self._senders / per_second
        self._stopped = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.answered: Counter[str] = Counter()
        self.lost: list[str] = []

    async def __aenter__(self) -> Traffic:
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._send(index % 2 == 0)) for index in range(self._senders)]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._stopped.set()
        await asyncio.gather(*self._tasks)

    async def _send(self, keep: bool) -> None:
        client = self._edge.client()
        while not self._stopped.is_set():
            try:
                answer = await client.invoke(self._endpoint, b"1")
            except (OSError, EOFError, TimeoutError) as error:
                self.lost.append(repr(error))
                client.close()
            else:
                if answer.status == 200:
                    self.answered[answer.body.decode()] += 1
                else:
                    self.lost.append(f"{answer.status} {answer.body!r}")
            if not keep:
                client.close()
            await asyncio.sleep(self._pause)


@pytest.fixture(name="traffic")
def _traffic(edge: Edge) -> Callable[..., Traffic]:
    return lambda endpoint="flights", **options: Traffic(edge, endpoint, **options)
