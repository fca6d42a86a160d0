"""Whether the server answers: one request through Envoy to the control plane.

Written on a bare socket because importing an HTTP client would cost `up` more than everything else it does.
"""

from __future__ import annotations

import socket

#: The control plane answers 200 here once it and its proxy can serve.
READY_PATH = "/-/ready"

_TIMEOUT_SECONDS = 0.5


def answers_ready(port: int) -> bool:
    """Ask once; False also when nothing listens, or the answer takes longer than half a second."""
    request = f"GET {READY_PATH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_SECONDS) as connection:
            connection.sendall(request.encode())
            return _status_line(connection).startswith(b"HTTP/1.1 200 ")
    except OSError:
        return False


def _status_line(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n" not in received and len(received) < 256:
        chunk = connection.recv(256)
        if not chunk:
            break
        received += chunk
    return received
