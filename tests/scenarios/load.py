"""A client without retries at a constant rate, as a program of its own: `python load.py PORT ENDPOINT RATE RECORD`.

Requests leave on schedule whatever the answers do (open loop). Half of them use kept-alive connections from a pool, half a fresh connection each.
Each body holds the number of its request: `{"x": 7}`. Every request becomes one JSON line in RECORD, written when it ended, whatever happened to it. It stops on SIGTERM, after the last answers.
"""

import asyncio
import contextlib
import json
import signal
import sys
import time
from pathlib import Path

TIMEOUT_SECONDS = 70.0


class Connections:
    """A pool of kept-alive connections; one that the server closed while idle is replaced before it is used."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def take(self, fresh: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle and not fresh:
            reader, writer = self._idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
        return await asyncio.open_connection("127.0.0.1", self._port)

    def give_back(self, connection: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self._idle.append(connection)


async def invoke(connections: Connections, endpoint: str, number: int, headers: str) -> dict[str, object]:
    """One request, and all that is known of its answer."""
    fresh, content = number % 2 == 0, b'{"x": %d}' % number
    reader, writer = await connections.take(fresh)
    close = "Connection: close\r\n" if fresh else ""
    writer.write(
        f"POST /endpoints/{endpoint}/invocations HTTP/1.1\r\nHost: 127.0.0.1\r\n{close}{headers}"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n".encode()
        + content
    )
    await writer.drain()
    status = int((await reader.readline()).split()[1])
    answer: dict[str, str] = {}
    while (line := await reader.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        answer[name.strip().lower()] = value.strip()
    body = (
        await reader.readexactly(int(answer["content-length"])) if "content-length" in answer else await chunked(reader)
    )
    if fresh or answer.get("connection") == "close":
        writer.close()
    else:
        connections.give_back((reader, writer))
    return {
        "status": status,
        "variant": answer.get("x-amzn-invoked-production-variant"),
        "body": body.decode(errors="replace"),
    }


async def chunked(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readline()).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return body


async def main(port: int, endpoint: str, rate: float, record: str, headers: str = "") -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    connections, running = Connections(port), set()
    with Path(record).open("w", buffering=1) as file:  # noqa: ASYNC230  # a line buffer in the page cache

        async def one(number: int) -> None:
            began = time.time()
            outcome: dict[str, object] = {"number": number, "fresh": number % 2 == 0, "began": began}
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    outcome |= await invoke(connections, endpoint, number, headers)
            except (OSError, EOFError, ValueError, IndexError, TimeoutError) as error:
                outcome["lost"] = f"{type(error).__name__}: {error}"
            file.write(json.dumps(outcome | {"ended": time.time()}) + "\n")

        number, start = 0, time.monotonic()
        while not stop.is_set():
            delay = start + number / rate - time.monotonic()
            if delay > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), delay)
                    break
            task = asyncio.create_task(one(number))
            running.add(task)
            task.add_done_callback(running.discard)
            number += 1
        await asyncio.gather(*running)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), sys.argv[4], *sys.argv[5:]))
