"""A caller of the endpoint, as a process of its own: steady requests over kept-alive connections, and no retry.

    python -m bannister.demo.client URL FLIGHTS --rate 100

It sends the lines of the file FLIGHTS one after the other, each at its own time whatever became of the ones before (so a slow
answer does not thin out the load), and prints one line of JSON for each answer, or for none, and at the end one that says how many it sent: whoever reads fewer knows that some are missing. It
ends when its standard input does, so it never outlives who started it.

It speaks HTTP by itself because it must not hide anything: botocore and most HTTP clients retry, and a request that needed a
retry is one that failed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

#: Longer than the endpoint's own limit of 60 s, so that its answer is seen.
ANSWER_TIMEOUT_SECONDS = 70.0


class Connection:
    """One kept-alive connection; carries one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def post(self, head: str, body: str) -> tuple[int, bytes]:
        """Status and body of the answer."""
        self._writer.write(f"{head}content-length: {len(body)}\r\n\r\n{body}".encode())
        answer_head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status_line, *lines = answer_head.split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines if line)
        content = await self._reader.readexactly(int(headers.get("content-length", 0)))
        return int(status_line.split(" ", 2)[1]), content

    def close(self) -> None:
        self._writer.close()


class Client:
    """Sends flights and prints what came back."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._head = (
            f"POST {parts.path} HTTP/1.1\r\nhost: {self._host}:{self._port}\r\n"
            "content-type: application/json\r\naccept: application/json\r\n"
        )
        self._idle: list[Connection] = []
        self._under_way: set[asyncio.Task[None]] = set()
        #: Requests so far.
        self.sent = 0

    async def replay(self, bodies: list[str], rate: float) -> None:
        """Send one body after the other, `rate` in a second."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        for index, body in enumerate(bodies):
            await asyncio.sleep(started + index / rate - loop.time())
            self.sent += 1
            task = asyncio.create_task(self._send(index, body))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def finish(self) -> None:
        """Wait for the answers that are still to come."""
        await asyncio.gather(*self._under_way)

    async def _send(self, index: int, body: str) -> None:
        record: dict[str, Any] = {"flight": index, "sent_at": time.time()}
        began = time.perf_counter()
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
                status, content = await self._post(body)
            record |= {"status": status, **_understood(status, content)}
        except Exception as error:  # noqa: BLE001  # no answer at all, or none that is HTTP, in whatever way: the worst that can happen to a caller
            record |= {"status": 0, "error": f"{type(error).__name__}: {error}"}
        record |= {"ms": round((time.perf_counter() - began) * 1000, 3), "ended_at": time.time()}
        print(json.dumps(record), flush=True)

    async def _post(self, body: str) -> tuple[int, bytes]:
        connection = self._idle.pop() if self._idle else await self._connect()
        try:
            answer = await connection.post(self._head, body)
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        return answer

    async def _connect(self) -> Connection:
        return Connection(*await asyncio.open_connection(self._host, self._port))


def _understood(status: int, content: bytes) -> dict[str, Any]:
    """The prediction; or, from an error, what the model itself had answered, which the endpoint passes on."""
    try:
        answer = json.loads(content)
    except ValueError:
        return {"error": content[:500].decode("utf-8", "replace")}
    if not isinstance(answer, dict):
        return {"error": f"not what this endpoint answers: {str(answer)[:500]}"}
    if status == 200:
        if not (isinstance(answer.get("late"), bool) and isinstance(answer.get("version"), str)):
            return {"error": f"no prediction: {str(answer)[:500]}"}
        return {"late": answer["late"], "version": answer["version"]}
    return {
        "error": str(answer.get("Message", answer))[:500],
        "model_status": answer.get("OriginalStatusCode"),
        "model_message": answer.get("OriginalMessage"),
    }


async def _until_input_ends() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


async def _main(url: str, flights: Path, rate: float) -> None:
    client = Client(url)
    replay = asyncio.create_task(client.replay(flights.read_text().splitlines(), rate))
    ended = asyncio.create_task(_until_input_ends())
    await asyncio.wait((replay, ended), return_when=asyncio.FIRST_COMPLETED)
    replay.cancel()
    await client.finish()
    print(json.dumps({"sent": client.sent}), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Send flights to an endpoint at a steady rate.")
    parser.add_argument("url")
    parser.add_argument("flights", type=Path, help="one request body a line")
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second")
    arguments = parser.parse_args()
    asyncio.run(_main(arguments.url, arguments.flights, arguments.rate))
