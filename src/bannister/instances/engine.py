"""A container engine, by the HTTP API that Docker and Podman have in common, over its unix socket.

One connection for each call: calls are few, and an engine may be restarted at any time. Paths carry no version, so an engine is spoken to in its newest; what
is used here (containers, images, logs) has been the same since 2014.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from bannister.errors import Unavailable

_CALL_SECONDS: Final = 30.0
#: `_ping` is asked in between other work and answered in a millisecond; one that takes longer is no engine to start models with.
_FIND_SECONDS: Final = 0.25
#: What a look has shown is believed for so long, and so many times as long as it took: one that hangs must not keep the control plane from all else.
_FOUND_FOR_SECONDS: Final = 2.0
_FOUND_FOR_TIMES: Final = 20
_HEAD_BYTES_MAX: Final = 64 * 1024
_DOCUMENT_BYTES_MAX: Final = 16 * 1024 * 1024
_PIECE_BYTES: Final = 64 * 1024
_MESSAGE_CHARACTERS_MAX: Final = 400
#: Values of the setting `container_engine` beside a socket's path.
AUTO: Final = "auto"
NONE: Final = "none"


class EngineRefused(Exception):
    """The engine answered, and said no."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(" ".join(message.split())[:_MESSAGE_CHARACTERS_MAX] or f"status {status}")
        self.status = status


class Engine:
    """One engine. Every call raises `Unavailable` where nobody answers, and `EngineRefused` where the answer is an error."""

    def __init__(self, socket_path: Path) -> None:
        self.socket = socket_path

    async def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, object] | None = None,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float | None = _CALL_SECONDS,
    ) -> Any:
        """One request; its answer's JSON, None where it has no body. `timeout_seconds` None: as long as it takes."""
        pieces: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(timeout_seconds):
                async with contextlib.aclosing(self.stream(method, path, query, body, headers)) as stream:
                    async for piece in stream:
                        size += len(piece)
                        if size > _DOCUMENT_BYTES_MAX:
                            raise Unavailable(f"The container engine at {self.socket} answers {path} without end.")
                        pieces.append(piece)
        except TimeoutError:
            raise Unavailable(f"The container engine at {self.socket} does not answer {path} in time.") from None
        return _document(b"".join(pieces))

    async def stream(
        self,
        method: str,
        path: str,
        query: Mapping[str, object] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[bytes, None]:
        """One request; its answer's body as it comes."""
        try:
            reader, writer = await asyncio.open_unix_connection(str(self.socket), limit=_HEAD_BYTES_MAX)
        except OSError as error:
            raise Unavailable(f"No container engine answers at {self.socket} ({error.strerror}).") from error
        try:
            writer.write(_request(method, path, query, body, headers))
            status, headers = _head(await reader.readuntil(b"\r\n\r\n"))
            if status >= 300:
                document = await _first(_body(reader, status, headers))
                raise EngineRefused(status, _message(document))
            async for piece in _body(reader, status, headers):
                yield piece
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            raise Unavailable(f"The container engine at {self.socket} broke off its answer to {path}.") from error
        finally:
            writer.close()


def _request(
    method: str,
    path: str,
    query: Mapping[str, object] | None,
    body: object,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    target = path if not query else f"{path}?{urlencode(query)}"
    content = b"" if body is None else json.dumps(body).encode()
    more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    return (
        f"{method} {target} HTTP/1.1\r\nHost: engine\r\nUser-Agent: bannister\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n{more}\r\n"
    ).encode() + content


def _head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    version, status = first.split(" ", 2)[:2]
    if not version.startswith("HTTP/1."):
        raise ValueError(first)
    fields = (line.partition(":") for line in lines)
    return int(status), {name.strip().lower(): value.strip() for name, _, value in fields}


async def _body(reader: asyncio.StreamReader, status: int, headers: Mapping[str, str]) -> AsyncIterator[bytes]:
    if status in (204, 304):
        return
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            left = size
            while left:
                piece = await reader.readexactly(min(left, _PIECE_BYTES))
                left -= len(piece)
                yield piece
            await reader.readexactly(2)
        return
    is_bounded = "content-length" in headers
    due = int(headers.get("content-length", "0"))
    while due or not is_bounded:
        piece = await reader.read(min(due, _PIECE_BYTES) if is_bounded else _PIECE_BYTES)
        if not piece and is_bounded:
            raise EOFError
        if not piece:
            return
        due -= len(piece) if is_bounded else 0
        yield piece


async def _first(body: AsyncIterator[bytes]) -> bytes:
    """The beginning of a body: as much of an error as anybody reads."""
    found = b""
    async for piece in body:
        found += piece
        if len(found) >= _PIECE_BYTES:
            break
    return found


def _message(document: bytes) -> str:
    try:
        found = json.loads(document)
    except ValueError:
        return document.decode("utf-8", "replace")
    return str(found.get("message") or found.get("cause") or found) if isinstance(found, dict) else str(found)


def _document(content: bytes) -> Any:
    """JSON, or what it is otherwise (`OK`, progress line by line): its text."""
    if not content.strip():
        return None
    try:
        return json.loads(content)
    except ValueError:
        return content.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class _Look:
    engine: Engine | None
    why_not: str


class Engines:
    """Where this machine's container engine is. It may come and go: each look is believed for a moment."""

    def __init__(
        self,
        setting: str = AUTO,
        environment: Mapping[str, str] | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`setting`: the path of a socket, `auto` to look where engines listen, `none` for none. `now`: in seconds, never set back."""
        self._setting = setting
        self._now = now
        self._believed_until = 0.0
        self._environment = os.environ if environment is None else environment
        self._last: _Look | None = None

    @property
    def wanted(self) -> bool:
        """Whether containers may run here, if an engine answers."""
        return self._setting != NONE

    def find(self) -> Engine:
        """The engine that answers.

        Raises:
            Unavailable: There is none; the sentence says where it was looked for.
        """
        began = self._now()
        if self._last is None or began > self._believed_until:
            self._last = self._look()
            ended = self._now()
            self._believed_until = ended + max(_FOUND_FOR_SECONDS, _FOUND_FOR_TIMES * (ended - began))
        if self._last.engine is None:
            raise Unavailable(self._last.why_not)
        return self._last.engine

    def _look(self) -> _Look:
        if self._setting == NONE:
            return _Look(None, "Containers are switched off here (container_engine is none).")
        try:
            candidates = self._candidates()
        except ValueError as error:
            return _Look(None, str(error))
        looked = []
        for one in candidates:
            why_not = _why_not(one)
            if why_not is None:
                return _Look(Engine(one), "")
            looked.append(f"{one}{why_not}")
        where = ", ".join(looked)
        return _Look(None, f"No container engine answers here: looked for Docker or Podman at {where}.")

    def _candidates(self) -> Sequence[Path]:
        """Sockets, the likeliest first. What somebody names is the only one."""
        if self._setting != AUTO:
            return [Path(self._setting.removeprefix("unix://"))]
        for name in ("DOCKER_HOST", "CONTAINER_HOST"):
            address = self._environment.get(name)
            if address and not address.startswith("unix://"):
                raise ValueError(
                    f"{name} is {address}; models run in containers of this machine's engine, by its unix socket: unix:///path/to/socket."
                )
            if address:
                return [Path(address.removeprefix("unix://"))]
        home, runtime = self._environment.get("HOME"), self._environment.get("XDG_RUNTIME_DIR")
        mine = [Path(runtime) / "docker.sock", Path(runtime) / "podman/podman.sock"] if runtime else []
        desktop = [Path(home) / ".docker/run/docker.sock"] if home else []
        return [Path("/var/run/docker.sock"), *mine, *desktop, Path("/run/podman/podman.sock")]


def _why_not(path: Path) -> str | None:
    """Whether an engine listens there, asked at once: between two other things that the control plane does. None: it does; otherwise what is to be said of the place."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_FIND_SECONDS)
        try:
            connection.connect(str(path))
            connection.sendall(_request("GET", "/_ping", None, None))
            return None if connection.recv(256).split(b" ", 2)[1:2] == [b"200"] else ""
        except PermissionError:
            return " (which this user may not use)"
        except OSError:
            return ""
