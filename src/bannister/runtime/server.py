"""Connections: one blocking thread for each, kept alive, and drained when the server is told to stop.

Why threads. A proxy keeps a bounded pool of connections, and a prediction must not hold up `/ping` on another one. With a
thread per connection a request is read, predicted and answered without a hop to another thread. Predictions are limited
elsewhere (`service`), connections here.

How it stops. `stop` closes the writing end of a pipe; its reading end is in every poll, so everyone waiting learns of it at once. A
connection that waits for its next request ends; one whose request has begun to arrive answers it first, says
`connection: close`, and ends. Connections that the kernel had already taken for us are served the same way, so that nobody
who was connected before the stop is refused.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from bannister.runtime.messages import MalformedRequest, Reader, Request, Response, send

Handler = Callable[[Request], Response]
Refusal = Callable[[int, str], Response]

BACKLOG = 1024
#: How long to wait for a connection to end before accepting one more than the limit.
FULL_POLL_MILLISECONDS = 10
#: After an answer to a malformed request: how long to read on, so that closing does not reset the answer away.
LINGER_SECONDS = 1


@dataclass(frozen=True)
class Limits:
    """What one server bears."""

    #: Further connections wait in the kernel's queue.
    connections_max: int = 1024
    body_bytes_max: int = 256 * 1024 * 1024
    #: A connection silent for this long is closed; far above any proxy's own limit, which closes first.
    idle_timeout_seconds: float = 300.0
    #: A peer that stops in the middle of a message, or does not take its answer.
    stall_timeout_seconds: float = 120.0
    #: After a stop, requests in flight may take this long (the supervisor kills after 30 s).
    drain_timeout_seconds: float = 25.0


class Server:
    """Serves one listening socket until it is stopped."""

    def __init__(self, listener: socket.socket, handler: Handler, refuse: Refusal, limits: Limits) -> None:
        self._listener = listener
        self._handler = handler
        self._refuse = refuse
        self._limits = limits
        self._stop_read, self._stop_write = os.pipe()
        self._stopping = False
        self._open = 0
        self._ended = threading.Condition()

    def stop(self) -> None:
        """Accept no more and let `serve` return once requests in flight are answered. Safe in a signal handler."""
        if not self._stopping:
            self._stopping = True
            os.close(self._stop_write)

    def serve(self) -> None:
        """Accept connections until `stop`; then return when the last one has ended or the drain timeout has passed."""
        self._listener.setblocking(False)
        waiting = select.poll()
        waiting.register(self._listener, select.POLLIN)
        waiting.register(self._stop_read, select.POLLIN)
        while not self._stopping:
            if self._open >= self._limits.connections_max:
                time.sleep(FULL_POLL_MILLISECONDS / 1000)
            else:
                waiting.poll()
                self._accept_one()
        while self._accept_one():
            pass
        self._listener.close()
        with self._ended:
            self._ended.wait_for(lambda: self._open == 0, self._limits.drain_timeout_seconds)

    def _accept_one(self) -> bool:
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:  # nobody waits
            return False
        except OSError:  # the peer has left already, or we are out of descriptors
            time.sleep(FULL_POLL_MILLISECONDS / 1000)
            return False
        connection.setblocking(True)  # elsewhere than on Linux it has this of the listener
        with self._ended:
            self._open += 1
        return self._started(connection)

    def _started(self, connection: socket.socket) -> bool:
        """Give a connection its thread; False: there was none for it until the time to stop was over."""
        stop_waiting_at: float | None = None
        while stop_waiting_at is None or time.monotonic() < stop_waiting_at:
            try:
                threading.Thread(target=self._run, args=(connection,), daemon=True).start()
            except RuntimeError:  # there are as many threads as may be: one of them will end
                time.sleep(FULL_POLL_MILLISECONDS / 1000)
            else:
                return True
            if self._stopping and stop_waiting_at is None:
                stop_waiting_at = time.monotonic() + self._limits.drain_timeout_seconds
        connection.close()
        with self._ended:
            self._open -= 1
        return False

    def _run(self, connection: socket.socket) -> None:
        try:
            with connection, contextlib.suppress(OSError):  # the peer left or stalled: nobody to tell
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                _limit_stalls(connection, self._limits.stall_timeout_seconds)
                self._converse(connection)
        finally:
            with self._ended:
                self._open -= 1
                self._ended.notify_all()

    def _converse(self, connection: socket.socket) -> None:
        reader = Reader(connection, self._limits.body_bytes_max)
        waiting = select.poll()
        waiting.register(connection, select.POLLIN)
        waiting.register(self._stop_read, select.POLLIN)
        while reader.has_more or self._request_comes(waiting, connection):
            try:
                request = reader.request()
            except MalformedRequest as problem:
                send(connection, self._refuse(problem.status, str(problem)), keep_alive=False)
                _linger(connection)
                return
            if request is None:
                return
            response = self._handler(request)
            keep_alive = request.keep_alive and not self._stopping
            send(connection, response, keep_alive=keep_alive, with_body=request.method != "HEAD")
            if not keep_alive:
                return

    def _request_comes(self, waiting: select.poll, connection: socket.socket) -> bool:
        ready = waiting.poll(self._limits.idle_timeout_seconds * 1000)
        return any(descriptor == connection.fileno() for descriptor, _ in ready)


def _limit_stalls(connection: socket.socket, seconds: float) -> None:
    """Let the kernel keep the time: `settimeout` would add a poll to every call."""
    limit = struct.pack("ll", int(seconds), 0)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


def _linger(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_WR)
    _limit_stalls(connection, LINGER_SECONDS)
    deadline = time.monotonic() + LINGER_SECONDS
    while time.monotonic() < deadline and connection.recv(65536):
        pass
