"""HTTP/1.1 messages on a blocking socket: just what a model server behind a proxy needs, and strict about it.

The standard library's `http.server` parses headers with the e-mail parser, which costs more than many a prediction. This reads a
request in a few microseconds. It refuses what could make two parties disagree about where a message ends (both lengths
at once, a folded header, an unknown transfer coding), because a disagreement lets one caller's bytes become another's request.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

#: RFC 9110: answers that have no body, so that a length, or bytes, would be taken for the next answer's.
BODILESS = frozenset({204, 304})
HEAD_BYTES_MAX = 64 * 1024
CHUNK_LINE_BYTES_MAX = 4096
RECEIVE_BYTES = 64 * 1024
#: A body up to this size is sent in one piece with its head: one packet, one system call.
JOINED_BYTES_MAX = 64 * 1024

_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) (\S+) HTTP/1\.([01])")
_HEADER_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00\r\n]*?)[ \t]*")
_REASONS = {
    200: "OK",
    204: "No Content",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
}


class MalformedRequest(Exception):
    """What arrived is not a request that can be served; the connection cannot be used further."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass
class Request:
    """One request, read whole. Header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    keep_alive: bool


@dataclass
class Response:
    """One answer; `Content-Length` and `Connection` are added when it is sent."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


class Reader:
    """Reads messages from a socket and keeps what came too early for the next one."""

    def __init__(self, sock: socket.socket, body_bytes_max: int) -> None:
        self._socket = sock
        self._body_bytes_max = body_bytes_max
        self._buffer = bytearray()

    @property
    def has_more(self) -> bool:
        """Whether the beginning of another request has arrived already."""
        return bool(self._buffer)

    def request(self) -> Request | None:
        """The next request; None: the peer closed the connection between requests.

        Raises:
            MalformedRequest: Answer it and close the connection.
            OSError: The connection broke or was silent for too long.
        """
        head = self._head()
        if head is None:
            return None
        start, *lines = head.split(b"\r\n")
        matched = _REQUEST_LINE.fullmatch(start)
        if matched is None:
            raise MalformedRequest(400, "The request line is not one of HTTP/1.1.")
        headers = _headers(lines)
        connection = headers.get("connection", "").lower()
        keep_alive = "close" not in connection if matched[3] == b"1" else "keep-alive" in connection
        return Request(
            method=matched[1].decode("ascii"),
            path=matched[2].decode("latin-1").partition("?")[0],
            headers=headers,
            body=self._body(headers),
            keep_alive=keep_alive,
        )

    def _head(self) -> bytes | None:
        searched = 0
        while True:
            end = self._buffer.find(b"\r\n\r\n", max(0, searched - 3))
            if end > HEAD_BYTES_MAX or (end < 0 and len(self._buffer) > HEAD_BYTES_MAX):
                raise MalformedRequest(431, f"The header is larger than {HEAD_BYTES_MAX} bytes.")
            if end >= 0:
                return self._take(end + 4)[:-4]
            searched = len(self._buffer)
            if not self._receive():
                if searched:
                    raise MalformedRequest(400, "The connection ended within a header.")
                return None

    def _body(self, headers: dict[str, str]) -> bytes:
        coding, length = headers.get("transfer-encoding"), headers.get("content-length")
        if coding is None and length is None:
            return b""
        if coding is not None and (length is not None or coding.lower() != "chunked"):
            raise MalformedRequest(400, "A body has either a Content-Length or the transfer coding chunked.")
        if length is not None and not re.fullmatch("[0-9]{1,18}", length):
            raise MalformedRequest(400, "Content-Length is not a number.")
        if length is not None:
            self._refuse_above_limit(int(length))
        if headers.get("expect", "").lower() == "100-continue" and not self._buffer:
            self._socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        return self._chunked() if length is None else self._exactly(int(length))

    def _chunked(self) -> bytes:
        body = bytearray()
        while True:
            size_text = self._line().partition(b";")[0].strip()
            if not re.fullmatch(rb"[0-9a-fA-F]{1,16}", size_text):
                raise MalformedRequest(400, "The size of a chunk is not a hexadecimal number.")
            size = int(size_text, 16)
            if size == 0:
                break
            self._refuse_above_limit(len(body) + size)
            body += self._exactly(size)
            if self._exactly(2) != b"\r\n":
                raise MalformedRequest(400, "A chunk is longer than its size.")
        trailer_bytes = 0
        while line := self._line():
            trailer_bytes += len(line)
            if trailer_bytes > HEAD_BYTES_MAX:
                raise MalformedRequest(431, f"The trailer is larger than {HEAD_BYTES_MAX} bytes.")
        return bytes(body)

    def _refuse_above_limit(self, size: int) -> None:
        if size > self._body_bytes_max:
            raise MalformedRequest(413, f"The body is larger than {self._body_bytes_max} bytes.")

    def _line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > CHUNK_LINE_BYTES_MAX:
                raise MalformedRequest(400, "A line of the chunked body is too long.")
            self._receive_some()
        return self._take(end + 2)[:-2]

    def _exactly(self, count: int) -> bytes:
        if len(self._buffer) >= count:
            return self._take(count)
        body = bytearray(count)
        filled = len(self._buffer)
        body[:filled] = self._take(filled)
        with memoryview(body) as view:
            while filled < count:
                received = self._socket.recv_into(view[filled:])
                if not received:
                    raise MalformedRequest(400, "The connection ended within a body.")
                filled += received
        return bytes(body)

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _receive(self) -> bool:
        received = self._socket.recv(RECEIVE_BYTES)
        self._buffer += received
        return bool(received)

    def _receive_some(self) -> None:
        if not self._receive():
            raise MalformedRequest(400, "The connection ended within a body.")


def _headers(lines: list[bytes]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        matched = _HEADER_LINE.fullmatch(line)
        if matched is None:
            raise MalformedRequest(400, "A header line is malformed.")
        name, value = matched[1].decode("ascii").lower(), matched[2].decode("latin-1")
        if name not in headers:
            headers[name] = value
        elif name not in {"content-length", "transfer-encoding"}:
            headers[name] += ", " + value
        elif headers[name] != value or name == "transfer-encoding":
            raise MalformedRequest(400, f"The header {name} is given twice.")
    return headers


def send(sock: socket.socket, response: Response, *, keep_alive: bool, with_body: bool = True) -> None:
    """Write the answer. `with_body=False` is for HEAD: the length is told and nothing follows."""
    lines = [f"HTTP/1.1 {response.status} {_REASONS.get(response.status, 'Status')}"]
    if response.status in BODILESS:
        with_body = False
    else:
        lines += [f"content-type: {response.content_type}", f"content-length: {len(response.body)}"]
    lines += [f"{name}: {value}" for name, value in response.headers.items()]
    if not keep_alive:
        lines.append("connection: close")
    # A line break in a value that user code set would start a header of its own.
    head = "\r\n".join(line.replace("\r", " ").replace("\n", " ") for line in lines)
    encoded = head.encode("latin-1", "replace") + b"\r\n\r\n"
    if not with_body or not response.body:
        sock.sendall(encoded)
    elif len(response.body) <= JOINED_BYTES_MAX:
        sock.sendall(encoded + response.body)
    else:
        sock.sendall(encoded)
        sock.sendall(response.body)
