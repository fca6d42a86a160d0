"""A container engine without containers, for the tests: `python container_engine.py SOCKET REGISTRY…`.

It speaks the part of Docker's API that `bannister.instances.engine` uses, in the shapes and with the statuses of Docker Engine 27, and runs real processes with
real logs, signals and exit statuses. What it pretends is what needs a kernel: that a port is published, by telling the program the published port where it is
told its own, and that a folder is mounted, by telling it the folder. The images that its registry has are named on the command line; all are the machine's Python.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

PULLED_SECONDS = 0.05
#: A pull of an image with this in its name tells so much more: many layers, told of ten times a second for an hour.
LARGE = "large"
LARGE_TOLD_BYTES = 20 * 1024 * 1024


@dataclass
class Container:
    name: str
    definition: dict
    status: str = "created"
    exit_code: int = 0
    error: str = ""
    process: asyncio.subprocess.Process | None = None
    #: What it printed: nanoseconds, stream, line.
    log: list[tuple[int, int, bytes]] = field(default_factory=list)
    printed: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    shares: int = 0
    image: str = ""

    @property
    def mounts(self) -> list[dict]:
        return [
            {"Type": one["Type"], "Source": one["Source"], "Destination": one["Target"], "RW": not one["ReadOnly"]}
            for one in self.definition["HostConfig"].get("Mounts", [])
        ]

    @property
    def id(self) -> str:
        return hashlib.sha256(self.name.encode()).hexdigest()

    @property
    def running(self) -> bool:
        return self.status == "running"


class Refusal(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Engine:
    def __init__(self, registry: list[str]) -> None:
        self.registry = registry
        #: By name, what it means now; and all that there ever were.
        self.images: dict[str, str] = {}
        self.ids: set[str] = set()
        #: What the registry gives by its digest.
        self.sources: dict[str, str] = {}
        self.containers: dict[str, Container] = {}
        #: So many signals are still refused, as by an engine that has other trouble.
        self.kills_refused = 0
        #: So many questions about containers are still answered with trouble of its own.
        self.troubles = 0

    async def serve(self, path: str) -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        server = await asyncio.start_unix_server(self._one, path)
        await stop.wait()
        server.close()
        for container in self.containers.values():
            if container.process is not None and container.process.returncode is None:
                container.process.kill()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, target, _ = head.split(" ", 2)
            length = next(
                (int(line.split(":")[1]) for line in head.split("\r\n") if line.lower().startswith("content-length")), 0
            )
            body = json.loads(await reader.readexactly(length)) if length else {}
            parts = urlsplit(target)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            try:
                status, document = await self._answer(
                    method, unquote(parts.path).strip("/").split("/"), query, body, writer
                )
            except Refusal as refusal:
                status, document = refusal.status, {"message": str(refusal)}
            if status:
                content = (
                    b""
                    if document is None
                    else document
                    if isinstance(document, bytes)
                    else json.dumps(document).encode() + b"\n"
                )
                writer.write(f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nConnection: close\r\n".encode())
                writer.write(b"\r\n" if status == 204 else f"Content-Length: {len(content)}\r\n\r\n".encode() + content)
            await writer.drain()
        except (EOFError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, method, path, query, body, writer):
        match method, path:
            case "GET", ["_ping"]:
                return 200, b"OK"
            case "GET", ["info"]:
                return 200, {"NCPU": 4, "MemTotal": 2**34, "MemoryLimit": True, "CpuCfsQuota": True}
            case "GET", ["images", *name, "json"]:
                found = self._image("/".join(name))
                return 200, {
                    "Id": found,
                    "RepoDigests": [source for source, each in self.sources.items() if each == found],
                }
            case "DELETE", ["images", *name]:
                removed = self._image("/".join(name))
                self.ids.remove(removed)
                self.images = {name: each for name, each in self.images.items() if each != removed}
                return 200, [{"Deleted": removed}]
            case "POST", ["test", "forget-digests"]:
                self.sources.clear()
                return 204, None
            case "POST", ["images", "create"]:
                return await self._pull(query["fromImage"])
            case "POST", ["test", "trouble"]:
                self.troubles = int(query["times"])
                return 204, None
            case "POST", ["test", "refuse-kills"]:
                self.kills_refused = int(query["times"])
                return 204, None
            case "GET", ["containers", "json"]:
                return 200, self._list(query)
            case "POST", ["containers", "create"]:
                return self._create(query["name"], body)
        if path[0] != "containers":
            raise Refusal(404, "page not found")
        return await self._answer_about(self._container(path[1]), method, path[2:], query, body, writer)

    async def _answer_about(self, container, method, path, query, body, writer):
        match method, path:
            case "POST", ["start"]:
                return await self._start(container)
            case ("GET", ["json"]) | ("POST", ["wait"]) if self.troubles:
                self.troubles -= 1
                raise Refusal(500, "database is locked")
            case "GET", ["json"]:
                return 200, {"Id": container.id, "Name": f"/{container.name}", "State": self._state(container), "Image": container.image, "Mounts": container.mounts, "Config": container.definition, "HostConfig": container.definition["HostConfig"] | {"CpuShares": container.shares}}  # fmt: skip
            case "POST", ["wait"]:
                if container.status != "created":
                    await container.ended.wait()
                return 200, {"StatusCode": container.exit_code}
            case "POST", ["kill"] if self.kills_refused:
                self.kills_refused -= 1
                raise Refusal(500, f"Cannot kill container: {container.name}: the runtime did not answer")
            case "POST", ["kill"]:
                return self._kill(container, query["signal"])
            case "POST", ["update"]:
                container.shares = body["CpuShares"]
                return 200, {"Warnings": None}
            case "GET", ["stats"]:
                return 200, self._stats(container)
            case "GET", ["logs"]:
                await self._logs(container, query, writer)
                return 0, None
            case "DELETE", []:
                return await self._remove(container, query)
        raise Refusal(404, "page not found")

    def _image(self, name: str) -> str:
        if name in self.ids:
            return name
        if name not in self.images:
            raise Refusal(404, f"No such image: {name}")
        return self.images[name]

    async def _pull(self, name: str):
        await asyncio.sleep(PULLED_SECONDS)
        if name in self.sources:
            self.ids.add(self.sources[name])
            return 200, json.dumps({"status": "Download complete"}).encode()
        if name not in self.registry:
            raise Refusal(
                404,
                f"pull access denied for {name.partition(':')[0]}, repository does not exist or may require 'docker login'",
            )
        # Each pull brings what the registry has now: another image under the same name.
        self.images[name] = "sha256:" + hashlib.sha256(f"{name} {time.time_ns()}".encode()).hexdigest()
        self.ids.add(self.images[name])
        digest = hashlib.sha256(f"manifest of {self.images[name]}".encode()).hexdigest()
        self.sources[f"{name.partition(':')[0]}@sha256:{digest}"] = self.images[name]
        lines = [{"status": "Pulling from library"}, {"status": "Download complete", "id": "1"}]
        told = b"".join(json.dumps(line).encode() + b"\r\n" for line in lines)
        return 200, told * (LARGE_TOLD_BYTES // len(told) if LARGE in name else 1)

    def _list(self, query):
        labels = [label.partition("=") for label in json.loads(query.get("filters", "{}")).get("label", [])]
        return [
            {"Id": one.id, "Names": [f"/{one.name}"], "State": one.status, "Labels": one.definition["Labels"]}
            for one in self.containers.values()
            if all(one.definition["Labels"].get(name) == value for name, _, value in labels)
        ]

    def _create(self, name: str, definition: dict):
        if name in self.containers:
            raise Refusal(409, f'Conflict. The container name "/{name}" is already in use')
        image = self._image(definition["Image"])
        for mount in definition["HostConfig"].get("Mounts", []):
            if not Path(mount["Source"]).exists():
                raise Refusal(
                    400, f'invalid mount config for type "bind": bind source path does not exist: {mount["Source"]}'
                )
        shares = definition["HostConfig"].get("CpuShares", 0)
        container = self.containers[name] = Container(name, definition, shares=shares, image=image)
        return 201, {"Id": container.id, "Warnings": []}

    async def _start(self, container: Container):
        if container.running:
            return 304, None
        definition = container.definition
        ((inside, (published,)),) = definition["HostConfig"]["PortBindings"].items()
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((published["HostIp"], int(published["HostPort"])))
            except OSError:
                raise Refusal(500, f"driver failed programming external connectivity: Bind for {published['HostIp']}:{published['HostPort']} failed: port is already allocated") from None  # fmt: skip
        told = {inside.partition("/")[0]: published["HostPort"]}
        told |= {mount["Target"]: mount["Source"] for mount in definition["HostConfig"].get("Mounts", [])}

        def tell(text: str) -> str:
            for pretended, real in told.items():
                text = text.replace(pretended, real)
            return text

        environment = dict(one.partition("=")[::2] for one in definition["Env"])
        environment = {"PATH": str(Path(sys.executable).parent), "HOSTNAME": container.id[:12]} | {name: tell(value) for name, value in environment.items()}  # fmt: skip
        try:
            container.process = await asyncio.create_subprocess_exec(
                *map(tell, definition["Cmd"]),
                env=environment,
                cwd="/",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            container.status, container.exit_code = "exited", 127
            container.ended.set()
            raise Refusal(
                400, f"failed to create task for container: exec: {definition['Cmd'][0]!r}: {error.strerror}"
            ) from None
        container.status = "running"
        asyncio.get_running_loop().create_task(self._follow(container))
        return 204, None

    async def _follow(self, container: Container) -> None:
        process = container.process
        assert process is not None

        async def read(stream: asyncio.StreamReader | None, number: int) -> None:
            assert stream is not None
            while line := await stream.readline():
                container.log.append((time.time_ns(), number, line))
                container.printed.set()

        await asyncio.gather(read(process.stdout, 1), read(process.stderr, 2))
        code = await process.wait()
        container.exit_code = 128 - code if code < 0 else code
        container.status = "exited"
        container.ended.set()
        container.printed.set()

    def _kill(self, container: Container, name: str):
        if not container.running or container.process is None or container.process.returncode is not None:
            raise Refusal(409, f"Cannot kill container: {container.name}: container {container.id} is not running")
        with contextlib.suppress(ProcessLookupError):
            os.killpg(container.process.pid, signal.Signals[name])
        return 204, None

    async def _remove(self, container: Container, query):
        if container.running:
            if not query.get("force"):
                raise Refusal(
                    409,
                    f"cannot remove a running container {container.id}: Stop the container before removing or force remove",
                )
            with contextlib.suppress(Refusal):
                self._kill(container, "SIGKILL")
            await container.ended.wait()
        self.containers.pop(container.name, None)
        return 204, None

    async def _logs(self, container: Container, query, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        seconds, _, nanoseconds = query["since"].partition(".")
        since = int(seconds) * 10**9 + int(nanoseconds or 0)
        sent = 0
        while True:
            over = container.ended.is_set()
            container.printed.clear()
            for at, stream, line in container.log[sent:]:
                if at >= since:
                    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at // 10**9)) + f".{at % 10**9:09d}Z "
                    frame = stamp.encode() + line
                    frame = bytes([stream, 0, 0, 0]) + len(frame).to_bytes(4, "big") + frame
                    writer.write(f"{len(frame):x}\r\n".encode() + frame + b"\r\n")
            sent = len(container.log)
            await writer.drain()
            if over:
                writer.write(b"0\r\n\r\n")
                return
            await container.printed.wait()

    def _stats(self, container: Container) -> dict:
        if not container.running or container.process is None:
            return {"cpu_stats": {"cpu_usage": {"total_usage": 0}}, "memory_stats": {}}
        fields = Path(f"/proc/{container.process.pid}/stat").read_text().rpartition(")")[2].split()
        ticks, pages = int(fields[11]) + int(fields[12]), int(fields[21])
        nanoseconds = ticks * 10**9 // os.sysconf("SC_CLK_TCK")
        resident = pages * os.sysconf("SC_PAGE_SIZE")
        return {
            "cpu_stats": {"cpu_usage": {"total_usage": nanoseconds}},
            "memory_stats": {"usage": resident, "stats": {}},
        }

    def _state(self, container: Container) -> dict:
        pid = container.process.pid if container.running and container.process is not None else 0
        return {"Status": container.status, "Running": container.running, "Pid": pid, "ExitCode": container.exit_code, "OOMKilled": False, "Error": container.error}  # fmt: skip

    def _container(self, name: str) -> Container:
        found = self.containers.get(name) or next((one for one in self.containers.values() if one.id == name), None)
        if found is None:
            raise Refusal(404, f"No such container: {name}")
        return found


if __name__ == "__main__":
    asyncio.run(Engine(sys.argv[2:]).serve(sys.argv[1]))
