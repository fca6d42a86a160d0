"""Ports for instances: round-robin, so that one is not used again soon after.

A late entry of an access log or a connection that a proxy still holds then never means another instance. Between the choice of a port
and the instance's bind, seconds later, anybody may take it; so that servers of two data directories do not choose alike, each begins
at a place of its own.
"""

from __future__ import annotations

import socket
import zlib
from collections.abc import Callable

from bannister.errors import Unavailable


class Ports:
    """Hands out ports of a range; `next` is where the search goes on, to be remembered between starts."""

    def __init__(self, first: int, last: int, seed: bytes = b"") -> None:
        """`seed`: who chooses; decides where the search begins."""
        self._first = first
        self._last = last
        self._taken: set[int] = set()
        self.next = first + zlib.crc32(seed) % (last - first + 1)

    def take(self, remember: Callable[[int], None] = lambda _: None) -> int:
        """The next port that is neither ours nor anybody's. `remember` is given the new `next`; where it raises, the port is not taken.

        Raises:
            Unavailable: All are taken.
        """
        size = self._last - self._first + 1
        for step in range(size):
            port = self._first + (self.next - self._first + step) % size
            if port not in self._taken and is_free(port):
                following = self._first + (port + 1 - self._first) % size
                remember(following)
                self._taken.add(port)
                self.next = following
                return port
        raise Unavailable(f"No port between {self._first} and {self._last} is free for another instance.")

    def keep(self, port: int) -> None:
        """Mark the port of an adopted instance."""
        self._taken.add(port)

    def give_back(self, port: int) -> None:
        self._taken.discard(port)


def is_free(port: int) -> bool:
    """Whether a server can listen on 127.0.0.1:`port` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
