"""Signals as something to wait for: requests to stop, and the end of a child.

The handlers only count. Waiting is a `select` on a socket that Python writes to at every signal, so nothing is missed between looking and
waiting, and the launcher sleeps whenever nothing happens.
"""

from __future__ import annotations

import select
import signal
import socket
import time
from collections.abc import Iterable
from types import FrameType
from typing import Self

#: Wrappers such as `make` or a container's init pass on a signal that the terminal has also sent: these are one request.
_SAME_REQUEST_SECONDS = 0.3


class Interruptions:
    """Counts requests to stop while it is entered. For the main thread; one at a time."""

    def __init__(self) -> None:
        self.stop_requests = 0
        self._last_request_at = float("-inf")
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._sender.setblocking(False)

    def __enter__(self) -> Self:
        signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # without a handler it would not wake anybody
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._request_stop)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # `nohup bannister up` goes on
            signal.signal(signal.SIGHUP, self._request_stop)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening. Handlers stay: the process is about to end, and must not die of a late Ctrl-C."""
        signal.set_wakeup_fd(-1)
        self._receiver.close()
        self._sender.close()

    def wait(self, seconds: float, descriptors: Iterable[int] = ()) -> None:
        """Return at the next signal, when one of these is readable, or after this long."""
        mine = self._receiver.fileno()
        readable, _, _ = select.select([mine, *descriptors], [], [], max(0.0, seconds))
        if mine in readable:
            self._receiver.recv(4096)

    def _request_stop(self, _number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - self._last_request_at > _SAME_REQUEST_SECONDS:
            self.stop_requests += 1
        self._last_request_at = now
