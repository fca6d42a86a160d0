"""One POST of JSON to an address, within a time.

Every byte of it can be cancelled, nothing is followed (a redirect is an answer like any other), and of the answer only the status is read.

Looking up a name cannot be cancelled: the system's resolver comes back when it likes, after half a minute where its servers are dead. So each name that is
being looked up has a thread of its own, which no other work waits for, neither while the server runs nor when it stops; names are bounded, and a name has one
thread, however many attempts ask for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import urlsplit

from bannister.errors import Unavailable

_STATUS_BYTES_MAX: Final = 4096
#: Addresses of one name that are tried.
_ADDRESSES_MAX: Final = 8

#: From a host's name and a port to its addresses. Blocks; raises OSError.
LookUp = Callable[[str, int], Sequence[str]]


def look_up(host: str, port: int) -> list[str]:
    """A host's addresses, as the system's resolver says."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class Webhooks:
    """Posts to addresses. For one event loop."""

    def __init__(self, lookups_max: int, look_up: LookUp = look_up) -> None:
        """`lookups_max`: names that are looked up at the same time, each in a thread."""
        self._lookups_max = lookups_max
        self._look_up = look_up
        self._looked_up: dict[tuple[str, int], asyncio.Future[Sequence[str]]] = {}

    async def post(self, url: str, body: str, timeout_seconds: float) -> int:
        """Send a body; returns the status of the answer.

        Raises:
            Unavailable: There was no answer in time; the message says why, without the address.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._exchange(url, body.encode())
        except TimeoutError:
            raise Unavailable(f"There was no answer within {timeout_seconds:g} seconds.") from None
        except asyncio.IncompleteReadError:
            raise Unavailable("The connection was closed before the answer was whole.") from None
        except asyncio.LimitOverrunError:
            raise Unavailable("The answer is not HTTP.") from None
        except (OSError, ValueError) as error:
            raise Unavailable(str(error) or type(error).__name__) from None

    async def _exchange(self, url: str, body: bytes) -> int:
        parts = urlsplit(url)
        host, secure = parts.hostname or "", parts.scheme == "https"
        context = await asyncio.to_thread(ssl.create_default_context) if secure else None
        reader, writer = await self._connected(host, parts.port or (443 if secure else 80), context)
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            head = (
                f"POST {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nUser-Agent: bannister\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            )
            writer.write(head.encode("ascii") + body)
            await writer.drain()
            status = 100
            while 100 <= status < 200:  # an answer may be announced before it comes
                line = (await reader.readuntil(b"\r\n")).split(b" ", 2)
                if len(line) < 2 or not line[0].startswith(b"HTTP/1.") or not line[1].strip().isdigit():
                    raise ValueError("The answer is not HTTP.")
                status = int(line[1])
                while status < 200 and await reader.readuntil(b"\r\n") != b"\r\n":
                    pass
            return status
        finally:
            writer.close()

    async def _connected(
        self, host: str, port: int, context: ssl.SSLContext | None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        refused = OSError("The name has no address.")
        for address in (await self._addresses(host, port))[:_ADDRESSES_MAX]:
            named = host if context is not None else None
            try:
                return await asyncio.open_connection(
                    address, port, ssl=context, server_hostname=named, limit=_STATUS_BYTES_MAX
                )
            except OSError as error:
                refused = error
        raise refused

    async def _addresses(self, host: str, port: int) -> Sequence[str]:
        with contextlib.suppress(ValueError):
            return [str(ipaddress.ip_address(host))]
        under_way = self._looked_up.get((host, port))
        if under_way is None:
            if len(self._looked_up) >= self._lookups_max:
                raise Unavailable(f"{len(self._looked_up)} other names are still being looked up.")
            under_way = self._begin(host, port)
        return await asyncio.shield(under_way)

    def _begin(self, host: str, port: int) -> asyncio.Future[Sequence[str]]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Sequence[str]] = loop.create_future()
        self._looked_up[host, port] = future

        def end(found: Sequence[str] | OSError) -> None:
            del self._looked_up[host, port]
            if isinstance(found, OSError):
                future.set_exception(found)
                future.exception()  # nobody may wait for it any more, which is no fault
            else:
                future.set_result(found)

        def work() -> None:
            found: Sequence[str] | OSError = OSError("The name could not be looked up.")
            try:
                found = self._look_up(host, port)
            except OSError as error:
                found = error
            except ValueError as error:  # a name that cannot be encoded
                found = OSError(str(error))
            finally:  # whatever it is, those who wait must hear of it
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                    loop.call_soon_threadsafe(end, found)

        try:
            threading.Thread(target=work, name="webhook-name", daemon=True).start()
        except RuntimeError as error:  # there are as many threads as may be
            del self._looked_up[host, port]
            raise Unavailable(f"The name could not be looked up: {error}.") from None
        return future
