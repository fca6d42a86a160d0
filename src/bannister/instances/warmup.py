"""Sends a model its warm-up requests: to the instance itself, past the proxies, so that no metric, capture or comparison knows of them."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Final

import httptools

from bannister.domain.instance import GroupSpec
from bannister.domain.warmup import WARMUP_FILE, WARMUP_VARIABLE, Warmup, WarmupRequest, parse
from bannister.errors import Invalid, Unavailable
from bannister.settings import Settings

#: Of an answer that is an error, so much goes into a FailureReason.
_SHOWN_BYTES_MAX: Final = 300
_READ_BYTES: Final = 64 * 1024


async def warmup_of(spec: GroupSpec, settings: Settings) -> Warmup:
    """The requests that a model brings, in its environment or its artifact. A file may be megabytes on a slow disk: a thread reads it.

    Raises:
        Invalid: They are none, or more than they may be.
        Unavailable: The file cannot be read now.
    """
    given = spec.environment.get(WARMUP_VARIABLE)
    if given is not None or spec.artifact_dir is None:
        return parse((given or "").encode(), WARMUP_VARIABLE, settings.warmup_requests_max)
    return await asyncio.to_thread(_read, Path(spec.artifact_dir, WARMUP_FILE), settings)


def _read(path: Path, settings: Settings) -> Warmup:
    try:
        with path.open("rb") as file:
            content = file.read(settings.warmup_bytes_max + 1)
    except (FileNotFoundError, NotADirectoryError):
        return Warmup()
    except OSError as error:
        raise Unavailable(f"{WARMUP_FILE} cannot be read: {error.strerror}.") from error
    if len(content) > settings.warmup_bytes_max:
        raise Invalid(
            f"{WARMUP_FILE} is larger than {settings.warmup_bytes_max} bytes (warmup_bytes_max): bring fewer requests, and a count."
        )
    return parse(content, WARMUP_FILE, settings.warmup_requests_max)


async def warm_up(host: str, port: int, path: str, warmup: Warmup, timeout_seconds: float) -> str | None:
    """Send the requests one after the other; None: each was answered with 2xx, otherwise what went wrong, without its subject.

    `timeout_seconds`: for all of them together.
    """
    deadline = asyncio.get_running_loop().time() + timeout_seconds
    for one in itertools.chain.from_iterable(itertools.repeat(one, one.count) for one in warmup.requests):
        answer = _Answer()
        try:
            async with asyncio.timeout_at(deadline):
                await _exchange(host, port, path, one, answer)
        except TimeoutError:
            return late(warmup, one, timeout_seconds)
        except (OSError, EOFError, httptools.HttpParserError) as error:  # it hung up, or speaks no HTTP
            return f"did not answer {warmup.called(one)} ({str(error) or type(error).__name__})"
        if not 200 <= answer.status < 300:
            return answered(warmup, one, answer.status, answer.text)
    return None


def late(warmup: Warmup, request: WarmupRequest, timeout_seconds: float) -> str:
    """What goes wrong where the time is over at this request."""
    return f"did not answer {warmup.called(request)} in time: its warm-up may take {timeout_seconds:.3g} s"


def answered(warmup: Warmup, request: WarmupRequest, status: int, text: str) -> str:
    """What goes wrong where a request is answered with an error."""
    return f"answered {warmup.called(request)} with {status}" + (f": {text}" if text else "")


class _Answer:
    """What comes back, as httptools tells it."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.complete = False
        #: It says itself where it ends; otherwise it ends with its connection.
        self._framed = False
        self._shown = bytearray()

    @property
    def status(self) -> int:
        return self.parser.get_status_code()

    @property
    def text(self) -> str:
        shown = " ".join(self._shown.decode(errors="replace").split())
        return "".join(one if one.isprintable() else "·" for one in shown)

    def end(self) -> None:
        """The connection has ended."""
        if self._framed or self.status < 200:
            raise EOFError("it closed the connection")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._framed = self._framed or name.lower() in (b"content-length", b"transfer-encoding")

    def on_body(self, body: bytes) -> None:
        self._shown += body[: _SHOWN_BYTES_MAX - len(self._shown)]

    def on_message_complete(self) -> None:
        self.complete = self.status >= 200  # before it, there may be a 100


async def _exchange(host: str, port: int, path: str, request: WarmupRequest, answer: _Answer) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        accept = "" if request.accept is None else f"Accept: {request.accept}\r\n"
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: bannister-warmup\r\n"
            f"Content-Type: {request.content_type}\r\n{accept}Content-Length: {len(request.body)}\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode("ascii") + request.body)
        while not answer.complete:
            data = await reader.read(_READ_BYTES)
            if not data:
                return answer.end()
            answer.parser.feed_data(data)
    finally:
        writer.close()
