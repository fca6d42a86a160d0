"""The rest of a request's body, where the answer is known before it was read.

A client that sends a long body reads nothing until it has sent all of it, unless it is as careful as curl. The proxy hands out an answer that comes
earlier and then reads no more of the request: the client's writing stands still until the proxy hangs up, and many a client then takes the broken
connection for the answer. So whoever refuses a request reads it to its end first, and forgets it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Send


class Unread:
    """One request's messages, and whether all have come. To be used in place of ASGI's `receive`, by one task at a time."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._over = False

    async def __call__(self) -> Message:
        message = await self._receive()
        self._over = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def read_away(self, seconds_max: float) -> None:
        """Read what is left and forget it, for so long at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds_max):
                while not self._over:
                    await self()

    def before_answer(self, send: Send, seconds_max: float) -> Send:
        """A `send` that reads the rest before it sends the beginning of the answer."""

        async def late(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self.read_away(seconds_max)
            await send(message)

        return late
